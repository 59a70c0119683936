//! One caller: each answer equals the model's.

use crate::client::{Client, Endpoint, T0, Way};
use crate::plain::{Expected, Iterator, Plain, Record, Start};
use crate::shards::Listed;
use local::LocalOptions;
use runtime::Chance;
use serde_json::{Value, json};
use std::time::Duration;

const STEPS: usize = 300;
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

#[test]
fn each_answer_of_the_core_equals_the_models() {
    crate::seeds::each("each_answer_of_the_core", 40, |seed| run(seed, Way::Core));
}

#[test]
fn each_answer_over_sockets_equals_the_models() {
    crate::seeds::each("each_answer_over_sockets", 6, |seed| {
        run(seed, Way::Sockets);
    });
}

struct Story {
    endpoint: Endpoint,
    client: Client,
    plain: Plain,
    chance: Chance,
    now: u64,
    /// Iterators, and where the model has them.
    iterators: Vec<(String, Iterator)>,
    /// Distinguishes payloads.
    made: u64,
    /// How often something was good, and refused.
    outcomes: (u64, u64),
}

fn run(seed: u64, way: Way) {
    let endpoint = Endpoint::new(way, LocalOptions::default());
    let mut story = Story {
        client: endpoint.client(),
        endpoint,
        plain: Plain::default(),
        chance: Chance::seeded(seed),
        now: T0,
        iterators: Vec::new(),
        made: 0,
        outcomes: (0, 0),
    };
    story.create(NAMES[0]);
    for _ in 0..STEPS {
        story.step();
    }
    for name in NAMES {
        story.list(name);
        story.read_all(name);
    }
    let (good, refused) = story.outcomes;
    assert!(good > 60 && refused > 5, "{good} good, {refused} refused");
}

impl Story {
    fn step(&mut self) {
        let name = NAMES[self.chance.index(NAMES.len())];
        match self.chance.below(100) {
            0..5 => self.create(name),
            5 if self.chance.happens(0.4) => {
                let expected = self.plain.delete(name);
                self.asked("DeleteStream", json!({"StreamName": name}), expected);
            }
            5..25 => self.put_one(name),
            25..45 => self.put_many(name),
            45..50 => self.split(name),
            50..55 => self.merge(name),
            55..58 => self.scale(name),
            58..62 => self.list(name),
            62..64 => {
                let expected = self.plain.summary(name);
                self.asked(
                    "DescribeStreamSummary",
                    json!({"StreamName": name}),
                    expected,
                );
            }
            64..66 => self.retain(name),
            66..79 => self.iterator(name),
            79..95 => self.read(),
            _ => self.advance(),
        }
    }

    /// Asks, and compares: a good answer may show more than is expected only where the model has
    /// nothing to say.
    fn asked(&mut self, operation: &str, body: Value, expected: Expected) -> Option<Value> {
        let (status, mut answer) = self.client.ask(operation, &body);
        match expected {
            Ok(expected) => {
                assert_eq!(status, 200, "{operation} {body}: {answer}");
                self.outcomes.0 += 1;
                if let Some(summary) = answer.get_mut("StreamDescriptionSummary") {
                    summary["StreamCreationTimestamp"] =
                        millis(&summary["StreamCreationTimestamp"]);
                }
                let shown = answer.get("StreamDescriptionSummary").unwrap_or(&answer);
                for (member, value) in expected.as_object().into_iter().flatten() {
                    assert_eq!(&shown[member], value, "{operation} {body}: {member}");
                }
                Some(answer)
            }
            Err(name) => {
                assert_eq!(
                    (status, &answer["__type"]),
                    (400, &json!(name)),
                    "{operation} {body}"
                );
                self.outcomes.1 += 1;
                None
            }
        }
    }

    fn create(&mut self, name: &str) {
        let shards = 1 + self.chance.below(5);
        let expected = self.plain.create(name, shards.into(), self.now);
        let body = json!({"StreamName": name, "ShardCount": shards});
        self.asked("CreateStream", body, expected);
    }

