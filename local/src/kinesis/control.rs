//! Creating, deleting and describing streams.

use super::calls::Calls;
use super::read::encryption;
use super::settings::{read_mode, read_strategy, refuse_warm_throughput, strategy_needs_on_demand};
use super::shard::Shard;
use super::stream::{Settings, State, Status, Stream};
use super::token::{Kind, Token};
use super::{Kinesis, tags};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Shards of an on-demand stream at its start.
const ON_DEMAND_SHARDS: u32 = 4;
/// Streams of one account that are being created at a time.
const MAX_CREATING: usize = 5;
/// Open shards of an account's provisioned streams.
const SHARD_LIMIT: u64 = 20_000;
/// On-demand streams of an account.
const ON_DEMAND_STREAMS: usize = 50;
/// Streams, and shards of DescribeStream, on a page: at most and by default.
const PAGE: usize = 100;
/// The most shards of one stream.
pub(super) const MAX_SHARDS: i64 = 10_000;
const DEFAULT_RECORD_KIB: u64 = 1_024;
pub(super) const HOUR: u64 = 3_600_000;
/// Page tokens live so long.
pub(super) const PAGE_TOKEN_TTL: u64 = 300_000;

impl Kinesis {
    pub(super) fn create_stream(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = request.text("StreamName")?;
        check.present("streamName", name);
        check.name("streamName", name);
        let shards = request.integer("ShardCount")?;
        check.range("shardCount", shards, 1, MAX_SHARDS);
        let record_kib = request.integer("MaxRecordSizeInKiB")?;
        check.range("maxRecordSizeInKiB", record_kib, 1_024, 10_240);
        let mode = read_mode(request, &mut check)?;
        let strategy = read_strategy(request, &mut check)?;
        let tags = tags::read(request, &mut check)?;
        check.finish()?;
        refuse_warm_throughput(request)?;
        let on_demand = mode == Some("ON_DEMAND");
        let auto = strategy == Some("AUTO");
        if auto && !on_demand {
            return Err(strategy_needs_on_demand());
        }
        let shards = match (on_demand, shards) {
            (true, None) => ON_DEMAND_SHARDS,
            (true, Some(_)) => {
                return Err(Refusal::validation(
                    "ShardCount should not be provided for a stream in ON_DEMAND mode.",
                ));
            }
            (false, Some(count)) => u32::try_from(count).unwrap_or(1),
            (false, None) => {
                return Err(Refusal::validation(
                    "ShardCount should be provided for a stream in PROVISIONED mode.",
                ));
            }
        };
        let settings = Settings {
            on_demand,
            auto,
            tags,
            max_record_kib: record_kib
                .and_then(|kib| u64::try_from(kib).ok())
                .unwrap_or(DEFAULT_RECORD_KIB),
            ..Settings::default()
        };
        if self.limits.quotas {
            self.admit_stream(shards, on_demand)?;
        }
        let name = name.unwrap_or_default();
        self.add_stream(name, shards, settings, self.state_delay)
    }

    /// Creates a provisioned stream that is ACTIVE at once.
    pub(crate) fn create_now(&self, name: &str, shards: u32) -> Result<(), Refusal> {
        let mut check = Check::default();
        check.name("streamName", Some(name));
        check.range("shardCount", Some(i64::from(shards)), 1, MAX_SHARDS);
        check.finish()?;
        let settings = Settings {
            max_record_kib: DEFAULT_RECORD_KIB,
            ..Settings::default()
        };
        self.add_stream(name, shards, settings, 0)
    }

