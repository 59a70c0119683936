//! SubscribeToShard: subscriptions, and their events, made when they are asked for.

use super::consumers::{Consumer, Slot};
use super::log::Page;
use super::read::{Start, write_children, write_records};
use super::sequence::Sequence;
use super::shard::Shard;
use super::stream::{Status, Stream};
use super::{Kinesis, Twist};
use crate::refusal::Refusal;
use crate::wire::{Check, Encoding, Fields, event_stream};
use bytes::Bytes;
use runtime::WallClock;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

/// A subscription lasts five minutes.
const LIFE: u64 = 300_000;
/// A second one within five seconds is refused; a later one takes over.
const GUARD: u64 = 5_000;
/// An event without records is sent when there was none for so long. The service does so too; how
/// often it does not tell.
const HEARTBEAT: u64 = 5_000;
/// An event holds at most so many bytes and records, but one record at least.
const EVENT_BYTES: usize = 1 << 20;
const EVENT_RECORDS: usize = 10_000;
/// A clock that does not follow tokio's is looked at so often.
const LOOK: u64 = 1_000;

/// One subscription: what it reads, where it is, and until when.
#[derive(Debug)]
pub(crate) struct Subscription {
    stream: Arc<Stream>,
    shard: Arc<Shard>,
    consumer: Arc<Consumer>,
    slot: Arc<Slot>,
    /// Its number at the slot.
    number: u64,
    clock: Arc<dyn WallClock>,
    account: String,
    encoding: Encoding,
    /// Whether 2 MiB per second is all it gets.
    paced: bool,
    twist: Twist,
    /// The index of the next record.
    position: u64,
    /// What the reader says to go on after the last event.
    continuation: Sequence,
    phase: Phase,
    /// Events sent.
    events: u64,
    /// Milliseconds since the epoch.
    ends: u64,
    heartbeat: u64,
    news: Pin<Box<OwnedNotified>>,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Reading,
    Over,
}

/// What a subscription does next.
enum Next {
    Frame(Bytes),
    End,
    /// Nothing, until the shard has news or the clock shows this time.
    Wait(u64),
}

impl Kinesis {
    /// Answers a SubscribeToShard; its events come in the request's encoding.
    pub(crate) fn subscribe(
        &self,
        request: Fields<'_, '_>,
        twist: &Twist,
        encoding: Encoding,
    ) -> Result<Subscription, Refusal> {
        let mut check = Check::default();
        let arn = check.present("consumerARN", request.text("ConsumerARN")?);
        check.length("consumerARN", arn, 1, 2_048);
        let shard_name = check.present("shardId", request.text("ShardId")?);
        check.name("shardId", shard_name);
        let position = check.present("startingPosition", request.structure("StartingPosition")?);
        let start = position
            .map(|position| Start::read(position, "Type", "SequenceNumber", &mut check))
            .transpose()?;
        let dry = request.boolean("DryRun")? == Some(true);
        check.finish()?;
        let (Some(arn), Some(shard_name), Some(start)) = (arn, shard_name, start) else {
            // `check` has refused these.
            return Err(Refusal::validation("A required member is missing."));
        };
        let now = self.now();
        let (stream, consumer) = self.consumer_of_arn(arn, now)?;
        if consumer.status(now) != Some(Status::Active) {
            return Err(Refusal::in_use(format!(
                "Consumer {} of stream {} under account {} is not ACTIVE.",
                consumer.name, stream.name, self.account
            )));
        }
        let index = self.shard_index(shard_name, &stream.name)?;
        let stream = self.serving(&stream.name)?;
        let state = stream.state.read();
        let shard = state
            .shard(index)
            .cloned()
            .ok_or_else(|| self.gone(shard_name, &stream.name))?;
        let mut log = shard.log.lock();
        log.trim(state.horizon(now));
        let position = self.position(&start, "SubscribeToShard", &shard, &log, now)?;
        let continuation = shard.sequence_before(position, &log);
        drop(log);
        consumer.keep_slots(&state);
        drop(state);
        let slot = consumer.slot(index, now);
        let mut pace = slot.pace.lock();
        pace.calls.refill(now);
        if self.limits.fan_out && !pace.calls.has(1) {
            return Err(Refusal::limit_exceeded(format!(
                "Rate exceeded for consumer {} and shard {} in stream {} under account {}.",
                consumer.name, shard.id, stream.name, self.account
            )));
        }
        if !dry {
            pace.calls.take(1);
        }
        if pace.began.is_some_and(|at| now.saturating_sub(at) < GUARD) {
            return Err(Refusal::in_use(format!(
                "Another active subscription exists for this consumer: {}:{}:{}",
                consumer.arn, stream.name, shard.id
            )));
        }
        if dry {
            return Err(self.dry_run("SubscribeToShard", &stream));
        }
        pace.began = Some(now);
        let number = slot.latest.fetch_add(1, Ordering::AcqRel) + 1;
        drop(pace);
        // The former one, if there is one, ends.
        shard.news.notify_waiters();
        let news = Box::pin(Arc::clone(&shard.news).notified_owned());
        Ok(Subscription {
            stream,
            shard,
            consumer,
            slot,
            number,
            clock: Arc::clone(&self.clock),
            account: self.account.clone(),
            encoding,
            paced: self.limits.fan_out,
            twist: twist.clone(),
            position,
            continuation,
            phase: Phase::Opening,
            events: 0,
            ends: now.saturating_add(LIFE),
            // The first event comes at once, records or not.
            heartbeat: now,
            news,
            timer: None,
        })
    }
}

