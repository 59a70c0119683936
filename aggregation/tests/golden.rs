//! Aggregates that other people's libraries wrote, and what other people's readers make of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;

use aggregation::{
    Aggregate, Deaggregated, FinishedAggregate, HashKey, HashRange, Loss, Records, UserRecordRef,
    deaggregate, is_aggregate, looks_like_aggregate,
};
use base64_simd::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize, Clone, PartialEq, Debug)]
struct Record {
    partition_key: String,
    explicit_hash_key: Option<String>,
    data: String,
    sub_sequence_number: Option<u64>,
    aggregated: Option<bool>,
}

#[derive(Deserialize)]
struct Input {
    case: String,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Written {
    case: String,
    writer: String,
    aggregate: String,
    outer_partition_key: String,
    outer_explicit_hash_key: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    case: String,
    writer: Option<String>,
    answer: String,
    #[serde(default)]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Odd {
    case: String,
    data: String,
}

#[derive(Deserialize)]
struct Kpl {
    case: String,
    aggregate: String,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct RangeAnswer {
    how: String,
    case: String,
    writer: String,
    range_start: String,
    range_end: String,
    kept: Vec<u64>,
}

fn rows<T: DeserializeOwned>(json: &str) -> Vec<T> {
    serde_json::from_str(json).unwrap()
}

/// The KCL's answers; other readers' have other shapes.
fn answers(json: &str) -> Vec<Answer> {
    rows::<serde_json::Value>(json)
        .into_iter()
        .filter(|row| row["reader"] == "kcl")
        .map(|row| serde_json::from_value(row).unwrap())
        .collect()
}

fn inputs() -> BTreeMap<String, Vec<Record>> {
    let inputs: Vec<Input> = rows(include_str!("golden/inputs.json"));
    let inputs: BTreeMap<_, _> = inputs.into_iter().map(|i| (i.case, i.records)).collect();
    assert_eq!(inputs.len(), 17);
    inputs
}

fn aggregates() -> BTreeMap<(String, String), Bytes> {
    let rows: Vec<Written> = rows(include_str!("golden/aggregates.json"));
    rows.into_iter()
        .map(|r| ((r.case, r.writer), bytes(&r.aggregate)))
        .collect()
}

fn bytes(base64: &str) -> Bytes {
    Bytes::from(STANDARD.decode_to_vec(base64).unwrap())
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Writes the records as they are given; checks sizes on the way.
fn encode<'a>(records: impl IntoIterator<Item = (&'a str, Option<HashKey>, Bytes)>) -> Bytes {
    finished(records).to_bytes()
}

fn finished<'a>(
    records: impl IntoIterator<Item = (&'a str, Option<HashKey>, Bytes)>,
) -> FinishedAggregate {
    let mut aggregate = Aggregate::new();
    for (at, (partition_key, explicit_hash_key, data)) in records.into_iter().enumerate() {
        let record = UserRecordRef {
            partition_key,
            explicit_hash_key,
            data: &data,
            tags: &[],
        };
        let size = aggregate.size_with(&record);
        assert_eq!(aggregate.push(&record), at);
        assert_eq!(aggregate.size(), size);
    }
    let size = aggregate.size();
    let finished = aggregate.finish();
    assert_eq!(finished.len(), size);
    assert_eq!(finished.to_bytes().len(), size);
    finished
}

fn put(record: &Record) -> (&str, Option<HashKey>, Bytes) {
    let key = record.explicit_hash_key.as_deref();
    (
        &record.partition_key,
        key.map(|k| HashKey::parse_lenient(k).unwrap()),
        bytes(&record.data),
    )
}

fn records(data: &Bytes, range: Option<HashRange>) -> Option<Records> {
    match deaggregate(data, range) {
        Deaggregated::Records(records) => Some(records),
        Deaggregated::PassThrough => None,
    }
}

/// What comes out, in the form of the golden data.
fn decode(data: &Bytes) -> Vec<Record> {
    records(data, None)
        .unwrap()
        .map(|record| {
            if let Some(explicit) = &record.explicit_hash_key {
                assert_eq!(
                    HashKey::parse_lenient(explicit.as_str()),
                    Ok(explicit.key())
                );
            }
            Record {
                partition_key: record.partition_key.to_string(),
                explicit_hash_key: record.explicit_hash_key.map(|k| k.as_str().to_owned()),
                data: STANDARD.encode_to_string(&record.data),
                sub_sequence_number: Some(record.sub_sequence_number),
                aggregated: Some(true),
            }
        })
        .collect()
}

/// A stated record as a reader shows it.
fn shown(records: &[Record], derive: bool) -> Vec<Record> {
    let derived = |record: &Record| {
        let given = record.explicit_hash_key.clone();
        let derive =
            || derive.then(|| HashKey::of_partition_key(&record.partition_key).to_string());
        given.or_else(derive)
    };
    records
        .iter()
        .zip(0..)
        .map(|(record, at)| Record {
            explicit_hash_key: derived(record),
            sub_sequence_number: Some(at),
            aggregated: Some(true),
            ..record.clone()
        })
        .collect()
}

#[test]
fn bytes_by_hand() {
    let x = || Bytes::from_static(b"x");
    for (records, want) in [
        (
            vec![("a", None, x()), ("b", None, Bytes::from_static(b"yz"))],
            "f3899ac20a01610a01621a0508001a01781a0608011a02797a6fe1bc1407aabc41e3e0c88f3f668baf",
        ),
        (
            vec![
                ("a", None, x()),
                ("a", Some(HashKey::new(123)), Bytes::from_static(b"y")),
            ],
            "f3899ac20a016112033132331a0508001a01781a07080010001a01799e959f05dd77f6bafe323d29b4209c05",
        ),
        (
            vec![("a", None, x())],
            "f3899ac20a01611a0508001a0178274fa4a221609241966b02c7afbf4283",
        ),
    ] {
        assert_eq!(encode(records), hex(want));
    }
    assert!(encode([]).is_empty());
}

/// Outputs of the KPL itself.
#[test]
fn bytes_of_the_kpl() {
    let rows: Vec<Kpl> = rows(include_str!("golden/kpl.json"));
    assert_eq!(
        rows.iter()
            .map(|r| bytes(&r.aggregate).len())
            .collect::<Vec<_>>(),
        [495, 628]
    );
    for row in rows {
        let data = bytes(&row.aggregate);
        assert_eq!(encode(row.records.iter().map(put)), data, "{}", row.case);
        assert_eq!(decode(&data), shown(&row.records, false), "{}", row.case);
    }
}

/// Every case as Python, Node and Java write it. Where one of these is not canonical, the table says
/// so; in all other cases our bytes are theirs.
#[test]
fn bytes_of_other_writers() {
    // They leave leading zeros of an explicit hash key; the KPL, and we, do not. Node sorts keys that
    // look like integers, and so gives records the wrong one.
    let not_canonical = [
        ("ehk-leading-zeros", "python"),
        ("ehk-leading-zeros", "node"),
        ("ehk-leading-zeros", "java"),
        ("integer-like-keys", "node"),
    ];
    let inputs = inputs();
    let aggregates = aggregates();
    assert_eq!(aggregates.len(), 51);
    for ((case, writer), want) in &aggregates {
        let ours = encode(inputs[case].iter().map(|record| {
            let (partition_key, explicit, data) = put(record);
            let derived = (writer == "java").then(|| HashKey::of_partition_key(partition_key));
            (partition_key, explicit.or(derived), data)
        }));
        let equal = !not_canonical.contains(&(case, writer));
        assert_eq!(ours == *want, equal, "{case} of {writer}");
    }
}

/// The stated rule of the outer key: an aggregate's routing is that of its first user record.
#[test]
fn outer_keys_are_those_of_the_first_record() {
    let inputs = inputs();
    let rows: Vec<Written> = rows(include_str!("golden/aggregates.json"));
    for row in rows {
        let finished = finished(inputs[&row.case].iter().map(put));
        let first = finished.records().next().unwrap();
        let how = format!("{} of {}", row.case, row.writer);
        assert_eq!(first.partition_key, row.outer_partition_key, "{how}");
        if let Some(outer) = row.outer_explicit_hash_key {
            let first = first.as_user_record().hash_key();
            assert_eq!(HashKey::parse_lenient(&outer), Ok(first), "{how}");
        }
    }
}

/// All that the KCL says about all aggregates.
#[test]
fn answers_of_the_kcl() {
    let inputs = inputs();
    let aggregates = aggregates();
    let answers = answers(include_str!("golden/answers.json"));
    assert_eq!(answers.len(), 51);
    for answer in answers {
        let writer = answer.writer.clone().unwrap();
        let data = &aggregates[&(answer.case.clone(), writer.clone())];
        let stated = &inputs[&answer.case];
        let want = match answer.answer.as_str() {
            "as stated" => shown(stated, false),
            "as stated, explicit hash key derived where none was given" => shown(stated, true),
            "different" => answer.records,
            other => panic!("{other}"),
        };
        assert_eq!(decode(data), want, "{} of {writer}", answer.case);
        assert_eq!(records(data, None).unwrap().loss(), None);
        assert!(is_aggregate(data) && looks_like_aggregate(data));
    }
}

/// All that the KCL says about data that is not a normal aggregate.
#[test]
fn answers_of_the_kcl_to_odd_inputs() {
    let odd: Vec<Odd> = rows(include_str!("golden/odd-inputs.json"));
    let odd: BTreeMap<String, Bytes> = odd
        .iter()
        .map(|o| (o.case.clone(), bytes(&o.data)))
        .collect();
    let answers = answers(include_str!("golden/odd-answers.json"));
    assert_eq!((answers.len(), odd.len()), (32, 32));
    for answer in answers {
        let case = answer.case.as_str();
        let data = &odd[case];
        assert_eq!(
            is_aggregate(data),
            answer.answer != "passed through",
            "{case}"
        );
        match answer.answer.as_str() {
            "passed through" => {
                assert!(
                    matches!(deaggregate(data, None), Deaggregated::PassThrough),
                    "{case}"
                );
            }
            "nothing" => {
                assert_eq!(decode(data), [], "{case}");
                assert!(records(data, None).unwrap().loss().is_some(), "{case}");
            }
            "records" => assert_eq!(decode(data), answer.records, "{case}"),
            other => panic!("{other}"),
        }
    }
}

/// What the KCL only logs, or does not tell at all, has a name here.
#[test]
fn losses_of_odd_inputs() {
    let odd: Vec<Odd> = rows(include_str!("golden/odd-inputs.json"));
    let losses: BTreeMap<String, Loss> = odd
        .iter()
        .filter_map(|o| {
            records(&bytes(&o.data), None)?
                .loss()
                .copied()
                .map(|loss| (o.case.clone(), loss))
        })
        .collect();
    let want = [
        (
            "ehk-index-out-of-table",
            Loss::ExplicitHashKeyIndex {
                at: 1,
                index: 3,
                table: 1,
                lost: 2,
            },
        ),
        (
            "ehk-not-a-number",
            Loss::ExplicitHashKeyNotANumber { at: 0, lost: 2 },
        ),
        (
            "ehk-too-big",
            Loss::OutOfRange {
                at: 0,
                hash_key: None,
                lost: 2,
            },
        ),
        (
            "no-pk-table",
            Loss::PartitionKeyIndex {
                at: 0,
                index: 0,
                table: 0,
                lost: 1,
            },
        ),
        (
            "pk-index-out-of-table-first",
            Loss::PartitionKeyIndex {
                at: 0,
                index: 5,
                table: 2,
                lost: 2,
            },
        ),
        (
            "pk-index-out-of-table-second",
            Loss::PartitionKeyIndex {
                at: 1,
                index: 5,
                table: 2,
                lost: 2,
            },
        ),
        ("zero-records", Loss::NoRecords),
        ("zero-records-zero-tables-unknown-field", Loss::NoRecords),
    ];
    assert_eq!(
        losses,
        want.map(|(case, loss)| (case.to_owned(), loss)).into()
    );
}

/// The tags that no other reader shows.
#[test]
fn tags_of_an_odd_input() {
    let odd: Vec<Odd> = rows(include_str!("golden/odd-inputs.json"));
    let data = bytes(&odd.iter().find(|o| o.case == "tags").unwrap().data);
    let record = records(&data, None).unwrap().next().unwrap();
    let tags: Vec<(&str, Option<&str>)> = record
        .tags
        .iter()
        .map(|t| (t.key.as_str(), t.value.as_deref()))
        .collect();
    assert_eq!(tags, [("k1", Some("v1")), ("k2", None)]);

    let mut aggregate = Aggregate::new();
    aggregate.push(&UserRecordRef {
        partition_key: "a",
        explicit_hash_key: None,
        data: b"x",
        tags: &[("k1", Some("v1")), ("k2", None)],
    });
    assert_eq!(
        aggregate.finish().to_bytes(),
        data,
        "and they are written as they were read"
    );
}

/// The KCL with a shard's range of hash keys.
#[test]
fn answers_of_the_kcl_with_a_range() {
    let aggregates = aggregates();
    let answers: Vec<RangeAnswer> = rows(include_str!("golden/kcl-range-answers.json"));
    assert_eq!(answers.len(), 10);
    for answer in answers {
        let data = &aggregates[&(answer.case, answer.writer)];
        let range = HashRange::new(
            answer.range_start.parse().unwrap(),
            answer.range_end.parse().unwrap(),
        );
        let records = records(data, Some(range.unwrap())).unwrap();
        let loss = records.loss().copied();
        let kept: Vec<u64> = records.map(|record| record.sub_sequence_number).collect();
        assert_eq!(kept, answer.kept, "{}", answer.how);
        match loss {
            Some(Loss::OutOfRange {
                hash_key: Some(key),
                lost,
                ..
            }) => {
                assert!(kept.is_empty() && !range.unwrap().contains(key) && lost >= 2);
            }
            other => assert!(other.is_none() && !kept.is_empty(), "{other:?}"),
        }
    }
}
