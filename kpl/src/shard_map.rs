//! The open shards by hash key, each with its lane.

use crate::deadlines::LaneKey;
use crate::lane::{Lane, Rules};
use crate::routing::{ANY_SHARD, Keyless, Routing};
use crate::sealed::Sealed;
use crate::stats::Ledger;
use aggregation::{HashKey, HashRange};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

/// How many closed shards' ranges are remembered beyond the number of open ones.
const CLOSED_KEPT: usize = 1_024;

/// What a list of shards said. Kept and used until a newer one replaces it.
#[derive(Debug)]
pub(crate) struct ShardMap {
    /// By the end of their range; never empty. One for all where shards do not matter.
    lanes: Vec<Arc<Lane>>,
    ends: Ends,
    first: Arc<Lane>,
    /// The open shards, by the end of their range.
    open: Arc<[Open]>,
    /// How records are sent.
    pub(crate) routing: Routing,
    /// The ranges of these shards, and of shards that earlier maps held.
    ranges: Ranges,
    /// When the list was asked for: it may lack what happened later.
    pub(crate) asked: Instant,
    next_key: LaneKey,
}

/// The ends of the lanes' ranges, side by side: looking a key up touches no lane. Never empty.
#[derive(Debug)]
struct Ends {
    ends: Vec<HashKey>,
    /// For all keys that begin with the same bits, by these, the first lane that one of them may belong to:
    /// streams have ranges of about the same size, so little is left to search. One more at the end.
    first_of: Vec<u32>,
    /// How many bits a key is shifted by to get these.
    shift: u32,
}

impl Ends {
    fn new(ends: Vec<HashKey>) -> Self {
        // Twice as many beginnings as lanes: many of these lie within one lane.
        let bits = ends.len().next_power_of_two().ilog2() + 1;
        let shift = u128::BITS - bits;
        let mut first = 0;
        let beginnings = (0..1 << bits).map(|beginning: u128| {
            let start = HashKey::new(beginning << shift);
            let below = |end: &&HashKey| **end < start;
            first += ends.iter().skip(first).take_while(below).count();
            first
        });
        let mut first_of: Vec<usize> = beginnings.collect();
        first_of.push(ends.len());
        // There are not as many shards.
        let first_of = first_of
            .into_iter()
            .map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        let first_of = first_of.collect();
        Self {
            ends,
            first_of,
            shift,
        }
    }

    /// The place of the first end that is not below the key; of the last where there is none.
    fn find(&self, key: HashKey) -> usize {
        let beginning = usize::try_from(key.as_u128() >> self.shift).unwrap_or(usize::MAX);
        let first = |at| {
            self.first_of
                .get(at)
                .map_or(usize::MAX, |first| *first as usize)
        };
        let [from, to] = [beginning, beginning + 1].map(first);
        let between = self.ends.get(from..to).unwrap_or_default();
        let at = from + between.partition_point(|end| *end < key);
        at.min(self.ends.len() - 1)
    }
}

/// Ranges by shard.
type Ranges = BTreeMap<Arc<str>, HashRange>;

/// An open shard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    shard: Arc<str>,
    range: HashRange,
}

/// Makes the lanes of new shards.
#[derive(Debug, Clone)]
pub(crate) struct LaneMaker {
    /// Of packed records.
    pub(crate) packed: Arc<Rules>,
    /// Of records that go alone.
    pub(crate) single: Arc<Rules>,
    /// Of records that go alone and never in an aggregate.
    pub(crate) bare: Arc<Rules>,
    pub(crate) ledger: Arc<Ledger>,
}

impl LaneMaker {
    pub(crate) fn new(rules: Rules, ledger: Arc<Ledger>) -> Self {
        Self {
            single: Arc::new(rules.single()),
            bare: Arc::new(rules.bare()),
            packed: Arc::new(rules),
            ledger,
        }
    }

    /// The same for records of at most so many bytes.
    pub(crate) fn limited(&self, record_limit: usize) -> Self {
        Self::new(self.packed.limited(record_limit), Arc::clone(&self.ledger))
    }

    /// True if a record that is alone and looks like an aggregate goes wrapped.
    pub(crate) fn wraps(&self, routing: Routing) -> bool {
        self.rules(routing).wraps()
    }

    /// True if records carry an identity.
    pub(crate) fn identifies(&self, routing: Routing) -> bool {
        self.rules(routing).incarnation.is_some()
    }

