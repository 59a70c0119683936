//! What a producer's handles and its engine share, and the way of an admitted record into its lane.

use crate::admission::{Charge, Permit};
use crate::claims::{Claim, Claims, Fresh};
use crate::lane::{Effects, Entry, Lane};
use crate::patience::Patience;
use crate::receipt::{BatchReceipt, Receipt};
use crate::record::{self, Problem, Record};
use crate::sealed::Sealed;
use crate::shard_map::ShardMap;
use crate::stats::Ledger;
use aggregation::{HashKey, UserRecordRef};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What callers tell the engine. Unbounded, for each message but the last two kinds stands for at
/// least one admitted record.
#[derive(Debug)]
pub(crate) enum Event {
    /// A lane has a new or a sooner deadline.
    Deadline(Arc<Lane>, Instant),
    /// To be sent.
    Sealed(Box<Sealed>),
    /// Everything at hand is to be sent now.
    Flush,
    /// No more records will come.
    IntakeClosed,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stream: Arc<str>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) map: ArcSwap<ShardMap>,
    pub(crate) events: UnboundedSender<Event>,
    /// Records are packed together, and wrapped if a reader would take them for an aggregate.
    pub(crate) aggregation: bool,
    /// The most that a user record's data may take, in bytes.
    pub(crate) user_record_size: usize,
    /// Records are kept until their outcome is known, to be given back with an error.
    pub(crate) keep_records: bool,
    /// How long a receipt waits.
    pub(crate) patience: Option<Duration>,
    /// Where delivery runs.
    pub(crate) runtime: Handle,
    /// Cancelled when the engine has ended.
    pub(crate) ended: CancellationToken,
}

impl Shared {
    /// What is wrong with a record, if anything.
    pub(crate) fn problem(&self, record: &Record) -> Option<Problem> {
        record.problem(self.aggregation, self.user_record_size)
    }

    /// What a record is charged.
    pub(crate) fn charge(&self, record: &Record) -> Charge {
        Charge {
            bytes: record.cost(self.keep_records),
            records: 1,
        }
    }

    /// Puts an admitted record into its shard's open aggregate.
    pub(crate) fn append(&self, record: &Record, permit: Permit, now: Instant) -> Receipt {
        let mut patience = self.patience(now);
        if self.keep_records
            && let Some(patience) = &mut patience
        {
            patience.keep([record.clone()]);
        }
        self.append_to_lane(record, permit, now)
            .with_patience(patience)
    }

    /// How long a receipt of a record admitted at `now` waits.
    fn patience(&self, now: Instant) -> Option<Patience> {
        Patience::new(self.patience?, now, self.runtime.clone())
    }

    /// The record itself, if it is to be kept.
    fn keep(&self, record: &Record) -> Option<Record> {
        self.keep_records.then(|| record.clone())
    }

    fn append_to_lane(&self, record: &Record, permit: Permit, now: Instant) -> Receipt {
        let key = record.hash_key();
        let fresh = Fresh {
            bytes: permit.charge.bytes,
            epoch: permit.epoch,
            arrival: now,
        };
        self.ledger.meters.received.add(1);
        loop {
            let map = self.map.load();
            let (_, lane) = map.find(key);
            match lane.enter(now) {
                Entry::Open(mut append) => {
                    let placed = append.push(&record.view(), key, fresh, self.keep(record));
                    let receipt =
                        placed.map(|(slot, position)| Receipt::new(Arc::clone(slot), position));
                    self.apply(lane, append.finish());
                    return receipt.unwrap_or_else(|| self.closed(record, fresh));
                }
                Entry::Retired => {}
                Entry::Closed => return self.closed(record, fresh),
            }
        }
    }

    /// The receipt of a record that was admitted when the producer ended.
    fn closed(&self, record: &Record, fresh: Fresh) -> Receipt {
        let mut claims = Claims::new(Arc::clone(&self.ledger));
        let position = claims.take(fresh, self.keep(record));
        Receipt::new(Arc::clone(claims.slot()), position)
    }

