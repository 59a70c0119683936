//! Properties, with prost's own encoder and decoder of the three messages as the other opinion.

use aggregation::{
    Aggregate, AggregateMemory, Deaggregated, FinishedAggregate, HashKey, HashRange, Loss, MAGIC,
    UserRecord, UserRecordRef, deaggregate, is_aggregate, looks_like_aggregate, md5_one,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct ProstAggregate {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<ProstRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ProstRecord {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "vec", required, tag = "3")]
    data: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    tags: Vec<ProstTag>,
}

#[derive(Clone, PartialEq, Message)]
struct ProstTag {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
struct Stated {
    partition_key: String,
    explicit_hash_key: Option<HashKey>,
    data: Vec<u8>,
    tags: Vec<(String, Option<String>)>,
}

impl Stated {
    /// Hands the record over in its borrowed form.
    fn with<T>(&self, then: impl FnOnce(&UserRecordRef<'_>) -> T) -> T {
        let tags: Vec<(&str, Option<&str>)> = self
            .tags
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        then(&UserRecordRef {
            partition_key: &self.partition_key,
            explicit_hash_key: self.explicit_hash_key,
            data: &self.data,
            tags: &tags,
        })
    }
}

impl From<UserRecordRef<'_>> for Stated {
    fn from(record: UserRecordRef<'_>) -> Self {
        Stated {
            partition_key: record.partition_key.to_owned(),
            explicit_hash_key: record.explicit_hash_key,
            data: record.data.to_owned(),
            tags: record
                .tags
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)))
                .collect(),
        }
    }
}

impl From<UserRecord> for Stated {
    fn from(record: UserRecord) -> Self {
        Stated {
            partition_key: record.partition_key.to_string(),
            explicit_hash_key: record.explicit_hash_key.map(|explicit| {
                assert_eq!(
                    explicit.key().to_string(),
                    explicit.as_str(),
                    "canonical as written"
                );
                explicit.key()
            }),
            data: record.data.to_vec(),
            tags: record
                .tags
                .iter()
                .map(|tag| {
                    (
                        tag.key.to_string(),
                        tag.value.as_ref().map(|v| v.to_string()),
                    )
                })
                .collect(),
        }
    }
}

/// Few distinct keys or many, short data or some that needs three bytes of length.
fn stated() -> impl Strategy<Value = Stated> {
    let key = prop_oneof![4 => "[ab]{0,1}", 2 => ".{0,12}", 1 => ".{120,140}"];
    let explicit = prop_oneof![
        3 => Just(None),
        2 => (0_u128..4).prop_map(Some),
        1 => (any::<u128>(), 0_u32..128).prop_map(|(number, shift)| Some(number >> shift)),
    ];
    let data = prop_oneof![
        6 => vec(any::<u8>(), 0..40),
        2 => vec(any::<u8>(), 110..140),
        1 => (any::<u8>(), 16_300..16_500_usize).prop_map(|(byte, len)| std::vec![byte; len]),
    ];
    let tags =
        prop_oneof![3 => Just(Vec::new()), 1 => vec((".{0,60}", option::of(".{0,80}")), 0..4)];
    (key, explicit, data, tags).prop_map(|(partition_key, explicit, data, tags)| Stated {
        partition_key,
        explicit_hash_key: explicit.map(HashKey::new),
        data,
        tags,
    })
}

/// Also more records than an index of one byte can tell apart.
fn many_stated() -> impl Strategy<Value = Vec<Stated>> {
    let distinct = (1..400_u128).prop_map(|count| {
        let one = |n: u128| Stated {
            partition_key: n.to_string(),
            explicit_hash_key: n.is_multiple_of(3).then(|| HashKey::new(n << 100)),
            data: n.to_string().into_bytes(),
            tags: Vec::new(),
        };
        (0..count).map(one).collect()
    });
    prop_oneof![4 => vec(stated(), 1..40), 1 => distinct]
}

fn fill(records: &[Stated]) -> Aggregate {
    let mut aggregate = Aggregate::new();
    for record in records {
        record.with(|record| aggregate.push(record));
    }
    aggregate
}

fn index(table: &mut Vec<String>, key: String) -> u64 {
    let at = table
        .iter()
        .position(|known| *known == key)
        .unwrap_or_else(|| {
            table.push(key);
            table.len() - 1
        });
    at as u64
}

