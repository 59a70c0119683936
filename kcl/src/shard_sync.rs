//! Which leases a stream's shards need: pure decisions over listed shards and stored leases, as KCL
//! 3.5 makes them.

use crate::lease::{Lease, ShardInfo};
use crate::position::{InitialPosition, Position};
use aggregation::{HashKey, HashRange};
use std::collections::{BTreeMap, BTreeSet};

/// Why no decision was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The listed shards do not cover all hash keys, each once: the list was taken while the stream was
    /// being changed.
    #[error("the listed shards do not tile the hash keys: {0}")]
    NotTiled(String),
    /// A shard has children although it is still open: the list is inconsistent.
    #[error("shards {0:?} have an open parent; the list is inconsistent")]
    OpenParent(Vec<String>),
}

/// Leases for a stream that has none: one per shard of a list that was filtered by the initial
/// position, open or closed.
///
/// # Errors
/// [`SyncError::NotTiled`] when the list does not cover the hash keys exactly once.
pub fn first_leases(
    shards: &[ShardInfo],
    position: InitialPosition,
) -> Result<Vec<Lease>, SyncError> {
    let mut ranges: Vec<HashRange> = shards.iter().filter_map(|s| s.hash_range).collect();
    ranges.sort_unstable();
    let mut next = Some(HashKey::MIN);
    for range in &ranges {
        if next != Some(range.start()) {
            return Err(SyncError::NotTiled(match next {
                Some(wanted) => format!("{wanted} is missing before {range}, or there twice"),
                None => format!("{range} is there twice"),
            }));
        }
        next = range.end().as_u128().checked_add(1).map(HashKey::new);
    }
    if let Some(wanted) = next {
        return Err(SyncError::NotTiled(format!("nothing from {wanted} on")));
    }
    let mut shards: Vec<&ShardInfo> = shards.iter().collect();
    sort(&mut shards);
    Ok(shards
        .into_iter()
        .map(|s| Lease::new(&s.id, position.sentinel()).of_shard(s))
        .collect())
}

fn sort(shards: &mut [&ShardInfo]) {
    shards.sort_by(|a, b| {
        a.starting_sequence
            .cmp(&b.starting_sequence)
            .then_with(|| a.id.cmp(&b.id))
    });
}

/// Leases that are missing beside those that exist, given the unfiltered list of shards: the oldest
/// generation of each lineage that is needed; the generations after it get theirs when it ends.
///
/// # Errors
/// [`SyncError::OpenParent`] unless `ignore_unexpected_children`.
pub fn missing_leases(
    shards: &[ShardInfo],
    leases: &BTreeSet<&str>,
    position: InitialPosition,
    ignore_unexpected_children: bool,
) -> Result<Vec<Lease>, SyncError> {
    let listed: BTreeMap<&str, &ShardInfo> = shards.iter().map(|s| (s.id.as_str(), s)).collect();
    let has_open_parent = |shard: &ShardInfo| {
        shard
            .parents
            .iter()
            .any(|p| listed.get(p.as_str()).is_some_and(|p| p.is_open))
    };
    let inconsistent: BTreeSet<&str> = shards
        .iter()
        .filter(|s| has_open_parent(s))
        .map(|s| s.id.as_str())
        .collect();
    if !inconsistent.is_empty() && !ignore_unexpected_children {
        let ids = inconsistent.into_iter().map(str::to_owned).collect();
        return Err(SyncError::OpenParent(ids));
    }
    let mut walk = Walk {
        listed: &listed,
        leases,
        position,
        known: BTreeMap::new(),
        create: BTreeMap::new(),
    };
    for (&id, shard) in &listed {
        let wanted = shard.is_open && !leases.contains(id) && !inconsistent.contains(id);
        if wanted && !walk.is_descendant(id) {
            walk.create.insert(id, position.sentinel());
        }
    }
    let mut wanted: Vec<&ShardInfo> = walk
        .create
        .keys()
        .filter_map(|id| listed.get(id).copied())
        .collect();
    sort(&mut wanted);
    Ok(wanted
        .into_iter()
        .filter_map(|shard| {
            let checkpoint = walk.create.get(shard.id.as_str())?.clone();
            Some(Lease::new(&shard.id, checkpoint).of_shard(shard))
        })
        .collect())
}

