//! Randomness, handed in.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// A source of randomness that repeats exactly from its seed. Clones draw from the same sequence;
/// [`Chance::fork`] starts a sequence of its own, so that one task's draws do not shift another's.
///
/// Not for secrets: the generator is fast, not cryptographic.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    /// A source that repeats the same draws for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A source seeded by the process' own entropy.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A new source, seeded by a draw from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::seeded(self.next_u64())
    }

    /// Any 64-bit number.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.0.lock().u64(..)
    }

    /// Any 128-bit number.
    #[must_use]
    pub fn next_u128(&self) -> u128 {
        self.0.lock().u128(..)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.0.lock().u64(..bound)
        }
    }

    /// An index in `0..len`; 0 when `len` is 0.
    #[must_use]
    pub fn index(&self, len: usize) -> usize {
        if len == 0 {
            0
        } else {
            self.0.lock().usize(..len)
        }
    }

    /// A number in `0.0..1.0`.
    #[must_use]
    pub fn unit(&self) -> f64 {
        self.0.lock().f64()
    }

    /// True with the given probability (0 never, 1 always).
    #[must_use]
    pub fn happens(&self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.0.lock().shuffle(items);
    }

    /// A random (version 4) UUID in its usual text form.
    #[must_use]
    pub fn uuid(&self) -> String {
        let n = self.next_u128();
        let n = (n & !(0xf << 76)) | (0x4 << 76);
        let n = (n & !(0x3 << 62)) | (0x2 << 62);
        let hex = format!("{n:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_repeats() {
        let draws = |seed| {
            let chance = Chance::seeded(seed);
            (0..50).map(|_| chance.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn a_fork_draws_apart_from_its_parent() {
        let a = Chance::seeded(1);
        let fork = a.fork();
        let b = Chance::seeded(1);
        let _ = b.fork();
        (0..10).for_each(|_| assert!(fork.next_u64() > 0));
        assert_eq!(a.next_u64(), b.next_u64());
    }

    #[test]
    fn bounds_hold_and_empty_ranges_give_zero() {
        let chance = Chance::seeded(3);
        assert!((0..1_000).all(|_| chance.below(3) < 3 && chance.index(5) < 5));
        assert_eq!((chance.below(0), chance.index(0)), (0, 0));
        assert!(!chance.happens(0.0));
        assert!(chance.happens(1.0));
    }

    #[test]
    fn uuids_are_version_4() {
        let uuid = Chance::seeded(9).uuid();
        let parts: Vec<&str> = uuid.split('-').collect();
        assert_eq!(
            parts.iter().map(|p| p.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert!(parts[2].starts_with('4'));
        assert!("89ab".contains(&parts[3][..1]));
    }
}
