//! A shard's lane: the one open aggregate for a shard, which callers append to under a short lock.

use crate::admission::Seat;
use crate::claims::{Claim, Claims, Fresh, More};
use crate::deadlines::LaneKey;
use crate::order::Turn;
use crate::outcome::Span;
use crate::record::Record;
use crate::sealed::{KinesisRecord, Sealed};
use crate::settings::{Options, RECORD_LIMIT};
use crate::slot::Slot;
use crate::stats::Ledger;
use crate::sync::{Mutex, MutexGuard};
use aggregation::{
    Aggregate, HashKey, HashRange, IDENTITY_TAG, IdentityWriter, RecordId, UserRecordRef,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When an aggregate is closed.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    aggregation: bool,
    max_records: usize,
    max_size: usize,
    /// `AggregationMaxSize`.
    wished_size: usize,
    linger: Duration,
    /// For what should not wait the whole time: a Kinesis record that is full waits so long for others
    /// to share its request, and so do records that are put together again.
    hurry: Duration,
    /// Records carry an identity: that of the producer's life.
    pub(crate) incarnation: Option<u64>,
}

impl Rules {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            aggregation: options.aggregation,
            max_records: if options.aggregation {
                options.aggregate_count
            } else {
                1
            },
            max_size: options.aggregate_size.min(RECORD_LIMIT - 1),
            wished_size: options.aggregate_size,
            linger: options.linger,
            hurry: (options.linger / 5).min(Duration::from_millis(50)),
            incarnation: None,
        }
    }

    /// The same for records that go alone.
    pub(crate) fn single(&self) -> Self {
        Self {
            max_records: 1,
            ..self.clone()
        }
    }

    /// The same for records that go alone and never in an aggregate.
    pub(crate) fn bare(&self) -> Self {
        Self {
            aggregation: false,
            incarnation: None,
            ..self.single()
        }
    }

    /// The same where a Kinesis record has at most so many bytes; the outer partition key of an
    /// aggregate takes one of them.
    pub(crate) fn limited(&self, record_limit: usize) -> Self {
        Self {
            max_size: self.wished_size.min(record_limit - 1),
            ..self.clone()
        }
    }

    /// A record that is alone goes in an aggregate if a reader would take its data for one.
    pub(crate) const fn wraps(&self) -> bool {
        self.aggregation
    }

    pub(crate) const fn hurry(&self) -> Duration {
        self.hurry
    }
}

/// `now` and `wait` later; a wait beyond what the clock can show ends in a century.
fn later(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}

/// The lane of one shard, as long as the shard is open with this range.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) key: LaneKey,
    pub(crate) shard: Arc<str>,
    pub(crate) range: HashRange,
    /// Where its records are charged.
    pub(crate) seat: Seat,
    rules: Arc<Rules>,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.ledger.admission.close_seat(self.seat);
    }
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// What the open aggregate holds; empty without one.
    aggregate: Aggregate,
    filling: Option<Filling>,
    /// Bytes of the last aggregate's regions: the next one starts with as much room.
    last_sizes: [usize; 3],
    /// Of the next record that is identified here; the lane is a series.
    number: u64,
    /// How many aggregates were closed.
    closed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The shard map has moved on: look the shard up again.
    Retired,
    /// The producer has ended.
    Closed,
}

/// What belongs to the open aggregate.
#[derive(Debug)]
struct Filling {
    identity: IdentityWriter,
    claims: Claims,
    span: Span,
    keyless: bool,
    deadline: Instant,
}

/// A lane under its lock.
pub(crate) enum Entry<'a> {
    Open(Append<'a>),
    /// The shard map has moved on: look the shard up again.
    Retired,
    /// The producer has ended; claims that are dropped resolve as closed.
    Closed,
}

/// The right to append to a lane. Never held over an await.
pub(crate) struct Append<'a> {
    lane: &'a Lane,
    state: MutexGuard<'a, State>,
    now: Instant,
    /// When a record that does not hurry is to be sent at the latest, once that was asked for.
    lingers: Option<Instant>,
    effects: Effects,
}

/// What appending left to do, once the lock is free.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Effects {
    /// To be sent.
    pub(crate) sealed: Vec<Sealed>,
    /// The lane has a new or a sooner deadline.
    pub(crate) deadline: Option<Instant>,
}

