//! Which records a reader has seen: the half of exactly-once that a reader does.

use std::collections::BTreeMap;

use crate::identity::RecordId;

/// How much a [`Window`] remembers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WindowBounds {
    /// Series of records; those seen longest ago are forgotten first, a sixteenth at a time. A producer
    /// that writes to a shard has one or a few there. Default: 4,096.
    pub series: usize,
    /// Runs of consecutive numbers in all series together, 16 bytes each. The series seen longest ago are
    /// forgotten first; of one that takes more than a quarter, its lowest runs. Records come nearly in
    /// order, so that a series is one run, and one more for each record that was given up, or that went
    /// to a sibling when an aggregate was taken apart at a reshard. Default: 65,536.
    pub runs: usize,
}

impl Default for WindowBounds {
    fn default() -> Self {
        WindowBounds {
            series: 4096,
            runs: 65_536,
        }
    }
}

/// What a [`Window`] says of a record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Sighting {
    /// Not seen before, or no longer remembered.
    New,
    /// Seen before: the record was stored more than once.
    Repeat,
}

/// Remembers which records of one shard were seen, within bounds. What is forgotten counts as new: a
/// record can then come twice, but none is ever taken for a repeat that was not seen.
///
/// A child shard's window begins as a clone of its parent's; that of a merge as one parent's into which
/// the other's is [absorbed](Self::absorb). A reader that starts at a checkpoint fills an empty window
/// by reading again what lies shortly before it, without processing. Only records that are processed
/// are shown to it: not those that are dropped for lying outside the shard's range.
///
/// ```
/// use aggregation::{RecordId, Sighting, Window};
/// let mut window = Window::default();
/// let id = RecordId { incarnation: 7, series: 0, number: 1 };
/// assert_eq!(window.observe(id), Sighting::New);
/// assert_eq!(window.observe(id), Sighting::Repeat);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Window {
    bounds: WindowBounds,
    series: BTreeMap<(u64, u64), Series>,
    /// Of all series.
    runs: usize,
    /// Counts observations: when a series was seen last.
    turn: u64,
    forgotten: u64,
}

#[derive(Clone, Debug, Default)]
struct Series {
    /// First and last number of each run, ascending; between two runs at least one number is missing.
    runs: Vec<(u64, u64)>,
    turn: u64,
}

impl Window {
    /// An empty window; 0 in the bounds counts as 1.
    #[must_use]
    pub fn new(bounds: WindowBounds) -> Self {
        Window {
            bounds: WindowBounds {
                series: bounds.series.max(1),
                runs: bounds.runs.max(1),
            },
            ..Self::default()
        }
    }

    /// Whether the record was seen before; it is remembered from now on.
    pub fn observe(&mut self, id: RecordId) -> Sighting {
        self.turn += 1;
        let key = (id.incarnation, id.series);
        let before = self.series.get(&key).map_or(0, |series| series.runs.len());
        let series = self.series.entry(key).or_default();
        series.turn = self.turn;
        let sighting = series.add(id.number);
        self.forgotten += series.shorten(self.bounds.of_a_series());
        self.runs = self.runs - before + series.runs.len();
        self.forget_the_oldest();
        sighting
    }

    /// Takes over what another window remembers: that of the other parent of a merged shard.
    pub fn absorb(&mut self, other: &Window) {
        self.turn = self.turn.max(other.turn);
        for (key, theirs) in &other.series {
            let ours = self.series.entry(*key).or_default();
            ours.turn = ours.turn.max(theirs.turn);
            ours.absorb(&theirs.runs);
            self.forgotten += ours.shorten(self.bounds.of_a_series());
        }
        self.runs = self.series.values().map(|series| series.runs.len()).sum();
        self.forget_the_oldest();
    }

    /// How many series and runs were forgotten to stay within the bounds.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// How many series it remembers.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series.len()
    }

    fn forget_the_oldest(&mut self) {
        let WindowBounds { series, runs } = self.bounds;
        while self.series.len() > series || (self.runs > runs && self.series.len() > 1) {
            // A sixteenth at once, so that finding them is paid for by as many new ones.
            let excess = self.series.len().saturating_sub(series);
            let drop = (excess + self.series.len() / 16).clamp(1, self.series.len() - 1);
            let mut turns: Vec<u64> = self.series.values().map(|series| series.turn).collect();
            let (_, youngest, _) = turns.select_nth_unstable(drop - 1);
            let youngest = *youngest;
            self.series.retain(|_, series| {
                let stays = series.turn > youngest;
                if !stays {
                    self.runs -= series.runs.len();
                    self.forgotten += 1;
                }
                stays
            });
        }
    }
}

impl WindowBounds {
    fn of_a_series(self) -> usize {
        (self.runs / 4).max(1)
    }
}

impl Series {
    fn add(&mut self, number: u64) -> Sighting {
        // Nearly always the successor of the last.
        if let Some((_, last)) = self.runs.last_mut()
            && last.checked_add(1) == Some(number)
        {
            *last = number;
            return Sighting::New;
        }
        let at = self.runs.partition_point(|(_, last)| *last < number);
        if self.runs.get(at).is_some_and(|(first, _)| *first <= number) {
            return Sighting::Repeat;
        }
        self.runs.insert(at, (number, number));
        self.join(at);
        if let Some(before) = at.checked_sub(1) {
            self.join(before);
        }
        Sighting::New
    }

