//! One shard: its records under one lock, and how they are numbered.

use super::hash::HashRange;
use super::log::Log;
use super::sequence::{END_INDEX, Sequence};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// A shard. What never changes stands here; the rest is in its log.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Its place among all shards that the stream ever had.
    pub(crate) index: u32,
    pub(crate) id: String,
    pub(crate) range: HashRange,
    pub(crate) parent: Option<String>,
    pub(crate) adjacent_parent: Option<String>,
    /// The creation time in its sequence numbers, in seconds since the epoch.
    pub(crate) created: u64,
    /// When it opened, in milliseconds since the epoch.
    pub(crate) opened: u64,
    /// When it was split or merged, in milliseconds since the epoch. Set under the stream's write
    /// lock; every put holds the read lock, so nothing is appended afterwards.
    pub(crate) closed: OnceLock<u64>,
    pub(crate) log: Mutex<Log>,
    /// Told when records arrived, when the shard was closed, and when a subscription has to look
    /// again for another reason.
    pub(crate) news: Arc<Notify>,
}

impl Shard {
    /// The sequence number of the record with an index.
    pub(crate) fn sequence(&self, index: u64, arrival: u64) -> Sequence {
        Sequence {
            created: self.created,
            index,
            time: arrival / 1_000,
            shard: self.index,
        }
    }

    /// The number that all records of the shard lie above.
    pub(crate) fn starting_sequence(&self) -> Sequence {
        Sequence {
            created: self.created,
            index: 0,
            time: self.created,
            shard: self.index,
        }
    }

    /// The number that all records of a closed shard lie below.
    pub(crate) fn ending_sequence(&self) -> Option<Sequence> {
        self.closed.get().map(|at| Sequence {
            created: self.created,
            index: END_INDEX,
            time: at / 1_000,
            shard: self.index,
        })
    }

    /// The number that all records from an index on lie above: that of the record before them.
    pub(crate) fn sequence_before(&self, index: u64, log: &Log) -> Sequence {
        match index.saturating_sub(1) {
            0 => self.starting_sequence(),
            before => self.sequence(before, log.arrival_at(before)),
        }
    }

    /// Whether this shard was made from the shard with that id.
    pub(crate) fn is_child_of(&self, id: &str) -> bool {
        self.parent.as_deref() == Some(id) || self.adjacent_parent.as_deref() == Some(id)
    }
}

/// The id of the shard at an index.
pub(crate) fn shard_id(index: u32) -> String {
    format!("shardId-{index:012}")
}