impl Lane {
    pub(crate) fn new(
        key: LaneKey,
        shard: Arc<str>,
        range: HashRange,
        rules: Arc<Rules>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let state = State {
            stage: Stage::Open,
            aggregate: Aggregate::new(),
            filling: None,
            last_sizes: [0; 3],
            number: 0,
            closed: 0,
        };
        Self {
            key,
            shard,
            range,
            seat: ledger.admission.open_seat(),
            rules,
            ledger,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn has_rules(&self, rules: &Arc<Rules>) -> bool {
        Arc::ptr_eq(&self.rules, rules)
    }

    pub(crate) fn enter(&self, now: Instant) -> Entry<'_> {
        let state = self.state.lock();
        match state.stage {
            Stage::Open => Entry::Open(Append {
                lane: self,
                state,
                now,
                lingers: None,
                effects: Effects::default(),
            }),
            Stage::Retired => Entry::Retired,
            Stage::Closed => Entry::Closed,
        }
    }

    /// Closes the open aggregate if it is due by `until`; otherwise gives its deadline.
    pub(crate) fn seal_due(&self, until: Instant, now: Instant) -> Result<Sealed, Option<Instant>> {
        let mut state = self.state.lock();
        match &state.filling {
            Some(filling) if filling.deadline <= until => state.seal(self, now).ok_or(None),
            Some(filling) => Err(Some(filling.deadline)),
            None => Err(None),
        }
    }

    /// Closes the open aggregate, if there is one, to be sent at once.
    pub(crate) fn seal_now(&self, now: Instant) -> Option<Sealed> {
        let mut sealed = self.state.lock().seal(self, now)?;
        sealed.due = now;
        Some(sealed)
    }

    /// The shard has closed: nothing more is appended. Gives what was open.
    pub(crate) fn retire(&self, now: Instant) -> Option<Sealed> {
        let mut state = self.state.lock();
        if state.stage == Stage::Open {
            state.stage = Stage::Retired;
        }
        state.seal(self, now)
    }

    /// How many aggregates were closed.
    pub(crate) fn issued(&self) -> u64 {
        self.state.lock().closed
    }

    /// The producer has ended: nothing more is appended, and what was open resolves as closed.
    pub(crate) fn close(&self) {
        let filling = {
            let mut state = self.state.lock();
            state.stage = Stage::Closed;
            state.filling.take()
        };
        drop(filling);
    }
}

impl State {
    fn seal(&mut self, lane: &Lane, now: Instant) -> Option<Sealed> {
        let filling = self.filling.take()?;
        let content = self.aggregate.take();
        self.last_sizes = content.regions().each_ref().map(Bytes::len);
        let due = if lane.rules.aggregation {
            filling.deadline.min(later(now, lane.rules.hurry))
        } else {
            filling.deadline
        };
        let mut sealed = KinesisRecord::new(
            content,
            filling.claims,
            filling.span,
            Arc::clone(&lane.shard),
            lane.rules.aggregation,
            due,
        );
        sealed.keyless = filling.keyless;
        sealed.order.turn = Turn {
            lane: lane.key,
            serial: self.closed,
            place: 0,
        };
        self.closed += 1;
        Some(sealed)
    }
}

impl Filling {
    fn new(lane: &Lane, key: HashKey, deadline: Instant) -> Self {
        Self {
            identity: IdentityWriter::default(),
            claims: Claims::new(Arc::clone(&lane.ledger)),
            span: Span::of(key),
            keyless: false,
            deadline,
        }
    }

    /// Appends the record to the open aggregate, with the tag that its identity needs here, unless the
    /// aggregate would then take more than `max_size` bytes. True if it was appended.
    fn push_within(
        &mut self,
        aggregate: &mut Aggregate,
        (record, key): (&UserRecordRef<'_>, HashKey),
        id: Option<RecordId>,
        max_size: usize,
    ) -> bool {
        let pushed = match id {
            None => aggregate.push_within(record, max_size).is_some(),
            Some(id) => {
                let text = self.identity.tag(id);
                let tag = text
                    .as_ref()
                    .map(|text| (IDENTITY_TAG, Some(text.as_str())));
                let tags = tag.as_slice();
                let tagged = UserRecordRef { tags, ..*record };
                let pushed = aggregate.push_within(&tagged, max_size).is_some();
                if pushed {
                    self.identity.wrote(id);
                }
                pushed
            }
        };
        if pushed {
            self.span.add(key);
            self.keyless |= record.partition_key.is_empty();
            self.claims.note_size(record.data.len());
        }
        pushed
    }
}

impl Append<'_> {
    /// Appends a record that was just admitted; `keep` is the same, if it is to be kept. Gives its
    /// receipt's place.
    pub(crate) fn push(
        &mut self,
        record: &UserRecordRef<'_>,
        key: HashKey,
        fresh: &Fresh,
        keep: Option<&Record>,
    ) -> (&Arc<Slot>, u32) {
        let (_, filling, position) = self.push_one(record, key, fresh, keep);
        (filling.claims.slot(), position)
    }

