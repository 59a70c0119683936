//! What is put: records with keys of 30 bytes, in slices of a hundred.

use bytes::Bytes;
use clap::ValueEnum;
use fastrand::Rng;
use kpl::Record;

/// Records of a slice.
pub const SLICE: usize = 100;
/// Random bytes that payloads are taken from: few enough to stay in the CPU's cache, where those of an
/// application are that has just written them.
const POOL: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Keys {
    /// Another for each record.
    Distinct,
    /// One for all.
    One,
}

/// Makes records of one kind, without end.
#[derive(Debug)]
pub struct Maker {
    keys: Keys,
    size: usize,
    pool: &'static [u8],
    rng: Rng,
    made: u64,
}

impl Maker {
    /// The payloads are parts of one buffer that lives as long as the process: neither making nor dropping
    /// one costs anything.
    pub fn new(keys: Keys, size: usize) -> Self {
        let mut rng = Rng::with_seed(11);
        let mut pool = vec![0; POOL + size];
        rng.fill(&mut pool);
        Self {
            keys,
            size,
            pool: pool.leak(),
            rng,
            made: 0,
        }
    }

    /// From here on keys that no other maker of another number makes.
    pub fn numbered(mut self, number: u64) -> Self {
        self.made = number << 48;
        self
    }

    pub fn record(&mut self) -> Record {
        self.made += 1;
        let key = match self.keys {
            Keys::Distinct => format!("session-{:022}", self.made),
            Keys::One => format!("session-{:022}", 4),
        };
        let from = self.rng.usize(..POOL);
        let data = self.pool.get(from..from + self.size).unwrap_or_default();
        Record::new(key, Bytes::from_static(data))
    }

    /// One whose data begins with its number.
    pub fn carrying(&mut self, number: u64) -> Record {
        let mut data = number.to_be_bytes().to_vec();
        let from = self.rng.usize(..POOL);
        let rest = self.size.saturating_sub(data.len());
        data.extend_from_slice(self.pool.get(from..from + rest).unwrap_or_default());
        Record::new(format!("session-{number:022}"), data)
    }

    pub fn slice(&mut self) -> Vec<Record> {
        (0..SLICE).map(|_| self.record()).collect()
    }
}
