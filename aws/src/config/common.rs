//! What libraries on top share between those who use the same configuration, in place of a global.

use parking_lot::Mutex;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// One value of each type. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Common(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Common {
    pub(crate) fn get<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut values = self.0.lock();
        let value = values
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::<T>::default());
        // It has the type that it is filed under.
        Arc::clone(value).downcast().unwrap_or_default()
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Common").field(&self.0.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_have_the_same_value_of_a_type_and_others_another() {
        let (common, other) = (Common::default(), Common::default());
        common.get::<Mutex<String>>().lock().push('x');
        common.get::<Mutex<Vec<u8>>>().lock().push(1);
        assert_eq!(*common.clone().get::<Mutex<String>>().lock(), "x");
        assert_eq!(*common.get::<Mutex<Vec<u8>>>().lock(), [1]);
        assert_eq!(*other.get::<Mutex<String>>().lock(), "");
    }
}
