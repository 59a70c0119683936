//! De-aggregation as the KCL does it, into views of the input.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;

use bytes::Bytes;

use crate::body::{Body, RawRecord};
use crate::hash::{HashKey, HashKeyError};
use crate::loss::Loss;
use crate::md5::{md5_many, md5_one};
use crate::range::HashRange;
use crate::text::Utf8Bytes;
use crate::wire::{MAGIC, Span, envelope};

/// What a Kinesis record's data turned out to be.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each Kinesis record, used at once; a box would cost each an allocation"
)]
pub enum Deaggregated {
    /// Not an aggregate: too short, another start, a wrong MD5, or a body that cannot be parsed. The
    /// Kinesis record is the user record, with sub-sequence number 0; no range of hash keys applies.
    PassThrough,
    /// An aggregate; its user records, and what was [lost](Records::loss).
    Records(Records),
}

/// A user record out of an aggregate. Sequence number, arrival time and encryption are those of the
/// Kinesis record around it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRecord {
    /// The partition key that the producer's user gave; may be empty.
    pub partition_key: Utf8Bytes,
    /// The explicit hash key, if one was given.
    pub explicit_hash_key: Option<ExplicitHashKey>,
    /// The payload, a view of the Kinesis record's data. It keeps all of that alive.
    pub data: Bytes,
    /// The place in the aggregate, from 0. With the sequence number of the Kinesis record around it,
    /// it orders all user records of a shard.
    pub sub_sequence_number: u64,
    /// Tags. No known writer but this crate writes any; other readers do not show them.
    pub tags: Vec<Tag>,
}

/// An explicit hash key as it stands in an aggregate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplicitHashKey {
    text: Utf8Bytes,
    key: HashKey,
}

impl ExplicitHashKey {
    /// The text as the producer wrote it, perhaps with leading zeros. The canonical text is that of
    /// [`key`](Self::key).
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The hash key.
    pub fn key(&self) -> HashKey {
        self.key
    }
}

/// A tag of a user record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tag {
    /// The name.
    pub key: Utf8Bytes,
    /// The value, if there is one.
    pub value: Option<Utf8Bytes>,
}

impl UserRecord {
    /// Where on the ring the record belongs: its explicit hash key, or the MD5 of its partition key.
    pub fn hash_key(&self) -> HashKey {
        match &self.explicit_hash_key {
            Some(explicit) => explicit.key,
            None => HashKey::of_partition_key(&self.partition_key),
        }
    }
}

/// Shows no payload but its length.
impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("partition_key", &self.partition_key)
            .field(
                "explicit_hash_key",
                &self.explicit_hash_key.as_ref().map(ExplicitHashKey::as_str),
            )
            .field("data_len", &self.data.len())
            .field("sub_sequence_number", &self.sub_sequence_number)
            .field("tags", &self.tags.len())
            .finish()
    }
}

/// Whether a consumer may take this data for an aggregate: magic, at least one byte, and the MD5 of
/// that. A producer that sends such a payload of its user un-wrapped would see it taken apart at the
/// other end; it wraps it in an aggregate of one instead.
///
/// Costs an MD5 of the data only if it starts with the magic.
pub fn looks_like_aggregate(data: &[u8]) -> bool {
    envelope(data).is_some_and(|(body, md5)| md5_one(body) == *md5)
}

/// Whether [`deaggregate`] takes this data apart: as [`looks_like_aggregate`], and the body can be
/// parsed.
pub fn is_aggregate(data: &[u8]) -> bool {
    parse(data).is_some()
}

/// Takes an aggregate apart.
///
/// Does what the KCL 3.5 does: a wrong MD5 or a bad body passes through; one user record whose hash
/// key is outside `range` drops the whole aggregate; an index outside its table, or an explicit hash
/// key that is no number, loses the user record and those behind it; an aggregate in an aggregate
/// comes out as it is. What does not come out is told by [`Records::loss`]. The one known difference:
/// an explicit hash key written in digits other than ASCII's is no number here.
///
/// `range` is that of the shard being read; without one (or with [`HashRange::FULL`]) no user record
/// is out of range, unless its explicit hash key is below 0 or above 2^128 − 1. Data of 2 GiB or more
/// passes through.
///
/// Takes time and memory in proportion to the length of `data`, whatever its bytes are. Copies no
/// payload.
pub fn deaggregate(data: &Bytes, range: Option<HashRange>) -> Deaggregated {
    match parse(data) {
        None => Deaggregated::PassThrough,
        Some(body) => Deaggregated::Records(Records::resolve(data.clone(), body, range)),
    }
}

