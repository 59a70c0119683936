//! Whose turn it is.

use super::pool::Member;
use super::shares::{Queues, Shares};
use super::{Charge, Demand, Permit, Seat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

/// How often a caller that names several shards is passed over because another of them lacks room than
/// the time before. Then it holds up whoever comes later for any of them: they all give room in turn.
const TURNS: u8 = 8;

#[derive(Debug)]
pub(super) struct State {
    pub(super) closed: bool,
    pub(super) bound: Charge,
    /// The place in a pool that other streams share.
    pub(super) member: Option<Arc<Member>>,
    pub(super) used: Charge,
    pub(super) admitted: u64,
    pub(super) epoch: u64,
    /// Records of the present epoch, admitted or waiting.
    present: usize,
    /// Records of earlier epochs, admitted or waiting; none is 0.
    earlier: BTreeMap<u64, usize>,
    pub(super) shares: Shares,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiting>,
    queues: Queues,
    /// Admitted while they waited, by ticket, with their epoch.
    granted: BTreeMap<u64, (Demand, u64)>,
}

#[derive(Debug)]
struct Waiting {
    demand: Demand,
    epoch: u64,
    waker: Waker,
    /// Whose queue it is in.
    seat: Seat,
    turns: u8,
}

/// How a ticket stands.
pub(super) enum Standing {
    Admitted(u64),
    Waiting,
    TurnedAway,
}

impl State {
    pub(super) fn new(bound: Charge) -> Self {
        let mut shares = Shares::default();
        shares.set_bound(bound);
        Self {
            closed: false,
            bound,
            member: None,
            used: Charge::default(),
            admitted: 0,
            epoch: 1,
            present: 0,
            earlier: BTreeMap::new(),
            shares,
            next_ticket: 0,
            waiting: BTreeMap::new(),
            queues: Queues::default(),
            granted: BTreeMap::new(),
        }
    }

    /// There is room in the whole, and it is taken in the pool.
    fn takes(&self, charge: Charge) -> bool {
        self.used.plus(charge).within(self.bound)
            && self
                .member
                .as_ref()
                .is_none_or(|member| member.take(charge))
    }

    fn gives(&self, charge: Charge) {
        if let Some(member) = &self.member {
            member.give(charge);
        }
    }

    /// Admits what was taken.
    fn admit(&mut self, demand: &Demand) {
        self.used = self.used.plus(demand.total);
        self.shares.add(demand);
        self.admitted += demand.total.records as u64;
    }

    /// Admits at once, if there is room and nobody waits for it.
    pub(super) fn admit_now(&mut self, demand: &Demand) -> Option<u64> {
        let room = self.used.plus(demand.total).within(self.bound)
            && demand
                .parts()
                .all(|(seat, part)| self.shares.fits(seat, part));
        if !room {
            return None;
        }
        if !self.queues.is_empty() {
            return self.admit_past_others(demand);
        }
        if !self.takes(demand.total) {
            return None;
        }
        self.admit(demand);
        self.present += demand.total.records;
        Some(self.epoch)
    }

    /// Others wait; who waits for a shard that is full is overtaken by who names others.
    fn admit_past_others(&mut self, demand: &Demand) -> Option<u64> {
        let ticket = self.enqueue(demand.clone(), Waker::noop().clone());
        // Nobody else gets a turn by it: what had room was served before.
        let mut wake = Vec::new();
        self.serve(&mut wake);
        wake.into_iter().for_each(Waker::wake);
        match self.standing(ticket, Waker::noop()) {
            Standing::Admitted(epoch) => Some(epoch),
            _ => {
                self.abandon(ticket);
                None
            }
        }
    }

    /// Takes a ticket: one record more of the present epoch for each that it asks for.
    pub(super) fn enqueue(&mut self, demand: Demand, waker: Waker) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.present += demand.total.records;
        self.shares.name(&demand);
        let lacks =
            |(seat, part)| !self.shares.fits(seat, part) || self.queues.earlier(seat, ticket);
        let lacking = demand.parts().find(|part| lacks(*part));
        let (seat, _) = lacking
            .or_else(|| demand.parts().next())
            .unwrap_or_default();
        self.queues.insert(ticket, seat);
        let waiting = Waiting {
            demand,
            epoch: self.epoch,
            waker,
            seat,
            turns: 0,
        };
        self.waiting.insert(ticket, waiting);
        ticket
    }

    pub(super) fn standing(&mut self, ticket: u64, waker: &Waker) -> Standing {
        if let Some((_, epoch)) = self.granted.remove(&ticket) {
            return Standing::Admitted(epoch);
        }
        match self.waiting.get_mut(&ticket) {
            Some(waiting) => {
                waiting.waker.clone_from(waker);
                Standing::Waiting
            }
            None => Standing::TurnedAway,
        }
    }

    /// Admits those whose turn it is, in the order of their coming. Who lacks room in the whole holds up
    /// all behind it; who lacks room in a shard holds up those behind it that name this shard.
    pub(super) fn serve(&mut self, wake: &mut Vec<Waker>) {
        let mut held: Vec<Seat> = Vec::new();
        let mut from = 0;
        while let Some((ticket, seat)) = self.queues.head(from) {
            from = ticket + 1;
            let Some(waiting) = self.waiting.get(&ticket) else {
                self.queues.remove(ticket, seat);
                continue;
            };
            let lacks = |(at, part): (Seat, Charge)| {
                held.contains(&at)
                    || !self.shares.fits(at, part)
                    || (at != seat && self.queues.earlier(at, ticket))
            };
            // Its own queue first, so that it does not move without need.
            let own = waiting.demand.parts().find(|(at, _)| *at == seat);
            let lacking = own
                .filter(|part| lacks(*part))
                .or_else(|| waiting.demand.parts().find(|part| lacks(*part)));
            match lacking {
                Some((at, _)) => self.pass_over(ticket, at, &mut held),
                None if self.takes(waiting.demand.total) => {
                    wake.extend(self.grant(ticket));
                }
                None => return,
            }
        }
    }

    fn pass_over(&mut self, ticket: u64, lacking: Seat, held: &mut Vec<Seat>) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else {
            return;
        };
        if waiting.seat != lacking {
            self.queues.remove(ticket, waiting.seat);
            self.queues.insert(ticket, lacking);
            waiting.seat = lacking;
            waiting.turns = waiting.turns.saturating_add(1);
        }
        if waiting.turns > TURNS {
            held.extend(waiting.demand.parts().map(|(seat, _)| seat));
        }
    }

    fn grant(&mut self, ticket: u64) -> Option<Waker> {
        let waiting = self.waiting.remove(&ticket)?;
        self.queues.remove(ticket, waiting.seat);
        self.admit(&waiting.demand);
        self.shares.forget(&waiting.demand);
        self.granted.insert(ticket, (waiting.demand, waiting.epoch));
        Some(waiting.waker)
    }

    /// Whoever held the ticket is gone. True when an epoch has emptied by it.
    pub(super) fn abandon(&mut self, ticket: u64) -> bool {
        if let Some((demand, epoch)) = self.granted.remove(&ticket) {
            self.used = self.used.minus(demand.total);
            self.gives(demand.total);
            let records = demand.total.records;
            self.admitted = self.admitted.saturating_sub(records as u64);
            for (seat, part) in demand.parts() {
                self.shares.remove(seat, part);
            }
            return self.leave(epoch, records) || self.used.records == 0;
        }
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return false;
        };
        self.queues.remove(ticket, waiting.seat);
        self.shares.forget(&waiting.demand);
        self.leave(waiting.epoch, waiting.demand.total.records)
    }

    /// Gives back what was admitted. True when an epoch has emptied by it.
    pub(super) fn release(&mut self, permit: Permit) -> bool {
        self.used = self.used.minus(permit.charge);
        self.gives(permit.charge);
        self.shares.remove(permit.seat, permit.charge);
        self.leave(permit.epoch, permit.charge.records)
    }

    /// True when an epoch has emptied by it.
    fn leave(&mut self, epoch: u64, records: usize) -> bool {
        if epoch == self.epoch {
            self.present = self.present.saturating_sub(records);
            return false;
        }
        let Some(count) = self.earlier.get_mut(&epoch) else {
            return false;
        };
        *count = count.saturating_sub(records);
        if *count > 0 {
            return false;
        }
        self.earlier.remove(&epoch);
        true
    }

    /// Turns away whoever waits. True when an epoch has emptied by it.
    pub(super) fn close(&mut self, wake: &mut Vec<Waker>) -> bool {
        self.closed = true;
        self.queues.clear();
        let mut emptied = false;
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            self.shares.forget(&waiting.demand);
            emptied |= self.leave(waiting.epoch, waiting.demand.total.records);
            wake.push(waiting.waker);
        }
        emptied
    }

    /// Ends the present epoch. Gives the last epoch that a barrier set now covers.
    pub(super) fn end_epoch(&mut self) -> u64 {
        let ended = self.epoch;
        if self.present == 0 {
            return ended - 1;
        }
        let present = std::mem::take(&mut self.present);
        self.earlier.insert(ended, present);
        self.epoch += 1;
        ended
    }

    /// True when nothing of `epoch` and those before it is left.
    pub(super) fn passed(&self, epoch: u64) -> bool {
        let first = self.earlier.first_key_value();
        first.is_none_or(|(first, _)| *first > epoch)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub(super) fn waits(&self) -> Vec<(u64, Demand)> {
        let demands = self.waiting.iter();
        demands
            .map(|(ticket, w)| (*ticket, w.demand.clone()))
            .collect()
    }
}
