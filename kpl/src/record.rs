//! A record to be put, and what makes it acceptable.

use crate::error::PutError;
use crate::last_key;
use aggregation::{
    Aggregate, HashKey, IDENTITY_TAG, IdentityWriter, RecordId, UserRecordRef, looks_like_aggregate,
};
use bytes::Bytes;
use std::fmt;

/// What the book-keeping of a record takes, on top of its data and its partition key.
const OVERHEAD: usize = 64;

/// The longest partition key, in characters as the service counts them (UTF-16 units).
const KEY_LIMIT: usize = 256;

/// The identity that takes most bytes.
const LONGEST_ID: RecordId = RecordId {
    incarnation: u64::MAX,
    series: u64::MAX,
    number: u64::MAX,
};

/// Which records that are alone go in an aggregate all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wrapping {
    /// Those whose data a reader would take for an aggregate.
    pub(crate) look_alikes: bool,
    /// All, because they carry an identity.
    pub(crate) all: bool,
}

/// A user record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Empty where `keyless`.
    pub(crate) partition_key: String,
    pub(crate) keyless: bool,
    pub(crate) explicit_hash_key: Option<HashKey>,
    pub(crate) data: Bytes,
}

impl Record {
    /// A record whose partition key (1 to 256 characters) decides its shard.
    pub fn new(partition_key: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            partition_key: partition_key.into(),
            keyless: false,
            explicit_hash_key: None,
            data: data.into(),
        }
    }

    /// A record without a partition key, for a stream that distributes its records itself (record
    /// distribution strategy `AUTO`). Other streams do not take it:
    /// [`PutError::NoPartitionKey`](crate::PutError::NoPartitionKey).
    pub fn without_key(data: impl Into<Bytes>) -> Self {
        Self {
            partition_key: String::new(),
            keyless: true,
            explicit_hash_key: None,
            data: data.into(),
        }
    }

    /// Decides the shard by this hash key, in place of the partition key's. A `u128` is one;
    /// [`HashKey::parse_lenient`] reads the text that the Kinesis Producer Library takes.
    #[must_use]
    pub fn explicit_hash_key(mut self, key: impl Into<HashKey>) -> Self {
        self.explicit_hash_key = Some(key.into());
        self
    }

    /// The partition key; empty for a record without one.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// False for a record without a partition key.
    #[must_use]
    pub const fn has_key(&self) -> bool {
        !self.keyless
    }

    /// The explicit hash key, if there is one.
    #[must_use]
    pub const fn hash_key_set(&self) -> Option<HashKey> {
        self.explicit_hash_key
    }

    /// The data.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// The data, by value.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        self.data
    }

    pub(crate) fn view(&self) -> UserRecordRef<'_> {
        UserRecordRef {
            partition_key: &self.partition_key,
            explicit_hash_key: self.explicit_hash_key,
            data: &self.data,
            tags: &[],
        }
    }

    pub(crate) fn hash_key(&self) -> HashKey {
        self.explicit_hash_key
            .unwrap_or_else(|| last_key::hash_key_of(&self.partition_key))
    }

    /// What is wrong with the record, if anything.
    pub(crate) fn problem(
        &self,
        wrapping: Wrapping,
        data_limit: usize,
        record_limit: usize,
    ) -> Option<Problem> {
        let key = self.partition_key.as_str();
        // Bytes are never fewer than UTF-16 units: the count is needed for long keys only.
        let units = if key.len() <= KEY_LIMIT {
            key.len()
        } else {
            key.encode_utf16().count()
        };
        if (units == 0 && !self.keyless) || units > KEY_LIMIT {
            return Some(Problem::Key { length: units });
        }
        if self.data.len() > data_limit {
            return Some(Problem::Data {
                size: self.data.len(),
                limit: data_limit,
            });
        }
        let mut size = self.data.len() + key.len();
        // Goes wrapped, alone in an aggregate under a one-byte key.
        if wrapping.all {
            let longest = IdentityWriter::default().tag(LONGEST_ID);
            let tag = longest.as_ref().map(|id| (IDENTITY_TAG, Some(id.as_str())));
            let tags = tag.as_slice();
            let tagged = UserRecordRef {
                tags,
                ..self.view()
            };
            size = size.max(Aggregate::new().size_with(&tagged) + 1);
        } else if wrapping.look_alikes && looks_like_aggregate(&self.data) {
            size = size.max(Aggregate::new().size_with(&self.view()) + 1);
        }
        let limit = record_limit;
        (size > limit).then_some(Problem::Size { size, limit })
    }
}

/// Shows the data's length alone.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("partition_key", &self.partition_key)
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_len", &self.data.len())
            .finish()
    }
}

