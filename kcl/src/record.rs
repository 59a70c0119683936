//! What a processor is given.

use crate::position::{Position, SequenceNumber};
use aggregation::{ExplicitHashKey, Utf8Bytes};
use bytes::Bytes;
use std::fmt;
use std::time::SystemTime;

/// A record as its producer's user put it, taken out of its aggregate where there was one. Cloning
/// copies no payload.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRecord {
    /// The partition key. Absent where the stream distributes records itself and the producer gave
    /// none. Do not infer the shard from it.
    pub partition_key: Option<Utf8Bytes>,
    /// The explicit hash key, if the record came in an aggregate and has one.
    pub explicit_hash_key: Option<ExplicitHashKey>,
    /// The payload: a view of the response. It keeps the whole response alive; copy what is kept for
    /// long.
    pub data: Bytes,
    /// The sequence number of the Kinesis record that carried it.
    pub sequence_number: SequenceNumber,
    /// Its place in the aggregate, from 0; 0 for a record that came alone.
    pub sub_sequence_number: u64,
    /// When the service took the Kinesis record.
    pub approximate_arrival_timestamp: Option<SystemTime>,
    /// True when it came in an aggregate.
    pub aggregated: bool,
}

impl UserRecord {
    /// Where the record stands in its shard.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.sequence_number.clone(), self.sub_sequence_number)
    }
}

/// Shows no payload but its length.
impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("partition_key", &self.partition_key)
            .field("sequence_number", &self.sequence_number)
            .field("sub_sequence_number", &self.sub_sequence_number)
            .field("data_len", &self.data.len())
            .field("aggregated", &self.aggregated)
            .finish_non_exhaustive()
    }
}

/// Records of one shard, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The records.
    pub records: Vec<UserRecord>,
    /// How far the response was behind the tip of the shard, in milliseconds.
    pub millis_behind_latest: Option<u64>,
}
