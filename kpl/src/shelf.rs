//! Memory of aggregates that were sent, for those that are filled next: fresh memory costs a page fault
//! every 4 KiB.

use aggregation::{AggregateMemory, FinishedAggregate};
use parking_lot::Mutex;

/// What is kept at the most.
const BYTES: usize = 4 << 20;
const PIECES: usize = 1_024;

/// Kept while nothing is outstanding.
const AT_REST: usize = 256 << 10;

/// What may be wasted of a piece, beyond half of it.
const SLACK: usize = 4 << 10;

/// Memory that the next aggregates of the same kind find large enough: they differ a little.
fn new(regions: [usize; 3]) -> AggregateMemory {
    AggregateMemory::with_capacities(regions.map(|bytes| (bytes + bytes / 16).next_multiple_of(64)))
}

/// Whether memory of this size is right for so many bytes: nearly large enough, so that it grows rarely;
/// and a shard with few records holds no memory for many.
const fn fits(size: usize, bytes: usize) -> bool {
    bytes - bytes / 8 <= size && size / 2 <= bytes + SLACK
}

#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<AggregateMemory>,
    bytes: usize,
}

impl Shelf {
    /// Memory for an aggregate whose regions will have about so many bytes.
    pub(crate) fn take(&self, regions: [usize; 3]) -> AggregateMemory {
        let bytes: usize = regions.iter().sum();
        let mut kept = self.0.lock();
        let Some(piece) = kept.pieces.pop() else {
            drop(kept);
            return new(regions);
        };
        kept.bytes -= piece.size();
        drop(kept);
        if fits(piece.size(), bytes) {
            piece
        } else {
            new(regions)
        }
    }

    pub(crate) fn give(&self, sent: FinishedAggregate) {
        let piece = sent.into_memory();
        let size = piece.size();
        let mut kept = self.0.lock();
        if kept.pieces.len() < PIECES && kept.bytes + size <= BYTES {
            kept.bytes += size;
            kept.pieces.push(piece);
        }
    }

    /// Nothing is outstanding.
    pub(crate) fn rest(&self) {
        let mut kept = self.0.lock();
        while kept.bytes > AT_REST
            && let Some(piece) = kept.pieces.pop()
        {
            kept.bytes -= piece.size();
        }
        kept.pieces.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregation::{Aggregate, UserRecordRef};

    fn sent(bytes: usize) -> FinishedAggregate {
        let mut aggregate = Aggregate::with_capacity(bytes);
        aggregate.push(&UserRecordRef {
            partition_key: "k",
            explicit_hash_key: None,
            data: b"x",
            tags: &[],
        });
        aggregate.finish()
    }

    fn kept(shelf: &Shelf) -> (usize, usize) {
        let kept = shelf.0.lock();
        let bytes = kept.pieces.iter().map(AggregateMemory::size).sum();
        assert_eq!(kept.bytes, bytes);
        (kept.pieces.len(), bytes)
    }

    #[test]
    fn what_fits_is_used_again_and_what_does_not_is_let_go() {
        let shelf = Shelf::default();
        shelf.give(sent(50_000));
        assert!(shelf.take([0, 0, 40_000]).size() >= 50_000);
        assert_eq!(kept(&shelf).0, 0);
        for wanted in [100, 60_000] {
            shelf.give(sent(50_000));
            let memory = shelf.take([0, 0, wanted]);
            assert!((wanted..wanted + wanted / 16 + 64).contains(&memory.size()));
            assert_eq!(kept(&shelf).0, 0);
        }
    }

    #[test]
    fn it_holds_no_more_than_its_bounds_and_little_at_rest() {
        let shelf = Shelf::default();
        (0..100).for_each(|_| shelf.give(sent(51_200)));
        let (pieces, bytes) = kept(&shelf);
        assert!(pieces > 70 && bytes <= BYTES, "{pieces}, {bytes}");
        shelf.rest();
        assert!(kept(&shelf).1 <= AT_REST);
        let shelf = Shelf::default();
        (0..2 * PIECES).for_each(|_| shelf.give(sent(10)));
        assert_eq!(kept(&shelf).0, PIECES);
    }
}
