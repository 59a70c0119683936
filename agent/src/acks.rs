//! The delivered position of one file, from acknowledgements in any order.

use std::collections::BTreeMap;

/// Byte ranges that were sent, in the order of the file, and how far they are delivered without a gap.
#[derive(Debug, Clone)]
pub struct Acks {
    delivered: u64,
    sent: u64,
    /// Start of each range that is not part of the delivered prefix: its end, and whether it is
    /// delivered.
    open: BTreeMap<u64, (u64, bool)>,
}

impl Acks {
    /// Nothing sent yet; all before `position` is delivered.
    #[must_use]
    pub fn starting_at(position: u64) -> Self {
        Self {
            delivered: position,
            sent: position,
            open: BTreeMap::new(),
        }
    }

    /// The range from the end of the last one to `end` was sent. Its start is the ticket for
    /// [`Acks::delivered`]; `None` when there is nothing before `end` that was not sent.
    pub fn send(&mut self, end: u64) -> Option<u64> {
        let start = self.sent;
        if end <= start {
            return None;
        }
        self.open.insert(start, (end, false));
        self.sent = end;
        Some(start)
    }

    /// The range that starts here is delivered. Twice, or for a range that was never sent, is nothing.
    pub fn delivered(&mut self, start: u64) {
        if let Some((_, delivered)) = self.open.get_mut(&start) {
            *delivered = true;
        }
        while let Some(first) = self.open.first_entry() {
            let (end, true) = *first.get() else { break };
            self.delivered = end;
            first.remove();
        }
    }

    /// All before this is delivered.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.delivered
    }

    /// The end of what was sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// True when all that was sent is delivered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gap_holds_the_position_back() {
        let mut acks = Acks::starting_at(10);
        let tickets: Vec<u64> = [15, 20, 30]
            .iter()
            .filter_map(|end| acks.send(*end))
            .collect();
        assert_eq!(tickets, [10, 15, 20]);
        assert_eq!((acks.send(30), acks.sent()), (None, 30));
        acks.delivered(20);
        acks.delivered(15);
        assert_eq!((acks.position(), acks.is_settled()), (10, false));
        acks.delivered(10);
        assert_eq!((acks.position(), acks.is_settled()), (30, true));
        acks.delivered(10);
        assert_eq!(acks.position(), 30);
    }

    proptest! {
        #[test]
        fn the_position_never_runs_ahead_and_is_contiguous(
            lengths in prop::collection::vec(1u64..1000, 1..80),
            seed in any::<u64>(),
            start in 0u64..1_000_000,
        ) {
            let chance = runtime::Chance::seeded(seed);
            let mut acks = Acks::starting_at(start);
            let mut ranges = Vec::new();
            let mut waiting: Vec<usize> = Vec::new();
            let mut delivered = vec![false; lengths.len()];
            let mut end = start;
            let mut unsent = lengths.iter();
            loop {
                let more = unsent.len() > 0;
                if more && (waiting.is_empty() || chance.happens(0.5)) {
                    end += unsent.next().unwrap();
                    let ticket = acks.send(end).unwrap();
                    waiting.push(ranges.len());
                    ranges.push((ticket, end));
                } else if !waiting.is_empty() {
                    let n = waiting.swap_remove(chance.index(waiting.len()));
                    delivered[n] = true;
                    acks.delivered(ranges[n].0);
                } else {
                    break;
                }
                let expected = ranges
                    .iter()
                    .zip(&delivered)
                    .take_while(|(_, done)| **done)
                    .last()
                    .map_or(start, |((_, end), _)| *end);
                prop_assert_eq!(acks.position(), expected);
                prop_assert_eq!(acks.sent(), end);
            }
            prop_assert!(acks.is_settled());
            prop_assert_eq!(acks.position(), end);
        }
    }
}
