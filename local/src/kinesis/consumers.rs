//! Registered consumers: registering, describing, listing and deregistering them.

use super::bucket::Bucket;
use super::control::limit_of;
use super::stream::{State, Status, Stream};
use super::token::{Kind, Token};
use super::{Kinesis, tags};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Consumers of one stream.
const MAX_CONSUMERS: usize = 20;
/// Consumers of one stream that are being registered at a time.
const MAX_CREATING: usize = 5;
/// Consumers on a page, at most and by default.
const PAGE: usize = 100;

/// A registered consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) arn: String,
    /// Milliseconds since the epoch.
    created: u64,
    pub(crate) tags: Mutex<BTreeMap<String, String>>,
    phase: Mutex<Phase>,
    /// What the consumer's subscriptions share, by shard.
    slots: Mutex<BTreeMap<u32, Arc<Slot>>>,
}

/// Where a consumer is in its life; times as a stream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Creating { until: u64 },
    Active,
    Deleting { until: u64 },
    Gone,
}

/// A consumer's place at one shard: who reads there, and how fast.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The number of the latest subscription: an older one has been taken over.
    pub(crate) latest: AtomicU64,
    pub(crate) pace: Mutex<Pace>,
}

/// What of a slot is counted on the clock.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the latest subscription began, in milliseconds since the epoch.
    pub(crate) began: Option<u64>,
    pub(crate) calls: Bucket,
    pub(crate) bytes: Bucket,
}

/// 2 MiB per consumer and shard and second.
const FAN_OUT_BYTES: i64 = 2 << 20;

impl Consumer {
    fn new(name: &str, stream: &Stream, now: u64, until: u64) -> Self {
        Self {
            name: name.to_owned(),
            arn: format!("{}/consumer/{name}:{}", stream.arn, now / 1_000),
            created: now,
            tags: Mutex::default(),
            phase: Mutex::new(Phase::Creating { until }),
            slots: Mutex::default(),
        }
    }

    pub(crate) fn status(&self, now: u64) -> Option<Status> {
        let mut phase = self.phase.lock();
        *phase = match *phase {
            Phase::Creating { until } if now >= until => Phase::Active,
            Phase::Deleting { until } if now >= until => Phase::Gone,
            other => other,
        };
        match *phase {
            Phase::Creating { .. } => Some(Status::Creating),
            Phase::Active => Some(Status::Active),
            Phase::Deleting { .. } => Some(Status::Deleting),
            Phase::Gone => None,
        }
    }

    /// Whether the consumer's subscriptions go on.
    pub(crate) fn reads(&self, now: u64) -> bool {
        self.status(now) == Some(Status::Active)
    }

    pub(crate) fn begin_delete(&self, until: u64) {
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Deleting { .. } | Phase::Gone) {
            *phase = Phase::Deleting { until };
        }
    }

    /// Its place at a shard.
    pub(crate) fn slot(&self, shard: u32, now: u64) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let slot = slots.entry(shard).or_insert_with(|| {
            Arc::new(Slot {
                latest: AtomicU64::new(0),
                pace: Mutex::new(Pace {
                    began: None,
                    calls: Bucket::full(1, now),
                    bytes: Bucket::full(FAN_OUT_BYTES, now),
                }),
            })
        });
        Arc::clone(slot)
    }

    /// Forgets shards that the stream no longer keeps.
    pub(crate) fn keep_slots(&self, state: &State) {
        let mut slots = self.slots.lock();
        if slots.len() > state.shards.len() {
            slots.retain(|shard, _| state.shard(*shard).is_some());
        }
    }
}

impl Slot {
    pub(crate) fn is_latest(&self, number: u64) -> bool {
        self.latest.load(Ordering::Acquire) == number
    }
}

/// A consumer's ARN, in its parts.
struct ConsumerArn<'t> {
    stream: &'t str,
    consumer: &'t str,
}

/// Splits `<stream ARN>/consumer/<name>:<epoch s>`.
fn parts_of(arn: &str) -> Option<ConsumerArn<'_>> {
    let (stream, rest) = arn.split_once("/consumer/")?;
    let (consumer, created) = rest.rsplit_once(':')?;
    (!consumer.is_empty() && created.bytes().all(|b| b.is_ascii_digit()))
        .then_some(ConsumerArn { stream, consumer })
}

