//! A native Kinesis consumer: workers of an application share a stream's shards through a lease table
//! in DynamoDB, in the layout of the Kinesis Client Library 3.5.
//!
//! ```no_run
//! use kcl::{Batch, Checkpointer, InitialPosition, ProcessorError, RecordProcessor, Scheduler, ShardContext};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Count(u64);
//!
//! impl RecordProcessor for Count {
//!     async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
//!         self.0 += batch.records.len() as u64;
//!         at.checkpoint().await?;
//!         Ok(())
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let scheduler = Scheduler::builder("app", "orders", |_: &ShardContext| Count(0))
//!     .initial_position(InitialPosition::TrimHorizon)
//!     .set("maxRecords", "5000")
//!     .build()
//!     .await?;
//! let stop = CancellationToken::new();
//! let report = scheduler.run(stop.child_token()).await?;
//! println!("finished {:?}", report.finished);
//! # Ok(()) }
//! ```
//!
//! Records are delivered at least once, in order within a shard, children after their parents. A
//! checkpoint succeeds only while the worker owns the shard's lease.
//!
//! This version takes leases without a leader, as KCL 2 did: it refuses tables that workers of KCL 3
//! use ([`lease::table_check`]).

mod checkpointer;
mod coordinator;
mod deaggregation;
mod housekeeping;
pub mod lease;
mod position;
mod prefetch;
mod processor;
mod record;
mod retrieval;
mod scheduler;
pub mod settings;
mod shard_consumer;
pub mod shard_sync;
mod stream_shards;
pub mod taking;

pub use aggregation::{ExplicitHashKey, HashKey, HashRange, Utf8Bytes};
pub use checkpointer::{CheckpointError, Checkpointer, Finished, ShardEnd};
pub use coordinator::RenewalPlace;
pub use position::{InitialPosition, Position, Sequence, SequenceNumber};
pub use processor::{
    Initialization, ProcessorError, ProcessorFactory, RecordProcessor, ShardContext,
};
pub use record::{Batch, UserRecord};
pub use scheduler::{
    BuildError, Handle, Report, Scheduler, SchedulerBuilder, SchedulerError, Stats,
};
pub use stream_shards::SetupError;
