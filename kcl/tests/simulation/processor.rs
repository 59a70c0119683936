//! A processor of moods.

use crate::model::Model;
use kcl::{
    Batch, CheckpointError, Checkpointer, Finished, Initialization, ProcessorError,
    RecordProcessor, ShardEnd,
};
use runtime::Chance;
use std::time::Duration;
use tokio::time::sleep;

pub(crate) struct Simulated {
    worker: String,
    shard: String,
    model: Model,
    chance: Chance,
    failover: u64,
}

impl Simulated {
    pub(crate) fn new(
        worker: String,
        shard: String,
        model: Model,
        chance: Chance,
        failover: u64,
    ) -> Self {
        Self {
            worker,
            shard,
            model,
            chance,
            failover,
        }
    }

    fn log(&self, what: &str) {
        self.model
            .log(format!("{} {} {what}", self.worker, self.shard));
    }

    /// A processor may ignore that its lease is gone.
    fn outcome(&self, result: Result<(), CheckpointError>) -> Result<(), ProcessorError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                self.log(&format!("checkpoint: {error}"));
                match self.chance.happens(0.5) {
                    true => Ok(()),
                    false => Err(error.into()),
                }
            }
        }
    }
}

impl RecordProcessor for Simulated {
    async fn initialize(&mut self, at: &Initialization) -> Result<(), ProcessorError> {
        self.model.begun(&self.worker, &self.shard);
        self.log(&format!("at {}", at.checkpoint));
        Ok(())
    }

    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let ids: Vec<String> = batch
            .records
            .iter()
            .map(|r| String::from_utf8_lossy(&r.data).into_owned())
            .collect();
        self.log(&format!("is given {ids:?}"));
        match self.chance.below(20) {
            0 => return Err("a bad day".into()),
            1 => panic!("expected by the simulation"),
            // Longer than others wait for a dead worker.
            2 => sleep(Duration::from_millis(self.failover * 2)).await,
            3..8 => sleep(Duration::from_millis(self.chance.below(1_000))).await,
            _ => {}
        }
        match self.chance.below(4) {
            0 => {
                self.model.consumed(&ids);
                Ok(())
            }
            1 => {
                let n = self.chance.index(ids.len());
                self.model.consumed(&ids[..=n]);
                let written = at.checkpoint_record(&batch.records[n]).await;
                self.outcome(written)?;
                // The rest is at risk until it is taken, too.
                sleep(Duration::from_millis(self.chance.below(2_000))).await;
                self.model.consumed(&ids);
                Ok(())
            }
            _ => {
                self.model.consumed(&ids);
                let written = at.checkpoint().await;
                self.outcome(written)
            }
        }
    }

    async fn lease_lost(&mut self) {
        self.log("is lost");
    }

    async fn shard_ended(&mut self, end: ShardEnd) -> Result<Finished, ProcessorError> {
        self.log("ends");
        if self.chance.happens(0.2) {
            return Err("not yet".into());
        }
        Ok(end.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, at: &Checkpointer) -> Result<(), ProcessorError> {
        self.log("is asked to stop");
        Ok(at.checkpoint().await?)
    }
}