    /// A shard, at times one that is closed or was never there.
    fn shard(&self, name: &str) -> String {
        let all: Vec<&str> = self
            .plain
            .streams
            .get(name)
            .into_iter()
            .flat_map(|s| &s.shards)
            .filter(|s| s.closed.is_none() || self.chance.happens(0.3))
            .map(|s| s.id.as_str())
            .collect();
        if all.is_empty() || self.chance.happens(0.03) {
            return "shardId-000000999999".to_owned();
        }
        all[self.chance.index(all.len())].to_owned()
    }

    fn bounds(&self, name: &str, shard: &str) -> (u128, u128) {
        let stream = self.plain.streams.get(name);
        let found = stream.and_then(|s| s.shard(shard));
        found.map_or((0, u128::MAX), |s| (s.start, s.end))
    }

    /// A record: partition key, explicit hash key (near bounds, where errors are), data in base64.
    fn record(&mut self, name: &str) -> (String, Option<u128>, String) {
        self.made += 1;
        let key = format!("key-{}", self.chance.below(40));
        let explicit = self.chance.happens(0.4).then(|| {
            let (start, end) = self.bounds(name, &self.shard(name));
            match self.chance.below(5) {
                0 => start,
                1 => end,
                2 => start.saturating_sub(1),
                3 => end.saturating_add(1),
                _ => self.chance.next_u128(),
            }
        });
        let size = self.chance.index(60);
        let data = format!("{}-{}", self.made, "x".repeat(size));
        (key, explicit, base64_simd::STANDARD.encode_to_string(data))
    }

    fn entry((key, explicit, data): &(String, Option<u128>, String)) -> Value {
        let mut entry = json!({"PartitionKey": key, "Data": data});
        if let Some(hash) = explicit {
            entry["ExplicitHashKey"] = hash.to_string().into();
        }
        entry
    }

    fn keep(
        &mut self,
        name: &str,
        shard: &str,
        sequence: &Value,
        record: (String, Option<u128>, String),
    ) {
        let (key, _, data) = record;
        let record = Record {
            sequence: sequence.as_str().unwrap().to_owned(),
            key,
            data,
            arrival: self.now,
        };
        self.plain.stored(name, shard, record);
    }

    fn put_one(&mut self, name: &str) {
        let record = self.record(name);
        let mut body = Self::entry(&record);
        body["StreamName"] = name.into();
        if self.chance.happens(0.05) {
            body["PartitionKey"] = "".into();
            self.asked("PutRecord", body, Err("ValidationException"));
            return;
        }
        if self.chance.happens(0.05) {
            // 2^128 is one too much.
            body["ExplicitHashKey"] = "340282366920938463463374607431768211456".into();
            let known = self.plain.streams.contains_key(name);
            let error = if known {
                "InvalidArgumentException"
            } else {
                "ResourceNotFoundException"
            };
            self.asked("PutRecord", body, Err(error));
            return;
        }
        let shard = self.plain.route(name, &record.0, record.1);
        let expected = shard.map(|id| json!({"ShardId": id, "EncryptionType": "NONE"}));
        if let Some(answer) = self.asked("PutRecord", body, expected) {
            let shard = answer["ShardId"].as_str().unwrap();
            self.keep(name, shard, &answer["SequenceNumber"], record);
        }
    }

    fn put_many(&mut self, name: &str) {
        let count = 1 + self.chance.index(30);
        let records: Vec<_> = (0..count).map(|_| self.record(name)).collect();
        let entries: Vec<Value> = records.iter().map(Self::entry).collect();
        let body = json!({"StreamName": name, "Records": entries});
        let expected = if self.plain.streams.contains_key(name) {
            Ok(json!({"FailedRecordCount": 0, "EncryptionType": "NONE"}))
        } else {
            Err("ResourceNotFoundException")
        };
        let Some(answer) = self.asked("PutRecords", body, expected) else {
            return;
        };
        let results = answer["Records"].as_array().unwrap();
        assert_eq!(results.len(), records.len());
        for (record, result) in records.into_iter().zip(results) {
            let shard = self.plain.route(name, &record.0, record.1).unwrap();
            assert_eq!(result["ShardId"], shard);
            assert_eq!(result.as_object().unwrap().len(), 2, "{result}");
            self.keep(
                name,
                shard.as_str().unwrap(),
                &result["SequenceNumber"],
                record,
            );
        }
    }

