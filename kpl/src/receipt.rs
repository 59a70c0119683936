//! Receipts: what a caller holds of records that were admitted.

use crate::error::DeliveryError;
use crate::patience::Patience;
use crate::slot::{Outcome, Slot};
use runtime::Attempts;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Where a record is stored. Clones share the texts and the attempts with the other records of the
/// same Kinesis record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The shard that holds it.
    pub shard_id: Arc<str>,
    /// The sequence number of the Kinesis record that carries it.
    pub sequence_number: Arc<str>,
    /// Its place in that Kinesis record, from 0; always 0 when it was sent alone.
    pub sub_sequence_number: u64,
    /// What it took, the successful attempt last.
    pub attempts: Arc<Attempts>,
}

/// Stands for one admitted record; resolves once, with its delivery or with the reason why there is
/// none.
///
/// # Cancellation
/// Dropping it changes nothing about the delivery: [`Receipt::forget`] says that this is meant.
#[derive(Debug)]
#[must_use = "a receipt tells whether the record was delivered; `forget` it if nobody wants to know"]
pub struct Receipt {
    slot: Arc<Slot>,
    position: u32,
    /// The slot wakes its task.
    waits: bool,
    patience: Option<Box<Patience>>,
}

impl Receipt {
    pub(crate) const fn new(slot: Arc<Slot>, position: u32) -> Self {
        Self {
            slot,
            position,
            waits: false,
            patience: None,
        }
    }

    /// The receipt waits only so long.
    pub(crate) fn with_patience(mut self, patience: Option<Patience>) -> Self {
        self.patience = patience.map(Box::new);
        self
    }

    /// The outcome, if there is one yet.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.slot.outcome(self.position)
    }

    /// Gives the receipt away; the record is delivered all the same. A failure is counted and logged.
    pub fn forget(self) {}
}

impl Future for Receipt {
    type Output = Result<Delivered, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.slot.poll(self.position, 1, cx).is_ready()
            && let Some(outcome) = self.slot.outcome(self.position)
        {
            self.waits = false;
            return Poll::Ready(outcome);
        }
        self.waits = true;
        let Some(patience) = &mut self.patience else {
            return Poll::Pending;
        };
        ready!(patience.poll(cx));
        Poll::Ready(Err(patience.ended(0)))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.waits {
            self.slot.forget(self.position);
        }
    }
}

/// Consecutive records of one aggregate.
#[derive(Debug)]
struct Run {
    slot: Arc<Slot>,
    first: u32,
    records: u32,
}

/// Stands for the records of a batch; resolves when all of them have.
///
/// # Cancellation
/// As for [`Receipt`].
#[derive(Debug, Default)]
#[must_use = "a receipt tells whether the records were delivered; `forget` it if nobody wants to know"]
pub struct BatchReceipt {
    runs: Vec<Run>,
    /// The place in the batch of each record, in the order of the runs.
    places: Vec<usize>,
    /// Runs before this one are resolved.
    resolved: usize,
    patience: Option<Box<Patience>>,
}

impl BatchReceipt {
    /// Adds the record at `place` of the batch, which is at `position` of an aggregate.
    pub(crate) fn add(&mut self, place: usize, slot: &Arc<Slot>, position: u32) {
        self.places.push(place);
        self.add_run(slot, position, 1);
    }

    /// Adds the records at these places of the batch; [`Self::add_run`] says where they are, in this order.
    pub(crate) fn add_places(&mut self, places: impl Iterator<Item = usize>) {
        self.places.extend(places);
    }

    /// So many of the records whose places were added are in one aggregate, from the position `first` on.
    pub(crate) fn add_run(&mut self, slot: &Arc<Slot>, first: u32, records: u32) {
        if let Some(run) = self.runs.last_mut()
            && Arc::ptr_eq(&run.slot, slot)
            && run.first.checked_add(run.records) == Some(first)
        {
            run.records += records;
            return;
        }
        self.runs.push(Run {
            slot: Arc::clone(slot),
            first,
            records,
        });
    }

    /// So many records will be added, of at least so many aggregates.
    pub(crate) fn reserve(&mut self, records: usize, aggregates: usize) {
        self.places.reserve(records);
        self.runs.reserve(aggregates);
    }

    /// The receipt waits only so long, from the admission of its last part on.
    pub(crate) const fn patience(&mut self) -> &mut Option<Box<Patience>> {
        &mut self.patience
    }

    /// The places of the records that have no outcome yet.
    fn unresolved(&self) -> BTreeSet<usize> {
        let positions = self
            .runs
            .iter()
            .flat_map(|run| (0..run.records).map(move |n| (run, run.first.saturating_add(n))));
        positions
            .zip(&self.places)
            .filter(|((run, position), _)| run.slot.outcome(*position).is_none())
            .map(|(_, place)| *place)
            .collect()
    }

    /// How many records it stands for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True for the receipt of an empty batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Gives the receipt away; the records are delivered all the same. Failures are counted and
    /// logged.
    pub fn forget(self) {}
}

impl Future for BatchReceipt {
    type Output = BatchReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BatchReport> {
        let this = self.get_mut();
        let mut late = BTreeSet::new();
        while let Some(run) = this.runs.get(this.resolved) {
            if run.slot.poll(run.first, run.records, cx).is_ready() {
                this.resolved += 1;
                continue;
            }
            let Some(patience) = &mut this.patience else {
                return Poll::Pending;
            };
            ready!(patience.poll(cx));
            late = this.unresolved();
            run_forgotten(&this.runs, this.resolved);
            break;
        }
        this.resolved = 0;
        Poll::Ready(BatchReport {
            runs: std::mem::take(&mut this.runs),
            places: std::mem::take(&mut this.places),
            patience: this.patience.take().filter(|_| !late.is_empty()),
            late,
        })
    }
}