fn parse(data: &[u8]) -> Option<Body> {
    let (body, md5) = envelope(data)?;
    // Java has no longer arrays, and spans are held in 32 bits.
    i32::try_from(data.len()).ok()?;
    if md5_one(body) != *md5 {
        return None;
    }
    let start = u32::try_from(MAGIC.len()).ok()?;
    let end = start.checked_add(u32::try_from(body.len()).ok()?)?;
    Body::parse(data, Span { start, end }).ok()
}

/// The user records of an aggregate, in order.
pub struct Records {
    data: Bytes,
    body: Body,
    /// Entries of the key table that are not UTF-8 and are used, once each.
    replaced: BTreeMap<u32, Utf8Bytes>,
    explicit: Vec<Option<Result<HashKey, HashKeyError>>>,
    next: usize,
    loss: Option<Loss>,
}

impl Records {
    /// What was lost of this aggregate, and why. Known from the start, and the same however many
    /// records were taken. A consumer counts and logs it.
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Goes through the records in order, as the KCL does, and cuts off those that do not come out.
    fn resolve(data: Bytes, body: Body, range: Option<HashRange>) -> Self {
        let explicit = vec![None; body.explicit_hash_keys.len()];
        let mut records = Records {
            data,
            body,
            replaced: BTreeMap::new(),
            explicit,
            next: 0,
            loss: None,
        };
        records.replace_keys();
        let range = range.filter(|range| *range != HashRange::FULL);
        let hashes = range.map(|range| (range, records.hash_keys()));
        let total = records.body.records.len();
        let loss = if total == 0 {
            Some(Loss::NoRecords)
        } else {
            records.find_loss(hashes)
        };
        if let Some(loss) = loss {
            records.body.records.truncate(total - loss.lost());
            records.loss = Some(loss);
        }
        records
    }

    fn find_loss(&mut self, hashes: Option<(HashRange, KeyHashes)>) -> Option<Loss> {
        let total = self.body.records.len();
        for (at, record) in self.body.records.iter().enumerate() {
            let lost = total - at;
            let index = record.partition_key;
            if entry(&self.body.partition_keys, index).is_none() {
                let table = self.body.partition_keys.len();
                return Some(Loss::PartitionKeyIndex {
                    at,
                    index,
                    table,
                    lost,
                });
            }
            let hash_key = match record.explicit_hash_key {
                None => hashes.as_ref().and_then(|(_, hashes)| hashes.of(index)),
                Some(index) => {
                    match explicit_key(&self.data, &self.body, &mut self.explicit, index) {
                        None => {
                            let table = self.body.explicit_hash_keys.len();
                            return Some(Loss::ExplicitHashKeyIndex {
                                at,
                                index,
                                table,
                                lost,
                            });
                        }
                        Some(Ok(key)) => Some(key),
                        Some(Err(HashKeyError::OutOfRange)) => {
                            return Some(Loss::OutOfRange {
                                at,
                                hash_key: None,
                                lost: total,
                            });
                        }
                        Some(Err(_)) => return Some(Loss::ExplicitHashKeyNotANumber { at, lost }),
                    }
                }
            };
            if let (Some((range, _)), Some(key)) = (&hashes, hash_key)
                && !range.contains(key)
            {
                return Some(Loss::OutOfRange {
                    at,
                    hash_key,
                    lost: total,
                });
            }
        }
        None
    }

    /// Makes the text of each used key that is not UTF-8.
    fn replace_keys(&mut self) {
        let mut checked = vec![false; self.body.partition_keys.len()];
        for record in &self.body.records {
            let index = record.partition_key;
            if let Some(checked) = entry_mut(&mut checked, index)
                && !*checked
                && let Some(span) = entry(&self.body.partition_keys, index)
            {
                *checked = true;
                if std::str::from_utf8(span.of(&self.data)).is_err() {
                    let bytes = view(&self.data, *span);
                    self.replaced
                        .insert(index, Utf8Bytes::from_bytes_lossy(bytes));
                }
            }
        }
    }

