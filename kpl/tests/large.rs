//! Large requests: what leaves together in two requests fares apart.

mod support;

use kpl::Record;
use local::{Fault, FaultAction, Limits};
use std::collections::BTreeMap;
use support::{error, ms, orders, place, producer, readable, throttles};

/// Records of the same size, each of which says what it is.
fn record(n: u32) -> Record {
    let mut data = format!("record {n} ").into_bytes();
    data.resize(20_000, b'.');
    Record::new(format!("key-{n}"), data)
}

const RECORDS: u32 = 600;

/// Signatures are verified: a wrong hash of a body would fail its request.
#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_request_is_nothing_to_the_one_that_left_with_it() {
    let answers = [
        FaultAction::Delay(ms(300)),
        FaultAction::LoseAnswer,
        error(500, "InternalFailure"),
        throttles(2),
        FaultAction::Refuse,
    ];
    for answer in answers {
        let local = orders(Limits::Off, 16);
        local.faults().add(
            Fault::every("PutRecords", answer.clone())
                .with_probability(0.4)
                .times(12),
        );
        let producer = producer(&local).build().await.unwrap();
        let records: Vec<Record> = (0..RECORDS).map(record).collect();
        let mut receipts = Vec::new();
        for part in records.chunks(100) {
            receipts.push(producer.put_all(part.to_vec()).await.unwrap());
        }
        let mut places = Vec::new();
        for receipt in receipts {
            places.extend(receipt.await.into_iter().map(|put| place(&put.unwrap())));
        }
        let read = readable(&local, "orders");
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, _) in read.values() {
            *times.entry(key).or_default() += 1;
        }
        for (record, place) in records.iter().zip(places) {
            let (key, data) = &read[&place];
            let put = (record.partition_key(), record.data());
            assert_eq!((key.as_str(), data), put, "{answer:?}");
        }
        assert_eq!(times.len(), records.len(), "{answer:?}");
        let stats = producer.stats();
        assert!(local.faults().struck() > 0, "{answer:?}");
        assert_eq!((stats.failed, stats.outstanding_records), (0, 0));
        // Twice where the answer was lost after storing, and nowhere else.
        let twice = times.values().any(|times| *times > 1);
        assert_eq!(twice, answer == FaultAction::LoseAnswer, "{answer:?}");
        // Halves of what is worth halving; throttled shards are asked with little.
        let larger = stats.bytes / stats.requests;
        let throttled = matches!(answer, FaultAction::SplitEntries { .. });
        assert!(
            throttled || larger > 256 << 10,
            "{larger} bytes: {answer:?}"
        );
    }
}