    /// Adds a stream that becomes ACTIVE after `delay` milliseconds.
    fn add_stream(
        &self,
        name: &str,
        shards: u32,
        settings: Settings,
        delay: u64,
    ) -> Result<(), Refusal> {
        let now = self.now();
        if self.find(name, now).is_some() {
            return Err(self.stream_exists(name));
        }
        let until = now.saturating_add(delay);
        let mut state = State::creating(shards, until, settings, self.limits, self.kept.clone());
        state.settle(now, now);
        let incarnation = self.next_incarnation();
        let stream = Arc::new(Stream {
            name: name.to_owned(),
            arn: self.arn(name),
            incarnation,
            created: now,
            id: self.sealer.stream_id(incarnation),
            state: RwLock::new(state),
            consumers: Mutex::default(),
            calls: Calls::default(),
            turn: AtomicUsize::new(0),
        });
        let mut streams = self.streams.write();
        if streams.contains_key(name) {
            return Err(self.stream_exists(name));
        }
        streams.insert(name.to_owned(), stream);
        Ok(())
    }

    /// Whether the account may have another stream of so many shards.
    fn admit_stream(&self, shards: u32, on_demand: bool) -> Result<(), Refusal> {
        let usage = self.usage();
        let most = if usage.creating >= MAX_CREATING {
            format!("{MAX_CREATING} streams in CREATING")
        } else if on_demand && usage.on_demand >= ON_DEMAND_STREAMS {
            format!("{ON_DEMAND_STREAMS} streams in ON_DEMAND mode")
        } else if !on_demand && usage.open_shards + u64::from(shards) > SHARD_LIMIT {
            format!("{SHARD_LIMIT} open shards")
        } else {
            return Ok(());
        };
        Err(Refusal::limit_exceeded(format!(
            "This request would exceed the limit of {most} for account {}.",
            self.account
        )))
    }

    /// What the account has.
    fn usage(&self) -> Usage {
        let now = self.now();
        let names: Vec<String> = self.streams.read().keys().cloned().collect();
        let mut usage = Usage::default();
        for stream in names.iter().filter_map(|name| self.find(name, now)) {
            let state = stream.state.read();
            usage.creating += usize::from(state.status() == Status::Creating);
            if state.settings.on_demand {
                usage.on_demand += 1;
            } else {
                usage.open_shards += u64::try_from(state.open_count()).unwrap_or(u64::MAX);
            }
        }
        usage
    }

    /// Whether the account may have so many more open shards.
    pub(super) fn admit_shards(&self, present: u32, target: u32) -> Result<(), Refusal> {
        let more = u64::from(target.saturating_sub(present));
        if self.limits.quotas && more > 0 && self.usage().open_shards + more > SHARD_LIMIT {
            return Err(Refusal::limit_exceeded(format!(
                "This request would exceed the limit of {SHARD_LIMIT} open shards for account {}.",
                self.account
            )));
        }
        Ok(())
    }

    pub(super) fn describe_limits(&self, out: &mut (dyn Emit + Send)) {
        let usage = self.usage();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        out.begin_map();
        out.integer_member("ShardLimit", SHARD_LIMIT);
        out.integer_member("OpenShardCount", usage.open_shards);
        out.integer_member("OnDemandStreamCount", count(usage.on_demand));
        out.integer_member("OnDemandStreamCountLimit", count(ON_DEMAND_STREAMS));
        out.end();
    }

    fn stream_exists(&self, name: &str) -> Refusal {
        Refusal::in_use(format!(
            "Stream {name} under account {} already exists.",
            self.account
        ))
    }

    pub(super) fn delete_stream(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let enforce = request.boolean("EnforceConsumerDeletion")? == Some(true);
        let stream = self.select(request)?;
        let now = self.now();
        let mut state = stream.state.write();
        let mut consumers = stream.consumers.lock();
        consumers.retain(|_, c| c.status(now).is_some());
        if !enforce && !consumers.is_empty() {
            return Err(Refusal::in_use(format!(
                "Stream {} under account {} has {} registered consumers. Deregister them, or set \
                 EnforceConsumerDeletion.",
                stream.name,
                self.account,
                consumers.len()
            )));
        }
        let until = now.saturating_add(self.state_delay);
        for consumer in consumers.values() {
            consumer.begin_delete(until);
        }
        drop(consumers);
        if state.status() != Status::Deleting {
            state.begin_delete(until);
        }
        drop(state);
        // With no delay it goes at once.
        self.find(&stream.name, now);
        Ok(())
    }

