//! Which numbers are done: all below a mark, and runs above it.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of numbers that mostly is everything below one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Everything below is done.
    below: u64,
    /// Runs above it, by their first number, with their end; a number is missing before each.
    runs: BTreeMap<u64, u64>,
}

impl Done {
    /// Everything below `below`, and these runs.
    pub(super) fn new(below: u64, runs: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut done = Self {
            below,
            runs: BTreeMap::new(),
        };
        for run in runs {
            done.add(run);
        }
        done
    }

    pub(super) const fn below(&self) -> u64 {
        self.below
    }

    /// Behind the last number that is done.
    pub(super) fn end(&self) -> u64 {
        self.runs
            .last_key_value()
            .map_or(self.below, |(_, end)| *end)
    }

    pub(super) fn runs(&self) -> impl ExactSizeIterator<Item = Range<u64>> {
        self.runs.iter().map(|(first, end)| *first..*end)
    }

    pub(super) fn add(&mut self, run: Range<u64>) {
        let Range { mut start, mut end } = run;
        if start >= end {
            return;
        }
        if start > self.below {
            // Join with the run before and all that are touched.
            if let Some((&first, &last)) = self.runs.range(..=start).next_back()
                && last >= start
            {
                start = first;
                end = end.max(last);
            }
            while let Some((&first, &last)) = self.runs.range(start..=end).next() {
                end = end.max(last);
                self.runs.remove(&first);
            }
            self.runs.insert(start, end);
            return;
        }
        self.below = self.below.max(end);
        while let Some(entry) = self
            .runs
            .first_entry()
            .filter(|run| *run.key() <= self.below)
        {
            self.below = self.below.max(entry.remove());
        }
    }

    /// Whether all of these are done.
    pub(super) fn contains(&self, run: &Range<u64>) -> bool {
        run.end <= self.below
            || run.start >= run.end
            || self
                .runs
                .range(..=run.start.max(self.below))
                .next_back()
                .is_some_and(|(first, end)| *first <= run.start.max(self.below) && run.end <= *end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    proptest! {
        #[test]
        fn equals_a_set(
            runs in prop::collection::vec((0_u64..60, 0_u64..8), 0..40),
            asked in (0_u64..60, 0_u64..12),
        ) {
            let mut done = Done::default();
            let mut set = BTreeSet::new();
            for (start, length) in runs {
                done.add(start..start + length);
                set.extend(start..start + length);
                let shown: BTreeSet<u64> = (0..done.below()).chain(done.runs().flatten()).collect();
                prop_assert_eq!(&shown, &set);
                let mut end = done.below();
                for run in done.runs() {
                    prop_assert!(run.start > end && run.end > run.start, "runs do not touch");
                    end = run.end;
                }
            }
            let asked = asked.0..asked.0 + asked.1;
            prop_assert_eq!(done.contains(&asked), asked.clone().all(|n| set.contains(&n)));
            prop_assert_eq!(Done::new(done.below(), done.runs()), done);
        }
    }
}
