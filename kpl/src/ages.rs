//! How old the oldest record without an outcome is.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// One arrival for each aggregate that is not settled, that of its oldest record.
#[derive(Debug, Default)]
pub(crate) struct Ages(Mutex<BTreeMap<Instant, usize>>);

impl Ages {
    /// An aggregate's oldest arrival changes, begins or ends.
    pub(crate) fn change(&self, before: Option<Instant>, after: Option<Instant>) {
        if before.is_none() && after.is_none() {
            return;
        }
        let mut ages = self.0.lock();
        if let Some(after) = after {
            *ages.entry(after).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(count) = ages.get_mut(&before)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                ages.remove(&before);
            }
        }
    }

    /// The oldest arrival.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.0.lock().first_key_value().map(|(arrival, _)| *arrival)
    }
}
