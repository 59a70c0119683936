//! What a producer's handles and its engine share, and the way of an admitted record into its lane.

use crate::admission::{Admission, Charge, Demand, IntakeClosed, NotNow, Permit};
use crate::batch::Desk;
use crate::claims::{Claim, Claims, Fresh};
use crate::error::{DeliveryError, PutError};
use crate::events::Listeners;
use crate::lane::{Effects, Entry, Lane};
use crate::patience::Patience;
use crate::prepare::Preparation;
use crate::receipt::{BatchReceipt, Receipt};
use crate::record::{self, Problem, Record, Wrapping};
use crate::routing::Keyless;
use crate::sealed::Sealed;
use crate::shard_map::ShardMap;
use crate::slot::Slot;
use crate::spool::SpoolDamage;
use crate::stats::Ledger;
use aggregation::{HashKey, RecordId, UserRecordRef};
use arc_swap::ArcSwap;
use runtime::metrics::ExtraDimension;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
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
    Sealed(Sealed),
    /// Everything at hand is to be sent now.
    Flush,
    /// No more records will come.
    IntakeClosed,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// The stream's name.
    pub(crate) stream: Arc<str>,
    /// What the service is told: the stream's name or its ARN.
    pub(crate) target: Arc<str>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) map: ArcSwap<ShardMap>,
    /// Room to work in for whoever puts batches.
    pub(crate) desk: Desk,
    pub(crate) events: UnboundedSender<Event>,
    /// Records are packed together, and wrapped if a reader would take them for an aggregate.
    pub(crate) aggregation: bool,
    /// Records carry an identity, always wrapped.
    pub(crate) idempotent: bool,
    /// The most that a user record's data may take, in bytes.
    pub(crate) user_record_size: usize,
    /// The most that the stream takes for a record's data and partition key, in bytes, as far as it is
    /// known.
    pub(crate) record_limit: AtomicUsize,
    /// Records are kept until their outcome is known, to be given back with an error.
    pub(crate) keep_records: bool,
    /// How long a receipt waits.
    pub(crate) patience: Option<Duration>,
    /// Where delivery runs.
    pub(crate) runtime: Handle,
    /// What is done to each record before it is admitted.
    pub(crate) preparation: Preparation,
    /// How aggregates are compressed.
    #[cfg(feature = "compression")]
    pub(crate) compression: Option<aggregation::Compression>,
    /// Further dimensions of metrics.
    pub(crate) dimensions: Vec<ExtraDimension>,
    /// Who is told what happens.
    pub(crate) listeners: Listeners,
    /// What was cut off when the spool was opened.
    pub(crate) spool_damage: Vec<SpoolDamage>,
    /// Cancelled when the engine has ended.
    pub(crate) ended: CancellationToken,
}

impl Shared {
    /// What is wrong with a record, if anything.
    pub(crate) fn problem(&self, record: &Record) -> Option<Problem> {
        if !record.has_key() && self.map.load().routing.keyless() == Keyless::Refused {
            return Some(Problem::NoKey);
        }
        let limit = self.record_limit.load(Relaxed);
        let wrapping = Wrapping {
            look_alikes: self.aggregation,
            all: self.idempotent,
        };
        record.problem(wrapping, self.user_record_size, limit)
    }

    /// What a record is charged; never more than there is.
    pub(crate) fn cost(&self, record: &UserRecordRef<'_>) -> usize {
        let bound = self.ledger.admission.bound();
        record::cost(record, self.keep_records).min(bound.bytes)
    }

    /// Puts a record that needs no preparation and no place in a spool.
    #[inline]
    pub(crate) async fn put(&self, record: Record) -> Result<Receipt, PutError> {
        if let Some(problem) = self.problem(&record) {
            return Err(problem.refuse(record));
        }
        let put = self.put_in_turn(&record, None).await;
        put.map_err(|IntakeClosed| PutError::Closed {
            record: Box::new(record),
        })
    }

    /// Puts a record as soon as there is room for it, in turn with the senders. `spooled` is its number in
    /// the spool, if there is one.
    pub(crate) async fn put_in_turn(
        &self,
        record: &Record,
        spooled: Option<u64>,
    ) -> Result<Receipt, IntakeClosed> {
        match self.put_by(record, spooled, Admission::try_acquire_in_turn) {
            Ok(receipt) => Ok(receipt),
            Err((NotNow::Closed, _)) => Err(IntakeClosed),
            Err((NotNow::Full, demand)) => self.put_later(record, spooled, demand).await,
        }
    }

    /// Puts a record if there is room for it now, or says what to ask for. `spooled` is its number in
    /// the spool, if there is one.
    pub(crate) fn put_now(
        &self,
        record: &Record,
        spooled: Option<u64>,
    ) -> Result<Receipt, (NotNow, Demand)> {
        self.put_by(record, spooled, Admission::try_acquire)
    }

