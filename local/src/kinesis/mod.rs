//! The Kinesis core: streams in memory, one lock per shard, and the service's operations on them.
//!
//! Everything here is synchronous: an operation reads its request, takes locks for as long as it
//! touches what they guard, and writes its answer after they are released.

mod control;
pub(crate) mod hash;
mod limits;
mod list_shards;
mod put;
mod read;
mod reshard;
mod sequence;
pub(crate) mod shard;
mod stream;
pub(crate) mod subscription;
mod token;

use crate::endpoint::unknown_operation;
use crate::options::{Limits, LocalOptions};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Encoding, Fields, check};
use parking_lot::RwLock;
use runtime::{Chance, WallClock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stream::Stream;
use subscription::Subscription;
use token::{Kind, Sealer};

/// The operations that are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateStream,
    DecreaseStreamRetentionPeriod,
    DeleteStream,
    DescribeStream,
    DescribeStreamSummary,
    GetRecords,
    GetShardIterator,
    IncreaseStreamRetentionPeriod,
    ListShards,
    ListStreams,
    MergeShards,
    PutRecord,
    PutRecords,
    SplitShard,
    SubscribeToShard,
}

impl Operation {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "CreateStream" => Self::CreateStream,
            "DecreaseStreamRetentionPeriod" => Self::DecreaseStreamRetentionPeriod,
            "DeleteStream" => Self::DeleteStream,
            "DescribeStream" => Self::DescribeStream,
            "DescribeStreamSummary" => Self::DescribeStreamSummary,
            "GetRecords" => Self::GetRecords,
            "GetShardIterator" => Self::GetShardIterator,
            "IncreaseStreamRetentionPeriod" => Self::IncreaseStreamRetentionPeriod,
            "ListShards" => Self::ListShards,
            "ListStreams" => Self::ListStreams,
            "MergeShards" => Self::MergeShards,
            "PutRecord" => Self::PutRecord,
            "PutRecords" => Self::PutRecords,
            "SplitShard" => Self::SplitShard,
            "SubscribeToShard" => Self::SubscribeToShard,
            _ => return None,
        })
    }
}

/// What a fault changes inside an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Twist {
    #[default]
    None,
    /// PutRecords: every so-many-th entry is refused with this code.
    SplitEntries { every: usize, code: String },
    /// GetRecords: the iterator counts as expired.
    ExpireIterator,
}

/// An account's streams in one region.
#[derive(Debug)]
pub(crate) struct Kinesis {
    account: String,
    region: String,
    limits: Limits,
    /// Milliseconds.
    state_delay: u64,
    /// Milliseconds.
    iterator_ttl: u64,
    clock: Arc<dyn WallClock>,
    sealer: Sealer,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    incarnations: AtomicU64,
}

impl Kinesis {
    pub(crate) fn new(options: &LocalOptions, clock: Arc<dyn WallClock>, chance: &Chance) -> Self {
        Self {
            account: options.account.clone(),
            region: options.region.clone(),
            limits: options.limits,
            state_delay: millis(options.state_delay),
            iterator_ttl: millis(options.iterator_ttl),
            clock,
            sealer: Sealer::new(chance.next_u64()),
            streams: RwLock::new(BTreeMap::new()),
            incarnations: AtomicU64::new(1),
        }
    }

    /// Answers one request. Nothing is written to `out` when it is refused.
    pub(crate) fn call(
        &self,
        operation: Operation,
        request: Fields<'_, '_>,
        twist: &Twist,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        match operation {
            Operation::CreateStream => self.create_stream(request),
            Operation::DecreaseStreamRetentionPeriod => self.change_retention(request, false),
            Operation::DeleteStream => self.delete_stream(request),
            Operation::DescribeStream => self.describe_stream(request, out),
            Operation::DescribeStreamSummary => self.describe_stream_summary(request, out),
            Operation::GetRecords => self.get_records(request, twist, out),
            Operation::GetShardIterator => self.get_shard_iterator(request, out),
            Operation::IncreaseStreamRetentionPeriod => self.change_retention(request, true),
            Operation::ListShards => self.list_shards(request, out),
            Operation::ListStreams => self.list_streams(request, out),
            Operation::MergeShards => self.merge_shards(request),
            Operation::PutRecord => self.put_record(request, out),
            Operation::PutRecords => self.put_records(request, twist, out),
            Operation::SplitShard => self.split_shard(request),
            // Answered by `subscribe`.
            Operation::SubscribeToShard => Err(unknown_operation("SubscribeToShard")),
        }
    }

    /// Answers a SubscribeToShard; its events come in the request's encoding.
    pub(crate) fn subscribe(
        &self,
        _request: Fields<'_, '_>,
        _twist: &Twist,
        _encoding: Encoding,
    ) -> Result<Subscription, Refusal> {
        Err(unknown_operation("SubscribeToShard"))
    }

