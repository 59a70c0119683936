//! The open aggregate: user records appended in final bytes, its exact size always known.

use std::fmt;

use crate::finished::{AggregateMemory, FinishedAggregate};
use crate::hash::HashKey;
use crate::keys::{ExplicitHashKeys, PartitionKeys, Place};
use crate::wire::{
    ENVELOPE_SIZE, Head, bytes_field_len, index_field_len, put_bytes, put_header, tag,
};

/// A user record to be appended. Nothing is checked here: limits on keys and data are the
/// producer's.
#[derive(Copy, Clone)]
pub struct UserRecordRef<'a> {
    /// The partition key; may be empty.
    pub partition_key: &'a str,
    /// The explicit hash key, only if the producer's user gave one.
    pub explicit_hash_key: Option<HashKey>,
    /// The payload; may be empty.
    pub data: &'a [u8],
    /// Names and values of tags. The KPL writes none, and other readers do not show them.
    pub tags: &'a [(&'a str, Option<&'a str>)],
}

impl UserRecordRef<'_> {
    /// Where on the ring the record belongs: its explicit hash key, or the MD5 of its partition key.
    /// That of an aggregate's first record is the explicit hash key of the Kinesis record around it.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key
            .unwrap_or_else(|| HashKey::of_partition_key(self.partition_key))
    }
}

/// Shows no payload but its length.
impl fmt::Debug for UserRecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecordRef")
            .field("partition_key", &self.partition_key)
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_len", &self.data.len())
            .field("tags", &self.tags.len())
            .finish()
    }
}

/// An aggregate that is being filled.
///
/// Three regions grow, each in final protobuf bytes: the table of partition keys, that of explicit
/// hash keys, and the records. Each key is in its table once. Joined in this order they are the
/// canonical body, equal to the KPL's to the byte. A payload is copied once, into the records.
///
/// Nothing is ever taken out again: whoever has a limit asks [`size_with`](Self::size_with) first, or
/// uses [`push_within`](Self::push_within).
#[derive(Clone, Default)]
pub struct Aggregate {
    partition_keys: PartitionKeys,
    explicit_hash_keys: ExplicitHashKeys,
    records: Vec<u8>,
    count: usize,
    data_len: usize,
}

/// What an append will do, found out once for asking and doing.
struct Plan {
    partition_key: Place,
    explicit_hash_key: Option<(HashKey, Place)>,
    /// Length of the record's message.
    record: usize,
    size: usize,
}

