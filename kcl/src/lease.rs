//! Leases: one row of the table per shard.

mod dynamodb;
pub(crate) mod held;
pub(crate) mod row;
mod store;
pub mod table_check;

pub use dynamodb::DynamoDbLeases;
pub use row::RowProblem;
pub use store::{LeaseList, LeaseStore, StoreError, TableInfo, Written};

use crate::position::Position;
use aggregation::HashRange;
use bytes::Bytes;
use std::collections::BTreeSet;

/// A lease as the table holds it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Lease {
    /// The row's key: the shard's id.
    pub key: String,
    /// The worker that owns it; `None` = nobody.
    pub owner: Option<String>,
    /// Raised by one with each write that concerns ownership: the lease's heartbeat.
    pub counter: u64,
    /// How often the owner changed since the last checkpoint.
    pub owner_switches: u64,
    /// Where reading goes on.
    pub checkpoint: Position,
    /// A checkpoint that was prepared and not committed.
    pub pending: Option<Pending>,
    /// Shards that must be finished first; they need not exist any more.
    pub parents: BTreeSet<String>,
    /// Shards that follow; known at the end of the shard.
    pub children: BTreeSet<String>,
    /// The hash keys of the shard; `None` on rows of old writers.
    pub hash_range: Option<HashRange>,
    /// User payload per second in KiB, as its owner measured it.
    pub throughput_kbps: Option<f64>,
    /// Present while the lease is handed from this worker to the owner.
    pub checkpoint_owner: Option<String>,
}

/// A prepared checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// The position that would be committed.
    pub position: Position,
    /// The application's own bytes.
    pub state: Option<Bytes>,
}

impl Lease {
    /// A lease that nobody owned yet.
    #[must_use]
    pub fn new(key: impl Into<String>, checkpoint: Position) -> Self {
        Self {
            key: key.into(),
            owner: None,
            counter: 0,
            owner_switches: 0,
            checkpoint,
            pending: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
            throughput_kbps: None,
            checkpoint_owner: None,
        }
    }

    /// The same lease with the parents and the hash keys of its shard.
    #[must_use]
    pub fn of_shard(mut self, shard: &ShardInfo) -> Self {
        self.parents = shard.parents.clone();
        self.hash_range = shard.hash_range;
        self
    }

    /// True when the shard was read to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.checkpoint.is_shard_end()
    }

    /// The worker whose writes count: during a handoff the old owner.
    #[must_use]
    pub fn actual_owner(&self) -> Option<&str> {
        self.checkpoint_owner.as_deref().or(self.owner.as_deref())
    }
}

/// A shard as far as leases are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardInfo {
    /// Its id.
    pub id: String,
    /// The shards it came from, listed or not.
    pub parents: BTreeSet<String>,
    /// The hash keys it takes.
    pub hash_range: Option<HashRange>,
    /// Where its sequence numbers begin.
    pub starting_sequence: Option<crate::position::SequenceNumber>,
    /// True while records can be written to it.
    pub is_open: bool,
}

impl ShardInfo {
    /// A shard from its parts; its sequence numbers are not known.
    #[must_use]
    pub fn new(id: impl Into<String>, parents: &[&str], hash_range: Option<HashRange>) -> Self {
        Self {
            id: id.into(),
            parents: parents.iter().map(|&p| p.to_owned()).collect(),
            hash_range,
            starting_sequence: None,
            is_open: true,
        }
    }

    /// A shard as `ListShards` shows it.
    #[must_use]
    pub fn from_listed(shard: &aws::kinesis::Shard) -> Self {
        let range = &shard.hash_key_range;
        Self {
            id: shard.shard_id.clone(),
            parents: [&shard.parent_shard_id, &shard.adjacent_parent_shard_id]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            hash_range: row::hash_range(&range.starting_hash_key, &range.ending_hash_key),
            starting_sequence: crate::position::SequenceNumber::parse(
                &shard.starting_sequence_number,
            ),
            is_open: shard.is_open(),
        }
    }

    /// A shard as `GetRecords` shows it at its parent's end.
    #[must_use]
    pub fn from_child(shard: &aws::kinesis::ChildShard) -> Self {
        let range = &shard.hash_key_range;
        Self {
            id: shard.shard_id.clone(),
            parents: shard.parent_shards.iter().cloned().collect(),
            hash_range: row::hash_range(&range.starting_hash_key, &range.ending_hash_key),
            starting_sequence: None,
            is_open: true,
        }
    }
}