    fn put_by(
        &self,
        record: &Record,
        spooled: Option<u64>,
        admit: impl FnOnce(&Admission, &Demand) -> Result<u64, NotNow>,
    ) -> Result<Receipt, (NotNow, Demand)> {
        let key = record.hash_key();
        let map = self.map.load();
        let (_, lane) = map.find(key);
        let charge = Charge {
            bytes: self.cost(&record.view()),
            records: 1,
        };
        let demand = Demand::one(lane.seat, charge);
        match admit(&self.ledger.admission, &demand) {
            Ok(epoch) => {
                let permit = Permit {
                    charge,
                    epoch,
                    seat: lane.seat,
                };
                Ok(self.append(record, key, spooled, permit, Some(lane)))
            }
            Err(not_now) => Err((not_now, demand)),
        }
    }

    /// Waits until there is room for a record, and puts it.
    pub(crate) async fn put_later(
        &self,
        record: &Record,
        spooled: Option<u64>,
        demand: Demand,
    ) -> Result<Receipt, IntakeClosed> {
        let epoch = self.ledger.admission.acquire_in_turn(&demand).await?;
        let Some(permit) = demand.permits(epoch).next() else {
            return Err(IntakeClosed);
        };
        Ok(self.append(record, record.hash_key(), spooled, permit, None))
    }

    /// Puts an admitted record into its shard's open aggregate; `lane` is the shard's, if that was just
    /// looked up.
    fn append(
        &self,
        record: &Record,
        key: HashKey,
        spooled: Option<u64>,
        permit: Permit,
        lane: Option<&Arc<Lane>>,
    ) -> Receipt {
        let now = Instant::now();
        let mut patience = self.patience(now);
        if self.keep_records
            && let Some(patience) = &mut patience
        {
            patience.keep([record.clone()]);
        }
        let fresh = Fresh {
            bytes: permit.charge.bytes,
            epoch: permit.epoch,
            arrival: now,
            seat: permit.seat,
            spooled,
        };
        self.ledger.meters.received.add_at(1, now);
        let placed = lane.and_then(|lane| self.place_in(lane, record, key, &fresh));
        let (slot, position) = placed.unwrap_or_else(|| self.place(record, key, &fresh));
        Receipt::new(slot, position).with_patience(patience)
    }

    /// How long a receipt of a record admitted at `now` waits.
    fn patience(&self, now: Instant) -> Option<Patience> {
        Patience::new(self.patience?, now, self.runtime.clone())
    }

    /// The record itself, if it is to be kept.
    pub(crate) fn keep<'a>(&self, record: &'a Record) -> Option<&'a Record> {
        self.keep_records.then_some(record)
    }

    /// Puts an admitted record into its shard's open aggregate. Gives where its receipt looks.
    pub(crate) fn place(&self, record: &Record, key: HashKey, fresh: &Fresh) -> (Arc<Slot>, u32) {
        loop {
            let map = self.map.load();
            let (_, lane) = map.find(key);
            if let Some(placed) = self.place_in(lane, record, key, fresh) {
                return placed;
            }
        }
    }

    /// The same for a lane; `None` where the shard map has moved on.
    fn place_in(
        &self,
        lane: &Arc<Lane>,
        record: &Record,
        key: HashKey,
        fresh: &Fresh,
    ) -> Option<(Arc<Slot>, u32)> {
        match lane.enter(fresh.arrival) {
            Entry::Open(mut append) => {
                let (slot, position) = append.push(&record.view(), key, fresh, self.keep(record));
                let placed = (Arc::clone(slot), position);
                self.apply(lane, append.finish());
                Some(placed)
            }
            Entry::Retired => None,
            Entry::Closed => Some(self.closed(record, fresh)),
        }
    }

    /// Where the receipt looks of a record that was admitted when the producer ended.
    pub(crate) fn closed(&self, record: &Record, fresh: &Fresh) -> (Arc<Slot>, u32) {
        let mut claims = Claims::new(Arc::clone(&self.ledger));
        let position = claims.take(fresh, self.keep(record));
        (Arc::clone(claims.slot()), position)
    }

    /// The receipt of a batch waits only so long, from the admission of its last part on.
    pub(crate) fn be_patient(&self, records: &[Record], now: Instant, receipt: &mut BatchReceipt) {
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
    pub(crate) fn adopt(
        &self,
        record: &UserRecordRef<'_>,
        id: Option<RecordId>,
        claim: Claim,
        now: Instant,
    ) {
        let key = record::hash_key(record);
        loop {
            let map = self.map.load();
            if record.partition_key.is_empty() && map.routing.keyless() == Keyless::Refused {
                claim.settle(&DeliveryError::no_partition_key(Arc::default()).into());
                return;
            }
            let (_, lane) = map.find(key);
            match lane.enter(now) {
                Entry::Open(mut append) => {
                    append.adopt(record, id, key, claim);
                    self.apply(lane, append.finish());
                    return;
                }
                Entry::Retired => {}
                // The claim is dropped, and resolves as closed.
                Entry::Closed => return,
            }
        }
    }

    pub(crate) fn apply(&self, lane: &Arc<Lane>, effects: Effects) {
        for sealed in effects.sealed {
            #[cfg(feature = "compression")]
            let sealed = {
                let mut sealed = sealed;
                if let Some(compression) = self.compression {
                    sealed.compress(compression);
                }
                sealed
            };
            self.tell(Event::Sealed(sealed));
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
        self.listeners.end();
        if let Some(spool) = self.ledger.spool.get() {
            spool.close();
        }
        left
    }
}
