//! The metrics, by the names, units and levels of the Kinesis Producer Library.
//!
//! What is known of a shard is counted at the shard alone: readings add it up for the stream. A sample of
//! 1 is a success and one of 0 a failure where the original has it so. What the original does not have is
//! detailed, and of the stream.

mod pending;
mod spread;

pub(crate) use pending::Pending;
pub(crate) use spread::Sizes;
use spread::spread;

use crate::claims::Claims;
use crate::routing::ANY_SHARD;
use crate::sealed::Sealed;
use parking_lot::Mutex;
use runtime::metrics::{Level, Metric, Unit};
use runtime::{Counter, Gauge, Histogram, Metrics};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const STREAM: &str = "StreamName";
const SHARD: &str = "ShardId";
const CODE: &str = "ErrorCode";

/// Codes of errors that each shard has its counters of at hand. The service has fewer.
const CODES: usize = 32;

const fn detail(name: &'static str, unit: Unit) -> Metric {
    Metric::new(name).with_unit(unit)
}

const fn summary(name: &'static str, unit: Unit) -> Metric {
    detail(name, unit).with_level(Level::Summary)
}

/// Those of a stream.
#[derive(Debug)]
pub(crate) struct Meters {
    metrics: Metrics,
    stream: String,
    shards: Mutex<HashMap<Arc<str>, Arc<ShardMeters>>>,
    /// Of records whose shard is not known.
    nowhere: Arc<ShardMeters>,
    pub(crate) received: Counter,
    pending: Gauge,
    request_time: Histogram,
    kinesis_per_request: Histogram,
    users_per_request: Histogram,
    pub(crate) retried: Counter,
    wrong_shard: Counter,
    pub(crate) requests: Counter,
    pub(crate) kinesis_records_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) shard_maps: Counter,
    /// Read from the spool at the start.
    pub(crate) recovered: Counter,
}

/// Those of a shard.
#[derive(Debug)]
struct ShardMeters {
    user_records_put: Histogram,
    user_bytes_put: Histogram,
    kinesis_records_put: Histogram,
    kinesis_bytes_put: Histogram,
    all_errors: Histogram,
    expired: Counter,
    retries: Histogram,
    buffering: Histogram,
    users_per_kinesis: Histogram,
    errors: Mutex<BTreeMap<String, Counter>>,
}

impl ShardMeters {
    fn new(metrics: &Metrics, dimensions: &[(&'static str, &str)]) -> Self {
        let histogram = |metric: Metric| metrics.histogram(metric, dimensions);
        Self {
            user_records_put: histogram(summary("UserRecordsPut", Unit::Count)),
            user_bytes_put: histogram(detail("UserRecordsDataPut", Unit::Bytes)),
            kinesis_records_put: histogram(summary("KinesisRecordsPut", Unit::Count)),
            kinesis_bytes_put: histogram(detail("KinesisRecordsDataPut", Unit::Bytes)),
            all_errors: histogram(summary("AllErrors", Unit::Count)),
            expired: metrics.counter(summary("UserRecordExpired", Unit::Count), dimensions),
            retries: histogram(detail("RetriesPerRecord", Unit::Count)),
            buffering: histogram(summary("BufferingTime", Unit::Milliseconds)),
            users_per_kinesis: histogram(detail("UserRecordsPerKinesisRecord", Unit::Count)),
            errors: Mutex::default(),
        }
    }
}

/// How the records of a Kinesis record ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    /// Where they are, or were to go; `None` = not known.
    pub(crate) shard: Option<&'a Arc<str>>,
    /// User records.
    pub(crate) records: u64,
    /// Attempts for all of them.
    pub(crate) attempts: u64,
    /// For each record that was in another aggregate before: the attempts there.
    pub(crate) earlier: &'a [u64],
    pub(crate) outcome: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    Expired,
    Failed,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics, stream: &str) -> Self {
        let own = &[(STREAM, stream)][..];
        let counter = |metric: Metric| metrics.counter(metric, own);
        let histogram = |metric: Metric| metrics.histogram(metric, own);
        let count = |name| detail(name, Unit::Count);
        Self {
            shards: Mutex::default(),
            nowhere: Arc::new(ShardMeters::new(metrics, own)),
            received: counter(count("UserRecordsReceived")),
            pending: metrics.gauge(count("UserRecordsPending"), own),
            request_time: histogram(detail("RequestTime", Unit::Milliseconds)),
            kinesis_per_request: histogram(count("KinesisRecordsPerPutRecordsRequest")),
            users_per_request: histogram(count("UserRecordsPerPutRecordsRequest")),
            retried: counter(count("UserRecordsRetried")),
            wrong_shard: counter(count("UserRecordsInWrongShard")),
            requests: counter(count("PutRecordsRequests")),
            kinesis_records_sent: counter(count("KinesisRecordsSent")),
            bytes_sent: counter(detail("BytesSent", Unit::Bytes)),
            shard_maps: counter(count("ShardMapsFetched")),
            recovered: counter(count("UserRecordsRecovered")),
            metrics: metrics.clone(),
            stream: stream.to_owned(),
        }
    }

    /// The set that it all counts into.
    pub(crate) const fn set(&self) -> &Metrics {
        &self.metrics
    }

    /// What takes the samples of what is pending.
    pub(crate) fn pending(&self) -> Pending {
        Pending::new(self.pending.clone())
    }

