//! The engine: the one task that owns deadlines, queues, requests in flight and the refreshing of the
//! shard map.

mod answers;
mod distribution;
pub(crate) mod isolate;
mod ordering;
mod probing;
mod reshard;

use crate::collector::{Collector, Limits, Next};
use crate::deadlines::Deadlines;
use crate::error::DeliveryError;
use crate::lane::Lane;
use crate::meters::Pending;
use crate::order::Order;
use crate::quiet::Quiet;
use crate::refresh::Refresher;
use crate::rest::Rest;
use crate::routing::ANY_SHARD;
use crate::sealed::{Sealed, expires};
use crate::sender::{Done, halves, send, send_two};
use crate::settings::Options;
use crate::shard_map::{LaneMaker, Place};
use crate::shared::{Event, Shared};
use crate::slot::Verdict;
use crate::strategist::Strategist;
use aggregation::{HashKey, IdentityReader, UserRecordRef};
use aws::kinesis::Client;
use distribution::Distribution;
use isolate::{CaseId, Suspects};
use runtime::Chance;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Messages taken from callers at a time.
const EVENTS: usize = 512;

/// The first put after this time makes us list the shards again, without evidence that they changed.
const MAP_AGE: Duration = Duration::from_secs(600);
pub(crate) use distribution::beginning;

pub(crate) struct Engine {
    /// There from the start: the runtime may end before the engine ran at all.
    end: Option<End>,
    shared: Arc<Shared>,
    maker: LaneMaker,
    options: Options,
    client: Client,
    chance: Chance,
    events: UnboundedReceiver<Event>,
    deadlines: Deadlines<Arc<Lane>>,
    collector: Collector,
    /// `None` where a request was cut off before it was sent.
    sends: JoinSet<Option<Done>>,
    /// The endpoint's back-off: requests fail as a whole.
    rest: Rest,
    /// That of errors that only people mend, where the user wants to wait for that.
    patience: Rest,
    suspects: Suspects,
    refresher: Refresher,
    strategist: Strategist,
    distribution: Distribution,
    /// What waits for its turn, where order is kept.
    order: Order,
    /// Stored in a shard that the map does not know, and waiting for a newer map.
    misplaced: Vec<Misplaced>,
    evidence: Option<Evidence>,
    /// When the first put makes us list the shards again.
    look_at: Instant,
    draining: bool,
    pending: Pending,
    warnings: Quiet,
}

/// A Kinesis record that was stored in another shard than the map foretold.
struct Misplaced {
    sealed: Sealed,
    shard: Arc<str>,
    sequence_number: Arc<str>,
    started: Instant,
    ended: Instant,
}

/// Why the shard map is thought to be old: at that time, this key belonged to another shard.
struct Evidence {
    at: Instant,
    key: HashKey,
    shard: Arc<str>,
}

/// Resolves what is left when the engine ends, by itself or with its runtime.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let records = self.0.shut();
        if records > 0 {
            tracing::warn!(stream = %self.0.stream, records, "the producer ended before delivery");
        }
    }
}

