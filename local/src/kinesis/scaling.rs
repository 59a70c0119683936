//! UpdateShardCount: how the ranges of the open shards become even ones, by splits and merges.

use super::hash::{HashRange, even_ranges};

/// One step. Pieces are numbered: first the open shards in the order of their ranges, then what the
/// steps make, in their order (a split makes two, the lower first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The second half starts at `key`.
    Split { piece: usize, key: u128 },
    /// Two that touch, the lower first.
    Merge { first: usize, second: usize },
}

/// Two bounds that lie no further apart count as one: the widths of even ranges are rounded, so a
/// third of the whole and two sixths do not meet exactly.
const NEAR: u128 = 1 << 20;

/// The steps that make `target` shards of even ranges out of `open`, which are in order and cover
/// everything. First whatever crosses a wanted bound is split there, then the pieces of each wanted
/// range are merged, from the lowest on.
pub(super) fn plan(open: &[HashRange], target: u32) -> Vec<Step> {
    let bounds: Vec<u128> = even_ranges(target)
        .iter()
        .skip(1)
        .map(|r| r.start)
        .collect();
    let mut steps = Vec::new();
    let mut made = open.len();
    let mut wanted = bounds.iter().copied().peekable();
    // (number, range), in order.
    let mut pieces: Vec<(usize, HashRange)> = Vec::with_capacity(open.len() + bounds.len());
    for (piece, range) in open.iter().enumerate() {
        let mut rest = (piece, *range);
        while let Some(key) = wanted.next_if(|key| *key <= rest.1.end) {
            let HashRange { start, end } = rest.1;
            if key - start <= NEAR || end - key < NEAR {
                continue;
            }
            steps.push(Step::Split { piece: rest.0, key });
            let lower = HashRange {
                start,
                end: key - 1,
            };
            pieces.push((made, lower));
            rest = (made + 1, HashRange { start: key, end });
            made += 2;
        }
        pieces.push(rest);
    }
    let home = |range: &HashRange| {
        let middle = range.start + (range.end - range.start) / 2;
        bounds.partition_point(|bound| *bound <= middle)
    };
    for group in pieces.chunk_by(|(_, a), (_, b)| home(a) == home(b)) {
        let mut numbers = group.iter().map(|(number, _)| *number);
        let Some(mut first) = numbers.next() else {
            continue;
        };
        for second in numbers {
            steps.push(Step::Merge { first, second });
            first = made;
            made += 1;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The ranges that are left when the steps are done.
    fn run(open: &[HashRange], steps: &[Step]) -> Vec<HashRange> {
        let mut pieces: Vec<Option<HashRange>> = open.iter().copied().map(Some).collect();
        for step in steps {
            match *step {
                Step::Split { piece, key } => {
                    let HashRange { start, end } = pieces[piece].take().unwrap();
                    assert!(HashRange { start, end }.splits_at(key));
                    pieces.push(Some(HashRange {
                        start,
                        end: key - 1,
                    }));
                    pieces.push(Some(HashRange { start: key, end }));
                }
                Step::Merge { first, second } => {
                    let (a, b) = (
                        pieces[first].take().unwrap(),
                        pieces[second].take().unwrap(),
                    );
                    assert_eq!(a.end + 1, b.start);
                    pieces.push(Some(HashRange {
                        start: a.start,
                        end: b.end,
                    }));
                }
            }
        }
        let mut left: Vec<HashRange> = pieces.into_iter().flatten().collect();
        left.sort_by_key(|r| r.start);
        left
    }

    #[test]
    fn doubling_only_splits_and_halving_only_merges() {
        for n in [1, 2, 3, 7, 64] {
            let up = plan(&even_ranges(n), 2 * n);
            assert_eq!(up.len(), usize::try_from(n).unwrap());
            assert!(up.iter().all(|s| matches!(s, Step::Split { .. })), "{up:?}");
            let down = plan(&even_ranges(2 * n), n);
            assert_eq!(down.len(), usize::try_from(n).unwrap());
            assert!(down.iter().all(|s| matches!(s, Step::Merge { .. })));
            assert_eq!(plan(&even_ranges(n), n), []);
        }
    }

    #[test]
    fn three_become_five_by_way_of_shards_that_live_for_a_moment() {
        let steps = plan(&even_ranges(3), 5);
        let splits = steps.iter().filter(|s| matches!(s, Step::Split { .. }));
        assert_eq!(splits.count(), 4);
        assert_eq!(steps.len(), 6);
    }

    proptest! {
        #[test]
        fn any_count_becomes_any_other_with_even_ranges(
            counts in proptest::collection::vec(1..60_u32, 2..5),
        ) {
            let mut open = even_ranges(counts[0]);
            for target in &counts[1..] {
                open = run(&open, &plan(&open, *target));
                prop_assert_eq!(open.len(), usize::try_from(*target).unwrap());
                prop_assert_eq!(open[0].start, 0);
                prop_assert_eq!(open.last().unwrap().end, u128::MAX);
                for (pair, even) in open.windows(2).zip(even_ranges(*target)) {
                    prop_assert_eq!(pair[0].end + 1, pair[1].start);
                    prop_assert!(pair[0].end.abs_diff(even.end) <= NEAR);
                }
            }
        }
    }
}
