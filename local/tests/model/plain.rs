//! The plain model: streams, shards with their ranges, and the records in them, in one place and in one
//! order. It is told what is asked, and says what the answer has to be.

use crate::shards::{Listed, hash_key};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HOUR: u64 = 3_600_000;
const ITERATOR_LIFE: u64 = 300_000;

/// What an answer has to be: the body of a good one, or the name of an error.
pub(crate) type Expected = Result<Value, &'static str>;

const NOT_FOUND: Expected = Err("ResourceNotFoundException");
const INVALID: Expected = Err("InvalidArgumentException");

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) sequence: String,
    pub(crate) key: String,
    /// In base64.
    pub(crate) data: String,
    pub(crate) arrival: u64,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) start: u128,
    pub(crate) end: u128,
    pub(crate) parents: Vec<String>,
    pub(crate) opened: u64,
    pub(crate) closed: Option<u64>,
    /// All it ever had.
    pub(crate) records: Vec<Record>,
    /// How many of them are trimmed.
    pub(crate) trimmed: usize,
    /// Its first and last number, once they were shown.
    numbers: (Option<String>, Option<String>),
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// Which of the streams of its name.
    incarnation: u64,
    created: u64,
    retention: u64,
    next: usize,
    pub(crate) shards: Vec<Shard>,
}

/// Where a reader is. Its text is known to the caller alone.
#[derive(Debug, Clone)]
pub(crate) struct Iterator {
    stream: String,
    incarnation: u64,
    shard: String,
    position: usize,
    issued: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Plain {
    pub(crate) streams: BTreeMap<String, Stream>,
    incarnations: u64,
}

impl Stream {
    fn open(&self) -> impl std::iter::Iterator<Item = &Shard> {
        self.shards.iter().filter(|s| s.closed.is_none())
    }

    pub(crate) fn shard(&self, id: &str) -> Option<&Shard> {
        self.shards.iter().find(|s| s.id == id)
    }

    fn shard_mut(&mut self, id: &str) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|s| s.id == id)
    }

    fn route(&mut self, key: u128) -> &mut Shard {
        let mut open = self.shards.iter_mut().filter(|s| s.closed.is_none());
        open.find(|s| s.start <= key && key <= s.end).unwrap()
    }

    fn add(&mut self, start: u128, end: u128, parents: Vec<String>, opened: u64) {
        let id = format!("shardId-{:012}", self.next);
        self.next += 1;
        self.shards.push(Shard {
            id,
            start,
            end,
            parents,
            opened,
            closed: None,
            records: Vec::new(),
            trimmed: 0,
            numbers: (None, None),
        });
    }

    /// Forgets what has expired.
    fn trim(&mut self, now: u64) {
        let retention = self.retention;
        self.shards
            .retain(|s| s.closed.is_none_or(|at| at + retention > now));
        for shard in &mut self.shards {
            while shard
                .records
                .get(shard.trimmed)
                .is_some_and(|r| r.arrival + retention < now)
            {
                shard.trimmed += 1;
            }
        }
    }

    /// Closes shards; gives when their children open.
    fn close(&mut self, ids: &[&str], now: u64) -> u64 {
        let parents = self.shards.iter().filter(|s| ids.contains(&s.id.as_str()));
        let at = parents.map(|s| s.opened + 1).fold(now, u64::max);
        for id in ids {
            self.shard_mut(id).unwrap().closed = Some(at);
        }
        at
    }
}

impl Plain {
    /// Brings everything up to a time.
    pub(crate) fn at(&mut self, now: u64) {
        self.streams.values_mut().for_each(|s| s.trim(now));
    }