    fn push_one(
        &mut self,
        record: &UserRecordRef<'_>,
        key: HashKey,
        fresh: &Fresh,
        keep: Option<&Record>,
    ) -> (&mut Aggregate, &mut Filling, u32) {
        // A flush waits for it: it must not wait the whole time for others.
        let hurried = fresh.epoch < self.lane.ledger.admission.epoch();
        let id = self.next_id();
        let (aggregate, filling) = self.place(record, id, key, hurried);
        let position = filling.claims.take(fresh, keep);
        (aggregate, filling, position)
    }

    /// Appends records that were admitted together, in their order. Tells for each stretch of them that is in
    /// one aggregate where their receipts look: the slot, the first position, and how many they are.
    pub(crate) fn push_all<'r>(
        &mut self,
        mut records: impl Iterator<Item = (&'r Record, HashKey, Fresh)>,
        kept: bool,
        mut placed: impl FnMut(&Arc<Slot>, u32, u32),
    ) {
        let rules = &self.lane.rules;
        let mut next = records.next();
        while let Some((record, key, fresh)) = next {
            // What has a number of its own is written down one by one.
            let alike = !kept && fresh.spooled.is_none() && rules.incarnation.is_none();
            let keep = kept.then_some(record);
            let (aggregate, filling, position) = self.push_one(&record.view(), key, &fresh, keep);
            next = records.next();
            if !alike {
                placed(filling.claims.slot(), position, 1);
                continue;
            }
            // They hurry no more and no less than the first.
            let mut more = More::default();
            while let Some((record, key, fresh)) = &next
                && aggregate.len() < rules.max_records
                && filling.push_within(aggregate, (&record.view(), *key), None, rules.max_size)
            {
                more.records += 1;
                more.bytes += fresh.bytes;
                next = records.next();
            }
            filling.claims.take_more(more);
            placed(filling.claims.slot(), position, 1 + more.records);
        }
    }

    /// Appends a record of an aggregate that was taken apart.
    /// It keeps the identity that it had.
    pub(crate) fn adopt(
        &mut self,
        record: &UserRecordRef<'_>,
        id: Option<RecordId>,
        key: HashKey,
        claim: Claim,
    ) {
        let id = id.filter(|_| self.lane.rules.incarnation.is_some());
        let (_, filling) = self.place(record, id, key, true);
        filling.claims.adopt(claim);
    }

    /// The identity of a record that was just admitted, if it gets one.
    fn next_id(&mut self) -> Option<RecordId> {
        let incarnation = self.lane.rules.incarnation?;
        let number = self.state.number;
        self.state.number += 1;
        Some(RecordId {
            incarnation,
            series: self.lane.key,
            number,
        })
    }

    /// Appends a record's bytes. Gives the open aggregate that has them.
    fn place(
        &mut self,
        record: &UserRecordRef<'_>,
        id: Option<RecordId>,
        key: HashKey,
        hurried: bool,
    ) -> (&mut Aggregate, &mut Filling) {
        let (lane, rules) = (self.lane, &self.lane.rules);
        let deadline = if hurried {
            later(self.now, rules.hurry)
        } else {
            *self
                .lingers
                .get_or_insert_with(|| later(self.now, rules.linger))
        };
        let state = &mut *self.state;
        let fits = state.aggregate.len() < rules.max_records
            && state.filling.as_mut().is_some_and(|filling| {
                filling.push_within(&mut state.aggregate, (record, key), id, rules.max_size)
            });
        if !fits {
            let full = state.seal(lane, self.now);
            self.effects.sealed.extend(full);
            let memory = lane.ledger.shelf.take(state.last_sizes);
            state.aggregate.reuse(memory);
        }
        let open = || Filling::new(lane, key, deadline);
        let filling = state.filling.get_or_insert_with(open);
        if !fits {
            self.effects.deadline = Some(deadline);
            // What is larger than an aggregate may be goes alone.
            filling.push_within(&mut state.aggregate, (record, key), id, usize::MAX);
        } else if deadline < filling.deadline {
            filling.deadline = deadline;
            self.effects.deadline = Some(deadline);
        }
        (&mut state.aggregate, filling)
    }

