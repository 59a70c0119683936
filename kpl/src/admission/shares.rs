//! What each shard holds of the whole, and who waits for which shard.

use super::{Charge, Demand, Seat};
use std::collections::{BTreeMap, BTreeSet};

/// What one shard's records take of the whole.
#[derive(Debug, Default)]
struct Share {
    used: Charge,
    /// A lane sits here.
    open: bool,
    /// Callers that wait and name it.
    named: usize,
}

/// The shares by seat. A seat is given again when nothing names it any more.
#[derive(Debug, Default)]
pub(super) struct Shares {
    all: Vec<Share>,
    vacant: Vec<Seat>,
    bound: Charge,
}

fn index(seat: Seat) -> usize {
    usize::try_from(seat).unwrap_or(usize::MAX)
}

impl Shares {
    pub(super) const fn set_bound(&mut self, bound: Charge) {
        self.bound = bound;
    }

    pub(super) const fn bound(&self) -> Charge {
        self.bound
    }

    pub(super) fn open(&mut self) -> Seat {
        let seat = self
            .vacant
            .pop()
            .or_else(|| Seat::try_from(self.all.len()).ok())
            .unwrap_or(Seat::MAX);
        if index(seat) == self.all.len() {
            self.all.push(Share::default());
        }
        self.change(seat, |share| share.open = true);
        seat
    }

    pub(super) fn close(&mut self, seat: Seat) {
        self.change(seat, |share| share.open = false);
    }

    fn change(&mut self, seat: Seat, change: impl FnOnce(&mut Share)) {
        let Some(share) = self.all.get_mut(index(seat)) else {
            return;
        };
        change(share);
        if !share.open && share.named == 0 && share.used.records == 0 {
            share.used = Charge::default();
            self.vacant.push(seat);
        }
    }

    /// A shard that holds nothing takes anything: it must not wait for ever.
    pub(super) fn fits(&self, seat: Seat, charge: Charge) -> bool {
        self.all.get(index(seat)).is_none_or(|share| {
            share.used.records == 0 || share.used.plus(charge).within(self.bound)
        })
    }

    pub(super) fn add(&mut self, demand: &Demand) {
        for (seat, charge) in demand.parts() {
            self.change(seat, |share| share.used = share.used.plus(charge));
        }
    }

    pub(super) fn remove(&mut self, seat: Seat, charge: Charge) {
        self.change(seat, |share| share.used = share.used.minus(charge));
    }

    pub(super) fn name(&mut self, demand: &Demand) {
        for (seat, _) in demand.parts() {
            self.change(seat, |share| share.named += 1);
        }
    }

    pub(super) fn forget(&mut self, demand: &Demand) {
        for (seat, _) in demand.parts() {
            self.change(seat, |share| share.named = share.named.saturating_sub(1));
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self, seat: Seat) -> Charge {
        self.all[index(seat)].used
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

/// Tickets of those who wait, each in the queue of one of the shards that it names: one that lacks
/// room, if any does.
#[derive(Debug, Default)]
pub(super) struct Queues {
    by_seat: BTreeMap<Seat, BTreeSet<u64>>,
    /// The first of each queue.
    heads: BTreeMap<u64, Seat>,
}

impl Queues {
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    pub(super) fn insert(&mut self, ticket: u64, seat: Seat) {
        let queue = self.by_seat.entry(seat).or_default();
        match queue.first() {
            Some(first) if *first < ticket => {}
            first => {
                if let Some(first) = first {
                    self.heads.remove(first);
                }
                self.heads.insert(ticket, seat);
            }
        }
        queue.insert(ticket);
    }

    pub(super) fn remove(&mut self, ticket: u64, seat: Seat) {
        let Some(queue) = self.by_seat.get_mut(&seat) else {
            return;
        };
        queue.remove(&ticket);
        if self.heads.remove(&ticket).is_some()
            && let Some(next) = queue.first()
        {
            self.heads.insert(*next, seat);
        }
        if queue.is_empty() {
            self.by_seat.remove(&seat);
        }
    }

    /// The first of a queue whose ticket is `from` or later.
    pub(super) fn head(&self, from: u64) -> Option<(u64, Seat)> {
        let (ticket, seat) = self.heads.range(from..).next()?;
        Some((*ticket, *seat))
    }

    /// True when somebody before `ticket` waits for the shard.
    pub(super) fn earlier(&self, seat: Seat, ticket: u64) -> bool {
        let first = self.by_seat.get(&seat).and_then(BTreeSet::first);
        first.is_some_and(|first| *first < ticket)
    }

    pub(super) fn clear(&mut self) {
        self.by_seat.clear();
        self.heads.clear();
    }
}
