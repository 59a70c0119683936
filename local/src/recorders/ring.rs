//! What a recorder keeps: the last so many, within so many bytes.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// A bounded list that drops its oldest, and counts what it drops.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    items: usize,
    bytes: usize,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    total: u64,
    dropped: u64,
}

impl<T: Clone> Ring<T> {
    pub(crate) fn new(items: usize, bytes: usize) -> Self {
        Self {
            items,
            bytes,
            kept: Mutex::new(Kept {
                items: VecDeque::new(),
                bytes: 0,
                total: 0,
                dropped: 0,
            }),
        }
    }

    /// Keeps an item of so many bytes.
    pub(crate) fn push(&self, size: usize, item: T) {
        let mut kept = self.kept.lock();
        kept.total += 1;
        kept.bytes += size;
        kept.items.push_back((size, item));
        while kept.items.len() > self.items || kept.bytes > self.bytes {
            let Some((size, _)) = kept.items.pop_front() else {
                break;
            };
            kept.bytes -= size;
            kept.dropped += 1;
        }
    }

    /// What is kept, oldest first.
    pub(crate) fn list(&self) -> Vec<T> {
        let kept = self.kept.lock();
        kept.items.iter().map(|(_, item)| item.clone()).collect()
    }

    /// How many came since the start, and how many of them are no longer kept.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let kept = self.kept.lock();
        (kept.total, kept.dropped)
    }

    /// Forgets what is kept; counts go on.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept.lock();
        kept.dropped += u64::try_from(kept.items.len()).unwrap_or(u64::MAX);
        kept.items.clear();
        kept.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_by_items_and_by_bytes() {
        let ring = Ring::new(3, 100);
        for n in 0..5 {
            ring.push(10, n);
        }
        assert_eq!(ring.list(), [2, 3, 4]);
        ring.push(85, 5);
        assert_eq!(ring.list(), [4, 5]);
        ring.push(101, 6);
        assert!(ring.list().is_empty());
        assert_eq!(ring.counts(), (7, 7));
        ring.push(1, 7);
        ring.clear();
        assert_eq!((ring.list(), ring.counts()), (vec![], (8, 8)));
    }
}