    /// Frees the lane.
    pub(crate) fn finish(mut self) -> Effects {
        let rules = &self.lane.rules;
        let aggregate = &self.state.aggregate;
        let full = aggregate.len() >= rules.max_records || aggregate.size() >= rules.max_size;
        if full {
            let full = self.state.seal(self.lane, self.now);
            self.effects.sealed.extend(full);
            self.effects.deadline = None;
        }
        self.effects
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::admission::{Charge, Demand};
    use runtime::Metrics;

    pub(crate) fn ledger() -> Arc<Ledger> {
        Ledger::shared(
            Charge {
                bytes: 1 << 30,
                records: 1 << 20,
            },
            100,
            &Metrics::new(),
            "orders",
        )
    }

    fn lane(options: &Options) -> Lane {
        let rules = Arc::new(Rules::new(options));
        Lane::new(
            1,
            "shardId-000000000000".into(),
            HashRange::FULL,
            rules,
            ledger(),
        )
    }

    fn put(lane: &Lane, key: &str, data: &[u8]) -> Effects {
        put_at(lane, key, data, Instant::now())
    }

    /// By a caller who came to the lane with this time.
    fn put_at(lane: &Lane, key: &str, data: &[u8], now: Instant) -> Effects {
        let record = UserRecordRef {
            partition_key: key,
            explicit_hash_key: None,
            data,
            tags: &[],
        };
        let charge = Charge {
            bytes: data.len(),
            records: 1,
        };
        let demand = Demand::one(lane.seat, charge);
        let epoch = lane.ledger.admission.try_acquire(&demand).unwrap();
        let Entry::Open(mut append) = lane.enter(now) else {
            panic!("the lane is open")
        };
        let fresh = Fresh {
            bytes: charge.bytes,
            epoch,
            arrival: now,
            seat: lane.seat,
            spooled: None,
        };
        append.push(&record, HashKey::of_partition_key(key), &fresh, None);
        append.finish()
    }

    #[tokio::test(start_paused = true)]
    async fn an_aggregate_is_closed_before_it_grows_too_large() {
        let lane = lane(&Options {
            aggregate_size: 200,
            ..Options::default()
        });
        let begin = Instant::now();
        let effects = put(&lane, "a", &[0; 80]);
        assert!(effects.sealed.is_empty());
        assert_eq!(effects.deadline, Some(begin + Duration::from_millis(100)));
        assert_eq!(put(&lane, "a", &[0; 60]).deadline, None);
        let effects = put(&lane, "a", &[0; 40]);
        let [sealed] = &effects.sealed[..] else {
            panic!("one is sealed")
        };
        assert_eq!(
            (sealed.content.record_count(), sealed.aggregated),
            (2, true)
        );
        assert!(sealed.size <= 201 && sealed.due == begin + Duration::from_millis(20));
        let effects = put(&lane, "long", &[0; 500]);
        let sizes: Vec<_> = effects
            .sealed
            .iter()
            .map(|s| (s.size, s.aggregated))
            .collect();
        assert_eq!(sizes, [(41, false), (504, false)]);
        assert_eq!(effects.deadline, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_and_got_the_lane_second_waits_no_longer() {
        let lane = lane(&Options::default());
        let before = Instant::now();
        let after = before + Duration::from_millis(30);
        let linger = Duration::from_millis(100);
        let deadlines = [after, before, after].map(|now| put_at(&lane, "a", b"x", now).deadline);
        assert_eq!(
            deadlines,
            [Some(after + linger), Some(before + linger), None]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_aggregation_each_record_goes_alone_and_as_it_is() {
        let lane = lane(&Options {
            aggregation: false,
            ..Options::default()
        });
        let inner = {
            let mut aggregate = Aggregate::new();
            let record = UserRecordRef {
                partition_key: "a",
                explicit_hash_key: None,
                data: b"x",
                tags: &[],
            };
            aggregate.push(&record);
            aggregate.finish().to_bytes()
        };
        let begin = Instant::now();
        let [sealed] = &put(&lane, "k", &inner).sealed[..] else {
            panic!("one is sealed")
        };
        assert!(!sealed.aggregated && sealed.due == begin + Duration::from_millis(100));
        let lane = super::tests::lane(&Options {
            aggregate_count: 1,
            ..Options::default()
        });
        let [sealed] = &put(&lane, "k", &inner).sealed[..] else {
            panic!("one is sealed")
        };
        assert!(
            sealed.aggregated,
            "a reader would take its data for an aggregate"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_flush_waits_for_does_not_wait_long_for_others() {
        let lane = lane(&Options::default());
        let begin = Instant::now();
        let _ = put(&lane, "a", b"x");
        let charge = Charge {
            bytes: 1,
            records: 1,
        };
        let demand = Demand::one(lane.seat, charge);
        let early = lane.ledger.admission.try_acquire(&demand).unwrap();
        lane.ledger.admission.end_epoch();
        let Entry::Open(mut append) = lane.enter(begin) else {
            panic!("the lane is open")
        };
        let record = UserRecordRef {
            partition_key: "a",
            explicit_hash_key: None,
            data: b"y",
            tags: &[],
        };
        let fresh = Fresh {
            bytes: 1,
            epoch: early,
            arrival: begin,
            seat: lane.seat,
            spooled: None,
        };
        append.push(&record, HashKey::MIN, &fresh, None);
        let soon = begin + Duration::from_millis(20);
        assert_eq!(append.finish().deadline, Some(soon));
        assert_eq!(lane.seal_due(begin, begin).unwrap_err(), Some(soon));
        assert_eq!(lane.seal_due(soon, soon).unwrap().content.record_count(), 2);
        assert_eq!(lane.seal_due(soon, soon).unwrap_err(), None);
    }

    /// Records of all sizes, some of which follow the same key, in stretches; spooled and kept ones too.
    #[tokio::test(start_paused = true)]
    async fn records_that_come_together_lie_as_if_they_had_come_one_by_one() {
        let record = |n: usize| {
            let key = format!("k{}", n / 3 * (n % 4));
            Record::new(key, vec![7; (n * 37) % 150])
        };
        let records: Vec<Record> = (0..200).map(record).collect();
        let options = Options {
            aggregate_size: 500,
            aggregate_count: 9,
            ..Options::default()
        };
        for (kept, spooled, incarnation) in [
            (false, false, None),
            (true, false, None),
            (false, true, None),
            (false, false, Some(3)),
        ] {
            let run = |together: bool| {
                let mut lane = lane(&options);
                let mut rules = Rules::new(&options);
                rules.incarnation = incarnation;
                lane.rules = Arc::new(rules);
                let now = Instant::now();
                let (mut sealed, mut deadlines) = (Vec::new(), Vec::new());
                let (mut slots, mut receipts): (Vec<Arc<Slot>>, _) = (Vec::new(), Vec::new());
                let mut numbers = 0..;
                for stretch in records.chunks(17) {
                    let Entry::Open(mut append) = lane.enter(now) else {
                        panic!("the lane is open")
                    };
                    let mut placed = |slot: &Arc<Slot>, first, count| {
                        if !slots.last().is_some_and(|last| Arc::ptr_eq(last, slot)) {
                            slots.push(Arc::clone(slot));
                        }
                        receipts.extend((first..first + count).map(|at| (slots.len(), at)));
                    };
                    let arrivals = stretch.iter().zip(numbers.by_ref()).map(|(record, n)| {
                        let bytes = record.data.len() + 1;
                        let demand = Demand::one(lane.seat, Charge { bytes, records: 1 });
                        let fresh = Fresh {
                            bytes,
                            epoch: lane.ledger.admission.try_acquire(&demand).unwrap(),
                            arrival: now,
                            seat: lane.seat,
                            spooled: spooled.then_some(n),
                        };
                        (record, record.hash_key(), fresh)
                    });
                    if together {
                        append.push_all(arrivals, kept, placed);
                    } else {
                        for (record, key, fresh) in arrivals {
                            let keep = kept.then_some(record);
                            let (slot, at) = append.push(&record.view(), key, &fresh, keep);
                            placed(slot, at, 1);
                        }
                    }
                    let effects = append.finish();
                    sealed.extend(effects.sealed);
                    deadlines.push(effects.deadline);
                }
                sealed.extend(lane.seal_now(now));
                let what = |sealed: &Sealed| {
                    let (claims, span) = (&sealed.claims, sealed.span);
                    let (records, sizes) = (claims.records(), claims.sizes());
                    (sealed.content.to_bytes(), records, sizes, span, sealed.due)
                };
                let whats: Vec<_> = sealed.iter().map(what).collect();
                let before = lane.ledger.admission.outstanding();
                drop(sealed);
                let after = lane.ledger.admission.outstanding();
                (whats, deadlines, receipts, before, after)
            };
            let (one_by_one, together) = (run(false), run(true));
            assert_eq!(one_by_one, together, "{kept} {spooled} {incarnation:?}");
            let (whats, _, receipts, before, after) = together;
            assert!(whats.len() > 20 && receipts.len() == records.len());
            assert_eq!((before.records, after), (records.len(), Charge::default()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retired_lane_gives_what_it_has_and_takes_nothing() {
        let lane = lane(&Options::default());
        let _ = put(&lane, "a", b"x");
        let now = Instant::now();
        assert!(lane.retire(now).is_some() && lane.retire(now).is_none());
        assert!(matches!(lane.enter(now), Entry::Retired));
        lane.close();
        assert!(matches!(lane.enter(now), Entry::Closed));
    }
}