    /// The stream that a request is about, for the journal and for faults; none when it names none.
    pub(crate) fn resource(&self, request: Fields<'_, '_>) -> Option<String> {
        let text = |name| request.text(name).ok().flatten();
        text("StreamName")
            .or_else(|| text("StreamARN").and_then(|arn| arn.rsplit('/').next()))
            .map(str::to_owned)
            .or_else(|| {
                let iterator = self
                    .sealer
                    .open(Kind::ShardIterator, text("ShardIterator")?)?;
                Some(iterator.stream)
            })
            .or_else(|| {
                let page = self.sealer.open(Kind::ListShards, text("NextToken")?)?;
                Some(page.stream)
            })
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        runtime::time::epoch_millis(self.clock.now())
    }

    fn limits_apply(&self) -> bool {
        self.limits.shard_writes
    }

    fn next_incarnation(&self) -> u64 {
        self.incarnations.fetch_add(1, Ordering::Relaxed)
    }

    fn arn(&self, name: &str) -> String {
        format!(
            "arn:aws:kinesis:{}:{}:stream/{name}",
            self.region, self.account
        )
    }

    /// A stream that exists, brought up to `now`.
    pub(crate) fn find(&self, name: &str, now: u64) -> Option<Arc<Stream>> {
        let stream = self.streams.read().get(name).cloned()?;
        // Asked first under the shared lock: there is nearly never anything to do.
        let due = stream.state.read().is_due(now);
        if due && !stream.state.write().settle(stream.created, now) {
            let mut streams = self.streams.write();
            // Another may have been created under the name meanwhile.
            if streams
                .get(name)
                .is_some_and(|s| s.incarnation == stream.incarnation)
            {
                streams.remove(name);
            }
            return None;
        }
        Some(stream)
    }

    fn existing(&self, name: &str, now: u64) -> Result<Arc<Stream>, Refusal> {
        self.find(name, now).ok_or_else(|| self.no_stream(name))
    }

    fn no_stream(&self, name: &str) -> Refusal {
        Refusal::not_found(format!(
            "Stream {name} under account {} not found.",
            self.account
        ))
    }

    fn no_shard(&self, shard: &str, stream: &str) -> Refusal {
        Refusal::not_found(format!(
            "Could not find shard {shard} in stream {stream} under account {}.",
            self.account
        ))
    }

    /// The stream that a request selects by name, by ARN, or by both when they agree.
    fn selected(&self, request: Fields<'_, '_>, check: &mut Check) -> Result<String, Refusal> {
        let name = request.text("StreamName")?;
        let arn = request.text("StreamARN")?;
        check.name("streamName", name);
        check.length("streamARN", arn, 1, 2_048);
        let from_arn = arn.map(|arn| self.name_of_arn(arn)).transpose()?;
        match (name, from_arn) {
            (Some(name), Some(other)) if name != other => Err(Refusal::invalid_argument(format!(
                "StreamName {name} and StreamARN {} do not name the same stream.",
                arn.unwrap_or_default()
            ))),
            (Some(name), _) => Ok(name.to_owned()),
            (None, Some(name)) => Ok(name.to_owned()),
            (None, None) => Err(Refusal::invalid_argument(
                "Either StreamName or StreamARN should be provided.",
            )),
        }
    }

    fn name_of_arn<'t>(&self, arn: &'t str) -> Result<&'t str, Refusal> {
        let mut parts = arn.splitn(6, ':');
        let mut part = || parts.next().unwrap_or_default();
        let (scheme, _partition, service) = (part(), part(), part());
        let (region, account) = (part(), part());
        let name = part().strip_prefix("stream/").unwrap_or_default();
        if scheme != "arn" || service != "kinesis" || name.is_empty() || !check::is_name(name) {
            return Err(Refusal::validation(format!(
                "1 validation error detected: Value '{arn}' at 'streamARN' failed to satisfy \
                 constraint: Member must satisfy regular expression pattern: \
                 arn:aws.*:kinesis:.*:\\d{{12}}:stream/\\S+"
            )));
        }
        if region != self.region || account != self.account {
            return Err(Refusal::not_found(format!(
                "Stream {name} under account {account} not found."
            )));
        }
        Ok(name)
    }

    /// The shard index that a shard's name gives; names may leave `shardId-` and zeros out, as AWS
    /// lets them.
    fn shard_index(&self, name: &str, stream: &str) -> Result<u32, Refusal> {
        let digits = name.rsplit('-').next().unwrap_or(name);
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
            .ok_or_else(|| self.no_shard(name, stream))
    }
}

/// The answer to a call with `DryRun` whose checks all passed.
fn dry_run(operation: &str) -> Refusal {
    Refusal::new(
        "DryRunOperationException",
        format!(
            "DryRunOperation validation succeeded while calling {operation} operation.: Request \
             would have succeeded, but DryRun flag is set."
        ),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
