//! A worker that shares the stream's shards with others.

use crate::Failure;
use crate::messages::{Message, Place};
use crate::payload::{self, Source};
use crate::resources;
use kcl::{
    Batch, Checkpointer, Finished, InitialPosition, ProcessorError, RecordProcessor, Scheduler,
    ShardContext, ShardEnd,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a worker may be silent before others take its shards; the default, 10 s, is tightened for
/// the show.
pub const FAILOVER: Duration = Duration::from_secs(3);

struct Account;

impl RecordProcessor for Account {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let (mut producer, mut agent, mut foreign) = (Vec::new(), Vec::new(), 0);
        for record in &batch.records {
            match payload::read(&record.data) {
                Some((Source::Producer, id)) => producer.push(id),
                Some((Source::Agent, id)) => agent.push(id),
                None => foreign += 1,
            }
        }
        // Told before it is checkpointed: whoever dies in between repeats it, and loses nothing.
        super::tell(&Message::Arrived {
            producer,
            agent,
            foreign,
        })?;
        at.checkpoint().await?;
        Ok(())
    }

    async fn shard_ended(&mut self, end: ShardEnd) -> Result<Finished, ProcessorError> {
        Ok(end.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, at: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(at.checkpoint().await?)
    }
}

pub async fn run(
    place: &Place,
    application: &str,
    stream: &str,
    worker: &str,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let (config, requests) = resources::config(place)?;
    let scheduler = Scheduler::builder(application, stream, |_: &ShardContext| Account)
        .aws(config)
        .worker_id(worker)
        .initial_position(InitialPosition::TrimHorizon)
        .failover_time(FAILOVER)
        .set("parentShardPollIntervalMillis", "1000")
        .build()
        .await?;
    scheduler.run(stop).await?;
    super::tell(&Message::Done {
        requests: requests.counts(),
        note: None,
    })
}
