//! Turns between those who put and those who send.
//!
//! A task that puts and never waits keeps its thread to itself until the bound of what may be outstanding
//! stops it. What is outstanding then has left the CPU's caches long before it is sent, and waits longer than
//! it had to: where the runtime has one thread, perhaps until it expires. So whoever puts lets the other
//! tasks of its thread go on now and then.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// So much is admitted between one turn and the next, in bytes as they are charged.
const TURN: usize = 256 << 10;

/// What was admitted since the others had a turn.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicUsize);

impl Turns {
    /// So many bytes were admitted. Called by one at a time.
    pub(crate) fn admitted(&self, bytes: usize) {
        let since = self.0.load(Relaxed);
        self.0.store(since.saturating_add(bytes), Relaxed);
    }

    /// True when it is the others' turn.
    pub(crate) fn is_due(&self) -> bool {
        self.0.load(Relaxed) >= TURN
    }

    /// True once, when it is the others' turn.
    pub(crate) fn take(&self) -> bool {
        let due = self.is_due();
        if due {
            self.0.store(0, Relaxed);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_have_a_turn_each_time_that_enough_was_admitted() {
        let turns = Turns::default();
        for _ in 0..2 {
            turns.admitted(TURN - 1);
            assert!(!turns.is_due() && !turns.take());
            turns.admitted(1);
            assert!(turns.is_due() && turns.take() && !turns.take());
        }
    }
}
