//! Hash keys: where a record belongs in the range 0..2^128.

/// Both ends belong to the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRange {
    /// The lowest hash key of the range.
    pub start: u128,
    /// The highest hash key of the range.
    pub end: u128,
}

impl HashRange {
    /// Whether a hash key lies in the range.
    #[must_use]
    pub fn contains(&self, key: u128) -> bool {
        self.start <= key && key <= self.end
    }

    /// The hash key at which an even split starts its second half; none when the range is too narrow.
    pub(crate) fn middle(&self) -> Option<u128> {
        let middle = self.start + (self.end - self.start) / 2 + 1;
        self.splits_at(middle).then_some(middle)
    }

    /// Whether a split may start its second half at `key`.
    pub(crate) fn splits_at(&self, key: u128) -> bool {
        key > self.start.saturating_add(1) && key < self.end
    }
}

/// The hash key of a partition key: its MD5, read as a big-endian number.
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(md5::compute(partition_key.as_bytes()).0)
}

/// The ranges of a new stream: equal parts, the last taking the remainder.
pub(crate) fn even_ranges(shards: u32) -> Vec<HashRange> {
    let shards = u128::from(shards.max(1));
    // floor(2^128 / shards), where 2^128 does not fit: the power of two parts are exact.
    let width = if shards == 1 {
        return vec![HashRange {
            start: 0,
            end: u128::MAX,
        }];
    } else if u128::MAX % shards == shards - 1 {
        u128::MAX / shards + 1
    } else {
        u128::MAX / shards
    };
    (0..shards)
        .map(|i| HashRange {
            start: i * width,
            end: if i + 1 == shards {
                u128::MAX
            } else {
                (i + 1) * width - 1
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shards_meet_at_the_middle() {
        let ranges = even_ranges(2);
        assert_eq!(ranges[0].start, 0);
        assert_eq!(
            ranges[0].end.to_string(),
            "170141183460469231731687303715884105727"
        );
        assert_eq!(ranges[1].start, 1 << 127);
        assert_eq!(ranges[1].end, u128::MAX);
    }

    #[test]
    fn ranges_cover_everything_once_whatever_their_number() {
        for shards in [1, 2, 3, 4, 5, 7, 100, 1_000] {
            let ranges = even_ranges(shards);
            assert_eq!(ranges.len(), usize::try_from(shards).unwrap());
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges.last().unwrap().end, u128::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end + 1, pair[1].start);
            }
        }
    }

    /// The MD5 of "a" as RFC 1321 gives it.
    #[test]
    fn a_partition_key_hashes_to_its_md5() {
        assert_eq!(hash_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn a_split_needs_room_on_both_sides() {
        let range = HashRange { start: 10, end: 20 };
        let cases = [
            (10, false),
            (11, false),
            (12, true),
            (19, true),
            (20, false),
            (21, false),
        ];
        for (key, fine) in cases {
            assert_eq!(range.splits_at(key), fine, "{key}");
        }
        assert_eq!(range.middle(), Some(16));
        assert_eq!(
            HashRange {
                start: 0,
                end: u128::MAX
            }
            .middle(),
            Some(1 << 127)
        );
        assert_eq!(HashRange { start: 4, end: 5 }.middle(), None);
    }
}
