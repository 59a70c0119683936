//! The closed aggregate: five pieces to be sent, and the records once more if they must be sent
//! apart.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::body::{RawRecord, RawTag};
use crate::encode::UserRecordRef;
use crate::hash::HashKey;
use crate::md5::md5_many_in_pieces;
use crate::wire::{ENVELOPE_SIZE, MAGIC, Reader, Span, tag};

/// An aggregate that is closed. Its pieces are joined where they are sent.
#[derive(Clone)]
pub struct FinishedAggregate {
    /// Partition keys, explicit hash keys, records.
    regions: [Bytes; 3],
    explicit_hash_keys: Vec<HashKey>,
    count: usize,
    data_len: usize,
    md5: OnceLock<[u8; 16]>,
}

/// Memory for an [`Aggregate`](crate::Aggregate) to grow in, without contents: what a closed one needed.
#[derive(Clone, Default)]
pub struct AggregateMemory {
    /// Partition keys, explicit hash keys, records.
    pub(crate) regions: [Vec<u8>; 3],
    pub(crate) keys: Vec<HashKey>,
}

impl AggregateMemory {
    /// Memory for regions of so many bytes, in the order of [`FinishedAggregate::regions`].
    pub fn with_capacities(regions: [usize; 3]) -> Self {
        Self {
            regions: regions.map(Vec::with_capacity),
            keys: Vec::new(),
        }
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        let regions: usize = self.regions.iter().map(Vec::capacity).sum();
        regions + self.keys.capacity() * size_of::<HashKey>()
    }
}

impl fmt::Debug for AggregateMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregateMemory")
            .field("size", &self.size())
            .finish()
    }
}

impl FinishedAggregate {
    pub(crate) fn new(memory: AggregateMemory, count: usize, data_len: usize) -> Self {
        let AggregateMemory { regions, keys } = memory;
        FinishedAggregate {
            regions: regions.map(Bytes::from),
            explicit_hash_keys: keys,
            count,
            data_len,
            md5: OnceLock::new(),
        }
    }

    /// Gives its memory, for another aggregate; but for what is still shared.
    pub fn into_memory(self) -> AggregateMemory {
        let Self {
            regions,
            explicit_hash_keys: mut keys,
            ..
        } = self;
        keys.clear();
        AggregateMemory {
            regions: regions.map(|region| {
                let mut region = region.try_into_mut().unwrap_or_default();
                // Else they would be copied.
                region.clear();
                region.into()
            }),
            keys,
        }
    }

    /// The payloads of its records, in bytes.
    pub fn data_len(&self) -> usize {
        self.data_len
    }

    /// The number of user records.
    pub fn record_count(&self) -> usize {
        self.count
    }

    /// Whether there is no user record in it. Such an aggregate has no bytes.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of bytes of all [segments](Self::segments); 0 when empty.
    pub fn len(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            ENVELOPE_SIZE + self.regions.iter().map(Bytes::len).sum::<usize>()
        }
    }

    /// The data of the Kinesis record in five pieces: magic, partition keys, explicit hash keys,
    /// records, MD5. All are empty if there is no user record.
    ///
    /// The MD5 is made at the first call, unless [`hash_many`](Self::hash_many) did so.
    pub fn segments(&self) -> [&[u8]; 5] {
        if self.is_empty() {
            return [&[]; 5];
        }
        let [partition_keys, explicit_hash_keys, records] = &self.regions;
        let md5 = self.md5.get_or_init(|| {
            let mut digests = Vec::with_capacity(1);
            md5_many_in_pieces(&[self.body()], &mut digests);
            digests.first().copied().unwrap_or_default()
        });
        [&MAGIC, partition_keys, explicit_hash_keys, records, md5]
    }

    /// The three [segments](Self::segments) between the first and the last, to be shared and not copied.
    pub fn regions(&self) -> &[Bytes; 3] {
        &self.regions
    }

    /// The data of the Kinesis record, joined into one buffer: a copy of everything.
    pub fn to_bytes(&self) -> Bytes {
        let mut joined = Vec::with_capacity(self.len());
        for segment in self.segments() {
            joined.extend_from_slice(segment);
        }
        Bytes::from(joined)
    }

    /// Makes the MD5s of several aggregates together, where they are not made yet. Not needed, but
    /// cheaper than one by one where the machine can hash several at a time. Leave out those that
    /// will be sent [un-wrapped](Self::single).
    pub fn hash_many(aggregates: &[&FinishedAggregate]) {
        let missing: Vec<&FinishedAggregate> = aggregates
            .iter()
            .filter(|aggregate| !aggregate.is_empty() && aggregate.md5.get().is_none())
            .copied()
            .collect();
        let bodies: Vec<[&[u8]; 3]> = missing.iter().map(|aggregate| aggregate.body()).collect();
        let mut digests = Vec::with_capacity(bodies.len());
        md5_many_in_pieces(&bodies, &mut digests);
        for (aggregate, digest) in missing.iter().zip(digests) {
            // Whoever came first made the same digest.
            aggregate.md5.get_or_init(|| digest);
        }
    }

    /// What was put, in order: to send the records one by one after all, for instance when a reshard
    /// has spread them over shards. Copies nothing.
    pub fn records(&self) -> AggregatedRecords<'_> {
        AggregatedRecords {
            aggregate: self,
            keys: Keys::of(&self.regions),
            at: 0,
            left: self.count,
        }
    }

    /// The user record, if there is exactly one and it has no tags: what can be sent un-wrapped, with
    /// its own partition key and its data alone. A producer does that unless the data itself
    /// [looks like an aggregate](crate::looks_like_aggregate). Makes no MD5.
    pub fn single(&self) -> Option<UserRecordRef<'_>> {
        if self.count != 1 {
            return None;
        }
        let record = self.records().next()?;
        record.tags.is_empty().then_some(UserRecordRef {
            partition_key: record.partition_key,
            explicit_hash_key: record.explicit_hash_key,
            data: record.data,
            tags: &[],
        })
    }

    /// The data of the record that [`Self::single`] gives, to be shared and not copied.
    pub fn single_data(&self) -> Option<Bytes> {
        let [.., records] = &self.regions;
        self.single().map(|record| records.slice_ref(record.data))
    }

    fn body(&self) -> [&[u8]; 3] {
        let [partition_keys, explicit_hash_keys, records] = &self.regions;
        [partition_keys, explicit_hash_keys, records]
    }
}

