//! One chunk of records on its way: sent again until each is stored.

use crate::delivery::{Destination, Outcome, Outcomes, Outgoing};
use crate::rotation::Generation;
use crate::summary::Stats;
use runtime::{Chance, RetryPolicy};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A chunk: consecutive records of one file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: Generation,
    /// Its ticket: where it starts in the file.
    pub(super) start: u64,
    pub(super) records: Vec<Outgoing>,
    /// The memory that its block takes, given back with the last chunk of the block.
    pub(super) memory: Arc<OwnedSemaphorePermit>,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) file: Generation,
    pub(super) start: u64,
    /// False when the destination was closed first.
    pub(super) delivered: bool,
}

/// Waits for a chunk's outcomes, and sends what failed again, later and later, for as long as it takes.
/// A record that can never be stored is dropped: counted, and told with where it stands.
pub(super) async fn ship(
    mut chunk: Chunk,
    first: Outcomes,
    destination: Arc<dyn Destination>,
    retry: RetryPolicy,
    chance: Chance,
    stats: Arc<Stats>,
) -> Done {
    let mut done = Done {
        file: chunk.file,
        start: chunk.start,
        delivered: false,
    };
    let mut backoff = retry.start(&chance);
    let mut pending = first;
    loop {
        let outcomes = pending.await;
        let mut failed = Vec::new();
        let mut reason = None;
        let mut stored = (0, 0);
        for (record, outcome) in std::mem::take(&mut chunk.records).into_iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered => {
                    stored.0 += 1;
                    stored.1 += record.data.len() as u64;
                }
                Outcome::Failed { reason: why } => {
                    failed.push(record);
                    reason = Some(why);
                }
                Outcome::Refused { reason } => {
                    stats.dropped.add(1);
                    tracing::error!(
                        flow = stats.flow,
                        chunk_at = chunk.start,
                        bytes = record.data.len(),
                        reason,
                        "a record can never be stored and is dropped"
                    );
                }
                Outcome::Closed => return done,
            }
        }
        stats.records_sent.add(stored.0);
        stats.bytes_sent.add(stored.1);
        let Some(reason) = reason else {
            if stats.trouble.lock().clear() {
                tracing::info!(flow = stats.flow, "records are accepted again");
            }
            done.delivered = true;
            return done;
        };
        stats.retries.add(failed.len() as u64);
        tell(&stats, failed.len(), &reason);
        backoff.wait().await;
        pending = destination.put_all(failed.clone()).await;
        chunk.records = failed;
    }
}

fn tell(stats: &Stats, records: usize, reason: &str) {
    let held = stats.trouble.lock().pass();
    if let Some(held_back) = held {
        tracing::warn!(
            flow = stats.flow,
            records,
            reason,
            held_back,
            "records were not stored and are sent again"
        );
    }
}
