//! Claims: the right of admitted records to one outcome each.
//!
//! Whatever holds records on their way (an open aggregate, a queue, a request in flight) holds their
//! claims; settling resolves the receipts, gives the permits back and counts, once. Claims that are
//! dropped unsettled, because a task was aborted or its runtime ended, settle as closed: a receipt
//! never waits for ever.

use crate::admission::{Charge, Permit, Seat};
use crate::error::DeliveryError;
use crate::meters::Sizes;
use crate::record::Record;
use crate::slot::{Slot, Verdict};
use crate::stats::Ledger;
use runtime::Attempts;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Arrivals this near to each other are kept as one, the later one: a record's time to live may last
/// so much longer, never less.
const GRAIN: Duration = Duration::from_millis(5);

/// The claims of the records of one aggregate, in their order.
#[derive(Debug)]
pub(crate) struct Claims {
    ledger: Arc<Ledger>,
    slot: Arc<Slot>,
    /// Arrival and permit of the records, run-length coded.
    runs: Runs,
    /// Records that came from aggregates that were taken apart, by position.
    adopted: Vec<(u32, Ticket)>,
    /// The records by position, if they are to be kept; else empty.
    kept: Vec<Record>,
    /// The records' numbers in the spool by position, if there is one; else empty.
    spooled: Vec<Range<u64>>,
    /// What the ages of the ledger have of these claims.
    age: Option<Instant>,
    records: u32,
    /// The data of the smallest and of the largest record, in bytes.
    sizes: Option<Sizes>,
    settled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    records: usize,
    bytes: usize,
    arrival: Instant,
    epoch: u64,
    seat: Seat,
}

/// Runs in their order. Most aggregates need one, which is at hand without an allocation.
#[derive(Debug, Default)]
struct Runs {
    before: Vec<Run>,
    last: Option<Run>,
}

impl Runs {
    fn push(&mut self, run: Run) {
        self.before.extend(self.last.replace(run));
    }

    fn iter(&self) -> impl Iterator<Item = &Run> {
        self.before.iter().chain(&self.last)
    }
}

impl Run {
    const fn permit(&self) -> Permit {
        Permit {
            charge: Charge {
                bytes: self.bytes,
                records: self.records,
            },
            epoch: self.epoch,
            seat: self.seat,
        }
    }
}

/// Where a record's receipt looks.
#[derive(Debug)]
struct Ticket {
    slot: Arc<Slot>,
    position: u32,
    /// The attempts before the aggregate that it is in now.
    before: Arc<Attempts>,
}

/// The claim of a record that is in no aggregate, because the one that it was in was taken apart.
#[derive(Debug)]
pub(crate) struct Claim {
    ledger: Arc<Ledger>,
    ticket: Ticket,
    run: Run,
    kept: Option<Record>,
    spooled: Option<u64>,
    settled: bool,
}

/// A record that was just admitted.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) bytes: usize,
    pub(crate) epoch: u64,
    pub(crate) arrival: Instant,
    /// The shard's that it is charged to.
    pub(crate) seat: Seat,
    /// Its number in the spool, if there is one.
    pub(crate) spooled: Option<u64>,
}

/// Records that were admitted together with one that was just taken in, for the same shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct More {
    pub(crate) records: u32,
    pub(crate) bytes: usize,
}

