//! What a producer measures.
//!
//! It counts into a [`Metrics`], its own or that of
//! [`ProducerBuilder::metrics`](crate::ProducerBuilder::metrics), whether anyone reads it or not.
//! [`Producer::metrics`](crate::Producer::metrics) shows the values; a [`Reader`] or an exporter hands them
//! to other systems; and they are uploaded to Amazon CloudWatch when `MetricsUpload` is on.
//!
//! Names, units, levels and places are those of the Kinesis Producer Library. Values of a shard also count
//! for its stream and for all streams.
//!
//! | Name | Level | Unit | What | Finest place |
//! | --- | --- | --- | --- | --- |
//! | `UserRecordsReceived` | detailed | Count | user records admitted | stream |
//! | `UserRecordsPending` | detailed | Count | admitted and not resolved, each 200 ms while there are any | stream |
//! | `UserRecordsPut` | summary | Count | 1 for each user record delivered, 0 for each that failed | shard, on failure the one it was meant for |
//! | `UserRecordsDataPut` | detailed | Bytes | data of each user record delivered | shard |
//! | `KinesisRecordsPut` | summary | Count | 1 for each entry stored, 0 for each refused | shard it was meant for |
//! | `KinesisRecordsDataPut` | detailed | Bytes | data and partition key of each entry stored | shard it was meant for |
//! | `ErrorsByCode` | summary | Count | 1 for each entry refused and each request failed; `ErrorCode` stands before the stream | shard it was meant for; stream for requests |
//! | `AllErrors` | summary | Count | the same without code, and 0 for each entry stored | as `ErrorsByCode` |
//! | `RetriesPerRecord` | detailed | Count | attempts less one, at the end; the passing of the time to live counts as an attempt | shard |
//! | `UserRecordExpired` | summary | Count | 1 for each user record whose time to live passed | shard it was meant for |
//! | `BufferingTime` | summary | Milliseconds | for each user record and attempt: from its admission, or the end of the attempt before, to the start | shard it was meant for |
//! | `RequestTime` | detailed | Milliseconds | each `PutRecords` | stream |
//! | `UserRecordsPerKinesisRecord` | detailed | Count | each entry sent | shard it is meant for |
//! | `KinesisRecordsPerPutRecordsRequest` | detailed | Count | each request | stream |
//! | `UserRecordsPerPutRecordsRequest` | detailed | Count | each request | stream |
//!
//! Beside these, detailed and of the stream: `UserRecordsRetried`, `UserRecordsInWrongShard` (stored where a
//! consumer drops them, and sent again; no error in the original's metrics either), `UserRecordsRecovered`
//! (from the spool), `PutRecordsRequests`, `KinesisRecordsSent`, `BytesSent`, `ShardMapsFetched`; and of
//! all streams, summary: `MetricDataDropped`, what CloudWatch did not take. There is no `UnhealthyDaemon`:
//! there is no daemon.
//!
//! Where the original differs: records that are cut off by the end of the producer count as failed; of
//! the data of user records that were stored together, count, sum, smallest and largest are exact, and
//! those in between are taken as equal; `BufferingTime` is counted at each attempt, not at the end; the
//! instruments of closed shards go; windows are not cut by uploads; and nothing is lost by a failed
//! upload until 8 MiB of requests wait.
//!
//! With the feature `metrics` an `Exporter` hands the values to the recorder of the `metrics` facade that
//! the program has installed: Prometheus, OpenTelemetry and whatever else there is one for.

pub use runtime::Metrics;
#[cfg(feature = "metrics")]
pub use runtime::metrics::Exporter;
pub use runtime::metrics::{
    ExtraDimension, Granularity, Level, Limits, Metric, Point, Reader, Statistics, Unit, View,
    Window, WindowTooLong,
};
