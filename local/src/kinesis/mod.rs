//! The Kinesis core: streams in memory, one lock per shard, and the service's operations on them.
//!
//! Everything here is synchronous: an operation reads its request, takes locks for as long as it
//! touches what they guard, and writes its answer after they are released.

mod batch;
mod bucket;
mod calls;
mod consumers;
mod control;
pub(crate) mod hash;
mod limits;
mod list_shards;
mod log;
mod memory;
mod put;
mod read;
mod reshard;
mod scaling;
mod sequence;
mod settings;
pub(crate) mod shard;
mod store;
mod stream;
pub(crate) mod subscription;
mod tags;
mod token;

use crate::endpoint::unknown_operation;
use crate::options::{Limits, LocalOptions};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields, check};
use calls::Calls;
use memory::Kept;
use parking_lot::{Mutex, RwLock};
use runtime::{Chance, WallClock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stream::Stream;
use token::{Kind, Sealer};

/// The operations that are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    AddTagsToStream,
    CreateStream,
    DecreaseStreamRetentionPeriod,
    DeleteStream,
    DeregisterStreamConsumer,
    DescribeLimits,
    DescribeStream,
    DescribeStreamConsumer,
    DescribeStreamSummary,
    DisableEnhancedMonitoring,
    EnableEnhancedMonitoring,
    GetRecords,
    GetShardIterator,
    IncreaseStreamRetentionPeriod,
    ListShards,
    ListStreamConsumers,
    ListStreams,
    ListTagsForResource,
    ListTagsForStream,
    MergeShards,
    PutRecord,
    PutRecords,
    RegisterStreamConsumer,
    RemoveTagsFromStream,
    SplitShard,
    StartStreamEncryption,
    StopStreamEncryption,
    SubscribeToShard,
    TagResource,
    UntagResource,
    UpdateMaxRecordSize,
    UpdateShardCount,
    UpdateStreamMode,
    UpdateStreamRecordDistributionStrategy,
}