struct Walk<'a, 'b> {
    listed: &'b BTreeMap<&'a str, &'a ShardInfo>,
    leases: &'b BTreeSet<&'a str>,
    position: InitialPosition,
    /// Whether a shard descends from one that is, or will be, processed.
    known: BTreeMap<&'a str, bool>,
    create: BTreeMap<&'a str, Position>,
}

impl<'a> Walk<'a, '_> {
    fn is_descendant(&mut self, id: &'a str) -> bool {
        if let Some(known) = self.known.get(id) {
            return *known;
        }
        let Some(shard) = self.listed.get(id).copied() else {
            return false;
        };
        if self.leases.contains(id) {
            self.known.insert(id, true);
            return true;
        }
        // A list that names a shard as its own ancestor must not hang the walk.
        self.known.insert(id, false);
        let parents: Vec<&'a str> = shard
            .parents
            .iter()
            .map(String::as_str)
            .filter(|p| self.listed.contains_key(p))
            .collect();
        let mut descendant = false;
        for parent in &parents {
            let processed = self.is_descendant(parent);
            descendant |= processed || self.create.contains_key(parent);
        }
        if descendant {
            for parent in parents {
                self.cover_parent(parent);
            }
        } else if !matches!(self.position, InitialPosition::Latest) {
            self.create.insert(id, self.position.sentinel());
        }
        self.known.insert(id, descendant);
        descendant
    }

    /// Makes sure that each parent of a descendant will be processed, or was.
    fn cover_parent(&mut self, parent: &'a str) {
        if self.leases.contains(parent) {
            return;
        }
        let processed = self.known.get(parent).copied().unwrap_or(false);
        if self.create.contains_key(parent) || !processed {
            let begun = processed && !matches!(self.position, InitialPosition::AtTimestamp(_));
            let checkpoint = if begun {
                Position::TRIM_HORIZON
            } else {
                self.position.sentinel()
            };
            self.create.insert(parent, checkpoint);
        }
    }
}

/// The leases of a finished shard's children: from their beginning, wherever the application began.
#[must_use]
pub fn child_leases(children: &[ShardInfo]) -> Vec<Lease> {
    let mut children: Vec<&ShardInfo> = children.iter().collect();
    sort(&mut children);
    children
        .into_iter()
        .map(|child| Lease::new(&child.id, Position::TRIM_HORIZON).of_shard(child))
        .collect()
}

/// The first part of the hash keys that no unfinished lease covers: the two hash keys around it. A
/// lease that does not know its range hides what it covers, so that nothing is told then.
#[must_use]
pub fn hole(leases: &[Lease]) -> Option<(HashKey, HashKey)> {
    let unfinished = leases.iter().filter(|l| !l.is_finished());
    let mut ranges: Vec<HashRange> = unfinished.map(|l| l.hash_range).collect::<Option<_>>()?;
    ranges.sort_unstable();
    let mut next = HashKey::MIN;
    for range in ranges {
        if range.start() > next {
            return Some((next, range.start()));
        }
        match range.end().max(next).as_u128().checked_add(1) {
            Some(after) if range.end() >= next => next = HashKey::new(after),
            Some(_) => {}
            None => return None,
        }
    }
    Some((next, HashKey::MAX))
}