/// Shows counts, no payloads.
impl fmt::Debug for FinishedAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishedAggregate")
            .field("records", &self.count)
            .field("len", &self.len())
            .finish()
    }
}

/// A user record inside a [`FinishedAggregate`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AggregatedRecord<'a> {
    /// The partition key.
    pub partition_key: &'a str,
    /// The explicit hash key, if one was given.
    pub explicit_hash_key: Option<HashKey>,
    /// The payload.
    pub data: &'a [u8],
    /// The tags.
    pub tags: Vec<(&'a str, Option<&'a str>)>,
}

impl AggregatedRecord<'_> {
    /// The record in the form in which it is appended to another aggregate.
    pub fn as_user_record(&self) -> UserRecordRef<'_> {
        UserRecordRef {
            partition_key: self.partition_key,
            explicit_hash_key: self.explicit_hash_key,
            data: self.data,
            tags: &self.tags,
        }
    }
}

/// Shows no payload but its length.
impl fmt::Debug for AggregatedRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_user_record().fmt(f)
    }
}

/// The user records inside a [`FinishedAggregate`], in the order they were put.
#[derive(Clone, Debug)]
pub struct AggregatedRecords<'a> {
    aggregate: &'a FinishedAggregate,
    keys: Keys<'a>,
    /// Where the next record starts in its region.
    at: usize,
    left: usize,
}

/// The partition keys as far as they are known: a key stands in the table in the order of the first
/// records that have it.
#[derive(Clone, Debug)]
struct Keys<'a> {
    region: &'a [u8],
    /// Where the next one starts in the region.
    at: usize,
    first: Option<&'a str>,
    others: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn of([partition_keys, ..]: &'a [Bytes; 3]) -> Self {
        let mut keys = Self {
            region: partition_keys,
            at: 0,
            first: None,
            others: Vec::new(),
        };
        keys.first = keys.read();
        keys
    }

    fn get(&mut self, index: u32) -> Option<&'a str> {
        let Some(other) = usize::try_from(index).ok()?.checked_sub(1) else {
            return self.first;
        };
        while self.others.len() <= other {
            let next = self.read()?;
            self.others.push(next);
        }
        self.others.get(other).copied()
    }

    fn read(&mut self) -> Option<&'a str> {
        let (mut reader, rest) = field_at(self.region, self.at, tag::TABLE_PARTITION_KEY)?;
        let text = reader.bytes().ok()?;
        self.at += text.range().end;
        std::str::from_utf8(text.of(rest)).ok()
    }
}

/// What reads the field at this place, and the bytes from there on: a window, so that spans in it are
/// small in any aggregate.
fn field_at(region: &[u8], at: usize, tag: u8) -> Option<(Reader<'_>, &[u8])> {
    let rest = region.get(at..)?;
    let end = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let mut reader = Reader::new(rest, Span { start: 0, end });
    let found = reader.tag().ok()?;
    (found == Some(u32::from(tag))).then_some((reader, rest))
}

impl<'a> AggregatedRecords<'a> {
    /// Reads the region that `Aggregate` wrote.
    fn read(&mut self) -> Option<AggregatedRecord<'a>> {
        let [_, _, records] = &self.aggregate.regions;
        let (mut reader, rest) = field_at(records, self.at, tag::RECORD)?;
        let message = reader.bytes().ok()?;
        let mut tags = Vec::new();
        let record = RawRecord::parse(reader.message(message), &mut tags).ok()?;
        self.at += message.range().end;
        let explicit_hash_key = match record.explicit_hash_key {
            None => None,
            Some(index) => Some(
                *self
                    .aggregate
                    .explicit_hash_keys
                    .get(usize::try_from(index).ok()?)?,
            ),
        };
        let text = |span: Span| std::str::from_utf8(rest.get(span.range())?).ok();
        let tag = |tag: &RawTag| {
            let value = match tag.value {
                None => None,
                Some(span) => Some(text(span)?),
            };
            Some((text(tag.key)?, value))
        };
        Some(AggregatedRecord {
            partition_key: self.keys.get(record.partition_key)?,
            explicit_hash_key,
            data: rest.get(record.data.range())?,
            tags: tags.iter().map(tag).collect::<Option<_>>()?,
        })
    }
}

impl<'a> Iterator for AggregatedRecords<'a> {
    type Item = AggregatedRecord<'a>;

    fn next(&mut self) -> Option<AggregatedRecord<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.read()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for AggregatedRecords<'_> {}
impl FusedIterator for AggregatedRecords<'_> {}