impl Operation {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "AddTagsToStream" => Self::AddTagsToStream,
            "CreateStream" => Self::CreateStream,
            "DecreaseStreamRetentionPeriod" => Self::DecreaseStreamRetentionPeriod,
            "DeleteStream" => Self::DeleteStream,
            "DeregisterStreamConsumer" => Self::DeregisterStreamConsumer,
            "DescribeLimits" => Self::DescribeLimits,
            "DescribeStream" => Self::DescribeStream,
            "DescribeStreamConsumer" => Self::DescribeStreamConsumer,
            "DescribeStreamSummary" => Self::DescribeStreamSummary,
            "DisableEnhancedMonitoring" => Self::DisableEnhancedMonitoring,
            "EnableEnhancedMonitoring" => Self::EnableEnhancedMonitoring,
            "GetRecords" => Self::GetRecords,
            "GetShardIterator" => Self::GetShardIterator,
            "IncreaseStreamRetentionPeriod" => Self::IncreaseStreamRetentionPeriod,
            "ListShards" => Self::ListShards,
            "ListStreamConsumers" => Self::ListStreamConsumers,
            "ListStreams" => Self::ListStreams,
            "ListTagsForResource" => Self::ListTagsForResource,
            "ListTagsForStream" => Self::ListTagsForStream,
            "MergeShards" => Self::MergeShards,
            "PutRecord" => Self::PutRecord,
            "PutRecords" => Self::PutRecords,
            "RegisterStreamConsumer" => Self::RegisterStreamConsumer,
            "RemoveTagsFromStream" => Self::RemoveTagsFromStream,
            "SplitShard" => Self::SplitShard,
            "StartStreamEncryption" => Self::StartStreamEncryption,
            "StopStreamEncryption" => Self::StopStreamEncryption,
            "SubscribeToShard" => Self::SubscribeToShard,
            "TagResource" => Self::TagResource,
            "UntagResource" => Self::UntagResource,
            "UpdateMaxRecordSize" => Self::UpdateMaxRecordSize,
            "UpdateShardCount" => Self::UpdateShardCount,
            "UpdateStreamMode" => Self::UpdateStreamMode,
            "UpdateStreamRecordDistributionStrategy" => {
                Self::UpdateStreamRecordDistributionStrategy
            }
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
    /// SubscribeToShard: after so many events an exception ends the stream.
    FailSubscription {
        after: u64,
        code: String,
        message: String,
    },
    /// SubscribeToShard: after so many events nothing comes until the subscription is over.
    SilenceSubscription { after: u64 },
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
    calls: Calls,
    incarnations: AtomicU64,
    /// The most bytes that records may take.
    max_bytes: Option<u64>,
    kept: Kept,
    trimming: Mutex<()>,
    trimmed: AtomicU64,
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
            calls: Calls::default(),
            incarnations: AtomicU64::new(1),
            max_bytes: options.max_bytes,
            kept: Kept::default(),
            trimming: Mutex::new(()),
            trimmed: AtomicU64::new(0),
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
        use Operation::*;
        self.admit(operation, request)?;
        match operation {
            AddTagsToStream => self.add_tags_to_stream(request),
            CreateStream => self.create_stream(request),
            DecreaseStreamRetentionPeriod => self.change_retention(request, false),
            DeleteStream => self.delete_stream(request),
            DeregisterStreamConsumer => self.deregister_stream_consumer(request),
            DescribeLimits => {
                self.describe_limits(out);
                Ok(())
            }
            DescribeStream => self.describe_stream(request, out),
            DescribeStreamConsumer => self.describe_stream_consumer(request, out),
            DescribeStreamSummary => self.describe_stream_summary(request, out),
            DisableEnhancedMonitoring => self.change_monitoring(request, false, out),
            EnableEnhancedMonitoring => self.change_monitoring(request, true, out),
            GetRecords => self.get_records(request, twist, out),
            GetShardIterator => self.get_shard_iterator(request, out),
            IncreaseStreamRetentionPeriod => self.change_retention(request, true),
            ListShards => self.list_shards(request, out),
            ListStreamConsumers => self.list_stream_consumers(request, out),
            ListStreams => self.list_streams(request, out),
            ListTagsForResource => self.list_tags_for_resource(request, out),
            ListTagsForStream => self.list_tags_for_stream(request, out),
            MergeShards => self.merge_shards(request),
            PutRecord => {
                let put = self.put_record(request, out);
                self.bound_memory();
                put
            }
            PutRecords => {
                let put = self.put_records(request, twist, out);
                self.bound_memory();
                put
            }
            RegisterStreamConsumer => self.register_stream_consumer(request, out),
            RemoveTagsFromStream => self.remove_tags_from_stream(request),
            SplitShard => self.split_shard(request),
            StartStreamEncryption => self.change_encryption(request, true),
            StopStreamEncryption => self.change_encryption(request, false),
            // Its answer is no document: see `subscribe`.
            SubscribeToShard => Err(unknown_operation("SubscribeToShard")),
            TagResource => self.tag_resource(request),
            UntagResource => self.untag_resource(request),
            UpdateMaxRecordSize => self.update_max_record_size(request),
            UpdateShardCount => self.update_shard_count(request, out),
            UpdateStreamMode => self.update_stream_mode(request),
            UpdateStreamRecordDistributionStrategy => self.update_record_distribution(request),
        }
    }

    /// Counts a call of the control plane.
    fn admit(&self, operation: Operation, request: Fields<'_, '_>) -> Result<(), Refusal> {
        self.admit_call(operation, || {
            self.find(&self.resource(request)?, self.now())
        })
    }

    /// The stream that a request is about, for the journal and for faults; none when it names none.
    pub(crate) fn resource(&self, request: Fields<'_, '_>) -> Option<String> {
        let text = |name| request.text(name).ok().flatten();
        let of_arn = |arn: &'_ str| match consumers::stream_of(arn) {
            Some(stream) => stream.to_owned(),
            None => arn.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        text("StreamName")
            .map(str::to_owned)
            .or_else(|| text("StreamARN").map(of_arn))
            .or_else(|| text("ConsumerARN").map(of_arn))
            .or_else(|| text("ResourceARN").map(of_arn))
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
            .or_else(|| Some(self.with_id(text("StreamId")?)?.name.clone()))
    }

    /// The shard that a request names, itself or by its iterator, for faults.
    pub(crate) fn shard(&self, request: Fields<'_, '_>) -> Option<String> {
        let text = |name| request.text(name).ok().flatten();
        ["ShardId", "ShardToSplit", "ShardToMerge"]
            .into_iter()
            .find_map(text)
            .map(str::to_owned)
            .or_else(|| {
                let iterator = text("ShardIterator")?;
                let token = self.sealer.open(Kind::ShardIterator, iterator)?;
                Some(shard::shard_id(token.shard))
            })
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        runtime::time::epoch_millis(self.clock.now())
    }

    /// A stream by its id.
    fn with_id(&self, id: &str) -> Option<Arc<Stream>> {
        let streams = self.streams.read();
        streams.values().find(|stream| stream.id == id).cloned()
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
        // Beside a name or an ARN an id says nothing: the service reserves it for later.
        let id = request.text("StreamId")?;
        check.name("streamName", name);
        check.length("streamARN", arn, 1, 2_048);
        check.length("streamId", id, 1, 24);
        let from_arn = arn.map(|arn| self.name_of_arn(arn)).transpose()?;
        match (name, from_arn) {
            (Some(name), Some(other)) if name != other => Err(Refusal::invalid_argument(format!(
                "StreamName {name} and StreamARN {} do not name the same stream.",
                arn.unwrap_or_default()
            ))),
            (Some(name), _) => Ok(name.to_owned()),
            (None, Some(name)) => Ok(name.to_owned()),
            (None, None) => match id {
                Some(id) => match self.with_id(id) {
                    Some(stream) => Ok(stream.name.clone()),
                    None => Err(Refusal::not_found(format!(
                        "Stream with id {id} under account {} not found.",
                        self.account
                    ))),
                },
                None => Err(Refusal::invalid_argument(
                    "Either StreamName or StreamARN should be provided.",
                )),
            },
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