    pub(crate) fn create(&mut self, name: &str, shards: u128, now: u64) -> Expected {
        if self.streams.contains_key(name) {
            return Err("ResourceInUseException");
        }
        self.incarnations += 1;
        let mut stream = Stream {
            incarnation: self.incarnations,
            created: now,
            retention: 24 * HOUR,
            next: 0,
            shards: Vec::new(),
        };
        // Equal parts of 2^128, rounded down, the last taking the rest.
        let width = (u128::MAX / shards).wrapping_add(u128::from(u128::MAX % shards == shards - 1));
        for i in 0..shards {
            let end = if i + 1 == shards {
                u128::MAX
            } else {
                (i + 1).wrapping_mul(width) - 1
            };
            stream.add(i.wrapping_mul(width), end, Vec::new(), now);
        }
        self.streams.insert(name.to_owned(), stream);
        Ok(Value::Null)
    }

    pub(crate) fn delete(&mut self, name: &str) -> Expected {
        match self.streams.remove(name) {
            Some(_) => Ok(Value::Null),
            None => NOT_FOUND,
        }
    }

    pub(crate) fn summary(&self, name: &str) -> Expected {
        let Some(stream) = self.streams.get(name) else {
            return NOT_FOUND;
        };
        Ok(json!({
            "StreamName": name,
            "StreamStatus": "ACTIVE",
            "OpenShardCount": stream.open().count(),
            "RetentionPeriodHours": stream.retention / HOUR,
            "StreamCreationTimestamp": stream.created,
            "ConsumerCount": 0,
        }))
    }

    pub(crate) fn retain(&mut self, name: &str, hours: u64) -> Expected {
        let Some(stream) = self.streams.get_mut(name) else {
            return NOT_FOUND;
        };
        stream.retention = hours * HOUR;
        Ok(Value::Null)
    }

    pub(crate) fn retention_hours(&self, name: &str) -> u64 {
        self.streams.get(name).map_or(24, |s| s.retention / HOUR)
    }

    /// The shard that a record goes to.
    pub(crate) fn route(&mut self, name: &str, key: &str, explicit: Option<u128>) -> Expected {
        match self.streams.get_mut(name) {
            Some(stream) => {
                let hash = explicit.unwrap_or_else(|| hash_key(key));
                Ok(json!(stream.route(hash).id))
            }
            None => NOT_FOUND,
        }
    }

    /// A record was answered with this number: keeps it, and sees that numbers rise.
    pub(crate) fn stored(&mut self, name: &str, shard: &str, record: Record) {
        let shard = self
            .streams
            .get_mut(name)
            .and_then(|s| s.shard_mut(shard))
            .unwrap();
        assert_eq!(record.sequence.len(), 56);
        if let Some(last) = shard.records.last() {
            assert!(record.sequence > last.sequence, "numbers rise");
        }
        shard.records.push(record);
    }

    pub(crate) fn split(&mut self, name: &str, shard: &str, at: u128, now: u64) -> Expected {
        let Some(stream) = self.streams.get_mut(name) else {
            return NOT_FOUND;
        };
        let Some(found) = stream.shard(shard) else {
            return NOT_FOUND;
        };
        let (start, end) = (found.start, found.end);
        // The service leaves no shard of one hash key below, nor splits at the last.
        if found.closed.is_some() || at <= start.saturating_add(1) || at >= end {
            return INVALID;
        }
        let opened = stream.close(&[shard], now);
        stream.add(start, at - 1, vec![shard.to_owned()], opened);
        stream.add(at, end, vec![shard.to_owned()], opened);
        Ok(Value::Null)
    }

    pub(crate) fn merge(&mut self, name: &str, a: &str, b: &str, now: u64) -> Expected {
        let Some(stream) = self.streams.get_mut(name) else {
            return NOT_FOUND;
        };
        let (Some(first), Some(second)) = (stream.shard(a), stream.shard(b)) else {
            return NOT_FOUND;
        };
        let touch = first.end.checked_add(1) == Some(second.start)
            || second.end.checked_add(1) == Some(first.start);
        if first.closed.is_some() || second.closed.is_some() || !touch {
            return INVALID;
        }
        let (start, end) = (first.start.min(second.start), first.end.max(second.end));
        let opened = stream.close(&[a, b], now);
        stream.add(start, end, vec![a.to_owned(), b.to_owned()], opened);
        Ok(Value::Null)
    }