    fn split(&mut self, name: &str) {
        let shard = self.shard(name);
        let (start, end) = self.bounds(name, &shard);
        let at = match self.chance.below(6) {
            0 => [start, start.saturating_add(1), end][self.chance.index(3)],
            1 => [start.saturating_add(2), end.saturating_sub(1)][self.chance.index(2)],
            _ => start / 2 + end / 2,
        };
        let body = json!({"StreamName": name, "ShardToSplit": shard,
            "NewStartingHashKey": at.to_string()});
        let expected = self.plain.split(name, &shard, at, self.now);
        self.asked("SplitShard", body, expected);
    }

    fn merge(&mut self, name: &str) {
        let first = self.shard(name);
        let (_, end) = self.bounds(name, &first);
        let neighbour = self
            .plain
            .streams
            .get(name)
            .into_iter()
            .flat_map(|s| &s.shards)
            .find(|s| s.closed.is_none() && Some(s.start) == end.checked_add(1))
            .map(|s| s.id.clone());
        let second = match neighbour {
            Some(id) if self.chance.happens(0.8) => id,
            _ => self.shard(name),
        };
        let (a, b) = if self.chance.happens(0.5) {
            (&first, &second)
        } else {
            (&second, &first)
        };
        let body = json!({"StreamName": name, "ShardToMerge": a, "AdjacentShardToMerge": b});
        let expected = self.plain.merge(name, a, b, self.now);
        self.asked("MergeShards", body, expected);
    }

    fn scale(&mut self, name: &str) {
        let target = 1 + self.chance.index(8);
        let expected = self.plain.scale(name, target);
        let body = json!({"StreamName": name, "TargetShardCount": target,
            "ScalingType": "UNIFORM_SCALING"});
        if self.asked("UpdateShardCount", body, expected).is_some() {
            let listed = self.client.good("ListShards", &json!({"StreamName": name}));
            let listed = Listed::list(&listed);
            self.plain.adopt(name, target, &listed, self.now);
            self.plain.check_list(name, &listed);
        }
    }

    fn list(&mut self, name: &str) {
        let expected = if self.plain.streams.contains_key(name) {
            Ok(Value::Null)
        } else {
            Err("ResourceNotFoundException")
        };
        let page = 1 + self.chance.below(4);
        let body = json!({"StreamName": name, "MaxResults": page});
        let Some(mut answer) = self.asked("ListShards", body, expected) else {
            return;
        };
        let mut listed = Listed::list(&answer);
        while let Some(token) = answer["NextToken"].as_str() {
            let next = json!({"NextToken": token, "MaxResults": page});
            answer = self.client.good("ListShards", &next);
            listed.extend(Listed::list(&answer));
        }
        self.plain.check_list(name, &listed);
    }

    fn retain(&mut self, name: &str) {
        let (operation, hours) = match self.plain.retention_hours(name) {
            24 => ("IncreaseStreamRetentionPeriod", 48),
            _ => ("DecreaseStreamRetentionPeriod", 24),
        };
        let expected = self.plain.retain(name, hours);
        let body = json!({"StreamName": name, "RetentionPeriodHours": hours});
        self.asked(operation, body, expected);
        self.plain.at(self.now);
    }

