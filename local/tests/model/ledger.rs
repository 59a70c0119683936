//! What many callers did, and what has to be left of it.

use crate::client::Client;
use crate::plain::Start;
use crate::shards::{Listed, check};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A record that was sent.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) stream: &'static str,
    pub(crate) hash: u128,
    pub(crate) key: String,
    /// In base64; no two records have the same.
    pub(crate) data: String,
    /// Between these it happened.
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) fate: Fate,
}

/// What the caller knows of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was told where it is.
    Acknowledged { shard: String, sequence: String },
    /// The answer was lost after the effect.
    Unanswered,
    /// It was refused.
    Refused,
}

/// What a reader read from where it started, to the end or to the tip after all is over.
#[derive(Debug)]
pub(crate) struct Journey {
    pub(crate) stream: &'static str,
    pub(crate) shard: String,
    pub(crate) start: Start,
    /// Between these its iterator was made.
    pub(crate) asked: u64,
    pub(crate) got: u64,
    pub(crate) read: Vec<Found>,
    /// Where it goes on; none at the end of a shard.
    pub(crate) next: Option<String>,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) sequence: String,
    pub(crate) key: String,
    pub(crate) data: String,
    pub(crate) arrival: f64,
}

impl Journey {
    /// Reads a page; gives how many records it had.
    pub(crate) fn page(&mut self, client: &mut Client, limit: usize) -> usize {
        let Some(iterator) = &self.next else { return 0 };
        let body = json!({"ShardIterator": iterator, "Limit": limit});
        let answer = client.good("GetRecords", &body);
        let found: Vec<Found> = answer["Records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| {
                let text = |name: &str| record[name].as_str().unwrap().to_owned();
                Found {
                    sequence: text("SequenceNumber"),
                    key: text("PartitionKey"),
                    data: text("Data"),
                    arrival: record["ApproximateArrivalTimestamp"].as_f64().unwrap(),
                }
            })
            .collect();
        self.next = answer["NextShardIterator"].as_str().map(str::to_owned);
        assert_eq!(self.next.is_none(), answer["ChildShards"].is_array());
        let count = found.len();
        assert!(count <= limit);
        for record in found {
            if let Some(last) = self.read.last() {
                assert!(record.sequence > last.sequence, "{record:?} after {last:?}");
            }
            self.read.push(record);
        }
        count
    }

    /// Reads to the end, or to the tip where nobody writes any more.
    pub(crate) fn finish(&mut self, client: &mut Client) {
        while self.page(client, 10_000) > 0 {}
    }
}

/// All records of a shard, from the trim horizon.
pub(crate) fn whole(client: &mut Client, stream: &'static str, shard: &str) -> Vec<Found> {
    let mut body = json!({"StreamName": stream, "ShardId": shard});
    Start::TrimHorizon.members(&mut body);
    let answer = client.good("GetShardIterator", &body);
    let mut journey = Journey {
        stream,
        shard: shard.to_owned(),
        start: Start::TrimHorizon,
        asked: 0,
        got: 0,
        read: Vec::new(),
        next: answer["ShardIterator"].as_str().map(str::to_owned),
    };
    journey.finish(client);
    journey.read
}

