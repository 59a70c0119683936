//! The hash key of the partition key that this thread hashed last: whoever puts records one by one often has
//! many of one key, and their hash takes longer than all else that a put does.

use aggregation::HashKey;
use std::cell::RefCell;

#[derive(Default)]
struct Last {
    /// At most as long as a partition key may be.
    partition_key: String,
    hash_key: Option<HashKey>,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// [`HashKey::of_partition_key`].
pub(crate) fn hash_key_of(partition_key: &str) -> HashKey {
    let hash = || HashKey::of_partition_key(partition_key);
    let found = LAST.try_with(|last| {
        let Ok(mut last) = last.try_borrow_mut() else {
            return hash();
        };
        if let Some(hash_key) = last.hash_key
            && last.partition_key == partition_key
        {
            return hash_key;
        }
        last.partition_key.clear();
        last.partition_key.push_str(partition_key);
        *last.hash_key.insert(hash())
    });
    // A thread that ends has none.
    found.unwrap_or_else(|_| hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_of_the_key_whatever_came_before() {
        for key in ["", "a", "a", "b", "a", "", "ab", "ab", "ba"] {
            assert_eq!(hash_key_of(key), HashKey::of_partition_key(key), "{key:?}");
        }
    }
}