    /// Puts the records of a batch, admitted together, into their shards' open aggregates, one lock for
    /// each shard. Their places in the whole batch begin at `place`.
    pub(crate) fn append_all(
        &self,
        records: &[Record],
        keys: &[HashKey],
        permit: Permit,
        now: Instant,
        place: usize,
        receipt: &mut BatchReceipt,
    ) {
        self.ledger.meters.received.add(records.len() as u64);
        receipt.reserve(records.len());
        if self.patience.is_some() {
            self.be_patient(records, now, receipt);
        }
        let mut todo: Vec<(usize, usize)> = Vec::with_capacity(records.len());
        let mut left: Vec<usize> = (0..records.len()).collect();
        while !left.is_empty() {
            let map = self.map.load();
            todo.clear();
            todo.extend(
                left.drain(..)
                    .filter_map(|at| Some((map.find(*keys.get(at)?).0, at))),
            );
            todo.sort_unstable();
            for group in todo.chunk_by(|a, b| a.0 == b.0) {
                let Some((lane, _)) = group.first() else {
                    continue;
                };
                let lane = map.lane(*lane);
                let mut entry = lane.enter(now);
                for (_, at) in group {
                    let (Some(record), Some(key)) = (records.get(*at), keys.get(*at)) else {
                        continue;
                    };
                    let fresh = Fresh {
                        bytes: record.cost(self.keep_records),
                        epoch: permit.epoch,
                        arrival: now,
                    };
                    let closed = match &mut entry {
                        Entry::Open(append) => {
                            match append.push(&record.view(), *key, fresh, self.keep(record)) {
                                Some((slot, position)) => {
                                    receipt.add(place + at, slot, position);
                                    false
                                }
                                None => true,
                            }
                        }
                        Entry::Retired => {
                            left.push(*at);
                            false
                        }
                        Entry::Closed => true,
                    };
                    if closed {
                        let mut claims = Claims::new(Arc::clone(&self.ledger));
                        let position = claims.take(fresh, self.keep(record));
                        receipt.add(place + at, claims.slot(), position);
                    }
                }
                if let Entry::Open(append) = entry {
                    let effects = append.finish();
                    self.apply(lane, effects);
                }
            }
        }
    }

    /// The receipt of a batch waits only so long, from the admission of its last part on.
    fn be_patient(&self, records: &[Record], now: Instant, receipt: &mut BatchReceipt) {
        match receipt.patience() {
            Some(patience) => patience.extend(now),
            empty => *empty = self.patience(now).map(Box::new),
        }
        if self.keep_records
            && let Some(patience) = receipt.patience()
        {
            patience.keep(records.iter().cloned());
        }
    }

    /// Puts a record of an aggregate that was taken apart into its shard's open aggregate.
    pub(crate) fn adopt(&self, record: &UserRecordRef<'_>, claim: Claim, now: Instant) {
        let key = record::hash_key(record);
        loop {
            let map = self.map.load();
            let (_, lane) = map.find(key);
            match lane.enter(now) {
                Entry::Open(mut append) => {
                    append.adopt(record, key, claim);
                    self.apply(lane, append.finish());
                    return;
                }
                Entry::Retired => {}
                // The claim is dropped, and resolves as closed.
                Entry::Closed => return,
            }
        }
    }

    fn apply(&self, lane: &Arc<Lane>, effects: Effects) {
        for sealed in effects.sealed {
            self.tell(Event::Sealed(Box::new(sealed)));
        }
        if let Some(deadline) = effects.deadline {
            self.tell(Event::Deadline(Arc::clone(lane), deadline));
        }
    }

    /// Once the engine has ended, what is told is dropped, and its records resolve as closed.
    pub(crate) fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }

    /// No more records are admitted; what was admitted is sent without waiting for more.
    pub(crate) fn close_intake(&self) {
        self.ledger.admission.close();
        self.ledger.admission.end_epoch();
        self.tell(Event::IntakeClosed);
    }

    /// The engine has ended: whatever is still open resolves as closed. Gives the number of records
    /// without an outcome.
    pub(crate) fn shut(&self) -> usize {
        self.ledger.admission.close();
        let left = self.ledger.admission.outstanding().records;
        for lane in self.map.load().lanes() {
            lane.close();
        }
        self.ended.cancel();
        left
    }
}