    /// What UpdateShardCount answers. What it makes is learnt from [`Plain::adopt`].
    pub(crate) fn scale(&self, name: &str, target: usize) -> Expected {
        let Some(stream) = self.streams.get(name) else {
            return NOT_FOUND;
        };
        let present = stream.open().count();
        if target > 2 * present || 2 * target < present {
            return INVALID;
        }
        Ok(json!({"CurrentShardCount": present, "TargetShardCount": target}))
    }

    /// Takes the shards over that a scaling made: so many are open, of ranges as even as can be, and
    /// what was there is closed or as it was.
    pub(crate) fn adopt(&mut self, name: &str, target: usize, listed: &[Listed], now: u64) {
        crate::shards::check(listed);
        let stream = self.streams.get_mut(name).unwrap();
        let mut open: Vec<&Listed> = listed.iter().filter(|s| s.is_open()).collect();
        open.sort_by_key(|s| s.start);
        assert_eq!(open.len(), target);
        let width = u128::MAX / u128::try_from(target).unwrap();
        for shard in &open {
            // Bounds that lie near each other count as one.
            assert!(
                (shard.end - shard.start).abs_diff(width) < 1 << 24,
                "{shard:?}"
            );
        }
        for shard in listed {
            let Some(known) = stream.shard_mut(&shard.id) else {
                let opened = shard
                    .parents
                    .iter()
                    .filter_map(|id| stream.shard(id))
                    .map(|parent| parent.opened + 1)
                    .fold(now, u64::max);
                assert_eq!(shard.id, format!("shardId-{:012}", stream.next));
                assert!((1..=2).contains(&shard.parents.len()));
                stream.add(shard.start, shard.end, shard.parents.clone(), opened);
                continue;
            };
            assert_eq!((known.start, known.end), (shard.start, shard.end));
            assert!(known.closed.is_none() || !shard.is_open());
        }
        // A shard closes when its children open.
        let closed: Vec<(String, u64)> = stream
            .shards
            .iter()
            .flat_map(|child| child.parents.iter().map(|p| (p.clone(), child.opened)))
            .collect();
        for (id, at) in closed {
            if let Some(parent) = stream.shard_mut(&id)
                && parent.closed.is_none()
            {
                parent.closed = Some(at);
            }
        }
    }

    /// Compares a list of all shards with what is known, and learns their numbers.
    pub(crate) fn check_list(&mut self, name: &str, listed: &[Listed]) {
        crate::shards::check(listed);
        let stream = self.streams.get_mut(name).unwrap();
        let ids = |shard: &Listed| shard.id.clone();
        assert_eq!(
            listed.iter().map(ids).collect::<Vec<_>>(),
            stream
                .shards
                .iter()
                .map(|s| s.id.clone())
                .collect::<Vec<_>>()
        );
        for (shown, known) in listed.iter().zip(&mut stream.shards) {
            assert_eq!((shown.start, shown.end), (known.start, known.end));
            assert_eq!(shown.parents, known.parents);
            assert_eq!(shown.is_open(), known.closed.is_none());
            let (starting, ending) = &mut known.numbers;
            assert_eq!(
                *starting.get_or_insert(shown.starting.clone()),
                shown.starting
            );
            if let Some(number) = &shown.ending {
                assert_eq!(ending.get_or_insert(number.clone()), number);
                assert!(known.records.iter().all(|r| r.sequence < *number));
            }
            assert!(known.records.iter().all(|r| r.sequence > shown.starting));
        }
    }