impl Claims {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            slot: Arc::default(),
            runs: Runs::default(),
            adopted: Vec::new(),
            kept: Vec::new(),
            spooled: Vec::new(),
            age: None,
            records: 0,
            sizes: None,
            settled: false,
        }
    }

    /// A record's data take so many bytes.
    #[inline]
    pub(crate) fn note_size(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        let (low, high) = self.sizes.unwrap_or((bytes, bytes));
        self.sizes = Some((low.min(bytes), high.max(bytes)));
    }

    /// The data of the smallest and of the largest record, in bytes.
    pub(crate) const fn sizes(&self) -> Option<Sizes> {
        self.sizes
    }

    pub(crate) const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(crate) const fn records(&self) -> u32 {
        self.records
    }

    /// Takes a record in, and keeps it if it is to be kept; gives its position.
    #[inline]
    pub(crate) fn take(&mut self, fresh: &Fresh, keep: Option<&Record>) -> u32 {
        self.kept.extend(keep.cloned());
        self.note_spooled(fresh.spooled);
        self.grow_older(fresh.arrival);
        match &mut self.runs.last {
            Some(run)
                if run.epoch == fresh.epoch
                    && run.seat == fresh.seat
                    && fresh.arrival <= run.arrival =>
            {
                run.records += 1;
                run.bytes += fresh.bytes;
            }
            _ => self.runs.push(Run {
                records: 1,
                bytes: fresh.bytes,
                arrival: fresh.arrival + GRAIN,
                epoch: fresh.epoch,
                seat: fresh.seat,
            }),
        }
        self.next()
    }

    /// Takes records in that follow one just taken. Not for records that are kept or spooled.
    pub(crate) fn take_more(&mut self, more: More) {
        if let Some(run) = &mut self.runs.last {
            run.records += usize::try_from(more.records).unwrap_or(usize::MAX);
            run.bytes += more.bytes;
            self.records += more.records;
        }
    }

    /// Takes a record in that was in another aggregate; gives its position.
    pub(crate) fn adopt(&mut self, mut claim: Claim) -> u32 {
        claim.settled = true;
        let ticket = Ticket {
            slot: Arc::clone(&claim.ticket.slot),
            position: claim.ticket.position,
            before: Arc::clone(&claim.ticket.before),
        };
        self.kept.extend(claim.kept.take());
        self.note_spooled(claim.spooled);
        self.grow_older(claim.run.arrival);
        self.runs.push(claim.run);
        self.adopted.push((self.records, ticket));
        self.next()
    }

    fn note_spooled(&mut self, number: Option<u64>) {
        let Some(number) = number else { return };
        match self.spooled.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => self.spooled.push(number..number + 1),
        }
    }

    fn grow_older(&mut self, arrival: Instant) {
        if self.age.is_none_or(|age| arrival < age) {
            self.ledger.ages.change(self.age, Some(arrival));
            self.age = Some(arrival);
        }
    }

    fn next(&mut self) -> u32 {
        let position = self.records;
        self.records += 1;
        position
    }

    /// How long the records waited until `start` since they were admitted, or since the end of their last
    /// attempt in another aggregate; and how many of them so long.
    pub(crate) fn waits(&self, start: Instant, mut each: impl FnMut(Duration, u64)) {
        let mut position = 0;
        let mut adopted = self.adopted.iter().peekable();
        for run in self.runs.iter() {
            let waited = start.saturating_duration_since(run.arrival);
            let first = position;
            position += u32::try_from(run.records).unwrap_or(u32::MAX);
            let mut others = u64::from(position - first);
            while let Some((_, ticket)) = adopted.next_if(|(at, _)| *at < position) {
                let attempts = ticket.before.as_slice().iter();
                let tried = attempts.map(|a| a.delay.saturating_add(a.duration)).sum();
                each(waited.saturating_sub(tried), 1);
                others = others.saturating_sub(1);
            }
            each(waited, others);
        }
    }

    /// When the first of the records was admitted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.runs.iter().map(|run| run.arrival).min()
    }

    /// When the last of the records was admitted.
    pub(crate) fn newest(&self) -> Option<Instant> {
        self.runs.iter().map(|run| run.arrival).max()
    }

    /// True when a flush waits for one of the records.
    pub(crate) fn before_epoch(&self, epoch: u64) -> bool {
        self.runs.iter().any(|run| run.epoch < epoch)
    }

    /// Resolves all records.
    pub(crate) fn settle(mut self, verdict: &Verdict) {
        self.settle_by(verdict);
    }

    fn settle_by(&mut self, verdict: &Verdict) {
        if self.settled {
            return;
        }
        self.settled = true;
        self.ledger.ages.change(self.age.take(), None);
        let verdict = &verdict.giving_back(std::mem::take(&mut self.kept));
        let attempts = |(_, ticket): &(u32, Ticket)| ticket.before.count();
        let earlier: Vec<u64> = self.adopted.iter().map(attempts).collect();
        for (position, ticket) in self.adopted.drain(..) {
            ticket.resolve(verdict, position);
        }
        self.slot.resolve(verdict.clone());
        self.ledger
            .settled(u64::from(self.records), &earlier, verdict);
        self.ledger
            .spooled_settled(std::mem::take(&mut self.spooled), verdict);
        self.ledger
            .admission
            .release(self.runs.iter().map(Run::permit));
    }

    /// Takes the aggregate apart: one claim for each record, in their order, given what each is
    /// charged. `attempts` were made for the whole.
    pub(crate) fn take_apart(
        mut self,
        attempts: &Arc<Attempts>,
        bytes: impl IntoIterator<Item = usize>,
    ) -> Vec<Claim> {
        self.settled = true;
        self.ledger.ages.change(self.age.take(), None);
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        let mut spooled = std::mem::take(&mut self.spooled).into_iter().flatten();
        let count = usize::try_from(self.records).unwrap_or(usize::MAX);
        self.slot.take_apart(count);
        let slot = Arc::clone(&self.slot);
        let mut adopted = std::mem::take(&mut self.adopted).into_iter().peekable();
        let runs = self
            .runs
            .iter()
            .flat_map(|run| std::iter::repeat_n(*run, run.records));
        let mut claims = Vec::with_capacity(count);
        let bytes = bytes.into_iter().chain(std::iter::repeat(0));
        for ((position, run), bytes) in (0..).zip(runs).zip(bytes) {
            let own = || Ticket {
                slot: Arc::clone(&slot),
                position,
                before: Arc::clone(attempts),
            };
            let ticket = match adopted.next_if(|(at, _)| *at == position) {
                Some((_, ticket)) => ticket.after(attempts),
                None => own(),
            };
            claims.push(Claim {
                ledger: Arc::clone(&self.ledger),
                ticket,
                run: Run {
                    records: 1,
                    bytes,
                    ..run
                },
                kept: kept.next(),
                spooled: spooled.next(),
                settled: false,
            });
        }
        debug_assert_eq!(claims.len(), count, "each record keeps its claim");
        claims
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.settle_by(&DeliveryError::closed().into());
    }
}

