//! Inputs and outputs of the Kinesis operations, as plain data.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// One entry of a `PutRecords` request. The record's data is given in segments, that need not lie
/// together.
#[derive(Debug, Clone, Copy)]
pub struct PutRecordsEntry<'a> {
    /// 1 to 256 characters. Empty: the record goes without one, which a stream takes that distributes
    /// records itself, and no other.
    pub partition_key: &'a str,
    /// A decimal number below 2^128; `None` = the MD5 of the partition key decides.
    pub explicit_hash_key: Option<&'a str>,
    /// The record's data, in segments.
    pub data: &'a [Segment<'a>],
}

/// A part of a record's data.
#[derive(Clone)]
pub enum Segment<'a> {
    /// Is copied into the request's body.
    Borrowed(&'a [u8]),
    /// Is shared with the request's body where the encoding is CBOR: never copied before the socket.
    Shared(Bytes),
}

impl Segment<'_> {
    /// What is in it.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a [u8]> for Segment<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Segment<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Borrowed(bytes)
    }
}

/// Its contents are a user's.
impl fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("len", &self.as_slice().len())
            .finish()
    }
}

/// The answer to `PutRecords`: one result per entry, in the order of the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRecordsOutput {
    /// How many entries were refused.
    pub failed_record_count: u64,
    /// What became of each entry.
    pub records: Vec<PutRecordsResult>,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutRecordsResult {
    /// Stored.
    Stored {
        /// The shard that holds it. Results of one answer share it with their neighbours.
        shard_id: Arc<str>,
        /// Its sequence number there.
        sequence_number: Arc<str>,
    },
    /// Refused; it may be sent again.
    Refused {
        /// `ProvisionedThroughputExceededException` or `InternalFailure`, as far as the service tells.
        code: String,
        /// The service's text.
        message: String,
    },
}

/// An inclusive range of hash keys, as decimal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashKeyRange {
    /// The first hash key.
    pub starting_hash_key: String,
    /// The last hash key.
    pub ending_hash_key: String,
}

/// A shard, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its id, e.g. `shardId-000000000003`.
    pub shard_id: String,
    /// The shard it was split from, or the first of the two it was merged from.
    pub parent_shard_id: Option<String>,
    /// The second of the two shards it was merged from.
    pub adjacent_parent_shard_id: Option<String>,
    /// The hash keys it takes.
    pub hash_key_range: HashKeyRange,
    /// Where its sequence numbers begin.
    pub starting_sequence_number: String,
    /// Where they end; `None` while the shard is open.
    pub ending_sequence_number: Option<String>,
}

impl Shard {
    /// True while records can be written to it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ending_sequence_number.is_none()
    }
}

/// Which shards `ListShards` gives. Without a filter: all that are not yet forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardFilter {
    /// Open now.
    AtLatest,
    /// Open at the trim horizon.
    AtTrimHorizon,
    /// All from the trim horizon until now.
    FromTrimHorizon,
    /// Open at that time.
    AtTimestamp(SystemTime),
    /// All from that time until now.
    FromTimestamp(SystemTime),
    /// All after that shard.
    AfterShardId(String),
}

/// Where a shard iterator starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IteratorPosition {
    /// At the oldest record kept.
    TrimHorizon,
    /// After the newest record.
    Latest,
    /// At the first record that arrived at that time or later.
    AtTimestamp(SystemTime),
    /// At the record with that sequence number.
    AtSequenceNumber(String),
    /// After the record with that sequence number.
    AfterSequenceNumber(String),
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its sequence number.
    pub sequence_number: String,
    /// When the service took it (millisecond precision).
    pub approximate_arrival_timestamp: Option<SystemTime>,
    /// Its data: a view into the response.
    pub data: Bytes,
    /// Its partition key; absent where the stream distributes records itself.
    pub partition_key: Option<String>,
    /// `NONE` or `KMS`, if the service says.
    pub encryption_type: Option<String>,
}

/// A child of a closed shard, as `GetRecords` reports it at the shard's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    /// Its id.
    pub shard_id: String,
    /// Its parents: one after a split, two after a merge.
    pub parent_shards: Vec<String>,
    /// The hash keys it takes.
    pub hash_key_range: HashKeyRange,
}

/// The answer to `GetRecords`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRecordsOutput {
    /// The records, oldest first.
    pub records: Vec<Record>,
    /// Where to read on; `None` at the end of a closed shard.
    pub next_shard_iterator: Option<String>,
    /// How far the reader is behind the tip, in milliseconds.
    pub millis_behind_latest: Option<u64>,
    /// The shard's children, at the end of a closed shard.
    pub child_shards: Vec<ChildShard>,
    /// Bytes of the response's body: what a reader's budget is charged.
    pub body_bytes: usize,
}

/// A stream to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewStream<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many shards it has; `None` = the service decides, by demand.
    pub shards: Option<u32>,
    /// The largest record that it takes, in KiB: 1,024 (the default) to 10,240.
    pub max_record_size_in_kib: Option<u32>,
    /// `AUTO` or `USER_PARTITION_KEY` (the default), with [`NewStream::on_demand`] alone.
    pub record_distribution_strategy: Option<&'a str>,
}

impl<'a> NewStream<'a> {
    /// A stream with so many shards.
    #[must_use]
    pub const fn provisioned(name: &'a str, shards: u32) -> Self {
        Self {
            shards: Some(shards),
            ..Self::on_demand(name)
        }
    }

    /// A stream whose shards the service decides about.
    #[must_use]
    pub const fn on_demand(name: &'a str) -> Self {
        Self {
            name,
            shards: None,
            max_record_size_in_kib: None,
            record_distribution_strategy: None,
        }
    }

    /// The same with another bound on its records' size, in KiB.
    #[must_use]
    pub const fn max_record_size_in_kib(mut self, kib: u32) -> Self {
        self.max_record_size_in_kib = Some(kib);
        self
    }

    /// The same with that distribution of its records: `AUTO` or `USER_PARTITION_KEY`.
    #[must_use]
    pub const fn record_distribution_strategy(mut self, strategy: &'a str) -> Self {
        self.record_distribution_strategy = Some(strategy);
        self
    }
}

/// The state of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamStatus {
    /// Being made; not usable yet.
    Creating,
    /// Being deleted.
    Deleting,
    /// Usable.
    Active,
    /// Being changed; usable.
    Updating,
    /// A state that this version does not know.
    Other(String),
}

/// The answer to `DescribeStreamSummary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// The stream's name.
    pub stream_name: String,
    /// Its ARN.
    pub stream_arn: String,
    /// Its state.
    pub stream_status: StreamStatus,
    /// How long records are kept, in hours.
    pub retention_period_hours: u64,
    /// When it was made.
    pub stream_creation_timestamp: Option<SystemTime>,
    /// How many open shards it has.
    pub open_shard_count: u64,
    /// The largest record it takes, in KiB, if the service says.
    pub max_record_size_in_kib: Option<u64>,
    /// `AUTO` or `USER_PARTITION_KEY`, if the service says.
    pub record_distribution_strategy: Option<String>,
}