    /// What an iterator of a shard starts at.
    pub(crate) fn iterator(
        &self,
        name: &str,
        shard: &str,
        start: &Start,
        now: u64,
    ) -> Result<Iterator, &'static str> {
        let Some(stream) = self.streams.get(name) else {
            return Err("ResourceNotFoundException");
        };
        let Some(found) = stream.shard(shard) else {
            return Err("ResourceNotFoundException");
        };
        let place = |text: &str| {
            let position = found.records.iter().position(|r| r.sequence == text);
            position.ok_or("InvalidArgumentException")
        };
        let position = match start {
            Start::TrimHorizon => found.trimmed,
            Start::Latest => found.records.len(),
            Start::At(sequence) => place(sequence)?,
            Start::After(sequence) => place(sequence)? + 1,
            Start::Time(at) if *at > now => return Err("InvalidArgumentException"),
            Start::Time(at) => found
                .records
                .iter()
                .position(|r| r.arrival >= *at)
                .unwrap_or(found.records.len()),
        };
        Ok(Iterator {
            stream: name.to_owned(),
            incarnation: stream.incarnation,
            shard: shard.to_owned(),
            position,
            issued: now,
        })
    }

    /// The answer of GetRecords, but for its next iterator; and where that one is.
    pub(crate) fn read(
        &self,
        iterator: &Iterator,
        limit: usize,
        now: u64,
    ) -> (Expected, Option<Iterator>) {
        if now - iterator.issued > ITERATOR_LIFE {
            return (Err("ExpiredIteratorException"), None);
        }
        let stream = self.streams.get(&iterator.stream);
        let stream = stream.filter(|s| s.incarnation == iterator.incarnation);
        let Some((stream, shard)) =
            stream.and_then(|stream| Some((stream, stream.shard(&iterator.shard)?)))
        else {
            return (NOT_FOUND, None);
        };
        let from = iterator.position.max(shard.trimmed);
        let to = (from + limit).min(shard.records.len());
        let records: Vec<Value> = shard.records[from..to]
            .iter()
            .map(|record| {
                json!({
                    "SequenceNumber": record.sequence,
                    "ApproximateArrivalTimestamp": record.arrival,
                    "Data": record.data,
                    "PartitionKey": record.key,
                    "EncryptionType": "NONE",
                })
            })
            .collect();
        let unread = shard.records.get(to);
        let behind = unread.map_or(0, |r| (now - r.arrival).max(1));
        let mut answer = json!({"Records": records, "MillisBehindLatest": behind});
        if unread.is_none() && shard.closed.is_some() {
            let children: Vec<Value> = stream
                .shards
                .iter()
                .filter(|child| child.parents.contains(&shard.id))
                .map(|child| {
                    json!({
                        "ShardId": child.id,
                        "ParentShards": child.parents,
                        "HashKeyRange": {
                            "StartingHashKey": child.start.to_string(),
                            "EndingHashKey": child.end.to_string(),
                        },
                    })
                })
                .collect();
            answer["ChildShards"] = children.into();
            return (Ok(answer), None);
        }
        let next = Iterator {
            position: to,
            issued: now,
            ..iterator.clone()
        };
        (Ok(answer), Some(next))
    }
}

/// Where an iterator starts.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    TrimHorizon,
    Latest,
    At(String),
    After(String),
    /// Milliseconds since the epoch.
    Time(u64),
}

impl Start {
    /// The members of GetShardIterator that say so.
    pub(crate) fn members(&self, body: &mut Value) {
        let kind = match self {
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::At(_) => "AT_SEQUENCE_NUMBER",
            Self::After(_) => "AFTER_SEQUENCE_NUMBER",
            Self::Time(_) => "AT_TIMESTAMP",
        };
        body["ShardIteratorType"] = kind.into();
        match self {
            Self::At(number) | Self::After(number) => {
                body["StartingSequenceNumber"] = number.as_str().into();
            }
            Self::Time(at) => {
                // Exact to the millisecond: 13 digits are far from 2^53.
                #[expect(clippy::cast_precision_loss, reason = "13 digits")]
                let seconds = *at as f64 / 1_000.0;
                body["Timestamp"] = seconds.into();
            }
            Self::TrimHorizon | Self::Latest => {}
        }
    }
}