impl Ticket {
    /// Resolves the record, which is at `position` of what the verdict is about.
    fn resolve(self, verdict: &Verdict, position: u32) {
        let mut outcome = verdict.at(position);
        let attempts = match &mut outcome {
            Ok(delivered) => &mut delivered.attempts,
            Err(error) => error.parts_mut().0,
        };
        *attempts = joined(&self.before, attempts);
        self.slot.resolve_one(self.position, outcome);
    }

    fn after(self, attempts: &Arc<Attempts>) -> Self {
        Self {
            before: joined(&self.before, attempts),
            ..self
        }
    }
}

fn joined(before: &Arc<Attempts>, after: &Arc<Attempts>) -> Arc<Attempts> {
    if before.count() == 0 {
        return Arc::clone(after);
    }
    let mut all = before.as_ref().clone();
    after
        .as_slice()
        .iter()
        .for_each(|attempt| all.push(attempt.clone()));
    Arc::new(all)
}

impl Claim {
    pub(crate) const fn arrival(&self) -> Instant {
        self.run.arrival
    }

    /// Resolves the record.
    pub(crate) fn settle(mut self, verdict: &Verdict) {
        self.settle_by(verdict);
    }

    fn settle_by(&mut self, verdict: &Verdict) {
        if self.settled {
            return;
        }
        self.settled = true;
        let ticket = Ticket {
            slot: Arc::clone(&self.ticket.slot),
            position: self.ticket.position,
            before: Arc::clone(&self.ticket.before),
        };
        let verdict = &verdict.giving_back(self.kept.take().into_iter().collect());
        let earlier = [ticket.before.count()];
        ticket.resolve(verdict, 0);
        self.ledger.settled(1, &earlier, verdict);
        let spooled = self.spooled.map(|number| number..number + 1);
        self.ledger
            .spooled_settled(spooled.into_iter().collect(), verdict);
        self.ledger.admission.release([self.run.permit()]);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.settle_by(&DeliveryError::closed().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Demand;
    use crate::receipt::Receipt;
    use futures::FutureExt;
    use runtime::{Attempt, Metrics};

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new(
            Charge {
                bytes: 1_000,
                records: 10,
            },
            100,
            &Metrics::new(),
            "orders",
        ))
    }