/// The run that was waited for is waited for no more.
fn run_forgotten(runs: &[Run], resolved: usize) {
    if let Some(run) = runs.get(resolved) {
        run.slot.forget(run.first);
    }
}

impl Drop for BatchReceipt {
    fn drop(&mut self) {
        run_forgotten(&self.runs, self.resolved);
    }
}

/// What became of the records of a batch. Iterating it gives each record's outcome, in the order of
/// the batch.
#[derive(Debug)]
pub struct BatchReport {
    runs: Vec<Run>,
    places: Vec<usize>,
    /// The places of the records that had no outcome in time, and what was waited.
    late: BTreeSet<usize>,
    patience: Option<Box<Patience>>,
}

impl BatchReport {
    /// How many records the batch had.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True for an empty batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// True when every record was delivered.
    #[must_use]
    pub fn all_delivered(&self) -> bool {
        let whole = self.late.is_empty() && self.runs.iter().all(|run| run.slot.all_delivered());
        whole || self.failures().is_empty()
    }

    /// How many records were delivered.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.len() - self.failures().len()
    }

    /// Place in the batch (from 0) and reason of each record that was not delivered, in the order of
    /// the batch.
    #[must_use]
    pub fn failures(&self) -> Vec<(usize, DeliveryError)> {
        let mut failures = Vec::new();
        let mut places = self.places.iter();
        for run in &self.runs {
            let places = places
                .by_ref()
                .take(usize::try_from(run.records).unwrap_or(usize::MAX));
            if self.late.is_empty() && run.slot.all_delivered() {
                places.for_each(drop);
                continue;
            }
            for (position, place) in (run.first..).zip(places) {
                if let Some(Err(error)) = self.outcome(*place, &run.slot, position) {
                    failures.push((*place, error));
                }
            }
        }
        failures.sort_by_key(|(place, _)| *place);
        failures
    }

    /// What had no outcome in time keeps that as its outcome, whatever comes of it later.
    fn outcome(&self, place: usize, slot: &Slot, position: u32) -> Option<Outcome> {
        match &self.patience {
            Some(patience) if self.late.contains(&place) => Some(Err(patience.ended(place))),
            _ => slot.outcome(position),
        }
    }

    /// Each record's outcome, in the order of the batch.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Result<Delivered, DeliveryError>> {
        let mut outcomes: Vec<Option<Outcome>> = (0..self.len()).map(|_| None).collect();
        let positions = self.runs.iter().flat_map(|run| {
            (run.first..)
                .zip(0..run.records)
                .map(|(position, _)| (&run.slot, position))
        });
        for ((slot, position), place) in positions.zip(&self.places) {
            if let Some(at) = outcomes.get_mut(*place) {
                *at = self.outcome(*place, slot, position);
            }
        }
        debug_assert!(
            outcomes.iter().all(Option::is_some),
            "a batch resolves as a whole"
        );
        outcomes.into_iter().flatten().collect()
    }
}

impl IntoIterator for BatchReport {
    type Item = Result<Delivered, DeliveryError>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.outcomes().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Verdict;
    use futures::FutureExt;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::{Wake, Waker};

    fn delivered(sequence_number: &str) -> Verdict {
        Verdict::Delivered {
            shard_id: "shardId-000000000000".into(),
            sequence_number: sequence_number.into(),
            aggregated: true,
            attempts: Arc::default(),
        }
    }

    #[test]
    fn a_receipt_that_waited_leaves_no_waker_when_it_is_dropped() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Relaxed);
            }
        }
        for drops in [true, false] {
            let (slot, woken) = (Arc::<Slot>::default(), Arc::new(Woken(false.into())));
            let waker = Waker::from(Arc::clone(&woken));
            let mut receipt = Receipt::new(Arc::clone(&slot), 3);
            let pending = receipt.poll_unpin(&mut Context::from_waker(&waker));
            assert!(pending.is_pending());
            let kept = Some(receipt).filter(|_| !drops);
            slot.resolve(delivered("7"));
            assert_eq!(woken.0.load(Relaxed), !drops);
            drop(kept);
        }
    }

    #[test]
    fn a_batch_over_two_aggregates_reports_in_the_order_of_the_batch() {
        let (a, b): (Arc<Slot>, Arc<Slot>) = (Arc::default(), Arc::default());
        let mut receipt = BatchReceipt::default();
        receipt.reserve(4, 2);
        receipt.add(0, &a, 5);
        receipt.add(2, &a, 6);
        receipt.add(1, &b, 0);
        receipt.add(3, &b, 2);
        assert_eq!((receipt.len(), receipt.runs.len()), (4, 3));
        assert!((&mut receipt).now_or_never().is_none());
        b.resolve(DeliveryError::closed().into());
        assert!((&mut receipt).now_or_never().is_none());
        a.resolve(delivered("7"));
        let report = receipt.now_or_never().unwrap();
        assert_eq!(
            (report.len(), report.delivered(), report.all_delivered()),
            (4, 2, false)
        );
        let places: Vec<usize> = report
            .failures()
            .into_iter()
            .map(|(place, _)| place)
            .collect();
        assert_eq!(places, [1, 3]);
        let outcomes = report.outcomes();
        assert_eq!(outcomes[0].as_ref().unwrap().sub_sequence_number, 5);
        assert_eq!(outcomes[2].as_ref().unwrap().sub_sequence_number, 6);
        assert!(outcomes[1].is_err() && outcomes[3].is_err());
    }

    #[test]
    fn an_empty_batch_resolves_at_once() {
        let report = BatchReceipt::default().now_or_never().unwrap();
        assert!(report.is_empty() && report.all_delivered() && report.into_iter().next().is_none());
    }
}
