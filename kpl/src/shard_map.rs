//! The open shards by hash key, each with its lane.

use crate::deadlines::LaneKey;
use crate::lane::{Lane, Rules};
use crate::sealed::Sealed;
use crate::stats::Ledger;
use aggregation::{HashKey, HashRange};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// How many closed shards' ranges are remembered beyond the number of open ones.
const CLOSED_KEPT: usize = 1_024;

/// What a list of shards said. Kept and used until a newer one replaces it.
#[derive(Debug)]
pub(crate) struct ShardMap {
    /// By the end of their range; never empty.
    lanes: Vec<Arc<Lane>>,
    first: Arc<Lane>,
    /// The ranges of these shards, and of shards that earlier maps held.
    ranges: BTreeMap<Arc<str>, HashRange>,
    /// When the list was asked for: it may lack what happened later.
    pub(crate) asked: Instant,
    next_key: LaneKey,
}

/// Makes the lanes of new shards.
#[derive(Debug, Clone)]
pub(crate) struct LaneMaker {
    pub(crate) rules: Arc<Rules>,
    pub(crate) ledger: Arc<Ledger>,
}

/// Why a list of shards is not a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadList {
    #[error("it has no open shard")]
    Empty,
    #[error("shard {shard} has no valid range of hash keys: {range}")]
    Range { shard: String, range: String },
}

/// Where a Kinesis record belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this shard, all of it.
    Shard(Arc<str>),
    /// In several shards: it must be taken apart.
    Several,
}

impl ShardMap {
    pub(crate) fn new(
        shards: &[aws::kinesis::Shard],
        asked: Instant,
        maker: &LaneMaker,
    ) -> Result<Self, BadList> {
        Self::build(shards, asked, maker, None)
    }

    /// The next map. Shards that stay open with the same range keep their lanes.
    pub(crate) fn succeed(
        &self,
        shards: &[aws::kinesis::Shard],
        asked: Instant,
        maker: &LaneMaker,
    ) -> Result<Self, BadList> {
        Self::build(shards, asked, maker, Some(self))
    }

    fn build(
        shards: &[aws::kinesis::Shard],
        asked: Instant,
        maker: &LaneMaker,
        before: Option<&Self>,
    ) -> Result<Self, BadList> {
        let mut next_key = before.map_or(0, |map| map.next_key);
        let old: BTreeMap<&str, &Arc<Lane>> = before
            .iter()
            .flat_map(|map| &map.lanes)
            .map(|lane| (lane.shard.as_ref(), lane))
            .collect();
        let mut ranges = before.map(|map| map.ranges.clone()).unwrap_or_default();
        let mut lanes = Vec::with_capacity(shards.len());
        for shard in shards {
            let range = range(shard)?;
            if !shard.is_open() {
                ranges.insert(Arc::from(shard.shard_id.as_str()), range);
                continue;
            }
            let lane = match old.get(shard.shard_id.as_str()) {
                Some(lane) if lane.range == range => Arc::clone(lane),
                _ => {
                    next_key += 1;
                    let id = Arc::from(shard.shard_id.as_str());
                    let (rules, ledger) = (Arc::clone(&maker.rules), Arc::clone(&maker.ledger));
                    Arc::new(Lane::new(next_key, id, range, rules, ledger))
                }
            };
            ranges.insert(Arc::clone(&lane.shard), range);
            lanes.push(lane);
        }
        lanes.sort_by_key(|lane| (lane.range.end(), lane.range.start()));
        let first = Arc::clone(lanes.first().ok_or(BadList::Empty)?);
        // Ids grow with time: the smallest are the oldest.
        let kept = lanes.len() + CLOSED_KEPT;
        if ranges.len() > kept {
            let open: std::collections::BTreeSet<&str> =
                lanes.iter().map(|lane| lane.shard.as_ref()).collect();
            let mut excess = ranges.len() - kept;
            ranges.retain(|id, _| {
                let goes = excess > 0 && !open.contains(id.as_ref());
                excess -= usize::from(goes);
                !goes
            });
        }
        Ok(Self {
            lanes,
            first,
            ranges,
            asked,
            next_key,
        })
    }

    /// The place among the lanes of the shard that a hash key belongs to, and the lane. Total, as the
    /// original's: a hole belongs to the shard behind it, what is beyond the last to the last; where a
    /// record really was stored is checked afterwards.
    pub(crate) fn find(&self, key: HashKey) -> (usize, &Arc<Lane>) {
        let at = self.lanes.partition_point(|lane| lane.range.end() < key);
        let at = at.min(self.lanes.len() - 1);
        (at, self.lanes.get(at).unwrap_or(&self.first))
    }

    pub(crate) fn lane(&self, at: usize) -> &Arc<Lane> {
        self.lanes.get(at).unwrap_or(&self.first)
    }

