//! Calls per second of the control plane.

use super::bucket::Bucket;
use super::stream::Stream;
use super::{Kinesis, Operation};
use crate::refusal::Refusal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whose calls are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Account,
    Stream,
}

/// What an operation may be called per second; none for what has no limit of its own or is limited
/// per shard. Where the developer guide and the API reference disagree on account or stream, the
/// stream is taken.
fn rate(operation: Operation) -> Option<(Per, i64)> {
    use Operation::*;
    Some(match operation {
        CreateStream | DeleteStream | ListStreams => (Per::Account, 5),
        DescribeStream | UpdateShardCount => (Per::Account, 10),
        DescribeStreamSummary => (Per::Account, 20),
        DescribeLimits => (Per::Account, 1),
        ListShards => (Per::Stream, 1_000),
        DescribeStreamConsumer => (Per::Stream, 20),
        AddTagsToStream
        | DecreaseStreamRetentionPeriod
        | DeregisterStreamConsumer
        | DisableEnhancedMonitoring
        | EnableEnhancedMonitoring
        | IncreaseStreamRetentionPeriod
        | ListStreamConsumers
        | ListTagsForStream
        | MergeShards
        | RegisterStreamConsumer
        | RemoveTagsFromStream
        | SplitShard => (Per::Stream, 5),
        GetRecords
        | GetShardIterator
        | ListTagsForResource
        | PutRecord
        | PutRecords
        | StartStreamEncryption
        | StopStreamEncryption
        | SubscribeToShard
        | TagResource
        | UntagResource
        | UpdateMaxRecordSize
        | UpdateStreamMode
        | UpdateStreamRecordDistributionStrategy => return None,
    })
}

/// The calls of an account or of a stream.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    by_operation: Mutex<BTreeMap<Operation, Bucket>>,
    dry_runs: Mutex<Option<Bucket>>,
}

impl Calls {
    fn admit(&self, operation: Operation, per_second: i64, now: u64) -> bool {
        self.by_operation
            .lock()
            .entry(operation)
            .or_insert_with(|| Bucket::full(per_second, now))
            .admit(now)
    }
}

impl Kinesis {
    /// Counts a call; refuses it when there were too many.
    pub(super) fn admit_call(
        &self,
        operation: Operation,
        stream: impl FnOnce() -> Option<Arc<Stream>>,
    ) -> Result<(), Refusal> {
        if !self.limits.calls {
            return Ok(());
        }
        let Some((per, per_second)) = rate(operation) else {
            return Ok(());
        };
        let now = self.now();
        let what = match per {
            Per::Account => {
                if self.calls.admit(operation, per_second, now) {
                    return Ok(());
                }
                String::new()
            }
            // What names no stream that exists is refused for that.
            Per::Stream => match stream() {
                Some(stream) if !stream.calls.admit(operation, per_second, now) => {
                    format!("stream {} under ", stream.name)
                }
                _ => return Ok(()),
            },
        };
        Err(Refusal::limit_exceeded(format!(
            "Rate exceeded for {what}account {}.",
            self.account
        )))
    }

    /// Ends a call with `DryRun` whose checks all passed: one a second and stream.
    pub(super) fn dry_run(&self, operation: &str, stream: &Stream) -> Refusal {
        let now = self.now();
        let mut bucket = stream.calls.dry_runs.lock();
        if self.limits.calls
            && !bucket
                .get_or_insert_with(|| Bucket::full(1, now))
                .admit(now)
        {
            return Refusal::new(
                "ThrottlingException",
                format!(
                    "Rate of calls with DryRun exceeded for stream {} under account {}.",
                    stream.name, self.account
                ),
            );
        }
        Refusal::new(
            "DryRunOperationException",
            format!(
                "DryRunOperation validation succeeded while calling {operation} operation.: \
                 Request would have succeeded, but DryRun flag is set."
            ),
        )
    }
}
