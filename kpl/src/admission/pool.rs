//! One bound for the streams of several producers.
//!
//! Half of it is divided: each stream has its equal part for itself, which no other can take. The other
//! half is common: who needs more than its part takes from there, a half of it at the most. So streams
//! that are away, however many, leave each other stream its part.

use super::Charge;
use crate::stats::Ledger;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

type MemberId = u64;

#[derive(Debug)]
pub(crate) struct Pool {
    whole: Charge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<MemberId, Held>,
    used: Charge,
    next_id: MemberId,
    /// Who was served last: the one behind goes first.
    last: MemberId,
}

#[derive(Debug)]
struct Held {
    ledger: Weak<Ledger>,
    used: Charge,
    /// It was refused.
    wants: bool,
}

/// A stream's place in a pool; dropped, it gives everything back.
#[derive(Debug)]
pub(crate) struct Member {
    pool: Arc<Pool>,
    id: MemberId,
}

fn divided(whole: Charge, by: usize) -> Charge {
    Charge {
        bytes: whole.bytes / by.max(1),
        records: (whole.records / by.max(1)).max(1),
    }
}

/// True if a stream that holds `used` may take `charge`. `common` is what all streams hold beyond their
/// parts, `total` what they hold.
fn may_take(
    whole: Charge,
    streams: usize,
    total: Charge,
    common: Charge,
    used: Charge,
    charge: Charge,
) -> bool {
    let after = used.plus(charge);
    let part = divided(whole, streams.saturating_mul(2));
    if !total.plus(charge).within(whole) {
        return false;
    }
    // A demand that is larger than the part goes when its stream holds nothing.
    if after.within(part) || used.records == 0 {
        return true;
    }
    let beyond = after.minus(part);
    let more = beyond.minus(used.minus(part));
    common.plus(more).within(divided(whole, 2)) && beyond.within(divided(whole, 4))
}

impl State {
    fn common(&self, whole: Charge) -> Charge {
        let part = divided(whole, self.members.len().saturating_mul(2));
        self.members.values().fold(Charge::default(), |sum, held| {
            sum.plus(held.used.minus(part))
        })
    }
}

impl Pool {
    pub(crate) fn new(whole: Charge) -> Arc<Self> {
        Arc::new(Self {
            whole,
            state: Mutex::default(),
        })
    }

    pub(crate) const fn whole(&self) -> Charge {
        self.whole
    }

    pub(crate) fn used(&self) -> Charge {
        self.state.lock().used
    }

    /// Gives a stream its place.
    pub(crate) fn join(self: &Arc<Self>, ledger: &Arc<Ledger>) {
        let id = {
            let mut state = self.state.lock();
            state.next_id += 1;
            let id = state.next_id;
            let held = Held {
                ledger: Arc::downgrade(ledger),
                used: Charge::default(),
                wants: false,
            };
            state.members.insert(id, held);
            id
        };
        let pool = Arc::clone(self);
        ledger.admission.join(Member { pool, id });
    }
}

impl Member {
    /// What one demand may ask for so that it is surely served in time.
    pub(super) fn part(&self) -> Charge {
        let streams = self.pool.state.lock().members.len();
        divided(self.pool.whole, streams.saturating_mul(2))
    }

    /// Takes a charge, or notes that it is wanted.
    pub(super) fn take(&self, charge: Charge) -> bool {
        let whole = self.pool.whole;
        let mut state = self.pool.state.lock();
        let (streams, total, common) = (state.members.len(), state.used, state.common(whole));
        let Some(held) = state.members.get_mut(&self.id) else {
            return false;
        };
        held.wants = !may_take(whole, streams, total, common, held.used, charge);
        if held.wants {
            return false;
        }
        held.used = held.used.plus(charge);
        state.used = state.used.plus(charge);
        true
    }

    pub(super) fn give(&self, charge: Charge) {
        let mut state = self.pool.state.lock();
        if let Some(held) = state.members.get_mut(&self.id) {
            held.used = held.used.minus(charge);
            state.used = state.used.minus(charge);
        }
    }

    /// Who was refused before, to be served now that something was given: in turns.
    pub(super) fn wanting(&self) -> Vec<Arc<Ledger>> {
        let mut state = self.pool.state.lock();
        let last = state.last;
        let mut wanting: Vec<MemberId> = state
            .members
            .iter()
            .filter(|(id, held)| held.wants && **id != self.id)
            .map(|(id, _)| *id)
            .collect();
        let behind = wanting.partition_point(|id| *id <= last);
        wanting.rotate_left(behind);
        if let Some(first) = wanting.first() {
            state.last = *first;
        }
        let ledgers = wanting.iter();
        ledgers
            .filter_map(|id| state.members.get(id)?.ledger.upgrade())
            .collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        if let Some(held) = state.members.remove(&self.id) {
            state.used = state.used.minus(held.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Charge = Charge {
        bytes: 1_000,
        records: 100,
    };

    fn bytes(bytes: usize) -> Charge {
        Charge { bytes, records: 1 }
    }

    #[test]
    fn each_stream_has_its_part_whatever_others_hold() {
        // streams, total, common, own, charge -> taken
        let table = [
            // Alone: its part of 500 and a half of the common 500.
            (1, 0, 0, 0, 500, true),
            (1, 500, 0, 500, 250, true),
            (1, 500, 0, 500, 251, false),
            // Two: 250 each; the common half is taken by the other, its part is not.
            (2, 500, 250, 0, 250, true),
            (2, 750, 500, 250, 1, false),
            // Never more than the whole.
            (2, 990, 500, 0, 11, false),
            // Larger than its part, but it holds nothing.
            (5, 300, 200, 0, 400, true),
            (5, 300, 200, 10, 400, false),
        ];
        for (streams, total, common, own, charge, taken) in table {
            let used = Charge {
                bytes: own,
                records: usize::from(own > 0),
            };
            let found = may_take(
                WHOLE,
                streams,
                bytes(total),
                Charge {
                    bytes: common,
                    records: 0,
                },
                used,
                bytes(charge),
            );
            assert_eq!(found, taken, "{streams} {total} {common} {own} {charge}");
        }
    }
}
