//! One chunk of records on its way: sent again until each is stored.

use crate::delivery::{Destination, Outcome, Outcomes, Outgoing};
use crate::rotation::Generation;
use crate::summary::Stats;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use runtime::{Chance, RetryPolicy};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

/// A chunk: consecutive records of one file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: Generation,
    /// Its ticket: where it starts in the file.
    pub(super) start: u64,
    pub(super) records: Vec<Outgoing>,
    /// The memory that its block takes, given back with the last chunk of the block.
    #[expect(dead_code, reason = "held until the chunk is done")]
    pub(super) memory: Arc<OwnedSemaphorePermit>,
}

/// A chunk that is delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) file: Generation,
    pub(super) start: u64,
}

/// What a chunk is sent with.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) destination: Arc<dyn Destination>,
    pub(super) retry: RetryPolicy,
    pub(super) chance: Chance,
    pub(super) stats: Arc<Stats>,
}

/// Hands the chunks of a block over in their order, opens the gate for the next block, and watches over
/// them until each is delivered. Ends early when the destination is closed.
pub(super) async fn ship_block(
    chunks: Vec<Chunk>,
    gate: OwnedSemaphorePermit,
    way: Way,
    delivered: UnboundedSender<Done>,
) {
    let mut shipping = FuturesUnordered::new();
    for chunk in chunks {
        let outcomes = way.destination.put_all(chunk.records.clone()).await;
        shipping.push(ship(chunk, outcomes, way.clone()));
    }
    drop(gate);
    while let Some(done) = shipping.next().await {
        // Nobody listens when the flow has ended: what is not acknowledged is read again.
        let _ = done.map(|done| delivered.send(done));
    }
}

/// Waits for a chunk's outcomes, and sends what failed again, later and later, for as long as it takes.
/// A record that can never be stored is dropped: counted, and told with where it stands. `None` when
/// the destination was closed first.
async fn ship(mut chunk: Chunk, first: Outcomes, way: Way) -> Option<Done> {
    let Way {
        destination,
        retry,
        chance,
        stats,
    } = way;
    let done = Done {
        file: chunk.file,
        start: chunk.start,
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
                    let held = stats.drops.lock().pass();
                    if let Some(held_back) = held {
                        tracing::error!(
                            flow = stats.flow,
                            chunk_at = chunk.start,
                            bytes = record.data.len(),
                            reason,
                            held_back,
                            "a record can never be stored and is dropped"
                        );
                    }
                }
                Outcome::Closed => return None,
            }
        }
        stats.records_sent.add(stored.0);
        stats.bytes_sent.add(stored.1);
        let Some(reason) = reason else {
            return Some(done);
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
