//! The reader of aggregates.

use aggregation::{
    Aggregate, Deaggregated, HashKey, HashRange, MAGIC, UserRecordRef, deaggregate, is_aggregate,
    looks_like_aggregate, md5_one,
};
use bytes::Bytes;

/// The first byte says how: with bit 0, what follows is the body between the magic bytes and its
/// checksum, else the whole record; with bit 1, only the lower half of the hash keys belongs to the
/// shard.
///
/// Whatever comes, there is an answer; what is read whole can be written and read again.
pub fn read(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else {
        return;
    };
    let data = if how & 1 == 1 {
        Bytes::from([&MAGIC, rest, &md5_one(rest)].concat())
    } else {
        Bytes::copy_from_slice(rest)
    };
    let lower = || HashRange::new(HashKey::new(0), HashKey::new(u128::MAX / 2)).ok();
    let range = if how & 2 == 2 { lower() } else { None };
    let records = match deaggregate(&data, range) {
        Deaggregated::PassThrough => return,
        Deaggregated::Records(records) => records,
    };
    assert!(looks_like_aggregate(&data));
    assert!(is_aggregate(&data));
    let loss = records.loss().copied();
    let records: Vec<_> = records.collect();
    if let Some(loss) = loss {
        assert!(!loss.to_string().is_empty());
        assert!(loss.lost() <= data.len());
        return;
    }
    if records.is_empty() || records.iter().any(|record| !record.tags.is_empty()) {
        return;
    }
    let mut again = Aggregate::new();
    for record in &records {
        assert!(range.is_none_or(|range| range.contains(record.hash_key())));
        again.push(&UserRecordRef {
            partition_key: &record.partition_key,
            explicit_hash_key: record.explicit_hash_key.as_ref().map(|key| key.key()),
            data: &record.data,
            tags: &[],
        });
    }
    let size = again.size();
    let written = again.finish().to_bytes();
    assert!(written.len() <= size);
    // One record goes un-wrapped, unless it looks like an aggregate itself.
    let found = match deaggregate(&written, None) {
        Deaggregated::PassThrough => {
            assert_eq!((records.len(), &written), (1, &records[0].data));
            return;
        }
        Deaggregated::Records(found) => found,
    };
    assert!(found.loss().is_none());
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), records.len());
    for (found, record) in found.iter().zip(&records) {
        assert_eq!(found.partition_key, record.partition_key);
        assert_eq!(found.hash_key(), record.hash_key());
        assert_eq!(found.data, record.data);
    }
}
