//! The completion of an aggregate: one object for all records in it.

use crate::error::DeliveryError;
use crate::receipt::Delivered;
use crate::record::Record;
use crate::sync::Mutex;
use runtime::Attempts;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What became of the records of a Kinesis record. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Delivered {
        shard_id: Arc<str>,
        sequence_number: Arc<str>,
        /// Sent as an aggregate: a record's position is its sub-sequence number.
        aggregated: bool,
        attempts: Arc<Attempts>,
    },
    Failed {
        error: DeliveryError,
        /// The records by position, if they were to be kept.
        kept: Arc<[Record]>,
        /// Where they were to go, if that is known.
        shard: Option<Arc<str>>,
    },
}

impl From<DeliveryError> for Verdict {
    fn from(error: DeliveryError) -> Self {
        Self::Failed {
            error,
            kept: Arc::default(),
            shard: None,
        }
    }
}

impl Verdict {
    /// A failure of records that were to go to this shard.
    pub(crate) fn failed_at(shard: &Arc<str>, error: DeliveryError) -> Self {
        Self::Failed {
            error,
            kept: Arc::default(),
            shard: Some(Arc::clone(shard)),
        }
    }

    /// The outcome of the record at `position`.
    pub(crate) fn at(&self, position: u32) -> Outcome {
        match self {
            Self::Delivered {
                shard_id,
                sequence_number,
                aggregated,
                attempts,
            } => Ok(Delivered {
                shard_id: Arc::clone(shard_id),
                sequence_number: Arc::clone(sequence_number),
                sub_sequence_number: if *aggregated { u64::from(position) } else { 0 },
                attempts: Arc::clone(attempts),
            }),
            Self::Failed { error, kept, .. } => {
                let mut error = error.clone();
                let at = usize::try_from(position).unwrap_or(usize::MAX);
                *error.parts_mut().1 = kept.get(at).cloned().map(Box::new);
                Err(error)
            }
        }
    }

    /// The same; where it is a failure, each record is given back.
    pub(crate) fn giving_back(&self, records: Vec<Record>) -> Self {
        match self {
            Self::Failed { error, shard, .. } if !records.is_empty() => Self::Failed {
                error: error.clone(),
                kept: records.into(),
                shard: shard.clone(),
            },
            other => other.clone(),
        }
    }

    pub(crate) const fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }
}

/// What became of a record.
pub(crate) type Outcome = Result<Delivered, DeliveryError>;

/// Where the receipts of an aggregate's records look: one allocation and one list of wakers for all.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    /// By the position that each receipt waits for.
    wakers: BTreeMap<u32, Waker>,
}

#[derive(Debug, Default)]
enum Progress {
    #[default]
    Open,
    /// One verdict for all.
    Whole(Verdict),
    /// The aggregate was taken apart: each record has its own outcome.
    Each(Vec<Option<Outcome>>),
}

