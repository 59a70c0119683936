//! Where settings come from: typed setters, names, files, the environment.

use super::ProducerBuilder;
use crate::spool::SpoolSync;
use runtime::metrics::{ExtraDimension, Granularity, Level};
use runtime::properties;
use runtime::settings::Value;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

impl ProducerBuilder {
    /// Sets any of [`SETTINGS`](crate::SETTINGS) by name (upper and lower case alike) and text. Goes
    /// before the environment and files. Problems are kept for [`ProducerBuilder::build`], which reports
    /// all of them.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.set(name, value);
        self
    }

    /// Takes settings from a `.properties` file of the Kinesis Producer Library as it is: `RecordTtl =
    /// 60000`. Goes after setters and the environment, in whatever order they are called. A key that is
    /// not known, a setting without a meaning here, and what a `.properties` file makes of blanks are
    /// warnings, logged by [`ProducerBuilder::build`]; a value that is not valid is a problem that it
    /// reports, and so is a file that cannot be read. Reads the file at once, on the caller's thread.
    pub fn from_properties_file(mut self, path: impl AsRef<Path>) -> Self {
        let name = path.as_ref().display().to_string();
        match std::fs::read(&path) {
            Ok(bytes) => self
                .settings
                .set_properties(&name, &properties::decode(&bytes)),
            Err(error) => self
                .settings
                .problem(&name, format!("cannot be read: {error}")),
        }
        self
    }

    /// Takes settings from the process' environment: `KPL_` and the setting's name in upper case with
    /// underscores, e.g. `KPL_RECORD_TTL`. Goes after setters and before files, in whatever order they
    /// are called. A variable with this prefix that fits no setting is a warning, logged by
    /// [`ProducerBuilder::build`]; one without a value counts as unset.
    pub fn from_env(self) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        self.from_variables(std::env::vars_os().filter_map(text))
    }

    /// As [`ProducerBuilder::from_env`], from these variables.
    pub fn from_variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.settings.set_variables("KPL_", variables);
        self
    }

    fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.set_value(name, value);
        self
    }

    /// Packs many user records into one Kinesis record (`AggregationEnabled`, default true).
    pub fn aggregation(self, on: bool) -> Self {
        self.put("AggregationEnabled", on)
    }

    /// User records in one Kinesis record (`AggregationMaxCount`, default 4294967295).
    pub fn aggregation_max_count(self, records: u64) -> Self {
        self.put("AggregationMaxCount", records)
    }

    /// Bytes of one aggregated Kinesis record (`AggregationMaxSize`, 64 to 10485760, default 51200).
    pub fn aggregation_max_size(self, bytes: u64) -> Self {
        self.put("AggregationMaxSize", bytes)
    }

    /// Kinesis records in one request (`CollectionMaxCount`, 1 to 500, default 500).
    pub fn collection_max_count(self, records: u64) -> Self {
        self.put("CollectionMaxCount", records)
    }

    /// Bytes of one request (`CollectionMaxSize`, at least 52224, default 5242880).
    pub fn collection_max_size(self, bytes: u64) -> Self {
        self.put("CollectionMaxSize", bytes)
    }

    /// How long to wait for a connection (`ConnectTimeout`, 100 ms to 300 s, default 6 s; beside an
    /// `aws::Config` the default is what that has). When set beside an `aws::Config`, the producer makes
    /// connections of its own.
    pub fn connect_timeout(self, bound: Duration) -> Self {
        self.put("ConnectTimeout", bound)
    }

    /// How often the stream's record distribution strategy and record limit are asked for while records are
    /// put (`DescribeStreamSummaryIntervalMs`, at least 1 ms, default 300 s).
    pub fn describe_stream_summary_interval(self, interval: Duration) -> Self {
        self.put("DescribeStreamSummaryIntervalMs", interval)
    }

    /// What the stream's record distribution strategy is until it is known
    /// (`RecordDistributionStrategyDefault`): `AUTO` or `USER_PARTITION_KEY`. `UNSET`, the default: the
    /// first records wait for it ([`record_distribution_strategy_wait`]).
    ///
    /// [`record_distribution_strategy_wait`]: ProducerBuilder::record_distribution_strategy_wait
    pub fn record_distribution_strategy_default(self, strategy: &str) -> Self {
        self.set("RecordDistributionStrategyDefault", strategy)
    }

    /// How long the first records wait until the stream's record distribution strategy is known
    /// (`RecordDistributionStrategyWait`, to 60 s, default 5 s). Then they go alone, with partition key and
    /// hash key, which is right whatever it is.
    pub fn record_distribution_strategy_wait(self, wait: Duration) -> Self {
        self.put("RecordDistributionStrategyWait", wait)
    }

    /// The stream's id, sent along with its name or ARN (`StreamId`). The service reserves it for later.
    pub fn stream_id(self, id: &str) -> Self {
        self.put("StreamId", id)
    }

    /// Stores records of one hash key in the order of their admission (`StrictOrdering`, default false): of
    /// each shard one Kinesis record is on its way at a time, so a shard takes one
    /// (`AggregationMaxSize`) in each round trip.
    pub fn strict_ordering(self, on: bool) -> Self {
        self.put("StrictOrdering", on)
    }

    /// Fails records at the first throttling answer (`FailIfThrottled`, default false).
    pub fn fail_if_throttled(self, on: bool) -> Self {
        self.put("FailIfThrottled", on)
    }

    /// Bytes that may be outstanding (`MaxBufferedBytes`, at least 2 MiB, default 64 MiB). A record
    /// counts its data, its partition key and 64 bytes.
    pub fn max_buffered_bytes(self, bytes: u64) -> Self {
        self.put("MaxBufferedBytes", bytes)
    }

    /// Percent of the two bounds that the records of one shard may take (`MaxBufferedPerShard`, 1 to 100,
    /// default 25), but never less than an equal share of the open shards.
    pub fn max_buffered_per_shard(self, percent: u64) -> Self {
        self.put("MaxBufferedPerShard", percent)
    }

    /// User records that may be outstanding (`MaxBufferedRecords`, default 500000).
    pub fn max_buffered_records(self, records: u64) -> Self {
        self.put("MaxBufferedRecords", records)
    }

    /// Requests that may be in flight (`MaxConnections`, 1 to 256, default 24).
    pub fn max_connections(self, requests: u64) -> Self {
        self.put("MaxConnections", requests)
    }

    /// Whether records wait, until their time to live passes, when the stream does not exist, access is
    /// denied or the encryption key cannot be used (`OnPermanentError`: `wait`), for someone may mend it.
    /// Default: they fail at once (`fail`).
    pub fn wait_on_permanent_error(self, on: bool) -> Self {
        self.put("OnPermanentError", if on { "wait" } else { "fail" })
    }

    /// Percent of a shard's 1 MiB and 1,000 records per second that are sent to it, at the most: a fixed
    /// cap (`RateLimit`). Default: none; the producer finds by the throttling how much a shard gives.
    pub fn rate_limit(self, percent: u64) -> Self {
        self.put("RateLimit", percent)
    }

    /// How long a record waits for others (`RecordMaxBufferedTime`, whole milliseconds, default
    /// 100 ms).
    pub fn record_max_buffered_time(self, wait: Duration) -> Self {
        self.put("RecordMaxBufferedTime", wait)
    }

    /// How long delivery of a record is tried (`RecordTtl`, at least 100 ms, default 30 s).
    pub fn record_ttl(self, ttl: Duration) -> Self {
        self.put("RecordTtl", ttl)
    }

    /// How long one request may take (`RequestTimeout`, 100 ms to 600 s, default 6 s).
    pub fn request_timeout(self, bound: Duration) -> Self {
        self.put("RequestTimeout", bound)
    }

    /// Bytes of a user record's data (`MaxUserRecordSize`, 64 to 10485760, default 1048576); a larger
    /// one is not admitted. The partition key does not count.
    pub fn max_user_record_size(self, bytes: u64) -> Self {
        self.put("MaxUserRecordSize", bytes)
    }

    /// Gives a record back with the error of its delivery: [`DeliveryError::record`]
    /// (`ReturnUserRecordOnFailure`, default false). It is kept until then, and counts twice.
    ///
    /// [`DeliveryError::record`]: crate::DeliveryError::record
    pub fn return_user_record_on_failure(self, on: bool) -> Self {
        self.put("ReturnUserRecordOnFailure", on)
    }

    /// Gives each user record an identity that a consumer can drop repeats by (`Idempotent`, default
    /// false): time-outs, answers that were lost after storing, and reshards then store records twice
    /// without anyone seeing them twice. See [`aggregation::Window`] for the consumer's half.
    pub fn idempotent(self, on: bool) -> Self {
        self.put("Idempotent", on)
    }

    /// Keeps records on disk from their admission to their outcome (`SpoolDirectory`), in a directory
    /// that is this producer's alone and is made if it is not there. What a producer before it left there
    /// is sent first of all, with a time to live that begins anew: until it is admitted again, `put` waits.
    /// `put` waits for the disk, too, and [`Producer::try_put`](crate::Producer::try_put) is not possible.
    pub fn spool(mut self, directory: impl AsRef<Path>) -> Self {
        match directory.as_ref().to_str() {
            Some(directory) => self.put("SpoolDirectory", directory),
            None => {
                let reason = format!("{} is not UTF-8", directory.as_ref().display());
                self.settings.problem("SpoolDirectory", reason);
                self
            }
        }
    }

    /// Bytes of spooled records on disk, at the most (`SpoolMaxBytes`, at least 1048576, default
    /// 1073741824); `put` waits at the bound.
    pub fn spool_max_bytes(self, bytes: u64) -> Self {
        self.put("SpoolMaxBytes", bytes)
    }

    /// When spooled records are flushed to the disk itself (`SpoolSync`, default
    /// [`SpoolSync::Always`]).
    pub fn spool_sync(self, sync: SpoolSync) -> Self {
        let text = match sync {
            SpoolSync::Always => "always".to_owned(),
            SpoolSync::Every(delay) => delay.as_millis().to_string(),
            SpoolSync::Never => "never".to_owned(),
        };
        self.put("SpoolSync", text.as_str())
    }

    /// How often it is written down which spooled records have their outcome (`SpoolMarkInterval`,
    /// default 1 second). After a crash, those since are sent once more.
    pub fn spool_mark_interval(self, interval: Duration) -> Self {
        self.put("SpoolMarkInterval", interval)
    }

    /// Compresses each user record's data (`Compression` and `CompressionLevel`, with the unit `record`),
    /// in an envelope that consumers have to know: [`aggregation::expand`]. What would not become smaller
    /// is sent as it is.
    #[cfg(feature = "compression")]
    pub fn compress_records(self, compression: aggregation::Compression) -> Self {
        self.compress("record", compression)
    }

    /// As [`ProducerBuilder::compress_records`], each aggregate as a whole (the unit `aggregate`), which is
    /// smaller. Records that go alone are not compressed.
    #[cfg(feature = "compression")]
    pub fn compress_aggregates(self, compression: aggregation::Compression) -> Self {
        self.compress("aggregate", compression)
    }

    #[cfg(feature = "compression")]
    fn compress(self, unit: &str, compression: aggregation::Compression) -> Self {
        let (codec, level) = match compression {
            aggregation::Compression::Gzip(level) => ("gzip", level.min(9)),
            // Quicker levels than 1 have no name among the settings.
            aggregation::Compression::Zstd(level) => {
                ("zstd", u32::try_from(level.clamp(1, 22)).unwrap_or(3))
            }
            _ => ("zstd", 3),
        };
        self.put("CompressionUnit", unit)
            .put("Compression", codec)
            .put("CompressionLevel", u64::from(level))
    }

    /// An HTTP proxy that every request goes through (`ProxyHost` and `ProxyPort`). Taken when there is no
    /// [`ProducerBuilder::aws`].
    pub fn proxy(self, host: &str, port: u16) -> Self {
        self.put("ProxyHost", host)
            .put("ProxyPort", u64::from(port))
    }

    /// Who asks, for a proxy that wants to know (`ProxyUserName` and `ProxyPassword`).
    pub fn proxy_login(self, user: &str, password: &str) -> Self {
        self.put("ProxyUserName", user)
            .put("ProxyPassword", password)
    }

    /// Whether metrics are uploaded to Amazon CloudWatch (`MetricsUpload`), for which the credentials need
    /// `cloudwatch:PutMetricData`. The Kinesis Producer Library always does so; here it is done when any of
    /// the settings below, or `CloudwatchEndpoint`, is given by whatever way, as in a file of the original,
    /// and not with `MetricsLevel` none. Uploads have connections of their own and are never in the way of
    /// records. [`metrics`](crate::metrics) has the names.
    pub fn cloudwatch(self, on: bool) -> Self {
        self.put("MetricsUpload", on)
    }

    /// Which metrics are uploaded (`MetricsLevel`, default [`Level::Detailed`]).
    pub fn metrics_level(self, level: Level) -> Self {
        self.put("MetricsLevel", level.as_str())
    }

    /// How fine the places are that uploaded metrics are told apart by (`MetricsGranularity`, default
    /// [`Granularity::Shard`]).
    pub fn metrics_granularity(self, granularity: Granularity) -> Self {
        self.put("MetricsGranularity", granularity.as_str())
    }

    /// The namespace of uploaded metrics (`MetricsNamespace`, default `KinesisProducerLibrary`): 1 to 255
    /// printable ASCII characters, not beginning with `AWS/` or a colon.
    pub fn metrics_namespace(self, namespace: &str) -> Self {
        self.put("MetricsNamespace", namespace)
    }

    /// How often metrics are uploaded (`MetricsUploadDelay`, 1 ms to 60 s, default 60 s).
    pub fn metrics_upload_delay(self, delay: Duration) -> Self {
        self.put("MetricsUploadDelay", delay)
    }

    /// A further dimension of metrics, uploaded and shown (the original's
    /// `addAdditionalMetricsDimension`): it stands behind those of the same granularity that were given
    /// before. One with an empty value is left out.
    pub fn metrics_dimension(mut self, key: &str, value: &str, granularity: Granularity) -> Self {
        if key.is_empty() || key.len() > 255 {
            let reason = format!("{key:?} is no name of a dimension: 1 to 255 characters");
            self.settings.problem("metrics_dimension", reason);
        }
        let dimension = ExtraDimension::new(key, value, granularity);
        self.dimensions.push(dimension);
        self
    }

    /// Where CloudWatch is called (`CloudwatchEndpoint`): a host, then over `https` at `CloudwatchPort`, or
    /// a URL. Default: where all services are called, if there is such a place, else the region's own.
    pub fn cloudwatch_endpoint(self, host: &str) -> Self {
        self.put("CloudwatchEndpoint", host)
    }

    /// The port of an endpoint of CloudWatch that is a host (`CloudwatchPort`, 1 to 65535, default 443).
    pub fn cloudwatch_port(self, port: u16) -> Self {
        self.put("CloudwatchPort", u64::from(port))
    }

    /// How long a receipt waits for its outcome (`UserRecordTimeoutInMillis`, default zero: as long as it
    /// takes). Delivery goes on after it, and may still succeed.
    pub fn user_record_timeout(self, patience: Duration) -> Self {
        self.put("UserRecordTimeoutInMillis", patience)
    }

    /// The region (`Region`), e.g. `eu-west-1`. Not beside an `aws::Config`, which has its own.
    pub fn region(self, region: &str) -> Self {
        self.put("Region", region)
    }

    /// Where Kinesis is called (`KinesisEndpoint`): a host, then over `https` at `KinesisPort`, or a URL.
    /// Not beside an `aws::Config`, which has its own.
    pub fn kinesis_endpoint(self, host: &str) -> Self {
        self.put("KinesisEndpoint", host)
    }

    /// The port of an endpoint that is a host (`KinesisPort`, 1 to 65535, default 443). Not beside an
    /// `aws::Config`.
    pub fn kinesis_port(self, port: u16) -> Self {
        self.put("KinesisPort", u64::from(port))
    }

    /// A file of certificates in PEM that are trusted in place of the machine's (`CaCertFile`). Not beside
    /// an `aws::Config`, which has its own.
    pub fn ca_cert_file(self, path: &str) -> Self {
        self.put("CaCertFile", path)
    }

    /// False accepts any certificate from any server, with a warning (`VerifyCertificate`, default true):
    /// for trials alone. Not beside an `aws::Config`, which has its own.
    pub fn verify_certificate(self, on: bool) -> Self {
        self.put("VerifyCertificate", on)
    }
}
