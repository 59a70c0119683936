//! One stream: its shards, and the states it goes through.

use super::bucket::Window;
use super::calls::Calls;
use super::consumers::Consumer;
use super::hash::{HashRange, even_ranges};
use super::log::Log;
use super::memory::Kept;
use super::scaling::{self, Step};
use super::shard::{Shard, shard_id};
use super::tags::Tags;
use crate::options::Limits;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// A stream. Its lock is held for reading by every put, so that no record arrives at a shard that
/// is being closed, and for writing by changes of state only.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) arn: String,
    /// Tells this stream from an earlier one of the same name.
    pub(crate) incarnation: u64,
    /// Milliseconds since the epoch.
    pub(crate) created: u64,
    /// The service's own name of it, which no other stream ever has.
    pub(crate) id: String,
    pub(crate) state: RwLock<State>,
    /// By name. Locked after the state.
    pub(crate) consumers: Mutex<BTreeMap<String, Arc<Consumer>>>,
    pub(crate) calls: Calls,
    /// Whose turn it is among the open shards, on a stream that places records itself.
    pub(crate) turn: AtomicUsize,
}

/// What its owner sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) on_demand: bool,
    /// The largest record (payload and partition key), in KiB.
    pub(crate) max_record_kib: u64,
    /// Whether the service places records (`AUTO`), not their keys.
    pub(crate) auto: bool,
    pub(crate) tags: Tags,
    /// Shard-level metrics.
    pub(crate) metrics: BTreeSet<String>,
    /// The key that records are encrypted with.
    pub(crate) key_id: Option<String>,
}

/// What is counted over 24 hours.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    pub(crate) counts: Window,
    pub(crate) modes: Window,
    pub(crate) encryption_starts: Window,
    pub(crate) encryption_stops: Window,
}

/// What of a stream changes.
#[derive(Debug)]
pub(crate) struct State {
    phase: Phase,
    /// All shards that are kept, by index.
    pub(crate) shards: Vec<Arc<Shard>>,
    /// The open ones, by range.
    open: Vec<Arc<Shard>>,
    /// The highest hash key of each, side by side, so that a search among thousands stays in the
    /// processor's cache.
    ends: Vec<u128>,
    next_index: u32,
    /// Milliseconds.
    pub(crate) retention: u64,
    /// When the next closed shard's records have all expired; none without closed shards.
    next_expiry: Option<u64>,
    pub(crate) settings: Settings,
    pub(crate) quotas: Quotas,
    limits: Limits,
    /// Where the bytes of its records are counted.
    kept: Kept,
}

/// Where a stream is in its life. Times are milliseconds since the epoch: a change takes effect
/// when somebody looks at or after that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Creating { until: u64, shards: u32 },
    Active,
    Updating { until: u64, change: Change },
    Deleting { until: u64 },
}

/// A change that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The second half starts at `at`.
    Split { shard: u32, at: u128 },
    /// `first` becomes the parent, `second` the adjacent parent.
    Merge { first: u32, second: u32 },
    /// So many shards of even ranges.
    Scale { target: u32 },
    /// Of settings only, which are in force already.
    Settings,
}

/// The states that the service names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Active,
    Updating,
    Deleting,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

const DAY: u64 = 24 * 3_600 * 1_000;

impl State {
    /// A stream that is being created.
    pub(crate) fn creating(
        shards: u32,
        until: u64,
        settings: Settings,
        limits: Limits,
        kept: Kept,
    ) -> Self {
        Self {
            phase: Phase::Creating { until, shards },
            shards: Vec::new(),
            open: Vec::new(),
            ends: Vec::new(),
            next_index: 0,
            retention: DAY,
            next_expiry: None,
            settings,
            quotas: Quotas::default(),
            limits,
            kept,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self.phase {
            Phase::Creating { .. } => Status::Creating,
            Phase::Active => Status::Active,
            Phase::Updating { .. } => Status::Updating,
            Phase::Deleting { .. } => Status::Deleting,
        }
    }

    /// Whether records can be written and read.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Updating { .. })
    }