impl Slot {
    /// Gives all records one verdict. The first counts.
    pub(crate) fn resolve(&self, verdict: Verdict) {
        let wakers = {
            let mut state = self.0.lock();
            debug_assert!(
                matches!(state.progress, Progress::Open),
                "a slot is resolved once"
            );
            if !matches!(state.progress, Progress::Open) {
                return;
            }
            state.progress = Progress::Whole(verdict);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// From now on each of the `records` records gets an outcome of its own.
    pub(crate) fn take_apart(&self, records: usize) {
        let mut state = self.0.lock();
        debug_assert!(
            matches!(state.progress, Progress::Open),
            "a slot is taken apart once"
        );
        if matches!(state.progress, Progress::Open) {
            state.progress = Progress::Each((0..records).map(|_| None).collect());
        }
    }

    /// Gives a record of an aggregate that was taken apart its outcome. The first counts.
    pub(crate) fn resolve_one(&self, position: u32, outcome: Outcome) {
        let wakers = {
            let mut state = self.0.lock();
            let Progress::Each(outcomes) = &mut state.progress else {
                debug_assert!(false, "one outcome for a slot that was not taken apart");
                return;
            };
            let place = usize::try_from(position)
                .ok()
                .and_then(|at| outcomes.get_mut(at));
            debug_assert!(matches!(place, Some(None)), "a record is resolved once");
            if let Some(place @ None) = place {
                *place = Some(outcome);
            }
            // Who waits for several records waits under the first of them.
            let after = position.checked_add(1);
            let later = after
                .map(|after| state.wakers.split_off(&after))
                .unwrap_or_default();
            std::mem::replace(&mut state.wakers, later)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Waits for the outcomes of the records from `first` on.
    pub(crate) fn poll(&self, first: u32, records: u32, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        let done = match &state.progress {
            Progress::Open => false,
            Progress::Whole(_) => true,
            Progress::Each(outcomes) => {
                let from = usize::try_from(first).unwrap_or(usize::MAX);
                let count = usize::try_from(records).unwrap_or(usize::MAX);
                outcomes.iter().skip(from).take(count).all(Option::is_some)
            }
        };
        if done {
            state.wakers.remove(&first);
            return Poll::Ready(());
        }
        match state.wakers.get_mut(&first) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                state.wakers.insert(first, cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// The receipt that waits under `first` is gone.
    pub(crate) fn forget(&self, first: u32) {
        self.0.lock().wakers.remove(&first);
    }

    /// The outcome of the record at `position`, if there is one yet.
    pub(crate) fn outcome(&self, position: u32) -> Option<Outcome> {
        match &self.0.lock().progress {
            Progress::Open => None,
            Progress::Whole(verdict) => Some(verdict.at(position)),
            Progress::Each(outcomes) => outcomes
                .get(usize::try_from(position).ok()?)
                .cloned()
                .flatten(),
        }
    }

    /// True when all records have one verdict and it is a delivery.
    pub(crate) fn all_delivered(&self) -> bool {
        matches!(&self.0.lock().progress, Progress::Whole(verdict) if verdict.is_delivered())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn delivered(aggregated: bool) -> Verdict {
        Verdict::Delivered {
            shard_id: "shardId-000000000000".into(),
            sequence_number: "1".into(),
            aggregated,
            attempts: Arc::default(),
        }
    }

    #[test]
    fn one_verdict_wakes_all_and_numbers_each() {
        let (slot, woken) = (Slot::default(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        assert!(slot.poll(0, 1, cx).is_pending() && slot.poll(3, 2, cx).is_pending());
        assert!(slot.poll(3, 2, cx).is_pending());
        assert!(slot.outcome(3).is_none());
        slot.resolve(delivered(true));
        assert_eq!(woken.0.load(Relaxed), 2);
        assert!(slot.poll(3, 2, cx).is_ready() && slot.all_delivered());
        assert_eq!(slot.outcome(4).unwrap().unwrap().sub_sequence_number, 4);
    }

    #[test]
    fn a_record_sent_alone_has_no_sub_sequence_number_but_0() {
        assert_eq!(delivered(false).at(9).unwrap().sub_sequence_number, 0);
    }

    #[test]
    fn apart_each_record_has_its_own_outcome() {
        let (slot, woken) = (Slot::default(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        assert!(slot.poll(1, 2, cx).is_pending());
        slot.take_apart(3);
        slot.resolve_one(2, Err(DeliveryError::closed()));
        assert_eq!(woken.0.load(Relaxed), 1);
        assert!(slot.poll(1, 2, cx).is_pending() && slot.poll(2, 1, cx).is_ready());
        slot.resolve_one(1, delivered(true).at(7));
        assert_eq!(woken.0.load(Relaxed), 2);
        assert!(slot.poll(1, 2, cx).is_ready() && !slot.all_delivered());
        assert_eq!(slot.outcome(1).unwrap().unwrap().sub_sequence_number, 7);
        assert!(slot.outcome(2).unwrap().is_err() && slot.outcome(0).is_none());
    }

    #[test]
    fn a_receipt_that_is_dropped_leaves_no_waker() {
        let (slot, woken) = (Slot::default(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(
            slot.poll(0, 1, &mut Context::from_waker(&waker))
                .is_pending()
        );
        slot.forget(0);
        slot.resolve(delivered(true));
        assert_eq!(woken.0.load(Relaxed), 0);
    }
}