    /// Checks the selector and gives its stream.
    pub(super) fn select(&self, request: Fields<'_, '_>) -> Result<Arc<Stream>, Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        check.finish()?;
        self.existing(&name, self.now())
    }

    pub(super) fn must_be_active(&self, stream: &Stream, state: &State) -> Result<(), Refusal> {
        if state.status() == Status::Active {
            return Ok(());
        }
        Err(Refusal::in_use(format!(
            "Stream {} under account {} not ACTIVE, instead in state {}",
            stream.name,
            self.account,
            state.status().name()
        )))
    }

    pub(super) fn describe_stream_summary(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let stream = self.select(request)?;
        let state = stream.state.read();
        let open = state.open_count();
        let now = self.now();
        let consumers = stream.consumers.lock();
        let consumers = consumers
            .values()
            .filter(|c| c.status(now).is_some())
            .count();
        out.begin_map();
        out.begin_map_member("StreamDescriptionSummary");
        describe(&stream, &state, out);
        out.integer_member("OpenShardCount", u64::try_from(open).unwrap_or(u64::MAX));
        out.integer_member(
            "ConsumerCount",
            u64::try_from(consumers).unwrap_or(u64::MAX),
        );
        out.integer_member("MaxRecordSizeInKiB", state.settings.max_record_kib);
        // The optional StreamId is left out: the SDK for Java sends what it is told here on with its later
        // calls, and then to a host of that name, whichever endpoint it was given.
        if state.settings.on_demand {
            let strategy = if state.settings.auto {
                "AUTO"
            } else {
                "USER_PARTITION_KEY"
            };
            out.text_member("RecordDistributionStrategy", strategy);
        }
        out.end();
        out.end();
        Ok(())
    }

    pub(super) fn describe_stream(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let limit = limit_of(request, "Limit", PAGE, &mut check)?;
        let start = request.text("ExclusiveStartShardId")?;
        check.name("exclusiveStartShardId", start);
        check.finish()?;
        let stream = self.existing(&name, self.now())?;
        let state = stream.state.read();
        let mut shards = state
            .shards
            .iter()
            .filter(|s| start.is_none_or(|start| s.id.as_str() > start))
            .peekable();
        out.begin_map();
        out.begin_map_member("StreamDescription");
        describe(&stream, &state, out);
        out.begin_list_member("Shards");
        for shard in shards.by_ref().take(limit) {
            write_shard(shard, out);
        }
        out.end();
        out.boolean_member("HasMoreShards", shards.peek().is_some());
        out.end();
        out.end();
        Ok(())
    }

    pub(super) fn list_streams(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let limit = limit_of(request, "Limit", PAGE, &mut check)?;
        let start = request.text("ExclusiveStartStreamName")?;
        check.name("exclusiveStartStreamName", start);
        let page = request.text("NextToken")?;
        check.length("nextToken", page, 1, 1_048_576);
        check.finish()?;
        let now = self.now();
        let start = match page {
            None => start.map(str::to_owned),
            Some(text) => {
                let token = self
                    .sealer
                    .open(Kind::ListStreams, text)
                    .ok_or_else(|| Refusal::invalid_argument("Invalid NextToken."))?;
                self.must_be_fresh(&token, now)?;
                Some(token.stream)
            }
        };
        let names: Vec<String> = self.streams.read().keys().cloned().collect();
        let found: Vec<Arc<Stream>> = names
            .into_iter()
            .filter(|name| start.as_ref().is_none_or(|start| name > start))
            .filter_map(|name| self.find(&name, now))
            .take(limit + 1)
            .collect();
        let page = found.get(..limit.min(found.len())).unwrap_or_default();
        out.begin_map();
        out.boolean_member("HasMoreStreams", found.len() > limit);
        if let Some(last) = page.last()
            && found.len() > limit
        {
            let token = Token {
                issued: now,
                stream: last.name.clone(),
                ..Token::default()
            };
            out.text_member("NextToken", &self.sealer.seal(Kind::ListStreams, &token));
        }
        out.begin_list_member("StreamNames");
        for stream in page {
            out.text(&stream.name);
        }
        out.end();
        out.begin_list_member("StreamSummaries");
        for stream in page {
            out.begin_map();
            out.text_member("StreamName", &stream.name);
            out.text_member("StreamARN", &stream.arn);
            out.text_member("StreamStatus", stream.state.read().status().name());
            write_mode(&stream.state.read(), out);
            out.timestamp_member("StreamCreationTimestamp", stream.created);
            out.end();
        }
        out.end();
        out.end();
        Ok(())
    }

    pub(super) fn must_be_fresh(&self, token: &Token, now: u64) -> Result<(), Refusal> {
        if now.saturating_sub(token.issued) > PAGE_TOKEN_TTL {
            return Err(Refusal::new(
                "ExpiredNextTokenException",
                "The pagination token passed to the operation is expired.",
            ));
        }
        Ok(())
    }
}