/// Holds what is left of a stream against what was done to it.
pub(crate) fn audit(
    client: &mut Client,
    stream: &'static str,
    puts: &[&[Put]],
    journeys: &[Journey],
) {
    let listed = client.good("ListShards", &json!({"StreamName": stream}));
    assert_eq!(listed["NextToken"], Value::Null);
    let listed = Listed::list(&listed);
    check(&listed);
    let sent: BTreeMap<&str, &Put> = puts
        .iter()
        .flat_map(|puts| puts.iter())
        .filter(|put| put.stream == stream)
        .map(|put| (put.data.as_str(), put))
        .collect();
    let mut left = BTreeSet::new();
    let mut by_shard = BTreeMap::new();
    for shard in &listed {
        let records = whole(client, stream, &shard.id);
        shard_is_right(shard, &records, &sent);
        for record in &records {
            assert!(
                left.insert(record.data.clone()),
                "{record:?} is there twice"
            );
        }
        by_shard.insert(shard.id.clone(), records);
    }
    for put in sent.values() {
        let wanted = put.fate != Fate::Refused;
        assert_eq!(left.contains(&put.data), wanted, "{put:?}");
    }
    // The order of a key is the order in which one caller sent it, over all its shards.
    for writer in puts {
        let mut last: BTreeMap<u128, &str> = BTreeMap::new();
        for put in writer.iter().filter(|put| put.stream == stream) {
            if let Fate::Acknowledged { sequence, .. } = &put.fate
                && let Some(before) = last.insert(put.hash, sequence)
            {
                assert!(sequence.as_str() > before, "{put:?} after {before}");
            }
        }
    }
    for journey in journeys.iter().filter(|journey| journey.stream == stream) {
        journey_is_right(journey, &by_shard[&journey.shard], &sent);
    }
}

fn shard_is_right(shard: &Listed, records: &[Found], sent: &BTreeMap<&str, &Put>) {
    let mut latest_sent = 0;
    for (position, record) in records.iter().enumerate() {
        let put = sent
            .get(record.data.as_str())
            .unwrap_or_else(|| panic!("{record:?} was never sent"));
        assert_eq!(put.key, record.key);
        assert!(
            shard.start <= put.hash && put.hash <= shard.end,
            "{put:?} in {shard:?}"
        );
        assert!(record.sequence > shard.starting);
        assert!(
            shard
                .ending
                .as_ref()
                .is_none_or(|end| record.sequence < *end)
        );
        if let Fate::Acknowledged {
            shard: id,
            sequence,
        } = &put.fate
        {
            assert_eq!((id, sequence), (&shard.id, &record.sequence));
        }
        if let Some(before) = position.checked_sub(1).map(|at| &records[at]) {
            assert!(record.sequence > before.sequence);
            assert!(record.arrival >= before.arrival);
        }
        // What was answered before another was sent stands before it.
        assert!(
            put.answered > latest_sent,
            "{put:?} behind what was sent at {latest_sent}"
        );
        latest_sent = latest_sent.max(put.sent);
    }
}

/// Whether a reader read each record from its start on, once, in order.
fn journey_is_right(journey: &Journey, records: &[Found], sent: &BTreeMap<&str, &Put>) {
    let Journey {
        start, asked, got, ..
    } = journey;
    let first = records
        .len()
        .checked_sub(journey.read.len())
        .unwrap_or_else(|| panic!("more than there is: {journey:?}"));
    assert_eq!(
        journey.read,
        records[first..],
        "a gap or a repeat from {start:?}"
    );
    let index_of = |number: &String| {
        let found = records.iter().position(|r| r.sequence == *number);
        found.unwrap()
    };
    let put_of = |record: &Found| sent[record.data.as_str()];
    match start {
        Start::TrimHorizon => assert_eq!(first, 0),
        Start::At(number) => assert_eq!(first, index_of(number)),
        Start::After(number) => assert_eq!(first, index_of(number) + 1),
        Start::Latest => {
            assert!(records[first..].iter().all(|r| put_of(r).answered > *asked));
            assert!(records[..first].iter().all(|r| put_of(r).sent < *got));
        }
        Start::Time(at) => {
            #[expect(clippy::cast_precision_loss, reason = "13 digits")]
            let at = *at as f64 / 1_000.0;
            assert!(records[..first].iter().all(|r| r.arrival < at));
            // What was under way when the iterator was made may have an earlier time.
            let early = |r: &&Found| r.arrival < at;
            let under_way = |r: &Found| put_of(r).answered > *asked;
            assert!(records[first..].iter().filter(early).all(under_way));
        }
    }
}