    /// Joins a run with the next if no number is missing between them.
    fn join(&mut self, at: usize) {
        let (Some(&(_, last)), Some(&(next, end))) = (self.runs.get(at), self.runs.get(at + 1))
        else {
            return;
        };
        if last.checked_add(1) == Some(next) {
            self.runs.remove(at + 1);
            if let Some((_, last)) = self.runs.get_mut(at) {
                *last = end;
            }
        }
    }

    fn absorb(&mut self, other: &[(u64, u64)]) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.extend_from_slice(other);
        runs.sort_unstable();
        for (first, end) in runs {
            match self.runs.last_mut() {
                Some((_, last)) if first <= last.saturating_add(1) => *last = end.max(*last),
                _ => self.runs.push((first, end)),
            }
        }
    }

    /// Forgets the lowest runs above the bound; says how many.
    fn shorten(&mut self, bound: usize) -> u64 {
        let excess = self.runs.len().saturating_sub(bound);
        self.runs.drain(..excess);
        u64::try_from(excess).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(incarnation: u64, series: u64, number: u64) -> RecordId {
        RecordId {
            incarnation,
            series,
            number,
        }
    }

    #[test]
    fn an_aggregate_that_comes_late_is_new_and_one_that_comes_again_is_not() {
        let mut window = Window::default();
        let mut show = |numbers: std::ops::Range<u64>| {
            numbers
                .map(|n| window.observe(id(1, 0, n)))
                .filter(|sighting| *sighting == Sighting::New)
                .count()
        };
        assert_eq!(show(0..100), 100);
        assert_eq!(show(200..300), 100);
        assert_eq!(show(100..200), 100, "late");
        assert_eq!(show(150..310), 10, "again, but for the last ten");
        assert_eq!(window.series[&(1, 0)].runs, [(0, 309)]);
    }

    #[test]
    fn children_inherit_and_a_merge_takes_from_both() {
        let mut parent = Window::default();
        let _ = parent.observe(id(1, 0, 5));
        let (mut left, mut right) = (parent.clone(), parent.clone());
        assert_eq!(left.observe(id(1, 0, 5)), Sighting::Repeat);
        assert_eq!(left.observe(id(1, 0, 6)), Sighting::New);
        assert_eq!(right.observe(id(1, 0, 8)), Sighting::New);
        assert_eq!(right.observe(id(2, 0, 6)), Sighting::New);
        left.absorb(&right);
        for seen in [id(1, 0, 5), id(1, 0, 6), id(1, 0, 8), id(2, 0, 6)] {
            assert_eq!(left.observe(seen), Sighting::Repeat, "{seen:?}");
        }
        assert_eq!(left.observe(id(1, 0, 7)), Sighting::New);
        assert_eq!(left.series[&(1, 0)].runs, [(5, 8)]);
    }

    #[test]
    fn the_series_seen_longest_ago_are_forgotten() {
        let mut window = Window::new(WindowBounds {
            series: 32,
            runs: 100,
        });
        for series in 0..32 {
            let _ = window.observe(id(1, series, 0));
        }
        let _ = window.observe(id(1, 0, 1));
        assert_eq!((window.series(), window.forgotten()), (32, 0));
        let _ = window.observe(id(1, 32, 0));
        assert_eq!((window.series(), window.forgotten()), (30, 3));
        assert_eq!(window.observe(id(1, 0, 1)), Sighting::Repeat, "seen lately");
        assert_eq!(window.observe(id(1, 1, 0)), Sighting::New, "forgotten");
        // Runs that are far apart push the oldest series out, and no more than that.
        for n in 0..25 {
            let _ = window.observe(id(9, 9, 2 * n));
        }
        assert!(window.series() > 20 && window.runs > 40);
        for n in 0..100 {
            let _ = window.observe(id(9, n % 4, 2 * n));
        }
        assert!(window.runs <= 100 && window.runs > 80, "{}", window.runs);
    }

    proptest! {
        #[test]
        fn equals_a_set_and_bounded_it_never_makes_up_a_repeat(
            ids in prop::collection::vec((0_u64..3, 0_u64..3, 0_u64..40), 0..300),
            (series, runs) in (1_usize..6, 1_usize..12),
            cut in 0_usize..300,
        ) {
            let mut seen = BTreeSet::new();
            let mut all = Window::default();
            let mut bounded = Window::new(WindowBounds { series, runs });
            for (incarnation, part, number) in &ids {
                let id = id(*incarnation, *part, *number);
                let new = seen.insert(id);
                prop_assert_eq!(all.observe(id) == Sighting::New, new);
                if bounded.observe(id) == Sighting::Repeat {
                    prop_assert!(!new);
                }
                prop_assert!(bounded.series() <= series);
                let kept: usize = bounded.series.values().map(|series| series.runs.len()).sum();
                prop_assert!(kept == bounded.runs && kept <= runs);
            }
            prop_assert_eq!(all.forgotten(), 0);
            // Two windows of two parts, absorbed, are one window of the whole.
            let (first, second) = ids.split_at(cut.min(ids.len()));
            let [mut one, mut two] = [Window::default(), Window::default()];
            for (window, part) in [(&mut one, first), (&mut two, second)] {
                for (incarnation, part, number) in part {
                    let _ = window.observe(id(*incarnation, *part, *number));
                }
            }
            one.absorb(&two);
            for id in seen {
                prop_assert_eq!(one.observe(id), Sighting::Repeat);
            }
        }
    }
}