/// What an account has.
#[derive(Debug, Default)]
struct Usage {
    creating: usize,
    on_demand: usize,
    /// Of provisioned streams.
    open_shards: u64,
}

/// A page's length: what is asked for, up to `most`, which is also the default. Larger numbers are
/// cut, not refused.
pub(super) fn limit_of(
    request: Fields<'_, '_>,
    member: &str,
    most: usize,
    check: &mut Check,
) -> Result<usize, Refusal> {
    let limit = request.integer(member)?;
    let mut letters = member.chars();
    let path: String = letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default();
    check.range(&path, limit, 1, 10_000);
    Ok(limit
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(most)
        .min(most))
}

/// The members that DescribeStream and DescribeStreamSummary share.
fn describe(stream: &Stream, state: &State, out: &mut (dyn Emit + Send)) {
    out.text_member("StreamName", &stream.name);
    out.text_member("StreamARN", &stream.arn);
    out.text_member("StreamStatus", state.status().name());
    write_mode(state, out);
    out.integer_member("RetentionPeriodHours", state.retention / HOUR);
    out.timestamp_member("StreamCreationTimestamp", stream.created);
    out.begin_list_member("EnhancedMonitoring");
    out.begin_map();
    out.begin_list_member("ShardLevelMetrics");
    for metric in &state.settings.metrics {
        out.text(metric);
    }
    out.end();
    out.end();
    out.end();
    let key = state.settings.key_id.as_deref();
    out.text_member("EncryptionType", encryption(key.is_some()));
    out.optional_text_member("KeyId", key);
}

fn write_mode(state: &State, out: &mut (dyn Emit + Send)) {
    let mode = if state.settings.on_demand {
        "ON_DEMAND"
    } else {
        "PROVISIONED"
    };
    out.begin_map_member("StreamModeDetails");
    out.text_member("StreamMode", mode);
    out.end();
}

/// A shard as ListShards and DescribeStream show it.
pub(super) fn write_shard(shard: &Shard, out: &mut (dyn Emit + Send)) {
    out.begin_map();
    out.text_member("ShardId", &shard.id);
    out.optional_text_member("ParentShardId", shard.parent.as_deref());
    out.optional_text_member("AdjacentParentShardId", shard.adjacent_parent.as_deref());
    write_range(shard, out);
    out.begin_map_member("SequenceNumberRange");
    out.text_member(
        "StartingSequenceNumber",
        &shard.starting_sequence().to_string(),
    );
    if let Some(end) = shard.ending_sequence() {
        out.text_member("EndingSequenceNumber", &end.to_string());
    }
    out.end();
    out.end();
}

/// A shard's `HashKeyRange` member.
pub(super) fn write_range(shard: &Shard, out: &mut (dyn Emit + Send)) {
    out.begin_map_member("HashKeyRange");
    out.text_member("StartingHashKey", &shard.range.start.to_string());
    out.text_member("EndingHashKey", &shard.range.end.to_string());
    out.end();
}