    pub(crate) fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// The lanes of `before` that this map does not hold.
    pub(crate) fn retired<'a>(&self, before: &'a Self) -> Vec<&'a Arc<Lane>> {
        let held: std::collections::BTreeSet<LaneKey> =
            self.lanes.iter().map(|lane| lane.key).collect();
        before
            .lanes
            .iter()
            .filter(|lane| !held.contains(&lane.key))
            .collect()
    }

    /// The range of a shard that this map or an earlier one held.
    pub(crate) fn range(&self, shard: &str) -> Option<&HashRange> {
        self.ranges.get(shard)
    }

    /// Where a Kinesis record belongs by this map.
    pub(crate) fn place(&self, sealed: &Sealed) -> Place {
        let (at, lane) = self.find(sealed.span.first);
        let here = |key| self.find(key).0 == at;
        if !sealed.aggregated || (here(sealed.span.low) && here(sealed.span.high)) {
            Place::Shard(Arc::clone(&lane.shard))
        } else {
            Place::Several
        }
    }
}

fn range(shard: &aws::kinesis::Shard) -> Result<HashRange, BadList> {
    let text = &shard.hash_key_range;
    let bad = || BadList::Range {
        shard: shard.shard_id.clone(),
        range: format!("{} to {}", text.starting_hash_key, text.ending_hash_key),
    };
    let start = HashKey::parse_decimal(&text.starting_hash_key).map_err(|_| bad())?;
    let end = HashKey::parse_decimal(&text.ending_hash_key).map_err(|_| bad())?;
    HashRange::new(start, end).map_err(|_| bad())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::lane::tests::ledger;
    use crate::settings::Options;
    use aws::kinesis::{HashKeyRange, Shard};

    pub(crate) fn shard(n: u32, start: u128, end: u128) -> Shard {
        Shard {
            shard_id: format!("shardId-{n:012}"),
            parent_shard_id: None,
            adjacent_parent_shard_id: None,
            hash_key_range: HashKeyRange {
                starting_hash_key: start.to_string(),
                ending_hash_key: end.to_string(),
            },
            starting_sequence_number: "1".to_owned(),
            ending_sequence_number: None,
        }
    }

    pub(crate) fn maker() -> LaneMaker {
        LaneMaker {
            rules: Arc::new(Rules::new(&Options::default())),
            ledger: ledger(),
        }
    }

    fn found(map: &ShardMap, key: u128) -> &str {
        &map.find(HashKey::new(key)).1.shard
    }

    #[tokio::test(start_paused = true)]
    async fn every_hash_key_has_a_lane() {
        let list = [shard(2, 60, 80), shard(0, 0, 9), shard(1, 20, 59)];
        let map = ShardMap::new(&list, Instant::now(), &maker()).unwrap();
        let table = [
            (0, 0),
            (9, 0),
            (10, 1),
            (59, 1),
            (60, 2),
            (80, 2),
            (81, 2),
            (u128::MAX, 2),
        ];
        for (key, n) in table {
            assert_eq!(found(&map, key), format!("shardId-{n:012}"), "{key}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shards_that_stay_keep_their_lanes_and_those_that_go_are_remembered() {
        let (maker, now) = (maker(), Instant::now());
        let before = ShardMap::new(&[shard(0, 0, 49), shard(1, 50, 99)], now, &maker).unwrap();
        let mut parent = shard(0, 0, 49);
        parent.ending_sequence_number = Some("9".to_owned());
        let list = [parent, shard(1, 50, 99), shard(2, 0, 24), shard(3, 25, 49)];
        let after = before.succeed(&list, now, &maker).unwrap();
        assert_eq!(found(&after, 24), "shardId-000000000002");
        assert!(Arc::ptr_eq(
            after.find(HashKey::new(60)).1,
            before.find(HashKey::new(60)).1
        ));
        let retired = after.retired(&before);
        assert_eq!(
            (retired.len(), retired[0].shard.as_ref()),
            (1, "shardId-000000000000")
        );
        assert!(after.range("shardId-000000000000").is_some());
        assert!(after.range("shardId-000000000009").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_made_anew_with_other_ranges_gets_new_lanes() {
        let (maker, now) = (maker(), Instant::now());
        let before = ShardMap::new(&[shard(0, 0, 99)], now, &maker).unwrap();
        let after = before
            .succeed(&[shard(0, 0, 49), shard(1, 50, 99)], now, &maker)
            .unwrap();
        assert_eq!(after.retired(&before).len(), 1);
        let range = after.range("shardId-000000000000").unwrap();
        assert_eq!(range.end(), HashKey::new(49));
    }

    #[tokio::test(start_paused = true)]
    async fn lists_that_are_no_map() {
        let (maker, now) = (maker(), Instant::now());
        assert_eq!(ShardMap::new(&[], now, &maker).unwrap_err(), BadList::Empty);
        let mut bad = shard(0, 0, 9);
        bad.hash_key_range.ending_hash_key = "ten".to_owned();
        assert!(matches!(
            ShardMap::new(&[bad], now, &maker),
            Err(BadList::Range { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_closed_shards_is_bounded() {
        let (maker, now) = (maker(), Instant::now());
        let mut map = ShardMap::new(&[shard(0, 0, 9)], now, &maker).unwrap();
        for n in 1..1_200 {
            map = map.succeed(&[shard(n, 0, 9)], now, &maker).unwrap();
        }
        assert_eq!(map.ranges.len(), 1 + CLOSED_KEPT);
        assert!(map.range("shardId-000000000000").is_none());
        assert!(map.range("shardId-000000001198").is_some());
    }
}
