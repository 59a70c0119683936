//! Ranges of hash keys: the part of the ring that a shard owns.

use std::fmt;

use crate::hash::HashKey;

/// A range of hash keys, both ends inclusive; never empty.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HashRange {
    start: HashKey,
    end: HashKey,
}

/// The start of a range lies behind its end.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a range of hash keys cannot start at {start} and end before it, at {end}")]
pub struct HashRangeError {
    /// The start that was asked for.
    pub start: HashKey,
    /// The end that was asked for.
    pub end: HashKey,
}

impl HashRange {
    /// All hash keys.
    pub const FULL: HashRange = HashRange {
        start: HashKey::MIN,
        end: HashKey::MAX,
    };

    /// The range from `start` to `end`, both inclusive.
    ///
    /// # Errors
    /// If `start` is greater than `end`.
    pub fn new(start: HashKey, end: HashKey) -> Result<Self, HashRangeError> {
        if start > end {
            Err(HashRangeError { start, end })
        } else {
            Ok(HashRange { start, end })
        }
    }

    /// The first hash key in the range.
    pub const fn start(&self) -> HashKey {
        self.start
    }

    /// The last hash key in the range.
    pub const fn end(&self) -> HashKey {
        self.end
    }

    /// Whether the range holds `key`.
    pub fn contains(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// Whether the two ranges have a hash key in common.
    pub fn overlaps(&self, other: &HashRange) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether one range starts right behind the other's end, with nothing between and nothing in
    /// common: what two shards need to be merged. The ring does not close: 2^128 − 1 and 0 do not
    /// touch.
    pub fn touches(&self, other: &HashRange) -> bool {
        let follows = |first: &HashRange, second: &HashRange| {
            first.end.as_u128().checked_add(1) == Some(second.start.as_u128())
        };
        follows(self, other) || follows(other, self)
    }

    /// The range that two ranges which [touch](Self::touches) make together.
    pub fn join(&self, other: &HashRange) -> Option<HashRange> {
        self.touches(other).then(|| HashRange {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        })
    }

    /// Two ranges out of one, the second starting at `at` (the `NewStartingHashKey` of a shard
    /// split). Nothing if either would be empty.
    pub fn split_at(&self, at: HashKey) -> Option<(HashRange, HashRange)> {
        if !self.contains(at) || at == self.start {
            return None;
        }
        let before = HashKey::new(at.as_u128().checked_sub(1)?);
        Some((
            HashRange {
                start: self.start,
                end: before,
            },
            HashRange {
                start: at,
                end: self.end,
            },
        ))
    }

    /// The hash key at which [`split_at`](Self::split_at) makes two halves, the first the longer one
    /// by a key if they cannot be equal. Of a range of one key, that key.
    pub fn middle(&self) -> HashKey {
        let (start, length) = (
            self.start.as_u128(),
            self.end.as_u128() - self.start.as_u128(),
        );
        // length is one less than the number of keys, so that the whole ring does not overflow.
        HashKey::new(start + length.div_ceil(2))
    }

    /// `parts` ranges of equal length that cover this one, the last taking what is left over: how
    /// the service lays out the shards of a new stream. Nothing for 0 parts, or more parts than
    /// there are keys.
    pub fn divide(&self, parts: u32) -> Option<Vec<HashRange>> {
        if parts == 1 {
            return Some(vec![*self]);
        }
        let parts = u128::from(parts);
        // One less than the number of keys: that of the whole ring does not fit.
        let last = self.end.as_u128() - self.start.as_u128();
        let rest = last.checked_rem(parts)?;
        let step = last / parts + u128::from(rest + 1 == parts);
        if step == 0 {
            return None;
        }
        let mut ranges = Vec::with_capacity(usize::try_from(parts).ok()?);
        for part in 0..parts {
            let start = self.start.as_u128() + part * step;
            let end = if part + 1 == parts {
                self.end.as_u128()
            } else {
                start + step - 1
            };
            ranges.push(HashRange {
                start: HashKey::new(start),
                end: HashKey::new(end),
            });
        }
        Some(ranges)
    }
}

/// `start-end`, both in decimal.
impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u128, end: u128) -> HashRange {
        HashRange::new(HashKey::new(start), HashKey::new(end)).unwrap()
    }

    const TOP: u128 = u128::MAX;

    #[test]
    fn a_range_has_a_start_and_an_end() {
        let error = HashRange::new(HashKey::new(2), HashKey::new(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a range of hash keys cannot start at 2 and end before it, at 1"
        );
        assert_eq!(range(3, 3).to_string(), "3-3");
        assert!(range(3, 5).contains(HashKey::new(3)));
        assert!(range(3, 5).contains(HashKey::new(5)));
        assert!(!range(3, 5).contains(HashKey::new(2)));
        assert!(!range(3, 5).contains(HashKey::new(6)));
        assert!(HashRange::FULL.contains(HashKey::MIN) && HashRange::FULL.contains(HashKey::MAX));
    }

    #[test]
    fn neighbours() {
        for (a, b, touch) in [
            (range(0, 4), range(5, 9), true),
            (range(0, 4), range(6, 9), false),
            (range(0, 4), range(4, 9), false),
            (range(0, 4), range(0, 4), false),
            (range(5, TOP), range(0, 4), true),
            (range(0, 4), range(9, TOP), false),
            (HashRange::FULL, HashRange::FULL, false),
        ] {
            assert_eq!(a.touches(&b), touch, "{a} {b}");
            assert_eq!(b.touches(&a), touch, "{b} {a}");
            assert_eq!(a.join(&b).is_some(), touch);
        }
        assert_eq!(range(5, TOP).join(&range(0, 4)), Some(HashRange::FULL));
        assert!(range(0, 4).overlaps(&range(4, 9)) && !range(0, 4).overlaps(&range(5, 9)));
    }

    #[test]
    fn splitting() {
        assert_eq!(
            range(0, 9).split_at(HashKey::new(3)),
            Some((range(0, 2), range(3, 9)))
        );
        assert_eq!(range(2, 9).split_at(HashKey::new(2)), None);
        assert_eq!(range(2, 9).split_at(HashKey::new(1)), None);
        assert_eq!(range(2, 9).split_at(HashKey::new(10)), None);
        assert_eq!(range(7, 7).split_at(HashKey::new(7)), None);
        assert_eq!(HashRange::FULL.middle(), HashKey::new(1 << 127));
        assert_eq!(range(0, 9).middle(), HashKey::new(5));
        assert_eq!(range(0, 8).middle(), HashKey::new(4));
        assert_eq!(range(7, 7).middle(), HashKey::new(7));
        assert_eq!(range(7, 8).middle(), HashKey::new(8));
    }

    /// Three shards as the service lays them out.
    #[test]
    fn dividing_as_the_service() {
        let third: u128 = 113_427_455_640_312_821_154_458_202_477_256_070_485;
        assert_eq!(
            HashRange::FULL.divide(3).unwrap(),
            [
                range(0, third - 1),
                range(third, 2 * third - 1),
                range(2 * third, TOP)
            ]
        );
        assert_eq!(HashRange::FULL.divide(1).unwrap(), [HashRange::FULL]);
        assert_eq!(
            HashRange::FULL.divide(2).unwrap(),
            [range(0, (1 << 127) - 1), range(1 << 127, TOP)]
        );
        assert_eq!(HashRange::FULL.divide(0), None);
        assert_eq!(range(0, 3).divide(4).unwrap().len(), 4);
        assert_eq!(range(0, 3).divide(5), None);
        assert_eq!(range(9, 9).divide(1).unwrap(), [range(9, 9)]);
    }

    proptest! {
        #[test]
        fn parts_cover_the_whole(a: u128, b: u128, parts in 1_u32..200) {
            let whole = range(a.min(b), a.max(b));
            if let Some(ranges) = whole.divide(parts) {
                prop_assert_eq!(ranges.len(), usize::try_from(parts).unwrap());
                prop_assert_eq!(ranges[0].start(), whole.start());
                prop_assert_eq!(ranges[ranges.len() - 1].end(), whole.end());
                for pair in ranges.windows(2) {
                    prop_assert!(pair[0].touches(&pair[1]));
                }
            }
            if let Some((low, high)) = whole.split_at(whole.middle()) {
                prop_assert_eq!(low.join(&high), Some(whole));
            }
        }
    }
}