    const fn rules(&self, routing: Routing) -> &Arc<Rules> {
        match routing {
            Routing::Held | Routing::Packed => &self.packed,
            Routing::Single => &self.single,
            Routing::Doubted | Routing::Auto => &self.bare,
        }
    }
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
    /// In several shards, or it goes in another form: it must be taken apart.
    Several,
    /// Nowhere, until it is known how records are sent.
    Waits,
    /// Nowhere: it has no partition key, and these decide.
    Nowhere,
}

impl ShardMap {
    pub(crate) fn new(
        shards: &[aws::kinesis::Shard],
        asked: Instant,
        routing: Routing,
        maker: &LaneMaker,
    ) -> Result<Self, BadList> {
        let (open, ranges) = read(shards, BTreeMap::new())?;
        Self::build(open, ranges, asked, routing, maker, None)
    }

    /// The next map. Shards that stay open with the same range keep their lanes.
    pub(crate) fn succeed(
        &self,
        shards: &[aws::kinesis::Shard],
        asked: Instant,
        maker: &LaneMaker,
    ) -> Result<Self, BadList> {
        let (open, ranges) = read(shards, self.ranges.clone())?;
        Self::build(open, ranges, asked, self.routing, maker, Some(self))
    }

    /// The same shards, sent to in another way.
    pub(crate) fn reroute(&self, routing: Routing, maker: &LaneMaker) -> Result<Self, BadList> {
        let (open, ranges) = (Arc::clone(&self.open), self.ranges.clone());
        Self::build(open, ranges, self.asked, routing, maker, Some(self))
    }

    fn build(
        open: Arc<[Open]>,
        ranges: Ranges,
        asked: Instant,
        routing: Routing,
        maker: &LaneMaker,
        before: Option<&Self>,
    ) -> Result<Self, BadList> {
        let mut next_key = before.map_or(0, |map| map.next_key);
        let old: BTreeMap<&str, &Arc<Lane>> = before
            .iter()
            .flat_map(|map| &map.lanes)
            .map(|lane| (lane.shard.as_ref(), lane))
            .collect();
        let rules = maker.rules(routing);
        let mut lane = |shard: &Arc<str>, range: HashRange| match old.get(shard.as_ref()) {
            Some(lane) if lane.range == range && lane.has_rules(rules) => Arc::clone(lane),
            _ => {
                next_key += 1;
                let (shard, rules) = (Arc::clone(shard), Arc::clone(rules));
                let ledger = Arc::clone(&maker.ledger);
                Arc::new(Lane::new(next_key, shard, range, rules, ledger))
            }
        };
        let lanes: Vec<Arc<Lane>> = if routing.is_one_lane() {
            vec![lane(&Arc::from(ANY_SHARD), HashRange::FULL)]
        } else {
            let shards = open.iter();
            shards.map(|open| lane(&open.shard, open.range)).collect()
        };
        let first = Arc::clone(lanes.first().ok_or(BadList::Empty)?);
        let ends = Ends::new(lanes.iter().map(|lane| lane.range.end()).collect());
        Ok(Self {
            lanes,
            ends,
            first,
            open,
            routing,
            ranges,
            asked,
            next_key,
        })
    }

    /// The names of the open shards.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.open.iter().map(|open| open.shard.as_ref()).collect()
    }

    /// How many shards are open.
    pub(crate) fn open_shards(&self) -> usize {
        self.open.len()
    }

    /// The place among the lanes of the shard that a hash key belongs to, and the lane. Total, as the
    /// original's: a hole belongs to the shard behind it, what is beyond the last to the last; where a
    /// record really was stored is checked afterwards.
    pub(crate) fn find(&self, key: HashKey) -> (usize, &Arc<Lane>) {
        let at = self.ends.find(key);
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
        let held: BTreeSet<LaneKey> = self.lanes.iter().map(|lane| lane.key).collect();
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
        let alone = !sealed.aggregated;
        match (self.routing, self.routing.keyless()) {
            (Routing::Held, _) => return Place::Waits,
            (Routing::Auto, _) if alone => return Place::Shard(Arc::clone(&self.first.shard)),
            (Routing::Auto | Routing::Doubted, _) if !alone => return Place::Several,
            (Routing::Single, _) if sealed.claims.records() > 1 => return Place::Several,
            (_, Keyless::Waits) if sealed.keyless => return Place::Waits,
            (_, Keyless::Refused) if sealed.keyless && alone => return Place::Nowhere,
            (_, Keyless::Refused) if sealed.keyless => return Place::Several,
            _ => {}
        }
        let (at, lane) = self.find(sealed.span.first);
        let here = |key| self.find(key).0 == at;
        if alone || (here(sealed.span.low) && here(sealed.span.high)) {
            Place::Shard(Arc::clone(&lane.shard))
        } else {
            Place::Several
        }
    }
}

