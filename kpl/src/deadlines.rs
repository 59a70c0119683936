//! When which lane's open aggregate is due: one entry a lane, so bounded by the number of shards.

use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// A lane, by the number it was made with.
pub(crate) type LaneKey = u64;

/// The deadlines of all lanes.
#[derive(Debug)]
pub(crate) struct Deadlines<L> {
    by_time: BTreeSet<(Instant, LaneKey)>,
    by_lane: BTreeMap<LaneKey, (Instant, L)>,
}

impl<L> Default for Deadlines<L> {
    fn default() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_lane: BTreeMap::new(),
        }
    }
}

impl<L> Deadlines<L> {
    /// Sets a lane's deadline, unless it has a sooner one.
    pub(crate) fn set(&mut self, key: LaneKey, at: Instant, lane: L) {
        if let Some((present, _)) = self.by_lane.get(&key) {
            if *present <= at {
                return;
            }
            self.by_time.remove(&(*present, key));
        }
        self.by_lane.insert(key, (at, lane));
        self.by_time.insert((at, key));
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the lanes whose deadline is `until` or sooner, the soonest first.
    pub(crate) fn take_due(&mut self, until: Instant) -> Vec<L> {
        let mut due = Vec::new();
        while let Some((at, key)) = self.by_time.first().copied() {
            if at > until {
                break;
            }
            self.by_time.pop_first();
            due.extend(self.by_lane.remove(&key).map(|(_, lane)| lane));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_soonest_deadline_of_a_lane_counts() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        for (lane, ms) in [(1, 50), (2, 30), (1, 70), (3, 30), (2, 10)] {
            deadlines.set(lane, at(ms), lane);
        }
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.take_due(at(9)), [] as [LaneKey; 0]);
        assert_eq!(deadlines.take_due(at(30)), [2, 3]);
        assert_eq!(deadlines.take_due(at(60)), [1]);
        assert_eq!(deadlines.next(), None);
    }
}
