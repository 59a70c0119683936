//! The sink's shards.

use crate::Failure;
use aggregation::{HashKey, HashRange};

/// The ring of hash keys in equal parts.
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    pub shards: u32,
}

impl Ring {
    fn part(self) -> u128 {
        u128::MAX / u128::from(self.shards.max(1))
    }

    /// The first and the last hash key of a shard.
    pub fn bounds(self, shard: u32) -> (u128, u128) {
        let start = self.part() * u128::from(shard);
        let end = if shard + 1 >= self.shards {
            u128::MAX
        } else {
            start + self.part() - 1
        };
        (start, end)
    }

    pub fn range(self, shard: u32) -> Result<HashRange, Failure> {
        let (start, end) = self.bounds(shard);
        Ok(HashRange::new(HashKey::new(start), HashKey::new(end))?)
    }

    pub fn shard(self, key: HashKey) -> u32 {
        let last = self.shards.saturating_sub(1);
        u32::try_from(key.as_u128() / self.part()).map_or(last, |shard| shard.min(last))
    }
}

pub fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}