/// The open shards of a list, and the ranges of its shards and those of earlier lists.
fn read(
    shards: &[aws::kinesis::Shard],
    mut ranges: Ranges,
) -> Result<(Arc<[Open]>, Ranges), BadList> {
    let mut open = Vec::with_capacity(shards.len());
    for listed in shards {
        let range = range(listed)?;
        let (shard, _) = ranges
            .remove_entry(listed.shard_id.as_str())
            .unwrap_or_else(|| (Arc::from(listed.shard_id.as_str()), range));
        if listed.is_open() {
            let shard = Arc::clone(&shard);
            open.push(Open { shard, range });
        }
        ranges.insert(shard, range);
    }
    if open.is_empty() {
        return Err(BadList::Empty);
    }
    open.sort_by_key(|open| (open.range.end(), open.range.start()));
    // Ids grow with time: the smallest are the oldest.
    let kept = open.len() + CLOSED_KEPT;
    if ranges.len() > kept {
        let present: BTreeSet<&str> = open.iter().map(|open| open.shard.as_ref()).collect();
        let mut excess = ranges.len() - kept;
        ranges.retain(|id, _| {
            let goes = excess > 0 && !present.contains(id.as_ref());
            excess -= usize::from(goes);
            !goes
        });
    }
    Ok((open.into(), ranges))
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
    use runtime::Chance;

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
        LaneMaker::new(Rules::new(&Options::default()), ledger())
    }

    fn found(map: &ShardMap, key: u128) -> &str {
        &map.find(HashKey::new(key)).1.shard
    }

    #[tokio::test(start_paused = true)]
    async fn every_hash_key_has_a_lane() {
        let list = [shard(2, 60, 80), shard(0, 0, 9), shard(1, 20, 59)];
        let map = ShardMap::new(&list, Instant::now(), Routing::Packed, &maker()).unwrap();
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

    /// Even ranges, and ranges of all sizes, some of which end short of the last key.
    #[test]
    fn a_key_is_found_where_a_search_through_all_finds_it() {
        let chance = Chance::seeded(5);
        let any = || u128::from(chance.below(u64::MAX)) << 64 | u128::from(chance.below(u64::MAX));
        for lanes in (1..=40).chain([1_000]) {
            let even = u128::MAX / lanes;
            for skew in [0, 1, 40, 127] {
                let mut ends: Vec<HashKey> = match skew {
                    0 => (1..=lanes).map(|n| HashKey::new(n * even)).collect(),
                    _ => (0..lanes).map(|_| HashKey::new(any() >> skew)).collect(),
                };
                ends.sort();
                let near = |end: &HashKey| {
                    let end = end.as_u128();
                    [end.saturating_sub(1), end, end.saturating_add(1)]
                };
                let keys: Vec<u128> = ends.iter().flat_map(near).chain([0, u128::MAX]).collect();
                let found = Ends::new(ends.clone());
                for key in keys.into_iter().chain((0..100).map(|_| any())) {
                    let key = HashKey::new(key);
                    let want = ends.partition_point(|end| *end < key).min(ends.len() - 1);
                    assert_eq!(found.find(key), want, "{lanes} {skew} {key}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shards_that_stay_keep_their_lanes_and_those_that_go_are_remembered() {
        let (maker, now) = (maker(), Instant::now());
        let before = ShardMap::new(
            &[shard(0, 0, 49), shard(1, 50, 99)],
            now,
            Routing::Packed,
            &maker,
        )
        .unwrap();
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
        let before = ShardMap::new(&[shard(0, 0, 99)], now, Routing::Packed, &maker).unwrap();
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
        assert_eq!(
            ShardMap::new(&[], now, Routing::Packed, &maker).unwrap_err(),
            BadList::Empty
        );
        let mut bad = shard(0, 0, 9);
        bad.hash_key_range.ending_hash_key = "ten".to_owned();
        assert!(matches!(
            ShardMap::new(&[bad], now, Routing::Packed, &maker),
            Err(BadList::Range { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_closed_shards_is_bounded() {
        let (maker, now) = (maker(), Instant::now());
        let mut map = ShardMap::new(&[shard(0, 0, 9)], now, Routing::Packed, &maker).unwrap();
        for n in 1..1_200 {
            map = map.succeed(&[shard(n, 0, 9)], now, &maker).unwrap();
        }
        assert_eq!(map.ranges.len(), 1 + CLOSED_KEPT);
        assert!(map.range("shardId-000000000000").is_none());
        assert!(map.range("shardId-000000001198").is_some());
    }
}
