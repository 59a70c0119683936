//! What the sink stored, by content: the first eight bytes of each record's data are its number.

use crate::Failure;
use aggregation::{Deaggregated, HashRange, IdentityReader, Sighting, Window, deaggregate};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

/// Records from this number on are counted nowhere: they are put so that the producer knows the stream.
pub const UNCOUNTED: u64 = 1 << 40;

/// How often a record was stored, and how often a reader let it through.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    stored: u64,
    read: u64,
}

#[derive(Debug, Default)]
pub struct Ledger {
    times: BTreeMap<u64, Times>,
    /// What a reader of each shard remembers, that drops what it has seen.
    windows: BTreeMap<u32, Window>,
}

impl Ledger {
    /// A Kinesis record was stored in a shard of this range. Gives the user records that a consumer
    /// finds in it.
    pub fn store(&mut self, shard: u32, range: HashRange, data: Bytes) -> Result<u64, Failure> {
        let window = self.windows.entry(shard).or_default();
        let mut numbers = Vec::new();
        match deaggregate(&data, Some(range)) {
            Deaggregated::PassThrough => numbers.push((number(&data)?, true)),
            Deaggregated::Records(records) => {
                let mut identity = IdentityReader::default();
                for record in records {
                    let tags = record.tags.iter();
                    let id =
                        identity.next(tags.map(|tag| (tag.key.as_str(), tag.value.as_deref())));
                    let new = id.is_none_or(|id| window.observe(id) == Sighting::New);
                    numbers.push((number(&record.data)?, new));
                }
            }
        }
        let mut stored = 0;
        for (number, new) in numbers {
            if number >= UNCOUNTED {
                continue;
            }
            let times = self.times.entry(number).or_default();
            times.stored += 1;
            times.read += u64::from(new);
            stored += 1;
        }
        Ok(stored)
    }

    /// What arrived. `admitted`: these were promised.
    pub fn report(&self, admitted: &[Range<u64>]) -> Value {
        let all = self.times.values();
        let missing = |range: &Range<u64>| {
            let found = self.times.range(range.clone()).count();
            (range.end - range.start).saturating_sub(u64::try_from(found).unwrap_or_default())
        };
        json!({
            "missing": admitted.iter().map(missing).sum::<u64>(),
            "repeats": all.clone().map(|times| times.stored.saturating_sub(1)).sum::<u64>(),
            "read_again": all.map(|times| times.read.saturating_sub(1)).sum::<u64>(),
            "forgotten": self.windows.values().map(Window::forgotten).sum::<u64>(),
        })
    }
}

fn number(data: &[u8]) -> Result<u64, Failure> {
    let number = data.first_chunk().ok_or("a record without a number")?;
    Ok(u64::from_be_bytes(*number))
}