    fn iterator(&mut self, name: &str) {
        let shard = self.shard(name);
        let stream = self.plain.streams.get(name);
        let numbers: Vec<&str> = stream
            .and_then(|s| s.shard(&shard))
            .into_iter()
            .flat_map(|s| &s.records)
            .map(|r| r.sequence.as_str())
            .collect();
        let number = match numbers.len() {
            0 => None,
            some => Some(numbers[self.chance.index(some)].to_owned()),
        };
        let start = match (self.chance.below(5), number) {
            (0, _) => Start::Latest,
            (1, Some(number)) => Start::At(number),
            (2, Some(number)) => Start::After(number),
            (3, _) => {
                let back = self.chance.below(60_000);
                let ahead = if self.chance.happens(0.1) { 60_001 } else { 0 };
                Start::Time(self.now - back + ahead)
            }
            _ => Start::TrimHorizon,
        };
        let mut body = json!({"StreamName": name, "ShardId": shard});
        start.members(&mut body);
        let found = self.plain.iterator(name, &shard, &start, self.now);
        let expected = found.as_ref().map(|_| Value::Null).map_err(|e| *e);
        if let (Some(answer), Ok(place)) = (self.asked("GetShardIterator", body, expected), found) {
            let text = answer["ShardIterator"].as_str().unwrap().to_owned();
            if self.iterators.len() > 30 {
                self.iterators.remove(self.chance.index(30));
            }
            self.iterators.push((text, place));
        }
    }

    fn read(&mut self) {
        if self.iterators.is_empty() {
            return;
        }
        let at = self.chance.index(self.iterators.len());
        let (text, place) = self.iterators[at].clone();
        let limit = 1 + self.chance.index(40);
        if let Some(next) = self.read_at(&text, &place, limit) {
            self.iterators.push(next);
        }
        // An iterator may be used again, which gives the same again.
        if self.chance.happens(0.7) {
            self.iterators.remove(at);
        }
    }

    fn read_at(
        &mut self,
        text: &str,
        place: &Iterator,
        limit: usize,
    ) -> Option<(String, Iterator)> {
        let body = json!({"ShardIterator": text, "Limit": limit});
        let (expected, next) = self.plain.read(place, limit, self.now);
        let expected = match expected {
            Ok(expected) => expected,
            Err(name) => {
                self.asked("GetRecords", body, Err(name));
                return None;
            }
        };
        let mut answer = self.asked("GetRecords", body, Ok(Value::Null)).unwrap();
        for record in answer["Records"].as_array_mut().unwrap() {
            record["ApproximateArrivalTimestamp"] = millis(&record["ApproximateArrivalTimestamp"]);
        }
        let members = answer.as_object_mut().unwrap();
        let following = members.remove("NextShardIterator");
        assert_eq!(answer, expected, "from {place:?}");
        let following = following
            .as_ref()
            .and_then(Value::as_str)
            .map(str::to_owned);
        assert_eq!(following.is_some(), next.is_some());
        following.zip(next)
    }

    /// Everything that is left of a stream, shard by shard.
    fn read_all(&mut self, name: &str) {
        let shards: Vec<String> = self
            .plain
            .streams
            .get(name)
            .into_iter()
            .flat_map(|s| &s.shards)
            .map(|s| s.id.clone())
            .collect();
        for shard in shards {
            let mut body = json!({"StreamName": name, "ShardId": shard});
            Start::TrimHorizon.members(&mut body);
            let place = self
                .plain
                .iterator(name, &shard, &Start::TrimHorizon, self.now)
                .unwrap();
            let answer = self.client.good("GetShardIterator", &body);
            let text = answer["ShardIterator"].as_str().unwrap().to_owned();
            self.read_at(&text, &place, 10_000);
        }
    }

    fn advance(&mut self) {
        let by = match self.chance.below(20) {
            0 => self.chance.below(20) * 3_600_000,
            1..4 => self.chance.below(240_000),
            _ => self.chance.below(5_000),
        };
        self.endpoint.clock.advance(Duration::from_millis(by));
        self.now += by;
        self.plain.at(self.now);
    }
}

/// Seconds with a fraction, in milliseconds.
fn millis(value: &Value) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time of this century"
    )]
    let millis = (value.as_f64().unwrap() * 1_000.0).round() as u64;
    millis.into()
}
