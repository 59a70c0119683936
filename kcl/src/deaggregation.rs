//! User records out of Kinesis records, and what was lost on the way.

use crate::position::{Position, SequenceNumber};
use crate::record::UserRecord;
use aggregation::{Deaggregated, HashRange, Utf8Bytes, deaggregate};
use aws::kinesis::Record;

/// User records of some Kinesis records.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) records: Vec<UserRecord>,
    /// User records that the aggregates held and that did not come out.
    pub(crate) lost: u64,
    /// Kinesis records whose sequence number is none.
    pub(crate) unreadable: u64,
    /// The last user record of the input, also when it was left out because of `after`.
    pub(crate) last: Option<Position>,
}

/// Takes the records apart, leaving out what lies at or before `after`. `range` is the shard's; without
/// one no aggregate is dropped for being in the wrong shard.
pub(crate) fn unpack(
    shard: &str,
    records: &[Record],
    range: Option<HashRange>,
    after: &Position,
) -> Unpacked {
    let mut out = Unpacked {
        records: Vec::with_capacity(records.len()),
        ..Unpacked::default()
    };
    for record in records {
        let Some(sequence) = SequenceNumber::parse(&record.sequence_number) else {
            out.unreadable += 1;
            tracing::error!(
                shard,
                sequence_number = record.sequence_number,
                "record dropped: its sequence number is not one"
            );
            continue;
        };
        match deaggregate(&record.data, range) {
            Deaggregated::Records(aggregate) => {
                if let Some(loss) = aggregate.loss() {
                    let lost = u64::try_from(loss.lost()).unwrap_or(u64::MAX);
                    out.lost = out.lost.saturating_add(lost);
                    tracing::warn!(shard, %sequence, %loss, "user records lost");
                }
                for user in aggregate {
                    let position = Position::new(sequence.clone(), user.sub_sequence_number);
                    if position > *after {
                        out.records.push(UserRecord {
                            partition_key: Some(user.partition_key),
                            explicit_hash_key: user.explicit_hash_key,
                            data: user.data,
                            sequence_number: sequence.clone(),
                            sub_sequence_number: user.sub_sequence_number,
                            approximate_arrival_timestamp: record.approximate_arrival_timestamp,
                            aggregated: true,
                        });
                    }
                    out.last = Some(position);
                }
            }
            // Not an aggregate. (Other answers than the two do not exist yet.)
            _ => {
                let position = Position::new(sequence.clone(), 0);
                if position > *after {
                    out.records.push(UserRecord {
                        partition_key: record.partition_key.clone().map(Utf8Bytes::from),
                        explicit_hash_key: None,
                        data: record.data.clone(),
                        sequence_number: sequence,
                        sub_sequence_number: 0,
                        approximate_arrival_timestamp: record.approximate_arrival_timestamp,
                        aggregated: false,
                    });
                }
                out.last = Some(position);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregation::{Aggregate, HashKey, UserRecordRef};
    use bytes::Bytes;

    fn record(sequence: &str, key: Option<&str>, data: Bytes) -> Record {
        Record {
            sequence_number: sequence.to_owned(),
            approximate_arrival_timestamp: Some(std::time::SystemTime::UNIX_EPOCH),
            data,
            partition_key: key.map(str::to_owned),
            encryption_type: None,
        }
    }

    fn aggregate(keys: &[&str]) -> Bytes {
        let mut aggregate = Aggregate::new();
        for key in keys {
            aggregate.push(&UserRecordRef {
                partition_key: key,
                explicit_hash_key: None,
                data: key.as_bytes(),
                tags: &[],
            });
        }
        aggregate.finish().to_bytes()
    }

    fn shown(unpacked: &Unpacked) -> Vec<String> {
        let key = |r: &UserRecord| r.partition_key.as_ref().map(ToString::to_string);
        let records = unpacked.records.iter();
        records
            .map(|r| format!("{} {:?} {}", r.position(), key(r), r.aggregated))
            .collect()
    }

    #[test]
    fn records_come_out_in_order_with_their_places() {
        let records = [
            record("7", Some("plain"), Bytes::from_static(b"x")),
            record("8", Some("a"), aggregate(&["k0", "k1", "k2"])),
            record("9", None, Bytes::from_static(b"no key")),
        ];
        let all = unpack("s", &records, None, &Position::TRIM_HORIZON);
        assert_eq!(
            shown(&all),
            [
                "7 Some(\"plain\") false",
                "8 Some(\"k0\") true",
                "8/1 Some(\"k1\") true",
                "8/2 Some(\"k2\") true",
                "9 None false",
            ]
        );
        assert_eq!((all.lost, all.unreadable), (0, 0));
        // A checkpoint inside an aggregate: its head was processed, its rest was not.
        let rest = unpack("s", &records, None, &Position::parse("8", 1).unwrap());
        assert_eq!(shown(&rest), ["8/2 Some(\"k2\") true", "9 None false"]);
        let none = unpack("s", &records[..2], None, &Position::parse("8", 2).unwrap());
        assert_eq!(shown(&none), [""; 0]);
        assert_eq!(none.last, Position::parse("8", 2));
    }

    #[test]
    fn aggregates_of_another_shard_are_dropped_and_counted() {
        let only = |key: &str| {
            let hash = HashKey::of_partition_key(key);
            HashRange::new(hash, hash).ok()
        };
        let records = [
            record("1", Some("a"), aggregate(&["k0", "k1"])),
            record("2", Some("a"), aggregate(&["k0"])),
            record("3", Some("anything"), Bytes::from_static(b"never tested")),
        ];
        let unpacked = unpack("s", &records, only("k0"), &Position::TRIM_HORIZON);
        assert_eq!(
            shown(&unpacked),
            ["2 Some(\"k0\") true", "3 Some(\"anything\") false"]
        );
        assert_eq!(unpacked.lost, 2);
        let unpacked = unpack("s", &records, None, &Position::TRIM_HORIZON);
        assert_eq!(
            unpacked.records.len(),
            4,
            "without a range nothing is dropped"
        );
    }

    #[test]
    fn a_record_without_a_sequence_number_is_counted() {
        let records = [record("abc", Some("k"), Bytes::from_static(b"x"))];
        let unpacked = unpack("s", &records, None, &Position::TRIM_HORIZON);
        assert_eq!((unpacked.records.len(), unpacked.unreadable), (0, 1));
    }
}
