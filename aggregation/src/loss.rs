//! What an aggregate held and did not give, and why.

use crate::hash::HashKey;

/// User records of an aggregate that do not come out of it.
///
/// All of these are what the KCL (3.5) does; it loses the records with no more than a log line, or
/// without one. `at` counts the aggregate's user records from 0; `lost` is how many of them do not
/// come out.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// A user record belongs to another shard. Then the whole aggregate is dropped, also the records
    /// before it: after a reshard a KPL sends all records of such an aggregate again, so they come a
    /// second time where they belong. Writers that mix shards in an aggregate lose data here.
    #[error(
        "user record {at} is outside the shard's range of hash keys (its hash key: {}), \
         so all {lost} of its aggregate are dropped",
        shown(hash_key)
    )]
    OutOfRange {
        /// The first user record that is out of range.
        at: usize,
        /// Its hash key; `None` if an explicit one is below 0 or above 2^128 − 1.
        hash_key: Option<HashKey>,
        /// All user records of the aggregate.
        lost: usize,
    },
    /// A user record's index of its partition key points outside the table. The records before it
    /// come out, it and those behind it do not.
    #[error(
        "user record {at} has partition key {index} of a table of {table}: {lost} user records lost"
    )]
    PartitionKeyIndex {
        /// The user record with the index.
        at: usize,
        /// The index, its low 32 bits.
        index: u32,
        /// The entries in the table.
        table: usize,
        /// It and all behind it.
        lost: usize,
    },
    /// As [`Loss::PartitionKeyIndex`], for the explicit hash key.
    #[error(
        "user record {at} has explicit hash key {index} of a table of {table}: \
         {lost} user records lost"
    )]
    ExplicitHashKeyIndex {
        /// The user record with the index.
        at: usize,
        /// The index, its low 32 bits.
        index: u32,
        /// The entries in the table.
        table: usize,
        /// It and all behind it.
        lost: usize,
    },
    /// A user record's explicit hash key is not a number. The records before it come out, it and
    /// those behind it do not.
    #[error(
        "user record {at} has an explicit hash key that is no number: {lost} user records lost"
    )]
    ExplicitHashKeyNotANumber {
        /// The user record with the hash key.
        at: usize,
        /// It and all behind it.
        lost: usize,
    },
    /// The aggregate is sound, but has no user record in it: the Kinesis record disappears.
    #[error("the aggregate holds no user records")]
    NoRecords,
}

impl Loss {
    /// How many user records do not come out.
    pub fn lost(&self) -> usize {
        match *self {
            Loss::OutOfRange { lost, .. }
            | Loss::PartitionKeyIndex { lost, .. }
            | Loss::ExplicitHashKeyIndex { lost, .. }
            | Loss::ExplicitHashKeyNotANumber { lost, .. } => lost,
            Loss::NoRecords => 0,
        }
    }
}

fn shown(hash_key: &Option<HashKey>) -> String {
    hash_key.map_or_else(|| "no hash key at all".to_owned(), |key| key.to_string())
}
