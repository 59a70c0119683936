//! A sink of records.

use crate::error::{DeliveryError, PutError};
use crate::producer::Producer;
use crate::receipt::Receipt;
use crate::record::Record;
use futures::Sink;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Receipts that are kept before those that have resolved behind the first are looked for.
const SWEEP: usize = 1_024;

/// Takes records as a [`Sink`]: ready when what it took before is admitted; flushed when everything it
/// took has its outcome. Failures of delivery show as an error of the next call, those since the last
/// one together; the sink can be used on.
///
/// # Cancellation
/// What is admitted is delivered also when the sink is dropped. Closing it flushes; the producer stays
/// open.
#[must_use = "a sink does nothing until records are sent into it"]
pub struct RecordSink {
    producer: Producer,
    /// A record that waits for admission.
    waiting: Option<BoxFuture<'static, Result<Receipt, PutError>>>,
    flushing: Option<BoxFuture<'static, ()>>,
    receipts: VecDeque<Receipt>,
    sweep_at: usize,
    failed: u64,
    first: Option<DeliveryError>,
}

/// What went wrong with records that a [`RecordSink`] took.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A record was not admitted.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Records were not delivered.
    #[error("{failed} records were not delivered; the first: {first}")]
    #[non_exhaustive]
    Delivery {
        /// How many, since the last error.
        failed: u64,
        /// Why the first of them was not.
        #[source]
        first: DeliveryError,
    },
}

impl RecordSink {
    pub(crate) const fn new(producer: Producer) -> Self {
        Self {
            producer,
            waiting: None,
            flushing: None,
            receipts: VecDeque::new(),
            sweep_at: SWEEP,
            failed: 0,
            first: None,
        }
    }

    fn note(&mut self, error: DeliveryError) {
        self.failed += 1;
        self.first.get_or_insert(error);
    }

    /// Drops the receipts that have resolved: those at the front, and all of them when many have come.
    /// What is kept is bounded by what may be outstanding.
    fn reap(&mut self, all: bool) {
        while let Some(outcome) = self.receipts.front().and_then(Receipt::outcome) {
            self.receipts.pop_front();
            if let Err(error) = outcome {
                self.note(error);
            }
        }
        if all || self.receipts.len() >= self.sweep_at {
            for receipt in std::mem::take(&mut self.receipts) {
                match receipt.outcome() {
                    None => self.receipts.push_back(receipt),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => self.note(error),
                }
            }
            self.sweep_at = SWEEP.max(self.receipts.len() * 2);
        }
    }

    /// Reports the failures since the last report.
    fn report(&mut self) -> Result<(), SinkError> {
        match self.first.take() {
            Some(first) => {
                let failed = std::mem::take(&mut self.failed);
                Err(SinkError::Delivery { failed, first })
            }
            None => Ok(()),
        }
    }

    fn admitted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if let Some(waiting) = &mut self.waiting {
            let put = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
            self.receipts.push_back(put?);
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Record> for RecordSink {
    type Error = SinkError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let this = self.get_mut();
        ready!(this.admitted(cx))?;
        this.reap(false);
        Poll::Ready(this.report())
    }

    fn start_send(self: Pin<&mut Self>, record: Record) -> Result<(), SinkError> {
        let this = self.get_mut();
        match this.producer.try_put(record) {
            Ok(receipt) => this.receipts.push_back(receipt),
            Err(PutError::Full { record } | PutError::Spooled { record }) => {
                let producer = this.producer.clone();
                this.waiting = Some(Box::pin(async move { producer.put(*record).await }));
            }
            Err(refused) => return Err(refused.into()),
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let this = self.get_mut();
        ready!(this.admitted(cx))?;
        if !this.receipts.is_empty() || this.flushing.is_some() {
            let flushing = this.flushing.get_or_insert_with(|| {
                let producer = this.producer.clone();
                Box::pin(async move { producer.flush().await })
            });
            ready!(flushing.as_mut().poll(cx));
            this.flushing = None;
            this.reap(true);
        }
        Poll::Ready(this.report())
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.poll_flush(cx)
    }
}

impl fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSink")
            .field("producer", &self.producer)
            .field("receipts", &self.receipts.len())
            .finish_non_exhaustive()
    }
}
