//! Records that came to a shard together: one buffer, and nothing else for each of them.

use crate::refusal::Refusal;
use crate::wire::Blob;
use std::ops::Range;

/// A record on its way into a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    /// Only a stream that places records itself takes one without.
    pub(crate) partition_key: Option<&'a str>,
    pub(crate) explicit_hash_key: Option<u128>,
    pub(crate) data: Blob<'a>,
}

impl Incoming<'_> {
    /// Payload and partition key, which is what the service counts.
    pub(crate) fn size(&self) -> usize {
        self.partition_key.map_or(0, str::len) + self.data.len()
    }
}

/// A record as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) index: u64,
    /// Milliseconds since the epoch.
    pub(crate) arrival: u64,
    /// Whether the stream was encrypted when it arrived.
    pub(crate) encrypted: bool,
    pub(crate) explicit_hash_key: Option<u128>,
    key: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl<'a> Record<'a> {
    /// None when it was put without one, which is not the same as an empty one: that is refused.
    pub(crate) fn partition_key(&self) -> Option<&'a str> {
        // It was text when it was stored.
        std::str::from_utf8(self.key)
            .ok()
            .filter(|key| !key.is_empty())
    }

    /// Payload and partition key, which is what the service counts.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.data.len()
    }
}

/// The bytes of records, before they have a place.
///
/// First an entry of eight bytes for each: where the record ends (4), and the length of its partition key
/// with, as the highest bit, whether an explicit hash key stands behind that (4); both little-endian.
/// Then the records: partition key, explicit hash key (16), payload.
#[derive(Debug)]
pub(crate) struct Draft {
    count: u32,
    /// Payloads and partition keys.
    size: u32,
    bytes: Box<[u8]>,
}

const ENTRY: usize = 8;
const HASH_KEY: usize = 16;
const HASHED: u32 = 1 << 31;

impl Draft {
    /// Decodes records into one buffer of exactly their size.
    ///
    /// Refuses what does not fit 4 GiB, which no request does.
    pub(crate) fn of<'a>(
        records: impl ExactSizeIterator<Item = Incoming<'a>> + Clone,
    ) -> Result<Self, Refusal> {
        let too_large = |_| Refusal::invalid_argument("The request is too large.");
        let count = records.len();
        let (mut size, mut hash_keys) = (0, 0);
        for record in records.clone() {
            size += record.size();
            hash_keys += usize::from(record.explicit_hash_key.is_some());
        }
        let mut bytes = Vec::with_capacity(count * ENTRY + size + hash_keys * HASH_KEY);
        let mut end = count * ENTRY;
        for record in records.clone() {
            let hashed = record.explicit_hash_key.is_some();
            end += record.size() + usize::from(hashed) * HASH_KEY;
            let key = u32::try_from(record.partition_key.map_or(0, str::len)).map_err(too_large)?;
            let key = key | if hashed { HASHED } else { 0 };
            bytes.extend_from_slice(&u32::try_from(end).map_err(too_large)?.to_le_bytes());
            bytes.extend_from_slice(&key.to_le_bytes());
        }
        for record in records {
            bytes.extend_from_slice(record.partition_key.unwrap_or_default().as_bytes());
            if let Some(key) = record.explicit_hash_key {
                bytes.extend_from_slice(&key.to_le_bytes());
            }
            record.data.append_to(&mut bytes)?;
        }
        Ok(Self {
            count: u32::try_from(count).map_err(too_large)?,
            size: u32::try_from(size).map_err(too_large)?,
            bytes: bytes.into_boxed_slice(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The same in its place.
    pub(super) fn placed(self, first: u64, arrival: u64, encrypted: bool) -> Batch {
        Batch {
            first,
            arrival,
            encrypted,
            draft: self,
        }
    }
}

/// Records with consecutive indices that arrived together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The index of the first record.
    first: u64,
    /// Milliseconds since the epoch.
    arrival: u64,
    /// Whether the stream was encrypted then.
    encrypted: bool,
    draft: Draft,
}

impl Batch {
    /// The index of the first record.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index after the last record.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.draft.count)
    }

    pub(super) fn arrival(&self) -> u64 {
        self.arrival
    }

    /// Payloads and partition keys.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.draft.size).unwrap_or(usize::MAX)
    }

    /// What it takes in memory, in bytes: its buffer, itself with the counts of who holds it, its place in
    /// the log, and the allocator's notes on both.
    pub(super) fn footprint(&self) -> u64 {
        footprint(self.draft.bytes.len())
    }

    /// The first index of the longest tail whose footprint would be at most so many bytes; none when not
    /// even the last record's is.
    pub(super) fn tail_within(&self, bytes: u64) -> Option<u64> {
        let mut found = None;
        for index in (self.first..self.end()).rev() {
            let position = usize::try_from(index - self.first).ok()?;
            let records = self.draft.bytes.len() - self.start(position)?;
            let entries = usize::try_from(self.end() - index).ok()? * ENTRY;
            if footprint(entries + records) > bytes {
                break;
            }
            found = Some(index);
        }
        found
    }

    /// The record with an index.
    pub(super) fn record(&self, index: u64) -> Option<Record<'_>> {
        let position = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let (end, key) = self.entry(position)?;
        let bytes = self.draft.bytes.get(self.start(position)?..end)?;
        let (hashed, key) = (key & HASHED, usize::try_from(key & !HASHED).ok()?);
        let (key, data) = bytes.split_at_checked(key)?;
        let (explicit_hash_key, data) = match hashed {
            0 => (None, data),
            _ => {
                let (hash_key, data) = data.split_first_chunk::<HASH_KEY>()?;
                (Some(u128::from_le_bytes(*hash_key)), data)
            }
        };
        Some(Record {
            index,
            arrival: self.arrival,
            encrypted: self.encrypted,
            explicit_hash_key,
            key,
            data,
        })
    }

    /// The records in a range of indices.
    pub(super) fn records(&self, range: Range<u64>) -> impl Iterator<Item = Record<'_>> {
        range.filter_map(|index| self.record(index))
    }

    /// A copy that starts at a later index.
    pub(super) fn starting_at(&self, first: u64) -> Result<Self, Refusal> {
        let left: Vec<Incoming<'_>> = self
            .records(first..self.end())
            .map(|record| Incoming {
                partition_key: record.partition_key(),
                explicit_hash_key: record.explicit_hash_key,
                data: Blob::Plain(record.data),
            })
            .collect();
        let draft = Draft::of(left.into_iter())?;
        Ok(draft.placed(first, self.arrival, self.encrypted))
    }

    /// Where a record starts.
    fn start(&self, position: usize) -> Option<usize> {
        match position.checked_sub(1) {
            Some(before) => Some(self.entry(before)?.0),
            None => Some(usize::try_from(self.draft.count).ok()? * ENTRY),
        }
    }

    /// Where a record ends, and its key's length with the flag.
    fn entry(&self, position: usize) -> Option<(usize, u32)> {
        let start = position.checked_mul(ENTRY)?;
        let entry = self.draft.bytes.get(start..start.checked_add(ENTRY)?)?;
        let (end, key) = entry.split_first_chunk::<4>()?;
        let key = key.first_chunk::<4>()?;
        let end = usize::try_from(u32::from_le_bytes(*end)).ok()?;
        Some((end, u32::from_le_bytes(*key)))
    }
}