impl Kinesis {
    pub(super) fn register_stream_consumer(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("streamARN", request.text("StreamARN")?);
        let name = check.present("consumerName", request.text("ConsumerName")?);
        check.name("consumerName", name);
        let tags = tags::read(request, &mut check)?;
        check.finish()?;
        let name = name.unwrap_or_default();
        let now = self.now();
        let stream = self.existing(self.name_of_arn(arn.unwrap_or_default())?, now)?;
        let state = stream.state.read();
        if !state.serves() {
            self.must_be_active(&stream, &state)?;
        }
        let mut consumers = stream.consumers.lock();
        consumers.retain(|_, c| c.status(now).is_some());
        if consumers.contains_key(name) {
            return Err(Refusal::in_use(format!(
                "Consumer {name} under stream {} already exists for account {}.",
                stream.name, self.account
            )));
        }
        if self.limits.consumers {
            let creating = |c: &&Arc<Consumer>| c.status(now) == Some(Status::Creating);
            if consumers.values().filter(creating).count() >= MAX_CREATING {
                return Err(Refusal::limit_exceeded(format!(
                    "Stream {} under account {} has {MAX_CREATING} consumers in CREATING; wait \
                     until one is ACTIVE.",
                    stream.name, self.account
                )));
            }
            if consumers.len() >= MAX_CONSUMERS {
                return Err(Refusal::limit_exceeded(format!(
                    "Stream {} under account {} has {MAX_CONSUMERS} registered consumers, which is \
                     the most it can have.",
                    stream.name, self.account
                )));
            }
        }
        let until = now.saturating_add(self.state_delay);
        let consumer = Arc::new(Consumer::new(name, &stream, now, until));
        *consumer.tags.lock() = tags;
        consumers.insert(name.to_owned(), Arc::clone(&consumer));
        drop(consumers);
        drop(state);
        out.begin_map();
        out.begin_map_member("Consumer");
        // As on AWS, the answer says CREATING even when it takes no time.
        write(&consumer, Status::Creating, out);
        out.end();
        out.end();
        Ok(())
    }

    pub(super) fn describe_stream_consumer(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let now = self.now();
        let (stream, consumer) = self.selected_consumer(request, now)?;
        let Some(status) = consumer.status(now) else {
            return Err(self.no_consumer(&consumer.name, &stream.name));
        };
        out.begin_map();
        out.begin_map_member("ConsumerDescription");
        write(&consumer, status, out);
        out.text_member("StreamARN", &stream.arn);
        out.end();
        out.end();
        Ok(())
    }

    pub(super) fn deregister_stream_consumer(
        &self,
        request: Fields<'_, '_>,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let (stream, consumer) = self.selected_consumer(request, now)?;
        consumer.begin_delete(now.saturating_add(self.state_delay));
        stream.state.read().wake_all();
        Ok(())
    }

    pub(super) fn list_stream_consumers(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("streamARN", request.text("StreamARN")?);
        let limit = limit_of(request, "MaxResults", PAGE, &mut check)?;
        let page = request.text("NextToken")?;
        check.length("nextToken", page, 1, 1_048_576);
        let created = request.timestamp("StreamCreationTimestamp")?;
        check.finish()?;
        let now = self.now();
        let stream = self.existing(self.name_of_arn(arn.unwrap_or_default())?, now)?;
        if page.is_some() && created.is_some() {
            return Err(Refusal::invalid_argument(
                "NextToken and StreamCreationTimestamp cannot be provided together.",
            ));
        }
        if created.is_some_and(|at| at / 1_000 != stream.created / 1_000) {
            return Err(self.no_stream(&stream.name));
        }
        let after = page
            .map(|text| {
                let token = self.sealer.open(Kind::ListStreamConsumers, text);
                let token = token.ok_or_else(|| Refusal::invalid_argument("Invalid NextToken."))?;
                self.must_be_fresh(&token, now)?;
                if token.incarnation != stream.incarnation {
                    return Err(Refusal::invalid_argument("Invalid NextToken."));
                }
                Ok(token.stream)
            })
            .transpose()?;
        let found: Vec<(Arc<Consumer>, Status)> = stream
            .consumers
            .lock()
            .values()
            .filter(|c| after.as_ref().is_none_or(|after| c.name > *after))
            .filter_map(|c| Some((Arc::clone(c), c.status(now)?)))
            .take(limit + 1)
            .collect();
        let shown = found.get(..limit.min(found.len())).unwrap_or_default();
        out.begin_map();
        out.begin_list_member("Consumers");
        for (consumer, status) in shown {
            out.begin_map();
            write(consumer, *status, out);
            out.end();
        }
        out.end();
        if let Some((last, _)) = shown.last()
            && found.len() > limit
        {
            let token = Token {
                issued: now,
                incarnation: stream.incarnation,
                // Here it is the consumer after which the next page starts.
                stream: last.name.clone(),
                ..Token::default()
            };
            let token = self.sealer.seal(Kind::ListStreamConsumers, &token);
            out.text_member("NextToken", &token);
        }
        out.end();
        Ok(())
    }