    /// The hash keys of those partition keys that some record needs for want of an explicit one.
    fn hash_keys(&self) -> KeyHashes {
        let mut hashes = KeyHashes {
            places: vec![None; self.body.partition_keys.len()],
            digests: Vec::new(),
        };
        let mut inputs: Vec<&[u8]> = Vec::new();
        for record in self
            .body
            .records
            .iter()
            .filter(|r| r.explicit_hash_key.is_none())
        {
            let index = record.partition_key;
            if let Some(place @ None) = entry_mut(&mut hashes.places, index)
                && let Some(span) = entry(&self.body.partition_keys, index)
                && let Ok(position) = u32::try_from(inputs.len())
            {
                *place = Some(position);
                inputs.push(match self.replaced.get(&index) {
                    Some(text) => text.as_bytes(),
                    None => span.of(&self.data),
                });
            }
        }
        md5_many(&inputs, &mut hashes.digests);
        hashes
    }

    fn text(&self, span: Span) -> Utf8Bytes {
        Utf8Bytes::from_bytes_lossy(view(&self.data, span))
    }

    fn user_record(&self, at: usize, record: &RawRecord) -> Option<UserRecord> {
        // Keys that many records share have been looked at once, and are not looked at again for
        // each record.
        let known = |span: Span| Utf8Bytes::from_checked(view(&self.data, span));
        let partition_key = match self.replaced.get(&record.partition_key) {
            Some(text) => text.clone(),
            None => known(*entry(&self.body.partition_keys, record.partition_key)?),
        };
        let explicit_hash_key = match record.explicit_hash_key {
            None => None,
            Some(index) => Some(ExplicitHashKey {
                key: (*entry(&self.explicit, index)?)?.ok()?,
                text: known(*entry(&self.body.explicit_hash_keys, index)?),
            }),
        };
        let tags = self.body.tags.get(record.tags()).unwrap_or_default();
        Some(UserRecord {
            partition_key,
            explicit_hash_key,
            data: view(&self.data, record.data),
            sub_sequence_number: u64::try_from(at).ok()?,
            tags: tags
                .iter()
                .map(|tag| Tag {
                    key: self.text(tag.key),
                    value: tag.value.map(|value| self.text(value)),
                })
                .collect(),
        })
    }
}

/// MD5s of partition keys, each once.
struct KeyHashes {
    /// For each entry of the key table, where its digest is.
    places: Vec<Option<u32>>,
    digests: Vec<[u8; 16]>,
}

impl KeyHashes {
    fn of(&self, index: u32) -> Option<HashKey> {
        let place = (*entry(&self.places, index)?)?;
        entry(&self.digests, place).map(|digest| HashKey::of_digest(*digest))
    }
}

/// The explicit hash key of a table entry, read once. `None` if there is no such entry.
fn explicit_key(
    data: &[u8],
    body: &Body,
    read: &mut [Option<Result<HashKey, HashKeyError>>],
    index: u32,
) -> Option<Result<HashKey, HashKeyError>> {
    let span = entry(&body.explicit_hash_keys, index)?;
    Some(
        *entry_mut(read, index)?.get_or_insert_with(|| match std::str::from_utf8(span.of(data)) {
            Ok(text) => HashKey::parse_integer(text),
            Err(_) => Err(HashKeyError::NotANumber),
        }),
    )
}

fn entry<T>(table: &[T], index: u32) -> Option<&T> {
    table.get(usize::try_from(index).ok()?)
}

fn entry_mut<T>(table: &mut [T], index: u32) -> Option<&mut T> {
    table.get_mut(usize::try_from(index).ok()?)
}

fn view(data: &Bytes, span: Span) -> Bytes {
    // Spans are only ever made inside the data.
    if span.of(data).is_empty() {
        Bytes::new()
    } else {
        data.slice(span.range())
    }
}

impl Iterator for Records {
    type Item = UserRecord;

    fn next(&mut self) -> Option<UserRecord> {
        let at = self.next;
        let record = self.user_record(at, self.body.records.get(at)?);
        self.next += 1;
        record
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.body.records.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records {}
impl FusedIterator for Records {}

/// Shows counts, no payloads.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("len", &self.len())
            .field("loss", &self.loss)
            .finish()
    }
}