/// Why a record cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    Key {
        length: usize,
    },
    /// The data alone, and the limit that the user set.
    Data {
        size: usize,
        limit: usize,
    },
    /// With its partition key.
    Size {
        size: usize,
        limit: usize,
    },
    /// It has no partition key, and the stream places records by theirs.
    NoKey,
}

impl Problem {
    pub(crate) fn refuse(self, record: Record) -> PutError {
        let record = Box::new(record);
        match self {
            Self::Key { length } => PutError::InvalidKey { length, record },
            Self::Data { size, limit } => PutError::DataTooLarge {
                size,
                limit,
                record,
            },
            Self::Size { size, limit } => PutError::TooLarge {
                size,
                limit,
                record,
            },
            Self::NoKey => PutError::NoPartitionKey { record },
        }
    }
}

/// Where on the ring a record belongs.
pub(crate) fn hash_key(record: &UserRecordRef<'_>) -> HashKey {
    record
        .explicit_hash_key
        .unwrap_or_else(|| HashKey::of_partition_key(record.partition_key))
}

/// What a record is charged against the bound of bytes: twice as much if it is kept beside the
/// aggregate that it is in.
pub(crate) fn cost(record: &UserRecordRef<'_>, kept: bool) -> usize {
    let once = record.data.len() + record.partition_key.len() + OVERHEAD;
    once * (1 + usize::from(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RECORD_LIMIT;

    #[test]
    fn keys_and_sizes_at_their_limits() {
        let wrapped = {
            let mut inner = Aggregate::new();
            let data = vec![b'x'; RECORD_LIMIT - 60];
            inner.push(&UserRecordRef {
                partition_key: "k",
                explicit_hash_key: None,
                data: &data,
                tags: &[],
            });
            inner.finish().to_bytes()
        };
        assert!(wrapped.len() < RECORD_LIMIT);
        let table = [
            (Record::new("k", ""), true, None),
            (Record::new("", "x"), true, Some(Problem::Key { length: 0 })),
            (Record::new("k".repeat(256), "x"), true, None),
            (
                Record::new("k".repeat(257), "x"),
                true,
                Some(Problem::Key { length: 257 }),
            ),
            (Record::new("é".repeat(256), "x"), true, None),
            (Record::new("𝄞".repeat(128), "x"), true, None),
            (
                Record::new("𝄞".repeat(129), "x"),
                true,
                Some(Problem::Key { length: 258 }),
            ),
            (Record::new("k", vec![0; RECORD_LIMIT - 1]), true, None),
            (
                Record::new("k", vec![0; RECORD_LIMIT]),
                true,
                Some(Problem::Size {
                    size: RECORD_LIMIT + 1,
                    limit: RECORD_LIMIT,
                }),
            ),
            (Record::without_key("x"), true, None),
            (Record::without_key(vec![0; RECORD_LIMIT]), true, None),
            (Record::new("k", wrapped.clone()), false, None),
            (
                Record::new("k", wrapped.clone()),
                true,
                Some(Problem::Size {
                    size: wrapped.len() + 34,
                    limit: RECORD_LIMIT,
                }),
            ),
        ];
        for (record, look_alikes, problem) in table {
            let wrapping = Wrapping {
                look_alikes,
                all: false,
            };
            let found = record.problem(wrapping, usize::MAX, RECORD_LIMIT);
            assert_eq!(found, problem, "{record:?}");
        }
        // Envelope, headers and the longest tag.
        let all = Wrapping {
            look_alikes: true,
            all: true,
        };
        let largest = RECORD_LIMIT - 76;
        let fits = Record::new("k", vec![0; largest]);
        assert_eq!(fits.problem(all, usize::MAX, RECORD_LIMIT), None);
        let size = RECORD_LIMIT + 1;
        let too_large =
            Record::new("k", vec![0; largest + 1]).problem(all, usize::MAX, RECORD_LIMIT);
        assert_eq!(
            too_large,
            Some(Problem::Size {
                size,
                limit: RECORD_LIMIT
            })
        );
        let data = Problem::Data { size: 3, limit: 2 };
        assert_eq!(
            Record::new("long", "xyz").problem(all, 2, 1_000),
            Some(data)
        );
        assert_eq!(Record::new("long", "xyz").problem(all, 3, 1_000), None);
    }

    #[test]
    fn the_explicit_hash_key_goes_before_the_partition_key() {
        let record = Record::new("a", "x");
        assert_eq!(
            record.hash_key().to_string(),
            "16955237001963240173058271559858726497"
        );
        assert_eq!(record.explicit_hash_key(7u128).hash_key(), HashKey::new(7));
    }

    #[test]
    fn debug_shows_no_payload() {
        let text = format!("{:?}", Record::new("a", "secret"));
        assert!(
            !text.contains("secret") && text.contains("data_len: 6"),
            "{text}"
        );
    }
}