/// The canonical aggregate by prost: tables in the order of first use, each key once.
fn by_prost(records: &[Stated]) -> Vec<u8> {
    let mut message = ProstAggregate::default();
    for record in records {
        let explicit = record.explicit_hash_key.map(|key| key.to_string());
        message.records.push(ProstRecord {
            partition_key_index: index(
                &mut message.partition_key_table,
                record.partition_key.clone(),
            ),
            explicit_hash_key_index: explicit
                .map(|key| index(&mut message.explicit_hash_key_table, key)),
            data: record.data.clone(),
            tags: record
                .tags
                .iter()
                .map(|(key, value)| ProstTag {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
        });
    }
    wrap(&message.encode_to_vec())
}

fn wrap(body: &[u8]) -> Vec<u8> {
    [&MAGIC, body, &md5_one(body)].concat()
}

fn decode(data: &[u8], range: Option<HashRange>) -> Option<(Vec<UserRecord>, Option<Loss>)> {
    match deaggregate(&Bytes::copy_from_slice(data), range) {
        Deaggregated::Records(records) => {
            let loss = records.loss().copied();
            let announced = records.len();
            let records: Vec<_> = records.collect();
            assert_eq!(records.len(), announced);
            Some((records, loss))
        }
        Deaggregated::PassThrough => None,
    }
}

fn hash_key(record: &Stated) -> HashKey {
    record.with(|record| record.hash_key())
}

proptest! {
    #[test]
    fn bytes_are_prosts(records in many_stated()) {
        prop_assert_eq!(fill(&records).finish().to_bytes(), by_prost(&records));
    }

    #[test]
    fn what_goes_in_comes_out(records in many_stated()) {
        let data = fill(&records).finish().to_bytes();
        let (out, loss) = decode(&data, None).unwrap();
        prop_assert_eq!(loss, None);
        for (record, at) in out.iter().zip(0..) {
            prop_assert_eq!(record.sub_sequence_number, at);
        }
        let out: Vec<Stated> = out.into_iter().map(Stated::from).collect();
        prop_assert_eq!(out, records);
    }

    #[test]
    fn memory_that_is_used_again_leaves_no_trace(groups in vec(many_stated(), 0..6)) {
        let mut aggregate = Aggregate::new();
        let mut memory = AggregateMemory::default();
        for records in groups {
            aggregate.reuse(std::mem::take(&mut memory));
            for record in &records {
                record.with(|record| aggregate.push(record));
            }
            // Where there are records, memory is not wanted.
            if !records.is_empty() {
                aggregate.reuse(AggregateMemory::with_capacities([10; 3]));
            }
            let finished = aggregate.take();
            prop_assert_eq!((aggregate.len(), aggregate.size(), aggregate.data_len()), (0, 0, 0));
            prop_assert_eq!(finished.to_bytes(), fill(&records).finish().to_bytes());
            prop_assert_eq!(finished.data_len(), records.iter().map(|r| r.data.len()).sum::<usize>());
            memory = finished.into_memory();
        }
    }

    #[test]
    fn sizes_are_exact(records in many_stated()) {
        let mut aggregate = Aggregate::with_capacity(1000);
        prop_assert!(aggregate.is_empty());
        prop_assert_eq!(aggregate.size(), 0);
        for (at, record) in records.iter().enumerate() {
            let before = aggregate.size();
            let size = record.with(|record| aggregate.size_with(record));
            prop_assert_eq!(record.with(|record| aggregate.push_within(record, size - 1)), None);
            prop_assert_eq!((aggregate.size(), aggregate.len()), (before, at));
            prop_assert_eq!(record.with(|record| aggregate.push_within(record, size)), Some(at));
            prop_assert_eq!((aggregate.size(), aggregate.len()), (size, at + 1));
            prop_assert_eq!(aggregate.clone().finish().to_bytes().len(), size);
        }
        prop_assert_eq!(aggregate.data_len(), records.iter().map(|r| r.data.len()).sum::<usize>());
    }

    #[test]
    fn finished_records_are_what_was_put(records in many_stated()) {
        let finished = fill(&records).finish();
        prop_assert_eq!(finished.record_count(), records.len());
        let listed = finished.records();
        prop_assert_eq!(listed.len(), records.len());
        let listed: Vec<Stated> = listed.map(|r| Stated::from(r.as_user_record())).collect();
        prop_assert_eq!(&listed, &records);
        let single = finished.single().map(Stated::from);
        let alone = records.len() == 1 && records[0].tags.is_empty();
        prop_assert_eq!(single, alone.then(|| records[0].clone()));
    }

    #[test]
    fn segments_are_the_whole(many in vec(vec(stated(), 0..6), 0..6)) {
        let finished: Vec<FinishedAggregate> = many.iter().map(|r| fill(r).finish()).collect();
        let together: Vec<FinishedAggregate> = finished.clone();
        FinishedAggregate::hash_many(&together.iter().collect::<Vec<_>>());
        for (alone, together) in finished.iter().zip(&together) {
            prop_assert_eq!(alone.segments(), together.segments());
            prop_assert_eq!(alone.segments().concat(), alone.to_bytes());
            prop_assert_eq!(alone.to_bytes().len(), alone.len());
            prop_assert_eq!(looks_like_aggregate(&alone.to_bytes()), !alone.is_empty());
        }
    }

    /// All come out or none.
    #[test]
    fn a_range_drops_the_whole_aggregate(
        records in vec(stated(), 1..8), a: u128, b: u128, around in 0_usize..8,
    ) {
        let data = fill(&records).finish().to_bytes();
        // Either any range, or one that ends at some record's hash key.
        let edge = records.get(around).map(|record| hash_key(record).as_u128());
        let (a, b) = (a, edge.unwrap_or(b));
        let range = HashRange::new(HashKey::new(a.min(b)), HashKey::new(a.max(b))).unwrap();
        let stray = records.iter().position(|record| !range.contains(hash_key(record)));
        let (out, loss) = decode(&data, Some(range)).unwrap();
        let want = stray.map(|at| Loss::OutOfRange {
            at,
            hash_key: Some(hash_key(&records[at])),
            lost: records.len(),
        });
        prop_assert_eq!(loss, want);
        prop_assert_eq!(out.len(), if stray.is_some() { 0 } else { records.len() });
        for record in &out {
            prop_assert!(range.contains(record.hash_key()));
        }
    }

    #[test]
    fn any_bytes_are_an_answer(body in vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&body, None).is_none() || is_aggregate(&body));
        let wrapped = wrap(&body);
        prop_assert_eq!(looks_like_aggregate(&wrapped), !body.is_empty());
        let range = HashRange::new(HashKey::MIN, HashKey::new(u128::MAX / 2)).unwrap();
        prop_assert_eq!(decode(&wrapped, Some(range)).is_some(), is_aggregate(&wrapped));
    }

    /// A body of protobuf's own alphabet, which random bytes hardly ever are.
    #[test]
    fn any_fields_are_an_answer(
        fields in vec((prop_oneof![Just(0x0A_u8), Just(0x12), Just(0x1A), Just(0x08), Just(0x10),
            Just(0x22), Just(0x4B), Just(0x4C), any::<u8>()], vec(0_u8..8, 0..8)), 0..20),
    ) {
        let mut body = Vec::new();
        for (tag, bytes) in fields {
            body.push(tag);
            body.push(u8::try_from(bytes.len()).unwrap());
            body.extend(bytes);
        }
        let wrapped = wrap(&body);
        let got = decode(&wrapped, None);
        prop_assert_eq!(got.is_some(), is_aggregate(&wrapped));
        // Prost is stricter on text, laxer on required fields: what both take, both take alike.
        if let (Some((records, loss)), Ok(message)) = (got, ProstAggregate::decode(&body[..])) {
            let lost = loss.map_or(0, |loss| loss.lost());
            prop_assert_eq!(records.len() + lost, message.records.len());
            for (record, other) in records.iter().zip(&message.records) {
                prop_assert_eq!(&record.data, &other.data);
                prop_assert_eq!(record.tags.len(), other.tags.len());
            }
        }
    }

    /// A cut or a changed byte is a wrong MD5; with the MD5 made good, it is any answer but a panic.
    #[test]
    fn damaged_aggregates(records in many_stated(), at: prop::sample::Index, byte: u8) {
        let data = fill(&records).finish().to_bytes();
        let cut = at.index(data.len());
        prop_assert!(decode(&data[..cut], None).is_none());
        let mut changed = data.to_vec();
        changed[cut] ^= byte;
        prop_assert_eq!(decode(&changed, None).is_some(), byte == 0);

        let body = &data[4..data.len() - 16];
        let cut = at.index(body.len());
        let range = HashRange::new(HashKey::MIN, HashKey::new(u128::MAX / 2)).unwrap();
        let mut mutated = body.to_vec();
        mutated[cut] ^= byte;
        for body in [&body[..cut], &mutated] {
            let data = wrap(body);
            for range in [None, Some(range)] {
                if let Some((out, loss)) = decode(&data, range) {
                    prop_assert!(out.is_empty() || out.len() <= body.len());
                    prop_assert!(loss.is_some() || !out.is_empty());
                } else {
                    prop_assert!(!is_aggregate(&data));
                }
            }
        }
    }
}
