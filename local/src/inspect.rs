//! Typed access for tests: the same core, without HTTP and without the service's delays.

use crate::endpoint::Local;
use crate::error::LocalError;
use crate::kinesis::Kinesis;
use crate::kinesis::hash::HashRange;
use crate::recorders::datum::MetricDatum;
use crate::recorders::firehose::DeliveredRecord;
use crate::recorders::sts::AssumedRole;
use bytes::Bytes;
use std::time::SystemTime;

/// A shard, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its id, such as `shardId-000000000000`.
    pub shard_id: String,
    /// The ids of the shards it was made from: none for a first shard, one after a split, two after a
    /// merge (the parent, then the adjacent parent).
    pub parents: Vec<String>,
    /// The hash keys that belong to it.
    pub hash_range: HashRange,
    /// Whether it takes records.
    pub open: bool,
    /// All its records' numbers lie above this one.
    pub starting_sequence_number: String,
    /// All its records' numbers lie below this one; none while it is open.
    pub ending_sequence_number: Option<String>,
}

/// A record, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The shard that holds it.
    pub shard_id: String,
    /// Its sequence number, in decimal.
    pub sequence_number: String,
    /// Its partition key; none when it was put without one.
    pub partition_key: Option<String>,
    /// The explicit hash key that it was put with.
    pub explicit_hash_key: Option<u128>,
    /// Its payload.
    pub data: Bytes,
    /// When it arrived.
    pub arrival: SystemTime,
}

impl Local {
    /// Creates a stream that is ACTIVE at once.
    ///
    /// # Errors
    /// [`LocalError::Refused`] when the name or the number of shards is not allowed, or the stream
    /// exists.
    pub fn create_stream(&self, name: &str, shards: u32) -> Result<(), LocalError> {
        Ok(self.kinesis().create_now(name, shards)?)
    }

    /// Splits a shard in the middle, at once.
    ///
    /// # Errors
    /// [`LocalError::Refused`] as SplitShard.
    pub fn split_shard(&self, stream: &str, shard: &str) -> Result<(), LocalError> {
        Ok(self.kinesis().split(stream, shard, None, 0)?)
    }

    /// Merges two shards whose ranges touch, at once.
    ///
    /// # Errors
    /// [`LocalError::Refused`] as MergeShards.
    pub fn merge_shards(&self, stream: &str, a: &str, b: &str) -> Result<(), LocalError> {
        Ok(self.kinesis().merge(stream, a, b, 0)?)
    }

    /// The `StreamId` that requests may name the stream by; none when the stream does not exist. No answer
    /// carries it, because SDKs take it for part of a host's name.
    #[must_use]
    pub fn stream_id(&self, stream: &str) -> Option<String> {
        let stream = self.kinesis().find(stream, self.kinesis().now())?;
        Some(stream.id.clone())
    }

    /// All shards that are kept, in the order of their ids; none when the stream does not exist.
    #[must_use]
    pub fn shards(&self, stream: &str) -> Vec<ShardInfo> {
        self.kinesis().shard_infos(stream)
    }

    /// All records that are kept, by shard and sequence number; none when the stream does not exist.
    #[must_use]
    pub fn records(&self, stream: &str) -> Vec<StoredRecord> {
        self.kinesis().stored_records(stream)
    }

    /// What the records of all streams take in memory, in bytes: payloads, partition keys, and what it
    /// takes to keep them.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kinesis().kept_bytes()
    }

    /// How many records were trimmed since the start because [`LocalOptions::max_bytes`] was reached.
    ///
    /// [`LocalOptions::max_bytes`]: crate::LocalOptions::max_bytes
    #[must_use]
    pub fn trimmed_records(&self) -> u64 {
        self.kinesis().trimmed_records()
    }

    /// The last records that Firehose took, oldest first, as many as [`LocalOptions::recorded`] lets
    /// it keep.
    ///
    /// [`LocalOptions::recorded`]: crate::LocalOptions::recorded
    #[must_use]
    pub fn delivered(&self) -> Vec<DeliveredRecord> {
        self.recorders().firehose.kept.list()
    }

    /// The last data that CloudWatch took, oldest first, as many as [`LocalOptions::recorded`] lets
    /// it keep.
    ///
    /// [`LocalOptions::recorded`]: crate::LocalOptions::recorded
    #[must_use]
    pub fn metrics(&self) -> Vec<MetricDatum> {
        self.recorders().cloudwatch.kept.list()
    }

    /// The last roles that callers took on, oldest first.
    #[must_use]
    pub fn assumed_roles(&self) -> Vec<AssumedRole> {
        self.recorders().sts.assumed.list()
    }
}

impl Kinesis {
    fn shard_infos(&self, name: &str) -> Vec<ShardInfo> {
        let Some(stream) = self.find(name, self.now()) else {
            return Vec::new();
        };
        let state = stream.state.read();
        state
            .shards
            .iter()
            .map(|shard| ShardInfo {
                shard_id: shard.id.clone(),
                parents: [&shard.parent, &shard.adjacent_parent]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
                hash_range: shard.range,
                open: shard.closed.get().is_none(),
                starting_sequence_number: shard.starting_sequence().to_string(),
                ending_sequence_number: shard.ending_sequence().map(|s| s.to_string()),
            })
            .collect()
    }

    fn stored_records(&self, name: &str) -> Vec<StoredRecord> {
        let now = self.now();
        let Some(stream) = self.find(name, now) else {
            return Vec::new();
        };
        let state = stream.state.read();
        let mut found = Vec::new();
        for shard in &state.shards {
            let mut log = shard.log.lock();
            log.trim(state.horizon(now));
            found.extend(log.iter().map(|record| StoredRecord {
                shard_id: shard.id.clone(),
                sequence_number: shard.sequence(record.index, record.arrival).to_string(),
                partition_key: record.partition_key().map(str::to_owned),
                explicit_hash_key: record.explicit_hash_key,
                data: Bytes::copy_from_slice(record.data),
                arrival: runtime::time::from_epoch_millis(record.arrival),
            }));
        }
        found
    }
}
