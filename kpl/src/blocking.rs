//! The producer for code without async.

use crate::builder::ProducerBuilder;
use crate::error::{BuildError, InRuntime, PutAllError, PutAllReason, PutError, WaitError};
use crate::producer::{CloseReport, Outstanding, Producer};
use crate::receipt::{BatchReceipt, BatchReport, Delivered, Receipt};
use crate::record::Record;
use crate::stats::Stats;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A [`Producer`] for code without async: its calls block the thread that makes them. Clones share
/// everything with each other and with the producer that it was made from.
///
/// Made by [`ProducerBuilder::build_blocking`], it delivers on a thread of its own, which ends when the
/// last clone is dropped and what was admitted has its outcome. Made by [`Producer::blocking`], it
/// delivers on that producer's runtime.
///
/// Not to be called on a thread of an async runtime (nor within `spawn_blocking`, where
/// `Handle::block_on` can call the [`Producer`] itself): blocked, the thread could not do what is waited
/// for. Calls there are refused with [`InRuntime`], and do nothing.
#[derive(Debug, Clone)]
pub struct BlockingProducer {
    producer: Producer,
    /// Keeps the runtime alive that was made for it; dropped with the last clone.
    _own: Option<Arc<oneshot::Sender<()>>>,
}

/// A [`Receipt`] to wait for on a thread.
#[derive(Debug)]
#[must_use = "a receipt tells whether the record was delivered; `forget` it if nobody wants to know"]
pub struct BlockingReceipt(Receipt);

/// A [`BatchReceipt`] to wait for on a thread.
#[derive(Debug)]
#[must_use = "a receipt tells whether the records were delivered; `forget` it if nobody wants to know"]
pub struct BlockingBatchReceipt(BatchReceipt);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread until the future resolves, unless the thread is a runtime's.
fn block_on<F: Future>(future: F) -> Result<F::Output, InRuntime> {
    if Handle::try_current().is_ok() {
        return Err(InRuntime);
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        std::thread::park();
    }
}

impl ProducerBuilder {
    /// Builds a producer for code without async, with a thread and a runtime of its own to deliver on.
    ///
    /// # Errors
    /// As [`ProducerBuilder::build`]; and [`BuildError::InRuntime`] on a thread of an async runtime.
    pub fn build_blocking(self) -> Result<BlockingProducer, BuildError> {
        if Handle::try_current().is_ok() {
            return Err(InRuntime.into());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BuildError::Thread)?;
        let (built, taken) = mpsc::channel();
        let (own, dropped) = oneshot::channel::<()>();
        let deliver = async move {
            match self.build().await {
                Ok(producer) => {
                    let ended = producer.ended();
                    drop(built.send(Ok(producer)));
                    ended.await;
                    // A handle may still wait, by this runtime's clock.
                    drop(dropped.await);
                }
                Err(error) => drop(built.send(Err(error))),
            }
        };
        std::thread::Builder::new()
            .name("kpl".to_owned())
            .spawn(move || runtime.block_on(deliver))
            .map_err(BuildError::Thread)?;
        let producer = taken.recv().map_err(|_| {
            let reason = "the thread ended before the producer was there";
            BuildError::Thread(std::io::Error::other(reason))
        })??;
        Ok(BlockingProducer {
            producer,
            _own: Some(Arc::new(own)),
        })
    }
}

impl BlockingProducer {
    pub(crate) const fn over(producer: Producer) -> Self {
        Self {
            producer,
            _own: None,
        }
    }

    /// Puts a record; returns when it is admitted. As [`Producer::put`].
    ///
    /// # Errors
    /// [`PutError`], which gives the record back: as for [`Producer::put`], and [`PutError::InRuntime`].
    pub fn put(&self, record: Record) -> Result<BlockingReceipt, PutError> {
        if Handle::try_current().is_ok() {
            let record = Box::new(record);
            return Err(PutError::InRuntime { record });
        }
        match self.producer.try_put(record) {
            Err(PutError::Full { record }) => {
                // Checked above: the record is not lost.
                let put = block_on(self.producer.put((*record).clone()));
                put.map_err(|InRuntime| PutError::InRuntime { record })?
            }
            other => other,
        }
        .map(BlockingReceipt)
    }

    /// Puts a record if there is room for it now. As [`Producer::try_put`]; never blocks, and may be
    /// called anywhere.
    ///
    /// # Errors
    /// [`PutError`], which gives the record back.
    pub fn try_put(&self, record: Record) -> Result<BlockingReceipt, PutError> {
        self.producer.try_put(record).map(BlockingReceipt)
    }

    /// Puts many records; returns when all are admitted. As [`Producer::put_all`].
    ///
    /// # Errors
    /// [`PutAllError`], which gives back what was not admitted.
    pub fn put_all(
        &self,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<BlockingBatchReceipt, PutAllError> {
        let records: Vec<Record> = records.into_iter().collect();
        if Handle::try_current().is_ok() {
            return Err(in_runtime(records));
        }
        // Checked above: nothing is lost.
        let put = block_on(self.producer.put_all(records));
        put.map_err(|InRuntime| in_runtime(Vec::new()))?
            .map(BlockingBatchReceipt)
    }

    /// Returns when every record that was put before is resolved. As [`Producer::flush`].
    ///
    /// # Errors
    /// [`InRuntime`]: nothing was waited for.
    pub fn flush(&self) -> Result<(), InRuntime> {
        block_on(self.producer.flush())
    }

    /// Delivers what was admitted until `deadline` from now, and ends the producer. As
    /// [`Producer::close`].
    ///
    /// # Errors
    /// [`InRuntime`]: the producer goes on.
    pub fn close(&self, deadline: Duration) -> Result<CloseReport, InRuntime> {
        if Handle::try_current().is_ok() {
            return Err(InRuntime);
        }
        // Its timers are those of the runtime that delivers.
        let mut close = Box::pin(self.producer.close(deadline));
        block_on(std::future::poll_fn(|cx| {
            let _runtime = self.producer.runtime().enter();
            close.as_mut().poll(cx)
        }))
    }

    /// The producer itself: for statistics, and for async code.
    #[must_use]
    pub const fn producer(&self) -> &Producer {
        &self.producer
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.producer.stats()
    }

    /// What is admitted and not yet resolved.
    #[must_use]
    pub fn outstanding(&self) -> Outstanding {
        self.producer.outstanding()
    }
}

const fn in_runtime(records: Vec<Record>) -> PutAllError {
    PutAllError {
        reason: PutAllReason::InRuntime,
        records,
        admitted: None,
    }
}

impl BlockingReceipt {
    /// Blocks until the record is delivered, or until that has failed for good.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait(self) -> Result<Delivered, WaitError> {
        Ok(block_on(self.0)??)
    }

    /// Gives the receipt away; the record is delivered all the same.
    pub fn forget(self) {}

    /// The receipt for async code.
    pub fn into_async(self) -> Receipt {
        self.0
    }
}

impl BlockingBatchReceipt {
    /// Blocks until every record of the batch has its outcome.
    ///
    /// # Errors
    /// [`InRuntime`]; the records are delivered all the same.
    pub fn wait(self) -> Result<BatchReport, InRuntime> {
        block_on(self.0)
    }

    /// Gives the receipt away; the records are delivered all the same.
    pub fn forget(self) {}

    /// The receipt for async code.
    pub fn into_async(self) -> BatchReceipt {
        self.0
    }
}
