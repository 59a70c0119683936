//! Creating, deleting and describing streams.

use super::Kinesis;
use super::shard::Shard;
use super::stream::{State, Status, Stream};
use super::token::{Kind, Token};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use parking_lot::RwLock;
use std::sync::Arc;

/// Shards of an on-demand stream at its start.
const ON_DEMAND_SHARDS: u32 = 4;
/// The most shards of one stream.
const MAX_SHARDS: i64 = 10_000;
const DEFAULT_RECORD_KIB: u64 = 1_024;
const HOUR: u64 = 3_600_000;
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
        let mode = match request.structure("StreamModeDetails")? {
            Some(details) => {
                let mode = details.text("StreamMode")?;
                check.present("streamModeDetails.streamMode", mode)
            }
            None => None,
        };
        check.one_of(
            "streamModeDetails.streamMode",
            mode,
            &["PROVISIONED", "ON_DEMAND"],
        );
        check.finish()?;
        if request.structure("Tags")?.is_some() {
            return Err(Refusal::validation(
                "Tags are not supported by this endpoint yet.",
            ));
        }
        let on_demand = mode == Some("ON_DEMAND");
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
        self.add_stream(
            name.unwrap_or_default(),
            shards,
            on_demand,
            record_kib.and_then(|kib| u64::try_from(kib).ok()),
            self.state_delay,
        )
    }

    /// Creates a provisioned stream that is ACTIVE at once.
    pub(crate) fn create_now(&self, name: &str, shards: u32) -> Result<(), Refusal> {
        let mut check = Check::default();
        check.name("streamName", Some(name));
        check.range("shardCount", Some(i64::from(shards)), 1, MAX_SHARDS);
        check.finish()?;
        self.add_stream(name, shards, false, None, 0)
    }

    /// Adds a stream that becomes ACTIVE after `delay` milliseconds.
    fn add_stream(
        &self,
        name: &str,
        shards: u32,
        on_demand: bool,
        record_kib: Option<u64>,
        delay: u64,
    ) -> Result<(), Refusal> {
        let now = self.now();
        if self.find(name, now).is_some() {
            return Err(self.stream_exists(name));
        }
        let mut state = State::creating(shards, now.saturating_add(delay));
        state.settle(now, now);
        let stream = Arc::new(Stream {
            name: name.to_owned(),
            arn: self.arn(name),
            incarnation: self.next_incarnation(),
            created: now,
            on_demand,
            max_record_kib: record_kib.unwrap_or(DEFAULT_RECORD_KIB),
            state: RwLock::new(state),
        });
        let mut streams = self.streams.write();
        if streams.contains_key(name) {
            return Err(self.stream_exists(name));
        }
        streams.insert(name.to_owned(), stream);
        Ok(())
    }

    fn stream_exists(&self, name: &str) -> Refusal {
        Refusal::in_use(format!(
            "Stream {name} under account {} already exists.",
            self.account
        ))
    }

    pub(super) fn delete_stream(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let stream = self.select(request)?;
        let now = self.now();
        let mut state = stream.state.write();
        if state.status() != Status::Deleting {
            state.begin_delete(now.saturating_add(self.state_delay));
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

    pub(super) fn change_retention(
        &self,
        request: Fields<'_, '_>,
        increase: bool,
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let hours = request.integer("RetentionPeriodHours")?;
        check.present("retentionPeriodHours", hours);
        check.range("retentionPeriodHours", hours, 1, 8_760);
        check.finish()?;
        let hours = hours.and_then(|h| u64::try_from(h).ok()).unwrap_or(24);
        if hours < 24 {
            return Err(Refusal::invalid_argument(format!(
                "Minimum allowed retention period is 24 hours. Requested retention period ({hours} \
                 hours) is too short."
            )));
        }
        let stream = self.existing(&name, self.now())?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        let present = state.retention / HOUR;
        if increase && hours < present {
            return Err(Refusal::invalid_argument(format!(
                "Requested retention period ({hours} hours) for stream {name} can not be shorter \
                 than existing retention period ({present} hours). Use DecreaseRetentionPeriod API."
            )));
        }
        if !increase && hours > present {
            return Err(Refusal::invalid_argument(format!(
                "Requested retention period ({hours} hours) for stream {name} can not be longer \
                 than existing retention period ({present} hours). Use IncreaseRetentionPeriod API."
            )));
        }
        state.set_retention(hours * HOUR);
        Ok(())
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
        out.begin_map();
        out.begin_map_member("StreamDescriptionSummary");
        describe(&stream, &state, out);
        out.integer_member("OpenShardCount", u64::try_from(open).unwrap_or(u64::MAX));
        out.integer_member("ConsumerCount", 0);
        out.integer_member("MaxRecordSizeInKiB", stream.max_record_kib);
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
        let limit = request.integer("Limit")?;
        check.range("limit", limit, 1, 10_000);
        let start = request.text("ExclusiveStartShardId")?;
        check.name("exclusiveStartShardId", start);
        check.finish()?;
        let limit = limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(100)
            .min(100);
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
        let limit = request.integer("Limit")?;
        check.range("limit", limit, 1, 10_000);
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
        let limit = limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(100)
            .min(100);
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
            write_mode(stream, out);
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

/// The members that DescribeStream and DescribeStreamSummary share.
fn describe(stream: &Stream, state: &State, out: &mut (dyn Emit + Send)) {
    out.text_member("StreamName", &stream.name);
    out.text_member("StreamARN", &stream.arn);
    out.text_member("StreamStatus", state.status().name());
    write_mode(stream, out);
    out.integer_member("RetentionPeriodHours", state.retention / HOUR);
    out.timestamp_member("StreamCreationTimestamp", stream.created);
    out.begin_list_member("EnhancedMonitoring");
    out.begin_map();
    out.begin_list_member("ShardLevelMetrics");
    out.end();
    out.end();
    out.end();
    out.text_member("EncryptionType", "NONE");
}

fn write_mode(stream: &Stream, out: &mut (dyn Emit + Send)) {
    let mode = if stream.on_demand {
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