    /// Whether something is due at `now` that [`State::settle`] has to do.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let phase = match self.phase {
            Phase::Active => false,
            Phase::Creating { until, .. }
            | Phase::Updating { until, .. }
            | Phase::Deleting { until } => now >= until,
        };
        phase || self.next_expiry.is_some_and(|at| now >= at)
    }

    /// Brings the state up to `now`. False when the stream is gone.
    pub(crate) fn settle(&mut self, created: u64, now: u64) -> bool {
        match self.phase {
            Phase::Creating { until, shards } if now >= until => {
                self.phase = Phase::Active;
                for range in even_ranges(shards) {
                    self.add_shard(range, [None, None], created, created / 1_000);
                }
                self.sort_open();
            }
            Phase::Updating { until, change } if now >= until => {
                self.phase = Phase::Active;
                self.reshard(change, until);
            }
            Phase::Deleting { until } if now >= until => return false,
            _ => {}
        }
        if self.next_expiry.is_some_and(|at| now >= at) {
            let retention = self.retention;
            self.shards
                .retain(|s| s.closed.get().is_none_or(|at| at + retention > now));
            self.note_expiry();
        }
        true
    }

    /// When the change that is under way is done; none when there is none.
    pub(crate) fn next_change(&self) -> Option<u64> {
        match self.phase {
            Phase::Active => None,
            Phase::Creating { until, .. }
            | Phase::Updating { until, .. }
            | Phase::Deleting { until } => Some(until),
        }
    }

    /// Makes all subscriptions look again.
    pub(crate) fn wake_all(&self) {
        for shard in &self.shards {
            shard.news.notify_waiters();
        }
    }

    pub(crate) fn begin(&mut self, change: Change, until: u64) {
        self.phase = Phase::Updating { until, change };
    }

    pub(crate) fn begin_delete(&mut self, until: u64) {
        self.phase = Phase::Deleting { until };
        self.wake_all();
    }

    /// Changes how long records are kept, in milliseconds. What has expired by now stays so: a longer
    /// retention brings nothing back, as the service documents.
    pub(crate) fn set_retention(&mut self, retention: u64, now: u64) {
        let horizon = self.horizon(now);
        for shard in &self.shards {
            shard.log.lock().trim(horizon);
        }
        self.retention = retention;
        self.note_expiry();
    }

    /// What arrived before this has expired, in milliseconds since the epoch.
    pub(crate) fn horizon(&self, now: u64) -> u64 {
        now.saturating_sub(self.retention)
    }

    /// Which of the open shards a hash key belongs to.
    pub(crate) fn route(&self, key: u128) -> usize {
        self.ends.partition_point(|end| *end < key)
    }

    /// Which of the open shards has its turn.
    pub(crate) fn in_turn(&self, turn: usize) -> usize {
        turn.checked_rem(self.open.len()).unwrap_or_default()
    }

    /// The open shard at a place in the order of ranges.
    pub(crate) fn open_at(&self, place: usize) -> Option<&Arc<Shard>> {
        self.open.get(place)
    }

    /// A shard by its index.
    pub(crate) fn shard(&self, index: u32) -> Option<&Arc<Shard>> {
        // Where it is while none before it has expired but the first ones.
        let first = self.shards.first()?.index;
        let place = usize::try_from(index.checked_sub(first)?).ok()?;
        if let Some(shard) = self.shards.get(place).filter(|s| s.index == index) {
            return Some(shard);
        }
        self.shards
            .binary_search_by_key(&index, |s| s.index)
            .ok()
            .and_then(|at| self.shards.get(at))
    }

    /// The shards that were made from a closed one.
    pub(crate) fn children_of(&self, parent: &Shard) -> Vec<Arc<Shard>> {
        self.shards
            .iter()
            .filter(|s| s.is_child_of(&parent.id))
            .cloned()
            .collect()
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    fn reshard(&mut self, change: Change, at: u64) {
        match change {
            Change::Split { shard, at: key } => {
                if let Some(parent) = self.shard(shard).cloned() {
                    self.split(&parent, key, at);
                }
            }
            Change::Merge { first, second } => {
                if let (Some(a), Some(b)) =
                    (self.shard(first).cloned(), self.shard(second).cloned())
                {
                    self.merge(&a, &b, at);
                }
            }
            Change::Scale { target } => self.scale(target, at),
            Change::Settings => return,
        }
        self.open.retain(|s| s.closed.get().is_none());
        self.sort_open();
        self.note_expiry();
    }

    fn split(&mut self, parent: &Arc<Shard>, key: u128, at: u64) -> [Arc<Shard>; 2] {
        let (opened, created) = close(&[parent], at);
        let HashRange { start, end } = parent.range;
        [(start, key - 1), (key, end)].map(|(start, end)| {
            let parents = [Some(parent.id.clone()), None];
            self.add_shard(HashRange { start, end }, parents, opened, created)
        })
    }

    fn merge(&mut self, a: &Arc<Shard>, b: &Arc<Shard>, at: u64) -> Arc<Shard> {
        let (opened, created) = close(&[a, b], at);
        let range = HashRange {
            start: a.range.start.min(b.range.start),
            end: a.range.end.max(b.range.end),
        };
        let parents = [Some(a.id.clone()), Some(b.id.clone())];
        self.add_shard(range, parents, opened, created)
    }

    /// Splits and merges until there are so many shards of even ranges.
    fn scale(&mut self, target: u32, at: u64) {
        let mut pieces = self.open.clone();
        let ranges: Vec<HashRange> = pieces.iter().map(|s| s.range).collect();
        for step in scaling::plan(&ranges, target) {
            let piece = |at: usize| pieces.get(at).cloned();
            match step {
                Step::Split { piece: index, key } => {
                    let Some(parent) = piece(index) else { return };
                    pieces.extend(self.split(&parent, key, at));
                }
                Step::Merge { first, second } => {
                    let (Some(a), Some(b)) = (piece(first), piece(second)) else {
                        return;
                    };
                    pieces.push(self.merge(&a, &b, at));
                }
            }
        }
    }

    fn add_shard(
        &mut self,
        range: HashRange,
        parents: [Option<String>; 2],
        opened: u64,
        created: u64,
    ) -> Arc<Shard> {
        let [parent, adjacent_parent] = parents;
        let index = self.next_index;
        self.next_index += 1;
        let shard = Arc::new(Shard {
            index,
            id: shard_id(index),
            range,
            parent,
            adjacent_parent,
            created,
            opened,
            closed: OnceLock::new(),
            log: Mutex::new(Log::new(&self.limits, opened).counted(&self.kept)),
            news: Arc::new(Notify::new()),
        });
        self.open.push(Arc::clone(&shard));
        self.shards.push(Arc::clone(&shard));
        shard
    }

    fn sort_open(&mut self) {
        self.open.sort_by_key(|s| s.range.start);
        self.ends = self.open.iter().map(|s| s.range.end).collect();
    }

    fn note_expiry(&mut self) {
        self.next_expiry = self
            .shards
            .iter()
            .filter_map(|s| s.closed.get())
            .min()
            .map(|at| at + self.retention);
    }
}