    /// The consumer that a request selects by ARN, by stream and name, or by both when they agree.
    fn selected_consumer(
        &self,
        request: Fields<'_, '_>,
        now: u64,
    ) -> Result<(Arc<Stream>, Arc<Consumer>), Refusal> {
        let mut check = Check::default();
        let arn = request.text("ConsumerARN")?;
        check.length("consumerARN", arn, 1, 2_048);
        let stream = request.text("StreamARN")?;
        let name = request.text("ConsumerName")?;
        check.name("consumerName", name);
        check.finish()?;
        match (arn, stream, name) {
            (Some(arn), stream, name) => {
                let (found, consumer) = self.consumer_of_arn(arn, now)?;
                if stream.is_some_and(|s| s != found.arn)
                    || name.is_some_and(|n| n != consumer.name)
                {
                    return Err(Refusal::invalid_argument(
                        "ConsumerARN, StreamARN and ConsumerName do not name the same consumer.",
                    ));
                }
                Ok((found, consumer))
            }
            (None, Some(stream), Some(name)) => {
                let stream = self.existing(self.name_of_arn(stream)?, now)?;
                let consumer = stream.consumers.lock().get(name).cloned();
                let consumer = consumer
                    .filter(|c| c.status(now).is_some())
                    .ok_or_else(|| self.no_consumer(name, &stream.name))?;
                Ok((stream, consumer))
            }
            _ => Err(Refusal::invalid_argument(
                "Either ConsumerARN or both StreamARN and ConsumerName should be provided.",
            )),
        }
    }

    /// A consumer by its ARN, whatever state it is in.
    pub(super) fn consumer_of_arn(
        &self,
        arn: &str,
        now: u64,
    ) -> Result<(Arc<Stream>, Arc<Consumer>), Refusal> {
        let parts = parts_of(arn).ok_or_else(|| {
            Refusal::validation(format!(
                "1 validation error detected: Value '{arn}' at 'consumerARN' failed to satisfy \
                 constraint: Member must satisfy regular expression pattern: \
                 ^(arn):aws.*:kinesis:.*:\\d{{12}}:.*stream\\/[a-zA-Z0-9_.-]+\\/consumer\\/\
                 [a-zA-Z0-9_.-]+:[0-9]+"
            ))
        })?;
        let stream = self.existing(self.name_of_arn(parts.stream)?, now)?;
        let consumer = stream.consumers.lock().get(parts.consumer).cloned();
        let consumer = consumer
            .filter(|c| c.arn == arn && c.status(now).is_some())
            .ok_or_else(|| self.no_consumer(parts.consumer, &stream.name))?;
        Ok((stream, consumer))
    }

    pub(super) fn no_consumer(&self, consumer: &str, stream: &str) -> Refusal {
        Refusal::not_found(format!(
            "Consumer {consumer} of stream {stream} under account {} not found.",
            self.account
        ))
    }
}

fn write(consumer: &Consumer, status: Status, out: &mut (dyn Emit + Send)) {
    out.text_member("ConsumerName", &consumer.name);
    out.text_member("ConsumerARN", &consumer.arn);
    out.text_member("ConsumerStatus", status.name());
    out.timestamp_member("ConsumerCreationTimestamp", consumer.created);
}

/// The stream that a consumer's ARN names.
pub(super) fn stream_of(arn: &str) -> Option<&str> {
    parts_of(arn)?.stream.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumers_arn_has_its_parts() {
        let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        let arn = format!("{stream}/consumer/app:1700000000");
        let parts = parts_of(&arn).unwrap();
        assert_eq!((parts.stream, parts.consumer), (stream, "app"));
        assert_eq!(stream_of(&arn), Some("s"));
        for wrong in [
            stream.to_owned(),
            format!("{stream}/consumer/app"),
            format!("{stream}/consumer/:17"),
            format!("{stream}/consumer/app:x"),
        ] {
            assert!(parts_of(&wrong).is_none(), "{wrong}");
        }
    }
}