    fn fresh(ledger: &Ledger, bytes: usize) -> Fresh {
        let charge = Charge { bytes, records: 1 };
        let seat = 0;
        let demand = Demand::one(seat, charge);
        Fresh {
            bytes,
            epoch: ledger.admission.try_acquire(&demand).unwrap(),
            seat,
            arrival: Instant::now(),
            spooled: None,
        }
    }

    fn attempt(code: Option<&str>) -> Attempt {
        Attempt {
            delay: Duration::ZERO,
            duration: Duration::ZERO,
            code: code.map(str::to_owned),
            message: None,
        }
    }

    fn attempts(codes: &[Option<&str>]) -> Arc<Attempts> {
        let mut attempts = Attempts::default();
        codes.iter().for_each(|code| attempts.push(attempt(*code)));
        Arc::new(attempts)
    }

    fn delivered(attempts: Arc<Attempts>) -> Verdict {
        Verdict::Delivered {
            shard_id: "shardId-000000000001".into(),
            sequence_number: "5".into(),
            aggregated: true,
            attempts,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn settling_resolves_counts_and_releases() {
        let ledger = ledger();
        let mut claims = Claims::new(Arc::clone(&ledger));
        claims.take(&fresh(&ledger, 10), None);
        let position = claims.take(&fresh(&ledger, 20), None);
        assert_eq!((claims.runs.iter().count(), position), (1, 1));
        let receipt = Receipt::new(Arc::clone(claims.slot()), position);
        assert_eq!(
            ledger.admission.outstanding(),
            Charge {
                bytes: 30,
                records: 2
            }
        );
        claims.settle(&delivered(attempts(&[None])));
        assert_eq!(
            receipt.now_or_never().unwrap().unwrap().sub_sequence_number,
            1
        );
        assert_eq!(ledger.admission.outstanding(), Charge::default());
        assert_eq!(ledger.stats().delivered, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_resolves_as_closed() {
        let ledger = ledger();
        let mut claims = Claims::new(Arc::clone(&ledger));
        let position = claims.take(&fresh(&ledger, 10), None);
        let receipt = Receipt::new(Arc::clone(claims.slot()), position);
        drop(claims);
        assert!(matches!(
            receipt.now_or_never(),
            Some(Err(DeliveryError::Closed { .. }))
        ));
        assert_eq!(ledger.stats().abandoned, 1);
        assert_eq!(ledger.admission.outstanding(), Charge::default());
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_are_kept_come_back_to_their_own_receipts() {
        let ledger = ledger();
        let record = |name: &'static str| Some(Record::new("k", name));
        let mut first = Claims::new(Arc::clone(&ledger));
        let a = first.take(&fresh(&ledger, 1), record("a").as_ref());
        let a = Receipt::new(Arc::clone(first.slot()), a);
        let b = first.take(&fresh(&ledger, 1), record("b").as_ref());
        let b = Receipt::new(Arc::clone(first.slot()), b);
        let mut apart = first.take_apart(&attempts(&[]), [1, 1]).into_iter();
        let mut second = Claims::new(Arc::clone(&ledger));
        let c = second.take(&fresh(&ledger, 1), record("c").as_ref());
        let c = Receipt::new(Arc::clone(second.slot()), c);
        second.adopt(apart.next().unwrap());
        second.settle(&DeliveryError::expired(attempts(&[None]), false).into());
        apart
            .next()
            .unwrap()
            .settle(&DeliveryError::closed().into());
        for (receipt, name) in [(a, "a"), (b, "b"), (c, "c")] {
            let error = receipt.now_or_never().unwrap().unwrap_err();
            assert_eq!(error.into_record(), record(name));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_is_that_of_the_oldest_record_without_an_outcome() {
        let ledger = ledger();
        let wait = || tokio::time::advance(Duration::from_secs(1));
        assert_eq!(ledger.ages.oldest(), None);
        let begin = Instant::now();
        let mut first = Claims::new(Arc::clone(&ledger));
        first.take(&fresh(&ledger, 1), None);
        wait().await;
        let mut second = Claims::new(Arc::clone(&ledger));
        second.take(&fresh(&ledger, 1), None);
        assert_eq!(ledger.ages.oldest(), Some(begin));
        let apart = first.take_apart(&attempts(&[]), [1]);
        assert_eq!(ledger.ages.oldest(), Some(begin + Duration::from_secs(1)));
        apart.into_iter().for_each(|claim| {
            second.adopt(claim);
        });
        assert!(ledger.ages.oldest().unwrap() <= begin + GRAIN);
        second.settle(&DeliveryError::closed().into());
        assert_eq!(ledger.ages.oldest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn records_taken_apart_twice_keep_their_receipts_and_all_attempts() {
        let ledger = ledger();
        let mut first = Claims::new(Arc::clone(&ledger));
        let a = Receipt::new(
            Arc::clone(first.slot()),
            first.take(&fresh(&ledger, 10), None),
        );
        let b = Receipt::new(
            Arc::clone(first.slot()),
            first.take(&fresh(&ledger, 20), None),
        );
        let mut apart = first
            .take_apart(&attempts(&[Some("Wrong Shard")]), [10, 20])
            .into_iter();

        let mut second = Claims::new(Arc::clone(&ledger));
        let c = Receipt::new(
            Arc::clone(second.slot()),
            second.take(&fresh(&ledger, 30), None),
        );
        assert_eq!(second.adopt(apart.next().unwrap()), 1);
        let mut again = second
            .take_apart(&attempts(&[Some("Timeout")]), [30, 10])
            .into_iter();
        assert_eq!(
            ledger.admission.outstanding(),
            Charge {
                bytes: 60,
                records: 3
            }
        );

        let mut third = Claims::new(Arc::clone(&ledger));
        third.adopt(again.next().unwrap());
        third.adopt(again.next().unwrap());
        third.settle(&delivered(attempts(&[None])));
        let codes = |outcome: Option<Result<crate::Delivered, DeliveryError>>| {
            let delivered = outcome.unwrap().unwrap();
            let codes: Vec<_> = delivered
                .attempts
                .as_slice()
                .iter()
                .map(|a| a.code.clone())
                .collect();
            (delivered.sub_sequence_number, codes)
        };
        let (wrong, late) = (Some("Wrong Shard".to_owned()), Some("Timeout".to_owned()));
        assert_eq!(
            codes(a.now_or_never()),
            (1, vec![wrong, late.clone(), None])
        );
        assert_eq!(codes(c.now_or_never()), (0, vec![late, None]));
        drop(apart);
        let error = b.now_or_never().unwrap().unwrap_err();
        assert!(matches!(&error, DeliveryError::Closed { attempts, .. } if attempts.count() == 1));
        assert_eq!(ledger.admission.outstanding(), Charge::default());
        let stats = ledger.stats();
        assert_eq!((stats.delivered, stats.abandoned), (2, 1));
    }
}