/// Closes shards. Gives when their children open (ms; later than the parents opened, so that no
/// shard has lived for no time) and the creation time of the children's sequence numbers (s;
/// later than the parents', so that the children's numbers lie above theirs).
fn close(parents: &[&Arc<Shard>], at: u64) -> (u64, u64) {
    let opened = parents.iter().map(|p| p.opened + 1).fold(at, u64::max);
    let created = parents
        .iter()
        .map(|p| p.created + 1)
        .fold(at / 1_000, u64::max);
    for parent in parents {
        // Set once: only an open shard is resharded, under the write lock.
        parent.closed.get_or_init(|| opened);
        parent.news.notify_waiters();
    }
    (opened, created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: u64 = 1_700_000_000_000;

    fn active(shards: u32) -> State {
        let mut state =
            State::creating(shards, T0, Settings::default(), Limits::On, Kept::default());
        assert!(state.settle(T0, T0));
        state
    }

    fn owner_of(state: &State, key: u128) -> Option<u32> {
        state.open_at(state.route(key)).map(|shard| shard.index)
    }

    fn ids(shards: &[Arc<Shard>]) -> Vec<&str> {
        shards.iter().map(|s| s.id.as_str()).collect()
    }

    #[test]
    fn states_change_at_their_time() {
        let mut state = State::creating(
            2,
            T0 + 500,
            Settings::default(),
            Limits::On,
            Kept::default(),
        );
        assert!(!state.is_due(T0 + 499));
        assert!(state.settle(T0, T0 + 499));
        assert_eq!((state.status(), state.shards.len()), (Status::Creating, 0));
        assert!(!state.serves());
        assert!(state.is_due(T0 + 500));
        assert!(state.settle(T0, T0 + 500));
        assert_eq!((state.status(), state.shards.len()), (Status::Active, 2));
        state.begin(Change::Split { shard: 0, at: 77 }, T0 + 2_000);
        assert!(state.settle(T0, T0 + 1_999));
        assert_eq!((state.status(), state.shards.len()), (Status::Updating, 2));
        assert!(state.serves());
        assert!(state.settle(T0, T0 + 9_000));
        assert_eq!((state.status(), state.shards.len()), (Status::Active, 4));
        state.begin_delete(T0 + 10_000);
        assert!(state.settle(T0, T0 + 9_999));
        assert!(!state.settle(T0, T0 + 10_000));
    }

    #[test]
    fn a_split_and_a_merge_keep_lineage_ranges_and_order() {
        let mut state = active(2);
        state.begin(
            Change::Split {
                shard: 0,
                at: 1 << 126,
            },
            T0,
        );
        state.settle(T0, T0);
        state.begin(
            Change::Merge {
                first: 3,
                second: 1,
            },
            T0,
        );
        state.settle(T0, T0);
        assert_eq!(
            ids(&state.shards),
            ["0", "1", "2", "3", "4"].map(|i| format!("shardId-00000000000{i}"))
        );
        let merged = state.shard(4).unwrap();
        assert_eq!(merged.parent.as_deref(), Some("shardId-000000000003"));
        assert_eq!(
            merged.adjacent_parent.as_deref(),
            Some("shardId-000000000001")
        );
        assert_eq!(
            (merged.range.start, merged.range.end),
            (1 << 126, u128::MAX)
        );
        assert_eq!(
            ids(&state.open),
            ["shardId-000000000002", "shardId-000000000004"]
        );
        for (key, owner) in [(0, 2), ((1 << 126) - 1, 2), (1 << 126, 4), (u128::MAX, 4)] {
            assert_eq!(owner_of(&state, key), Some(owner));
        }
        for shard in &state.shards {
            for parent in [&shard.parent, &shard.adjacent_parent]
                .into_iter()
                .flatten()
            {
                let parent = state.shards.iter().find(|s| &s.id == parent).unwrap();
                assert!(shard.starting_sequence() > parent.ending_sequence().unwrap());
                assert!(parent.opened < *parent.closed.get().unwrap());
                assert_eq!(*parent.closed.get().unwrap(), shard.opened);
            }
        }
    }

    #[test]
    fn a_closed_shard_goes_when_its_retention_is_over() {
        let mut state = active(1);
        state.begin(Change::Split { shard: 0, at: 99 }, T0 + 5_000);
        state.settle(T0, T0 + 5_000);
        assert!(!state.is_due(T0 + 5_000 + DAY - 1));
        assert!(state.is_due(T0 + 5_000 + DAY));
        state.settle(T0, T0 + 5_000 + DAY);
        assert_eq!(
            ids(&state.shards),
            ["shardId-000000000001", "shardId-000000000002"]
        );
        assert!(state.shard(0).is_none());
        assert!(!state.is_due(u64::MAX));
    }

    proptest! {
        #[test]
        fn any_resharding_leaves_every_hash_key_with_one_open_shard(
            shards in 1..6_u32,
            steps in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..30),
        ) {
            let mut state = active(shards);
            for (step, (split, pick)) in (1..).zip(steps) {
                let at = usize::from(pick) % state.open.len();
                let change = match (split, state.open.get(at + 1)) {
                    (false, Some(next)) => Change::Merge {
                        first: state.open[at].index,
                        second: next.index,
                    },
                    _ => match state.open[at].range.middle() {
                        Some(key) => Change::Split { shard: state.open[at].index, at: key },
                        None => continue,
                    },
                };
                state.begin(change, T0 + step);
                state.settle(T0, T0 + step);
                prop_assert_eq!(state.open[0].range.start, 0);
                prop_assert_eq!(state.open.last().unwrap().range.end, u128::MAX);
                for pair in state.open.windows(2) {
                    prop_assert_eq!(pair[0].range.end + 1, pair[1].range.start);
                }
                for shard in &state.open {
                    prop_assert_eq!(owner_of(&state, shard.range.start), Some(shard.index));
                    prop_assert_eq!(owner_of(&state, shard.range.end), Some(shard.index));
                }
            }
        }
    }
}
