//! What a user writes.

use crate::checkpointer::{Checkpointer, Finished, ShardEnd};
use crate::lease::Pending;
use crate::position::Position;
use crate::record::Batch;
use std::future::Future;

/// Any error of a processor: `?` makes one of every error type, [`crate::CheckpointError`] included.
pub type ProcessorError = Box<dyn std::error::Error + Send + Sync>;

/// The shard that a processor is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardContext {
    /// The application.
    pub application: String,
    /// The stream.
    pub stream: String,
    /// The shard.
    pub shard_id: String,
}

/// Where a processor begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Initialization {
    /// The shard.
    pub shard_id: String,
    /// The checkpoint: the records behind it follow.
    pub checkpoint: Position,
    /// A checkpoint that an earlier owner prepared and did not commit.
    pub pending: Option<Pending>,
}

/// Processes the records of one shard. Write the methods as `async fn`; all but
/// [`RecordProcessor::process`] have a default.
///
/// Calls for a shard never overlap and come in this order: `initialize` (again after an error), then
/// `process` any number of times, then one of `shard_ended` (again after an error), `lease_lost`, or
/// `shutdown_requested`. A child's `initialize` comes after the ends of its parents were
/// checkpointed, on whichever worker. Records are delivered at least once: after a takeover from the last checkpoint on.
///
/// A call that runs when the lease is lost is not interrupted; [`Checkpointer::lease_over`] lets it
/// stop early. Blocking a thread inside a call delays the other shards, but loses no lease.
pub trait RecordProcessor: Send + 'static {
    /// Called first.
    fn initialize(
        &mut self,
        at: &Initialization,
    ) -> impl Future<Output = Result<(), ProcessorError>> + Send {
        let _ = at;
        async { Ok(()) }
    }

    /// Takes the next records. What an error leads to is the setting `processorErrorPolicy`; by default
    /// the same batch comes again.
    fn process(
        &mut self,
        batch: Batch,
        at: &Checkpointer,
    ) -> impl Future<Output = Result<(), ProcessorError>> + Send;

    /// The lease is lost: another worker has the shard or will have it. Nothing can be checkpointed.
    fn lease_lost(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// All records of the shard were delivered; must checkpoint, which is by default all it does.
    fn shard_ended(
        &mut self,
        end: ShardEnd,
    ) -> impl Future<Output = Result<Finished, ProcessorError>> + Send {
        async { Ok(end.checkpoint().await?) }
    }

    /// The worker is being stopped: the last opportunity to checkpoint before the lease is given back.
    fn shutdown_requested(
        &mut self,
        at: &Checkpointer,
    ) -> impl Future<Output = Result<(), ProcessorError>> + Send {
        let _ = at;
        async { Ok(()) }
    }
}

/// Makes a processor for each shard. A closure is a factory.
pub trait ProcessorFactory: Send + Sync + 'static {
    /// What it makes.
    type Processor: RecordProcessor;

    /// Makes the processor of a shard.
    fn create(&self, shard: &ShardContext) -> Self::Processor;
}

impl<F, P> ProcessorFactory for F
where
    F: Fn(&ShardContext) -> P + Send + Sync + 'static,
    P: RecordProcessor,
{
    type Processor = P;

    fn create(&self, shard: &ShardContext) -> P {
        self(shard)
    }
}
