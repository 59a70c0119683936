//! Which record arrived how often.

/// One source's account.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records that were sent: ids from 0 to below this.
    pub sent: u64,
    seen: Vec<u8>,
    /// Different records that arrived.
    pub arrived: u64,
    /// Arrivals beyond each record's first.
    pub repeats: u64,
}

impl Ledger {
    /// Enters one arrival.
    pub fn enter(&mut self, id: u64) {
        let Ok(index) = usize::try_from(id) else {
            return;
        };
        if self.seen.len() <= index {
            self.seen.resize(index + 1, 0);
        }
        if let Some(times) = self.seen.get_mut(index) {
            if *times == 0 {
                self.arrived += 1;
            } else {
                self.repeats += 1;
            }
            *times = times.saturating_add(1);
        }
    }

    /// Records that were sent and did not arrive.
    pub fn lost(&self) -> u64 {
        let sent = usize::try_from(self.sent).unwrap_or(usize::MAX);
        let arrived = self
            .seen
            .iter()
            .take(sent)
            .filter(|times| **times > 0)
            .count();
        self.sent - arrived as u64
    }

    /// The first few records that did not arrive.
    pub fn missing(&self) -> Vec<u64> {
        (0..self.sent)
            .filter(|id| {
                usize::try_from(*id).is_ok_and(|i| self.seen.get(i).is_none_or(|t| *t == 0))
            })
            .take(10)
            .collect()
    }
}