impl Aggregate {
    /// An empty aggregate; allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty aggregate with room for `bytes` bytes of records (not of keys) before it grows.
    pub fn with_capacity(bytes: usize) -> Self {
        Aggregate {
            records: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Whether there is no user record in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of user records in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The exact number of bytes of the finished aggregate, envelope included; 0 when empty. One
    /// record is counted as an aggregate of one; what it takes when it is sent un-wrapped is
    /// [`data_len`](Self::data_len).
    pub fn size(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            ENVELOPE_SIZE + self.body_len()
        }
    }

    /// The sum of the lengths of all payloads in it.
    pub fn data_len(&self) -> usize {
        self.data_len
    }

    /// What [`size`](Self::size) will be after [`push`](Self::push) of this record.
    pub fn size_with(&self, record: &UserRecordRef<'_>) -> usize {
        self.plan(record).size
    }

    /// Appends a user record; gives its index, which will be its sub-sequence number.
    pub fn push(&mut self, record: &UserRecordRef<'_>) -> usize {
        let plan = self.plan(record);
        self.append(record, &plan)
    }

    /// As [`push`](Self::push), unless the aggregate would then take more than `max_size` bytes: then
    /// nothing is changed and there is no index. Looks the keys up once, where asking for the size
    /// first does so twice.
    pub fn push_within(&mut self, record: &UserRecordRef<'_>, max_size: usize) -> Option<usize> {
        let plan = self.plan(record);
        if plan.size > max_size {
            None
        } else {
            Some(self.append(record, &plan))
        }
    }

    /// Closes the aggregate. The MD5 is not made yet: see [`FinishedAggregate::hash_many`].
    pub fn finish(mut self) -> FinishedAggregate {
        self.take()
    }

    /// Closes what was pushed; the aggregate is empty afterwards, and finds keys with the memory that it
    /// had for that.
    ///
    /// For whoever fills many, one after the other; [`Self::reuse`] makes that free of allocations.
    pub fn take(&mut self) -> FinishedAggregate {
        let partition_keys = self.partition_keys.take();
        let (explicit_hash_keys, keys) = self.explicit_hash_keys.take();
        let records = std::mem::take(&mut self.records);
        let memory = AggregateMemory {
            regions: [partition_keys, explicit_hash_keys, records],
            keys,
        };
        let count = std::mem::take(&mut self.count);
        FinishedAggregate::new(memory, count, std::mem::take(&mut self.data_len))
    }

    /// Gives an empty aggregate memory to grow in. Does nothing to one that has records.
    pub fn reuse(&mut self, memory: AggregateMemory) {
        if !self.is_empty() {
            return;
        }
        let AggregateMemory {
            regions: [partition_keys, explicit_hash_keys, records],
            keys,
        } = memory;
        self.partition_keys.reuse(partition_keys);
        self.explicit_hash_keys.reuse(explicit_hash_keys, keys);
        self.records = records;
    }

    fn body_len(&self) -> usize {
        self.partition_keys.size() + self.explicit_hash_keys.size() + self.records.len()
    }

    fn plan(&self, record: &UserRecordRef<'_>) -> Plan {
        let partition_key = self.partition_keys.find(record.partition_key);
        let mut keys = partition_key.size();
        let mut message = index_field_len(index(partition_key, self.partition_keys.len()));
        let explicit_hash_key = record.explicit_hash_key.map(|key| {
            let place = self.explicit_hash_keys.find(key);
            keys += place.size();
            message += index_field_len(index(place, self.explicit_hash_keys.len()));
            (key, place)
        });
        message += bytes_field_len(record.data.len());
        message += record
            .tags
            .iter()
            .map(|tag| bytes_field_len(tag_len(tag)))
            .sum::<usize>();
        Plan {
            partition_key,
            explicit_hash_key,
            record: message,
            size: ENVELOPE_SIZE + self.body_len() + keys + bytes_field_len(message),
        }
    }

    fn append(&mut self, record: &UserRecordRef<'_>, plan: &Plan) -> usize {
        let key = self
            .partition_keys
            .enter(record.partition_key, plan.partition_key);
        let explicit = plan
            .explicit_hash_key
            .map(|(key, place)| self.explicit_hash_keys.enter(key, place));
        let out = &mut self.records;
        let mut head = Head::default();
        head.put(out, tag::RECORD, plan.record);
        head.put(out, tag::RECORD_PARTITION_KEY_INDEX, key);
        if let Some(index) = explicit {
            head.put(out, tag::RECORD_EXPLICIT_HASH_KEY_INDEX, index);
        }
        head.put(out, tag::RECORD_DATA, record.data.len());
        head.write(out);
        out.extend_from_slice(record.data);
        for tag @ (name, value) in record.tags {
            put_header(out, tag::RECORD_TAG, tag_len(tag));
            put_bytes(out, tag::TAG_KEY, name.as_bytes());
            if let Some(value) = value {
                put_bytes(out, tag::TAG_VALUE, value.as_bytes());
            }
        }
        self.data_len += record.data.len();
        self.count += 1;
        self.count - 1
    }
}

fn index(place: Place, table: usize) -> usize {
    match place {
        Place::Known(index) => index,
        Place::New { .. } => table,
    }
}

fn tag_len((key, value): &(&str, Option<&str>)) -> usize {
    bytes_field_len(key.len()) + value.map_or(0, |value| bytes_field_len(value.len()))
}

/// Shows counts, no payloads.
impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate")
            .field("len", &self.len())
            .field("size", &self.size())
            .finish()
    }
}