impl Subscription {
    /// The next frame; none when the subscription is over. The clock is looked at in each poll.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let now = runtime::time::epoch_millis(self.clock.now());
            let until = match self.next(now) {
                Next::Frame(frame) => return Poll::Ready(Some(frame)),
                Next::End => return Poll::Ready(None),
                Next::Wait(until) => until,
            };
            // What was notified since `news` was made is not missed, polled or not.
            if self.news.as_mut().poll(cx).is_ready() {
                self.news = Box::pin(Arc::clone(&self.shard.news).notified_owned());
                continue;
            }
            let wait = until.saturating_sub(now).clamp(1, LOOK);
            let at = Instant::now() + Duration::from_millis(wait);
            let timer = match &mut self.timer {
                Some(timer) => {
                    timer.as_mut().reset(at);
                    timer
                }
                none => none.insert(Box::pin(tokio::time::sleep_until(at))),
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn next(&mut self, now: u64) -> Next {
        match self.phase {
            Phase::Over => return Next::End,
            Phase::Opening => {
                self.phase = Phase::Reading;
                let mut out = self.encoding.writer();
                out.begin_map();
                out.end();
                let payload = out.finish();
                let frame = event_stream::event("initial-response", self.encoding, &payload);
                return Next::Frame(frame);
            }
            Phase::Reading => {}
        }
        if !self.slot.is_latest(self.number) {
            return self.fail(&Refusal::in_use(format!(
                "Another subscription of consumer {} to shard {} took over.",
                self.consumer.arn, self.shard.id
            )));
        }
        if now >= self.ends {
            self.phase = Phase::Over;
            return Next::End;
        }
        match &self.twist {
            Twist::FailSubscription {
                after,
                code,
                message,
            } if self.events >= *after => {
                let refusal = Refusal {
                    status: 400,
                    code: code.clone().into(),
                    message: message.clone(),
                };
                return self.fail(&refusal);
            }
            Twist::SilenceSubscription { after } if self.events >= *after => {
                return Next::Wait(self.ends);
            }
            _ => {}
        }
        self.read(now)
    }

    /// The next event of the shard.
    fn read(&mut self, now: u64) -> Next {
        // Nobody else may look at the stream when its change is due.
        if self.stream.state.read().is_due(now) {
            self.stream.state.write().settle(self.stream.created, now);
        }
        let stream = Arc::clone(&self.stream);
        let state = stream.state.read();
        if !state.serves() {
            drop(state);
            return self.fail(&Refusal::not_found(format!(
                "Stream {} under account {} not found.",
                stream.name, self.account
            )));
        }
        if !self.consumer.reads(now) {
            drop(state);
            return self.fail(&Refusal::not_found(format!(
                "Consumer {} of stream {} under account {} not found.",
                self.consumer.name, stream.name, self.account
            )));
        }
        let quiet_until = self
            .heartbeat
            .min(self.ends)
            .min(state.next_change().unwrap_or(u64::MAX));
        if self.paced {
            let mut pace = self.slot.pace.lock();
            pace.bytes.refill(now);
            if !pace.bytes.has(0) {
                return Next::Wait(pace.bytes.solvent_at().min(self.ends));
            }
        }
        // Asked before the log is locked: after this nothing is appended to a closed shard.
        let closed = self.shard.closed.get().is_some();
        let page = {
            let mut log = self.shard.log.lock();
            log.trim(state.horizon(now));
            log.read(self.position, EVENT_RECORDS, EVENT_BYTES, closed, now)
        };
        if page.next.is_some() && page.count == 0 && now < self.heartbeat {
            return Next::Wait(quiet_until);
        }
        let children = match page.next {
            Some(_) => Vec::new(),
            None => state.children_of(&self.shard),
        };
        drop(state);
        Next::Frame(self.event(&page, &children, now))
    }

    fn event(&mut self, page: &Page, children: &[Arc<Shard>], now: u64) -> Bytes {
        if let Some(record) = page.last() {
            self.continuation = self.shard.sequence(record.index, record.arrival);
        }
        let size = i64::try_from(page.size).unwrap_or(i64::MAX);
        self.slot.pace.lock().bytes.take(size);
        self.events += 1;
        self.heartbeat = now.saturating_add(HEARTBEAT);
        let mut out = self.encoding.writer();
        out.begin_map();
        write_records(&self.shard, page, &mut *out);
        match page.next {
            Some(next) => {
                self.position = next;
                out.text_member("ContinuationSequenceNumber", &self.continuation.to_string());
            }
            // The last event of a closed shard: children, and nothing to go on with.
            None => {
                self.phase = Phase::Over;
                write_children(children, &mut *out);
            }
        }
        out.integer_member("MillisBehindLatest", page.behind);
        out.end();
        event_stream::event("SubscribeToShardEvent", self.encoding, &out.finish())
    }

    /// Ends with an exception inside the stream.
    fn fail(&mut self, refusal: &Refusal) -> Next {
        self.phase = Phase::Over;
        Next::Frame(event_stream::exception(self.encoding, refusal))
    }
}