    /// Those of a shard, made on first use.
    fn shard(&self, id: &Arc<str>) -> Arc<ShardMeters> {
        if **id == *ANY_SHARD {
            return Arc::clone(&self.nowhere);
        }
        let mut shards = self.shards.lock();
        if let Some(meters) = shards.get(id) {
            return Arc::clone(meters);
        }
        let dimensions = [(STREAM, self.stream.as_str()), (SHARD, &**id)];
        let meters = Arc::new(ShardMeters::new(&self.metrics, &dimensions));
        shards.insert(Arc::clone(id), Arc::clone(&meters));
        meters
    }

    fn at(&self, shard: Option<&Arc<str>>) -> Arc<ShardMeters> {
        shard.map_or_else(|| Arc::clone(&self.nowhere), |id| self.shard(id))
    }

    /// The instruments of all other shards go once every reader has seen them. What is still under way
    /// to a closed shard brings its instruments back, until the next time.
    pub(crate) fn keep_shards(&self, open: &BTreeSet<&str>) {
        let mut closed = Vec::new();
        self.shards.lock().retain(|id, _| {
            let stays = open.contains(&**id);
            if !stays {
                closed.push(Arc::clone(id));
            }
            stays
        });
        if closed.is_empty() {
            return;
        }
        let closed = closed.iter().map(|id| &**id).collect();
        let wider = [(STREAM, self.stream.as_str())];
        self.metrics.retire_each(&wider, SHARD, &closed);
    }

    /// A request is sent.
    pub(crate) fn sent(&self, batch: &[Sealed], now: Instant) {
        let mut users = 0;
        let mut bytes = 0;
        for sealed in batch {
            let records = u64::from(sealed.claims.records());
            users += records;
            bytes += sealed.size as u64;
            let shard = self.shard(&sealed.shard);
            shard.users_per_kinesis.observe_at(count(records), 1, now);
        }
        let entries = batch.len() as u64;
        self.users_per_request.observe_at(count(users), 1, now);
        self.kinesis_per_request.observe_at(count(entries), 1, now);
        self.requests.add_at(1, now);
        self.kinesis_records_sent.add_at(entries, now);
        self.bytes_sent.add_at(bytes, now);
    }

    /// A request has ended, by an answer or not.
    pub(crate) fn request_took(&self, took: Duration, now: Instant) {
        self.request_time.observe_at(millis(took), 1, now);
    }

    /// A request failed as a whole.
    pub(crate) fn request_failed(&self, code: &str, now: Instant) {
        self.error(code, None, now);
    }

    /// An entry was stored, wherever.
    pub(crate) fn stored(&self, sealed: &Sealed, now: Instant) {
        let shard = self.shard(&sealed.shard);
        shard.kinesis_records_put.observe_at(1.0, 1, now);
        let size = count(sealed.size as u64);
        shard.kinesis_bytes_put.observe_at(size, 1, now);
        shard.all_errors.observe_at(0.0, 1, now);
    }

    /// An entry was refused.
    pub(crate) fn refused(&self, shard: &Arc<str>, code: &str, now: Instant) {
        self.shard(shard)
            .kinesis_records_put
            .observe_at(0.0, 1, now);
        self.error(code, Some(shard), now);
    }

    /// User records were stored where a consumer drops them. The original counts that as no error.
    pub(crate) fn in_wrong_shard(&self, records: u64) {
        self.wrong_shard.add(records);
    }

    /// An attempt that started then is over: so long its records waited for it.
    pub(crate) fn attempted(&self, sealed: &Sealed, started: Instant, now: Instant) {
        let shard = self.shard(&sealed.shard);
        sealed.waits(started, |wait, records| {
            shard.buffering.observe_at(millis(wait), records, now);
        });
    }

    /// The data of user records are stored.
    pub(crate) fn data_put(&self, shard: &Arc<str>, claims: &Claims, sum: usize) {
        let shard = self.shard(shard);
        let now = Instant::now();
        let records = u64::from(claims.records());
        for (size, times) in spread(sum as u64, records, claims.sizes()) {
            shard.user_bytes_put.observe_at(count(size), times, now);
        }
    }

    /// User records have their outcome. Called once for each, with its resolution.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let now = Instant::now();
        let shard = self.at(ended.shard);
        let delivered = ended.outcome == End::Delivered;
        let success = if delivered { 1.0 } else { 0.0 };
        let put = &shard.user_records_put;
        put.observe_at(success, ended.records, now);
        // The original makes an attempt of the expiry.
        let expired = ended.outcome == End::Expired;
        let attempts = ended.attempts + u64::from(expired);
        let retries = |earlier: u64| count((earlier + attempts).saturating_sub(1));
        let others = ended.records.saturating_sub(ended.earlier.len() as u64);
        shard.retries.observe_at(retries(0), others, now);
        for earlier in ended.earlier {
            shard.retries.observe_at(retries(*earlier), 1, now);
        }
        if expired {
            shard.expired.add_at(ended.records, now);
        }
    }

    /// Counts a failed entry of a shard, or a failed request, under its code.
    fn error(&self, code: &str, shard: Option<&Arc<str>>, now: Instant) {
        let meters = self.at(shard);
        meters.all_errors.observe_at(1.0, 1, now);
        let mut errors = meters.errors.lock();
        if let Some(counter) = errors.get(code) {
            counter.add_at(1, now);
            return;
        }
        let mut dimensions = vec![(CODE, code), (STREAM, self.stream.as_str())];
        let shard = shard.filter(|id| ***id != *ANY_SHARD);
        dimensions.extend(shard.map(|id| (SHARD, &**id)));
        let metric = summary("ErrorsByCode", Unit::Count);
        let counter = self.metrics.counter(metric, &dimensions);
        counter.add_at(1, now);
        if errors.len() < CODES {
            errors.insert(code.to_owned(), counter);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric")]
const fn count(n: u64) -> f64 {
    n as f64
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