/// Finished leases that are of no use any more: every child has a lease and was begun to be read, and
/// no parent of the shard has a lease. Deleting them is what keeps the table bounded.
#[must_use]
pub fn disposable(leases: &[Lease]) -> Vec<&Lease> {
    let by_key: BTreeMap<&str, &Lease> = leases.iter().map(|l| (l.key.as_str(), l)).collect();
    let begun = |child: &String| {
        by_key.get(child.as_str()).is_some_and(|child| {
            child.checkpoint != Position::TRIM_HORIZON && child.checkpoint != Position::AT_TIMESTAMP
        })
    };
    leases
        .iter()
        .filter(|lease| lease.is_finished() && !lease.children.is_empty())
        .filter(|lease| lease.children.iter().all(begun))
        .filter(|lease| {
            !lease
                .parents
                .iter()
                .any(|p| by_key.contains_key(p.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::SequenceNumber;
    use InitialPosition::{Latest, TrimHorizon};

    fn at_timestamp() -> InitialPosition {
        InitialPosition::AtTimestamp(std::time::SystemTime::UNIX_EPOCH)
    }

    fn shard(n: u32, parents: &[u32], open: bool) -> ShardInfo {
        let parents: Vec<String> = parents.iter().map(u32::to_string).collect();
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        let mut shard = ShardInfo::new(n.to_string(), &parents, None);
        shard.is_open = open;
        shard.starting_sequence = SequenceNumber::parse(&(n * 100).to_string());
        shard
    }

    /// Generation 1: 0 to 5. Generation 2: 6 = merge(0,1), 7 = merge(2,3). Generation 3:
    /// 8 = merge(6,7), 9 and 10 = split(5); 4 is still open.
    fn three_generations() -> Vec<ShardInfo> {
        let mut shards: Vec<_> = (0..4).map(|n| shard(n, &[], false)).collect();
        shards.push(shard(4, &[], true));
        shards.push(shard(5, &[], false));
        shards.push(shard(6, &[0, 1], false));
        shards.push(shard(7, &[2, 3], false));
        shards.push(shard(8, &[6, 7], true));
        shards.push(shard(9, &[5], true));
        shards.push(shard(10, &[5], true));
        shards
    }

    fn missing(
        shards: &[ShardInfo],
        leases: &[&str],
        position: InitialPosition,
    ) -> Vec<(String, String)> {
        let leases = leases.iter().copied().collect();
        missing_leases(shards, &leases, position, false)
            .unwrap()
            .into_iter()
            .map(|l| (l.key, l.checkpoint.to_string()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(k, c)| ((*k).to_owned(), (*c).to_owned()))
            .collect()
    }

    #[test]
    fn the_worked_example() {
        let shards = three_generations();
        let leases = ["4", "5", "7"];
        assert_eq!(missing(&shards, &leases, Latest), pairs(&[("6", "LATEST")]));
        assert_eq!(
            missing(&shards, &leases, TrimHorizon),
            pairs(&[("0", "TRIM_HORIZON"), ("1", "TRIM_HORIZON")])
        );
        assert_eq!(
            missing(&shards, &leases, at_timestamp()),
            pairs(&[("0", "AT_TIMESTAMP"), ("1", "AT_TIMESTAMP")])
        );
    }

    #[test]
    fn one_generation_per_lineage() {
        let shards = three_generations();
        // Everything is there: nothing is missing.
        assert_eq!(
            missing(&shards, &["0", "1", "2", "3", "4", "5"], TrimHorizon),
            []
        );
        assert_eq!(missing(&shards, &["8", "4", "9", "10"], TrimHorizon), []);
        // Only 4 was ever read. From the horizon the roots, at the tip the open shards.
        assert_eq!(
            missing(&shards, &["4"], TrimHorizon),
            pairs(&["0", "1", "2", "3", "5"].map(|k| (k, "TRIM_HORIZON")))
        );
        assert_eq!(
            missing(&shards, &["4"], Latest),
            pairs(&[("8", "LATEST"), ("9", "LATEST"), ("10", "LATEST")])
        );
        // A child whose sibling was cleaned up together with their parent.
        assert_eq!(
            missing(&shards, &["8", "4", "9"], TrimHorizon),
            pairs(&[("5", "TRIM_HORIZON")])
        );
        // Parents that the stream has forgotten do not count.
        let forgotten = [shard(8, &[6, 7], true)];
        assert_eq!(
            missing(&forgotten, &[], TrimHorizon),
            pairs(&[("8", "TRIM_HORIZON")])
        );
    }

    #[test]
    fn children_of_open_parents_abort_or_are_skipped() {
        let shards = [
            shard(0, &[], true),
            shard(1, &[0], true),
            shard(2, &[], true),
        ];
        let leases = BTreeSet::from(["0"]);
        assert_eq!(
            missing_leases(&shards, &leases, TrimHorizon, false),
            Err(SyncError::OpenParent(vec!["1".to_owned()]))
        );
        let made = missing_leases(&shards, &leases, TrimHorizon, true).unwrap();
        assert_eq!(
            made.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(),
            ["2"]
        );
    }

    #[test]
    fn a_circle_in_the_list_does_not_hang() {
        let shards = [
            shard(0, &[1], false),
            shard(1, &[0], false),
            shard(2, &[0], true),
        ];
        let made = missing(&shards, &[], TrimHorizon);
        assert!(made.len() <= 3);
    }

    fn ranged(id: &str, start: u128, end: u128) -> ShardInfo {
        let range = HashRange::new(HashKey::new(start), HashKey::new(end)).unwrap();
        ShardInfo::new(id, &[], Some(range))
    }

    #[test]
    fn the_first_list_must_tile_the_hash_keys() {
        let half = u128::MAX / 2;
        let tiled = [ranged("a", 0, half), ranged("b", half + 1, u128::MAX)];
        let leases = first_leases(&tiled, Latest).unwrap();
        assert_eq!(leases.len(), 2);
        assert!(
            leases
                .iter()
                .all(|l| l.checkpoint == Position::LATEST && l.owner.is_none())
        );
        let bad: [&[ShardInfo]; 5] = [
            &[],
            &[ranged("a", 0, half)],
            &[ranged("b", half + 1, u128::MAX)],
            &[ranged("a", 0, half), ranged("b", half + 2, u128::MAX)],
            &[ranged("a", 0, half), ranged("b", half, u128::MAX)],
        ];
        for shards in bad {
            assert!(matches!(
                first_leases(shards, Latest),
                Err(SyncError::NotTiled(_))
            ));
        }
    }

    fn lease(id: &str, range: Option<(u128, u128)>, checkpoint: &str) -> Lease {
        let mut lease = Lease::new(id, Position::parse(checkpoint, 0).unwrap());
        lease.hash_range =
            range.map(|(a, b)| HashRange::new(HashKey::new(a), HashKey::new(b)).unwrap());
        lease
    }

    #[test]
    fn holes_are_what_no_unfinished_lease_covers() {
        let max = u128::MAX;
        let key = HashKey::new;
        let all = lease("a", Some((0, max)), "1");
        let low = lease("b", Some((0, 99)), "1");
        let high = lease("c", Some((100, max)), "1");
        let done = lease("d", Some((0, max)), "SHARD_END");
        let mute = lease("e", None, "1");
        assert_eq!(hole(std::slice::from_ref(&all)), None);
        assert_eq!(hole(&[low.clone(), high.clone(), done.clone()]), None);
        assert_eq!(hole(&[all, low.clone()]), None, "overlaps are no holes");
        assert_eq!(
            hole(std::slice::from_ref(&low)),
            Some((key(100), HashKey::MAX))
        );
        assert_eq!(
            hole(std::slice::from_ref(&high)),
            Some((HashKey::MIN, key(100)))
        );
        assert_eq!(hole(&[done]), Some((HashKey::MIN, HashKey::MAX)));
        let middle = lease("f", Some((50, 60)), "1");
        let wide = lease("g", Some((0, 80)), "1");
        assert_eq!(hole(&[wide, middle, high]), Some((key(81), key(100))));
        assert_eq!(hole(&[low, mute]), None, "an unknown range hides");
    }

    #[test]
    fn finished_leases_are_kept_until_their_children_are_read() {
        let parent = |children: &[&str], parents: &[&str]| {
            let mut lease = lease("p", None, "SHARD_END");
            lease.children = children.iter().map(|&c| c.to_owned()).collect();
            lease.parents = parents.iter().map(|&c| c.to_owned()).collect();
            lease
        };
        let begun = lease("c", None, "7");
        let latest = lease("l", None, "LATEST");
        let fresh = lease("f", None, "TRIM_HORIZON");
        let timed = lease("t", None, "AT_TIMESTAMP");
        let ended = lease("e", None, "SHARD_END");
        let grand = lease("g", None, "SHARD_END");
        let others = [begun, latest, fresh, timed, ended, grand];
        let table: [(&[&str], &[&str], bool); 9] = [
            (&["c"], &[], true),
            (&["l"], &[], true),
            (&["e"], &[], true),
            (&["c", "e"], &["gone"], true),
            (&["f"], &[], false),
            (&["c", "t"], &[], false),
            (&["missing"], &[], false),
            (&[], &[], false),
            (&["c"], &["g"], false),
        ];
        for (children, parents, expected) in table {
            let mut leases = others.to_vec();
            leases.push(parent(children, parents));
            let gone: Vec<_> = disposable(&leases).iter().map(|l| l.key.clone()).collect();
            assert_eq!(
                gone == ["p"],
                expected,
                "{children:?} {parents:?}: {gone:?}"
            );
        }
        let mut unfinished = others.to_vec();
        let mut p = parent(&["c"], &[]);
        p.checkpoint = Position::parse("9", 0).unwrap();
        unfinished.push(p);
        assert_eq!(disposable(&unfinished).len(), 0);
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        /// A history of splits and merges, and leases for some of the shards.
        fn history() -> impl Strategy<Value = (Vec<ShardInfo>, Vec<bool>)> {
            let steps = proptest::collection::vec((any::<bool>(), any::<u32>()), 0..12);
            (1u32..5, steps, proptest::collection::vec(any::<bool>(), 64)).prop_map(
                |(first, steps, leased)| {
                    let mut shards: Vec<ShardInfo> =
                        (0..first).map(|n| shard(n, &[], true)).collect();
                    for (split, choice) in steps {
                        let open: Vec<usize> =
                            (0..shards.len()).filter(|i| shards[*i].is_open).collect();
                        let pick = |n: u32| open[usize::try_from(n).unwrap() % open.len()];
                        let number = |i: usize| u32::try_from(i).unwrap();
                        let (a, b) = (pick(choice), pick(choice.wrapping_add(1)));
                        let next = number(shards.len());
                        shards[a].is_open = false;
                        if split || a == b {
                            shards.push(shard(next, &[number(a)], true));
                            shards.push(shard(next + 1, &[number(a)], true));
                        } else {
                            shards[b].is_open = false;
                            shards.push(shard(next, &[number(a), number(b)], true));
                        }
                    }
                    (shards, leased)
                },
            )
        }

        fn covered(id: &str, shards: &[ShardInfo], leases: &BTreeSet<&str>) -> bool {
            leases.contains(id)
                || shards
                    .iter()
                    .find(|s| s.id == id)
                    .is_some_and(|s| s.parents.iter().any(|p| covered(p, shards, leases)))
        }

        proptest! {
            /// After a sync each open shard has a lease, or descends from a shard that has one and
            /// will make its lease at its end; and a second sync finds nothing to do.
            #[test]
            fn every_open_shard_is_covered_and_a_second_sync_rests(
                (shards, leased) in history(),
                position in prop::sample::select(vec![Latest, TrimHorizon, at_timestamp()]),
            ) {
                let existing: BTreeSet<&str> = shards
                    .iter()
                    .zip(&leased)
                    .filter(|(_, leased)| **leased)
                    .map(|(shard, _)| shard.id.as_str())
                    .collect();
                let made = missing_leases(&shards, &existing, position, false).unwrap();
                let mut all = existing.clone();
                for lease in &made {
                    prop_assert!(all.insert(&lease.key), "{} was there", lease.key);
                }
                for shard in shards.iter().filter(|s| s.is_open) {
                    prop_assert!(covered(&shard.id, &shards, &all), "{} is not covered", shard.id);
                }
                let again = missing_leases(&shards, &all, position, false).unwrap();
                prop_assert!(again.is_empty(), "{:?}", again);
            }
        }
    }
}
