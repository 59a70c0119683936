//! A producer for Amazon Kinesis Data Streams that behaves as the Kinesis Producer Library does,
//! native and in the caller's process.
//!
//! Small user records are packed into Kinesis records in the KPL's format, those into `PutRecords`
//! requests; throttled and failed ones are tried again until their time to live is over; the memory for
//! all this is bounded, and `put` waits at the bound.
//!
//! ```no_run
//! use kpl::{Producer, Record};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = aws::Config::builder().region("eu-west-1").load()?;
//! let producer = Producer::builder("orders").aws(config).build().await?;
//! let receipt = producer.put(Record::new("customer-7", "a new order")).await?; // admitted
//! let delivered = receipt.await?; // stored
//! println!("{} {}", delivered.shard_id, delivered.sequence_number);
//! let batch = (0..100).map(|n| Record::new(format!("customer-{n}"), "another order"));
//! producer.put_all(batch).await?.forget();
//! producer.flush().await;
//! let report = producer.close(Duration::from_secs(30)).await;
//! println!("{} delivered, {} failed", report.delivered, report.failed);
//! # Ok(()) }
//! ```
//!
//! # What is promised
//! - Each admitted record resolves exactly once: delivered, or failed with the true reason.
//! - Delivered means that a consumer of the shard sees it. When shards are split or merged under way,
//!   an aggregate that a consumer would drop, because one of its records lies outside the shard that
//!   stored it, is sent again as a whole, none of it acknowledged before.
//! - At least once: a request whose answer got lost is sent again.
//! - Nothing is dropped before its time to live (`RecordTtl`); permanent errors (no such stream, access
//!   denied) fail at once, or are waited out (`OnPermanentError`). Where the service refuses a request
//!   for one bad record in it, that record fails alone.
//! - A shard that takes nothing does not stop the records of others (`MaxBufferedPerShard`).
//! - No order among records, unless `StrictOrdering` is set: then those of one hash key are stored in the
//!   order of their admission.

mod admission;
mod ages;
mod batch;
mod blocking;
mod builder;
mod claims;
mod cloudwatch;
mod collector;
mod deadlines;
mod engine;
mod error;
mod events;
#[cfg(test)]
mod interleavings;
mod lane;
mod last_key;
mod limiter;
mod meters;
pub mod metrics;
mod order;
mod outcome;
mod patience;
mod prepare;
mod producer;
mod producers;
mod quiet;
mod receipt;
mod record;
mod refill;
mod refresh;
mod rest;
mod routing;
mod sealed;
mod sender;
mod settings;
mod shard_map;
mod shared;
mod shelf;
mod sink;
mod slot;
mod spool;
mod stats;
mod strategist;
mod sync;
mod turns;

pub use aggregation::{GlueCompression, GlueHeader, HashKey, HashKeyError};
pub use aws::cloudwatch::UploadStats;
pub use blocking::{BlockingBatchReceipt, BlockingProducer, BlockingReceipt};
pub use builder::ProducerBuilder;
pub use error::{
    BuildError, DeliveryError, InRuntime, PutAllError, PutAllReason, PutError, WaitError,
};
pub use events::{ProducerEvent, ProducerEvents};
pub use prepare::{GlueSerializer, SerializeError, Serializer};
pub use producer::{CloseReport, Outstanding, Producer};
pub use producers::{OpenError, Producers, ProducersBuilder, PutToError};
pub use receipt::{BatchReceipt, BatchReport, Delivered, Receipt};
pub use record::Record;
pub use runtime::{Attempt, Attempts};
pub use settings::SETTINGS;
pub use sink::{RecordSink, SinkError};
pub use spool::{SpoolDamage, SpoolError, SpoolSync};
pub use stats::Stats;
