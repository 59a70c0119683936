//! Turns between those who put and those who send.
//!
//! A task that puts and never waits keeps its thread to itself until the bound of what may be outstanding
//! stops it. What is outstanding then has left the CPU's caches long before it is sent, and it waits longer
//! than it had to. So whoever puts lets the other tasks of its thread go on now and then.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// So much is closed between one turn and the next, in bytes.
const TURN: usize = 256 << 10;

/// Bytes of aggregates that were closed since the others had a turn.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicUsize);

impl Turns {
    /// An aggregate of so many bytes was closed.
    pub(crate) fn closed(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    /// Lets others go on, if it is their turn.
    pub(crate) async fn give(&self) {
        if self.0.load(Relaxed) >= TURN {
            self.0.store(0, Relaxed);
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_others_have_a_turn_each_time_that_enough_was_closed() {
        let turns = Turns::default();
        for _ in 0..2 {
            assert_eq!(turns.give().now_or_never(), Some(()));
            turns.closed(TURN - 1);
            assert_eq!(turns.give().now_or_never(), Some(()));
            turns.closed(1);
            assert_eq!(turns.give().now_or_never(), None);
        }
    }
}