impl Engine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        maker: LaneMaker,
        options: Options,
        client: Client,
        strategist: Strategist,
        chance: Chance,
        events: UnboundedReceiver<Event>,
    ) -> Self {
        let shared_asked = shared.map.load().asked;
        let distribution = Distribution::new(&shared, &options, Instant::now());
        let mut collector = Collector::new(Limits::new(&options), chance.fork());
        collector.widen(shared.map.load().open_shards(), Instant::now());
        Self {
            collector,
            strategist,
            distribution,
            order: Order::default(),
            end: Some(End(Arc::clone(&shared))),
            refresher: Refresher::new(client.clone(), Arc::clone(&shared.target), chance.fork()),
            rest: Rest::new(Duration::from_millis(100), Duration::from_secs(2)),
            patience: Rest::new(Duration::from_secs(1), Duration::from_secs(30)),
            suspects: Suspects::default(),
            pending: shared.ledger.meters.pending(),
            shared,
            maker,
            options,
            client,
            chance,
            events,
            deadlines: Deadlines::default(),
            sends: JoinSet::new(),
            misplaced: Vec::new(),
            evidence: None,
            look_at: shared_asked + MAP_AGE,
            draining: false,
            warnings: Quiet::default(),
        }
    }

    /// Runs until `stop`, or until intake is closed and nothing is outstanding.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut events = Vec::new();
        loop {
            let wake = self.work(Instant::now());
            let admission = &self.shared.ledger.admission;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = admission.idle(), if self.draining => break,
                Some(done) = self.sends.join_next(), if !self.sends.is_empty() => self.done(done),
                fetched = self.refresher.fetched() => self.fetched(fetched),
                answered = self.strategist.answered() => {
                    self.strategy_answered(answered, Instant::now());
                }
                _ = self.events.recv_many(&mut events, EVENTS) => {
                    let now = Instant::now();
                    events.drain(..).for_each(|event| self.event(event, now));
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
        drop(self.end.take());
        self.sends.shutdown().await;
    }

    /// Does what is due, and says when something will be.
    fn work(&mut self, now: Instant) -> Option<Instant> {
        self.expire(now);
        let strategy = self.distribute(now);
        self.seal_due(now);
        let outstanding = self.shared.ledger.admission.outstanding().records;
        let sample = self.pending.sample(outstanding, now);
        if outstanding == 0 {
            self.shared.ledger.shelf.rest();
        }
        let sending = self.dispatch(now);
        let expiry = self
            .misplaced
            .iter()
            .filter_map(|m| m.sealed.gone(self.options.ttl))
            .min();
        [
            sample,
            sending,
            strategy,
            self.deadlines.next(),
            self.collector.next_expiry(),
            self.suspects.next_expiry(self.options.ttl),
            self.order.next_expiry(),
            expiry,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Deadline(lane, at) => {
                self.deadlines.set(lane.key, at, lane);
                self.look_again(now);
            }
            Event::Sealed(sealed) => {
                self.enqueue(sealed, now);
                self.look_again(now);
            }
            Event::Flush => self.flush(now),
            Event::IntakeClosed => {
                self.draining = true;
                self.flush(now);
            }
        }
    }

    fn flush(&mut self, now: Instant) {
        let map = self.shared.map.load_full();
        for lane in map.lanes() {
            if let Some(sealed) = lane.seal_now(now) {
                self.enqueue(sealed, now);
            }
        }
        self.collector.hurry(now);
    }

    /// Closes the aggregates that are due, and with them those that soon will be, so that they share a
    /// request.
    fn seal_due(&mut self, now: Instant) {
        if self.deadlines.next().is_none_or(|next| next > now) {
            return;
        }
        let until = now + self.maker.packed.hurry();
        for lane in self.deadlines.take_due(until) {
            match lane.seal_due(until, now) {
                Ok(sealed) => self.enqueue(sealed, now),
                Err(Some(deadline)) => self.deadlines.set(lane.key, deadline, lane),
                Err(None) => {}
            }
        }
    }

    /// Takes a Kinesis record to the queue of its shard, by the present map.
    fn enqueue(&mut self, mut sealed: Sealed, now: Instant) {
        self.order.done(&mut sealed);
        if !self.options.strict_ordering || sealed.order.arrived {
            self.send_on(sealed, now);
            return;
        }
        for sealed in self.order.arrive(sealed) {
            self.send_on(sealed, now);
        }
    }

    /// Takes a Kinesis record whose predecessors have come to the queue of its shard.
    #[cfg_attr(
        not(feature = "compression"),
        expect(unused_mut, reason = "compressed in place")
    )]
    fn send_on(&mut self, mut sealed: Sealed, now: Instant) {
        #[cfg(feature = "compression")]
        if let Some(compression) = self.shared.compression {
            sealed.compress(compression);
        }
        let Some(mut sealed) = self.within_limit(sealed) else {
            return;
        };
        match self.shared.map.load().place(&sealed) {
            Place::Shard(shard) => {
                if sealed
                    .claims
                    .before_epoch(self.shared.ledger.admission.epoch())
                {
                    sealed.due = sealed.due.min(now);
                }
                sealed.to_any = &*shard == ANY_SHARD;
                sealed.shard = Arc::clone(&shard);
                let map = self.shared.map.load();
                match map.range(&shard).filter(|_| self.orders()) {
                    Some(range) => self.order.add(&shard, *range, sealed, self.options.ttl),
                    None => self.collector.add(&shard, sealed, now),
                }
            }
            Place::Several => self.take_apart(sealed, now),
            Place::Waits => self.distribution.waiting.push(sealed),
            Place::Nowhere => self.fail(sealed, DeliveryError::no_partition_key),
        }
    }

    /// Gives each record of an aggregate back to the lane of its shard; those whose time to live has
    /// passed fail.
    fn take_apart(&mut self, sealed: Sealed, now: Instant) {
        if self.orders() {
            self.part_in_order(sealed, now);
            return;
        }
        let throttled = self.collector.is_throttled(&sealed.shard);
        let attempts = Arc::new(sealed.attempts);
        let costs = sealed
            .content
            .records()
            .map(|record| self.shared.cost(&record.as_user_record()));
        let claims = sealed.claims.take_apart(&attempts, costs);
        let mut identity = IdentityReader::default();
        for (record, claim) in sealed.content.records().zip(claims) {
            let id = identity.next(record.tags.iter().copied());
            if expires(claim.arrival(), self.options.ttl).is_some_and(|at| at <= now) {
                let error = DeliveryError::expired(Arc::default(), throttled);
                claim.settle(&Verdict::failed_at(&sealed.shard, error));
            } else {
                let untagged = UserRecordRef {
                    tags: &[],
                    ..record.as_user_record()
                };
                self.shared.adopt(&untagged, id, claim, now);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let ttl = self.options.ttl;
        let mut expired = self.collector.take_expired(now);
        expired.extend(self.suspects.take_expired(ttl, now));
        for sealed in expired {
            if sealed.is_expired(ttl, now) {
                self.fail_expired(sealed);
            } else {
                self.take_apart(sealed, now);
            }
        }
        for sealed in self.order.take_expired(now) {
            self.fail_expired(sealed);
        }
        self.expire_waiting(now);
        if self.misplaced.is_empty() {
            return;
        }
        let (gone, kept) = std::mem::take(&mut self.misplaced)
            .into_iter()
            .partition(|m: &Misplaced| m.sealed.is_expired(ttl, now));
        self.misplaced = kept;
        let gone: Vec<Misplaced> = gone;
        for misplaced in gone {
            let sealed = self.wrong_shard(misplaced);
            self.fail_expired(sealed);
        }
    }

    fn fail_expired(&mut self, sealed: Sealed) {
        let throttled = self.collector.is_throttled(&sealed.shard);
        self.fail(sealed, |attempts| {
            DeliveryError::expired(attempts, throttled)
        });
    }

    /// Sends what may be sent. Says when there will be more, if time alone decides.
    fn dispatch(&mut self, now: Instant) -> Option<Instant> {
        self.release(now);
        self.cut_probes(now);
        loop {
            if let Some(until) = self.rest.until(now).max(self.patience.until(now)) {
                return Some(until);
            }
            // After a failure one request tries whether the endpoint is back.
            let room = if self.rest.is_failing() || self.patience.is_failing() {
                1
            } else {
                self.options.in_flight
            };
            if self.sends.len() >= room {
                return None;
            }
            if let Some((case, batch)) = self.suspects.next() {
                self.send(batch, Some(case), now);
                continue;
            }
            let two = self.sends.len() + 2 <= room;
            match self.collector.next(now) {
                Next::Batch(batch) if two => self.send_halves(batch, now),
                Next::Batch(batch) => self.send(batch, None, now),
                Next::Wait(until) => return Some(until),
                Next::Idle => return None,
            }
        }
    }

    fn send(&mut self, batch: Vec<Sealed>, case: Option<CaseId>, now: Instant) {
        self.shared.ledger.meters.sent(&batch, now);
        let (client, stream) = (self.client.clone(), Arc::clone(&self.shared.target));
        let send = send(client, stream, batch, case);
        self.sends.spawn(async move { Some(send.await) });
    }

    /// Sends a batch in two requests, if that takes less.
    fn send_halves(&mut self, batch: Vec<Sealed>, now: Instant) {
        let halves = match halves(batch) {
            Ok(halves) => halves,
            Err(batch) => return self.send(batch, None, now),
        };
        for half in &halves {
            self.shared.ledger.meters.sent(half, now);
        }
        let (client, stream) = (self.client.clone(), Arc::clone(&self.shared.target));
        let (first, second) = send_two(client, stream, halves);
        self.sends.spawn(async move { Some(first.await) });
        self.sends.spawn(second);
    }
}
