//! The metrics, by the names, units and levels of the Kinesis Producer Library.
//!
//! What is known of a shard is counted at the shard alone: readings add it up for the stream. A sample of
//! 1 is a success and one of 0 a failure where the original has it so.

use crate::routing::ANY_SHARD;
use parking_lot::Mutex;
use runtime::metrics::{Level, Metric, Unit};
use runtime::{Counter, Gauge, Histogram, Metrics};
use std::collections::BTreeMap;
use std::sync::Arc;

const STREAM: &str = "StreamName";
const SHARD: &str = "ShardId";
const CODE: &str = "ErrorCode";

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
    shards: Mutex<BTreeMap<Arc<str>, Arc<ShardMeters>>>,
    /// Of records whose shard is not known.
    pub(crate) nowhere: Arc<ShardMeters>,
    pub(crate) received: Counter,
    pub(crate) pending: Gauge,
    pub(crate) request_time: Histogram,
    pub(crate) kinesis_per_request: Histogram,
    pub(crate) users_per_request: Histogram,
    pub(crate) retried: Counter,
    pub(crate) requests: Counter,
    pub(crate) kinesis_records_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) shard_maps: Counter,
    /// Read from the spool at the start.
    pub(crate) recovered: Counter,
}

/// Those of a shard.
#[derive(Debug)]
pub(crate) struct ShardMeters {
    pub(crate) user_records_put: Histogram,
    pub(crate) user_bytes_put: Histogram,
    pub(crate) kinesis_records_put: Histogram,
    pub(crate) kinesis_bytes_put: Histogram,
    pub(crate) all_errors: Histogram,
    pub(crate) expired: Counter,
    pub(crate) retries: Histogram,
    pub(crate) buffering: Histogram,
    pub(crate) users_per_kinesis: Histogram,
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
        }
    }
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
            requests: counter(count("PutRecordsRequests")),
            kinesis_records_sent: counter(count("KinesisRecordsSent")),
            bytes_sent: counter(detail("BytesSent", Unit::Bytes)),
            shard_maps: counter(count("ShardMapsFetched")),
            recovered: counter(count("UserRecordsRecovered")),
            metrics: metrics.clone(),
            stream: stream.to_owned(),
        }
    }

    /// Those of a shard, made on first use.
    pub(crate) fn shard(&self, id: &Arc<str>) -> Arc<ShardMeters> {
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

    /// The shard has closed: its instruments go once every reader has seen them.
    pub(crate) fn retire(&self, id: &str) {
        drop(self.shards.lock().remove(id));
        self.metrics.retire(&[(STREAM, &self.stream), (SHARD, id)]);
    }

    /// Counts a failed entry of a shard, or a failed request, under its code.
    pub(crate) fn error(&self, code: &str, shard: Option<&Arc<str>>) {
        let metric = summary("ErrorsByCode", Unit::Count);
        let mut dimensions = vec![(CODE, code), (STREAM, self.stream.as_str())];
        match shard.filter(|id| ***id != *ANY_SHARD) {
            Some(id) => {
                self.shard(id).all_errors.observe(1.0);
                dimensions.push((SHARD, id));
            }
            None => self.nowhere.all_errors.observe(1.0),
        }
        self.metrics.counter(metric, &dimensions).add(1);
    }
}
