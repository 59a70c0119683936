//! How long a receipt waits, where `UserRecordTimeoutInMillis` bounds it.

use crate::error::DeliveryError;
use crate::record::Record;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

/// A receipt's own deadline. The timer is the producer's runtime's, whatever polls the receipt.
#[derive(Debug)]
pub(crate) struct Patience {
    after: Duration,
    deadline: Instant,
    runtime: Handle,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The records that the receipt stands for, by place, if they are to be kept.
    kept: Vec<Record>,
}

impl Patience {
    /// For a record admitted at `now`. A deadline beyond what the clock can show is none.
    pub(crate) fn new(after: Duration, now: Instant, runtime: Handle) -> Option<Self> {
        Some(Self {
            after,
            deadline: now.checked_add(after)?,
            runtime,
            sleep: None,
            kept: Vec::new(),
        })
    }

    pub(crate) fn keep(&mut self, records: impl IntoIterator<Item = Record>) {
        self.kept.extend(records);
    }

    /// Records of the same batch were admitted later.
    pub(crate) fn extend(&mut self, now: Instant) {
        self.deadline = now.checked_add(self.after).unwrap_or(self.deadline);
        self.sleep = None;
    }

    /// Ready once it is at its end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _runtime = self.runtime.enter();
        let deadline = self.deadline;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        sleep.as_mut().poll(cx)
    }

    /// The outcome of the record at `place`, now that it is at its end.
    pub(crate) fn ended(&self, place: usize) -> DeliveryError {
        DeliveryError::timed_out(self.after, self.kept.get(place).cloned())
    }
}