fn footprint(buffer: usize) -> u64 {
    const REST: usize = size_of::<Batch>() + 5 * size_of::<usize>();
    u64::try_from(buffer + REST).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (String, Option<u128>, Vec<u8>);

    fn incoming(parts: &Parts) -> Incoming<'_> {
        Incoming {
            partition_key: Some(parts.0.as_str()).filter(|key| !key.is_empty()),
            explicit_hash_key: parts.1,
            data: Blob::Plain(&parts.2),
        }
    }

    fn parts(record: Record<'_>) -> Parts {
        (
            record.partition_key().unwrap_or_default().to_owned(),
            record.explicit_hash_key,
            record.data.to_vec(),
        )
    }

    proptest! {
        #[test]
        fn records_keep_their_parts(
            records in proptest::collection::vec((".{0,9}", any::<Option<u128>>(), any::<Vec<u8>>()), 1..9),
            first in 1..1_000_u64,
            cut: proptest::sample::Index,
        ) {
            let draft = Draft::of(records.iter().map(incoming)).unwrap();
            prop_assert!(!draft.is_empty());
            let batch = draft.placed(first, 7, true);
            prop_assert_eq!(batch.end() - batch.first(), records.len() as u64);
            prop_assert_eq!(batch.size(), records.iter().map(|r| incoming(r).size()).sum::<usize>());
            for (record, given) in batch.records(batch.first()..batch.end()).zip(&records) {
                prop_assert_eq!((record.arrival, record.encrypted), (7, true));
                prop_assert_eq!(&parts(record), given);
            }
            prop_assert_eq!(batch.record(first - 1), None);
            prop_assert_eq!(batch.record(batch.end()), None);
            // The buffer is exactly as long as what is in it.
            let bytes: usize = batch.draft.bytes.len();
            let hash_keys = records.iter().filter(|r| r.1.is_some()).count();
            prop_assert_eq!(bytes, batch.size() + 8 * records.len() + 16 * hash_keys);

            let cut = cut.index(records.len());
            let later = batch.starting_at(first + cut as u64).unwrap();
            prop_assert_eq!(later.end(), batch.end());
            let left: Vec<Parts> = later.records(later.first()..later.end()).map(parts).collect();
            prop_assert_eq!(&left[..], &records[cut..]);
            prop_assert_eq!(batch.tail_within(later.footprint()), Some(later.first()));
            prop_assert!(batch.tail_within(later.footprint() - 1) > Some(later.first())
                || batch.tail_within(later.footprint() - 1).is_none());
        }
    }

    #[test]
    fn nothing_is_a_batch_too() {
        let draft = Draft::of(std::iter::empty()).unwrap();
        assert!(draft.is_empty());
        assert_eq!(draft.placed(3, 0, false).record(3), None);
    }
}
