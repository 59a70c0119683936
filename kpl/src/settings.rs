//! The registry of settings, and the settings as the engine uses them.

use runtime::settings::Kind;
use runtime::{Registry, Setting, Settings, SettingsError};
use std::time::Duration;

/// The largest number that the original's `long` settings take.
const LONG_MAX: u64 = i64::MAX as u64;

/// The most that a Kinesis record holds, data and partition key together, unless its stream was set
/// to more: 1 MiB.
pub(crate) const RECORD_LIMIT: usize = 1024 * 1024;

/// The most that a `PutRecords` request holds, data and partition keys together: 10 MiB.
const REQUEST_LIMIT: usize = 10 * 1024 * 1024;

/// All settings of a [`Producer`](crate::Producer), with the names, ranges and defaults of the Kinesis
/// Producer Library where it has them.
///
#[doc = include_str!("../SETTINGS.md")]
pub const SETTINGS: Registry = Registry(&[
    Setting {
        name: "AggregationEnabled",
        kind: Kind::Bool,
        default: Some("true"),
        meaning: "Packs many user records into one Kinesis record. Off: each user record is a Kinesis \
                  record of its own, sent as it is.",
    },
    Setting {
        name: "AggregationMaxCount",
        kind: Kind::Integer {
            min: 1,
            max: LONG_MAX,
        },
        default: Some("4294967295"),
        meaning: "User records in one Kinesis record, at the most.",
    },
    Setting {
        name: "AggregationMaxSize",
        kind: Kind::Integer {
            min: 64,
            max: 10_485_760,
        },
        default: Some("51200"),
        meaning: "Bytes of one aggregated Kinesis record, at the most; never above the service's limit \
                  of 1 MiB. A larger user record goes alone.",
    },
    Setting {
        name: "CollectionMaxCount",
        kind: Kind::Integer { min: 1, max: 500 },
        default: Some("500"),
        meaning: "Kinesis records in one PutRecords request, at the most.",
    },
    Setting {
        name: "CollectionMaxSize",
        kind: Kind::Integer {
            min: 52_224,
            max: LONG_MAX,
        },
        default: Some("5242880"),
        meaning: "Bytes of data and partition keys in one PutRecords request, at the most; never above \
                  the service's limit of 10 MiB. A larger Kinesis record goes alone.",
    },
    Setting {
        name: "ConnectTimeout",
        kind: Kind::Millis {
            min: 100,
            max: 300_000,
        },
        default: None,
        meaning: "How long to wait for a connection. When set, the producer makes connections of its \
                  own, in place of the aws::Config's transport; when unset, it uses that one and its \
                  bound.",
    },
    Setting {
        name: "FailIfThrottled",
        kind: Kind::Bool,
        default: Some("false"),
        meaning: "Fails a record at the first throttling answer, in place of trying again.",
    },
    Setting {
        name: "MaxBufferedBytes",
        kind: Kind::Integer {
            min: 2_097_152,
            max: LONG_MAX,
        },
        default: Some("67108864"),
        meaning: "Bytes admitted and not yet resolved, at the most; put waits at the bound. A record \
                  counts its data, its partition key and 64 bytes.",
    },
    Setting {
        name: "MaxBufferedRecords",
        kind: Kind::Integer {
            min: 1,
            max: LONG_MAX,
        },
        default: Some("500000"),
        meaning: "User records admitted and not yet resolved, at the most; put waits at the bound.",
    },
    Setting {
        name: "MaxConnections",
        kind: Kind::Integer { min: 1, max: 256 },
        default: Some("24"),
        meaning: "PutRecords requests in flight, at the most.",
    },
    Setting {
        name: "RateLimit",
        kind: Kind::Integer {
            min: 1,
            max: LONG_MAX,
        },
        default: Some("150"),
        meaning: "Percent of a shard's 1 MiB and 1,000 records per second that this producer sends to \
                  it. Above 100, several producers need not share exactly.",
    },
    Setting {
        name: "RecordMaxBufferedTime",
        kind: Kind::Millis {
            min: 0,
            max: LONG_MAX,
        },
        default: Some("100"),
        meaning: "How long a record waits for others before it is sent. Shorter than RecordTtl.",
    },
    Setting {
        name: "RecordTtl",
        kind: Kind::Millis {
            min: 100,
            max: LONG_MAX,
        },
        default: Some("30000"),
        meaning: "How long delivery of a record is tried after its admission.",
    },
    Setting {
        name: "RequestTimeout",
        kind: Kind::Millis {
            min: 100,
            max: 600_000,
        },
        default: Some("6000"),
        meaning: "How long one request may take, from sending to the last byte of its answer.",
    },
]);

/// The settings as the engine uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) aggregation: bool,
    /// User records in an aggregate.
    pub(crate) aggregate_count: usize,
    /// Bytes of an aggregate.
    pub(crate) aggregate_size: usize,
    /// Entries of a request.
    pub(crate) request_count: usize,
    /// Bytes of a request.
    pub(crate) request_size: usize,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) fail_if_throttled: bool,
    pub(crate) buffered_bytes: usize,
    pub(crate) buffered_records: usize,
    pub(crate) in_flight: usize,
    /// Percent.
    pub(crate) rate_limit: u64,
    pub(crate) linger: Duration,
    pub(crate) ttl: Duration,
    pub(crate) request_timeout: Duration,
}

impl Options {
    /// Reads the settings, or reports every problem.
    pub(crate) fn read(settings: &mut Settings) -> Result<Self, SettingsError> {
        let size = |name| {
            let n = settings.integer(name).unwrap_or_default();
            usize::try_from(n).unwrap_or(usize::MAX)
        };
        let time = |name| settings.duration(name).unwrap_or_default();
        let options = Self {
            aggregation: settings.bool("AggregationEnabled"),
            // Positions in an aggregate are 32-bit numbers.
            aggregate_count: size("AggregationMaxCount").min(0xffff_ffff),
            // The outer partition key of an aggregate takes one byte of the service's limit.
            aggregate_size: size("AggregationMaxSize").min(RECORD_LIMIT - 1),
            request_count: size("CollectionMaxCount"),
            request_size: size("CollectionMaxSize").min(REQUEST_LIMIT),
            connect_timeout: settings.duration("ConnectTimeout"),
            fail_if_throttled: settings.bool("FailIfThrottled"),
            buffered_bytes: size("MaxBufferedBytes"),
            buffered_records: size("MaxBufferedRecords"),
            in_flight: size("MaxConnections"),
            rate_limit: settings.integer("RateLimit").unwrap_or_default(),
            linger: time("RecordMaxBufferedTime"),
            ttl: time("RecordTtl"),
            request_timeout: time("RequestTimeout"),
        };
        if options.linger >= options.ttl {
            let reason = format!(
                "{} ms is not shorter than RecordTtl ({} ms): every record would expire unsent",
                options.linger.as_millis(),
                options.ttl.as_millis()
            );
            settings.problem("RecordMaxBufferedTime", reason);
        }
        settings.check()?;
        Ok(options)
    }
}

#[cfg(test)]
impl Default for Options {
    fn default() -> Self {
        Self::read(&mut Settings::new(SETTINGS)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_documentation_is_the_registry() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SETTINGS.md");
        let table = SETTINGS.markdown();
        if std::env::var_os("KINESIS_WRITE_DOCS").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == table,
            "again with: KINESIS_WRITE_DOCS=1 cargo test -p kpl table_in"
        );
    }

    #[test]
    fn defaults_are_the_originals() {
        let o = Options::default();
        assert_eq!(
            (o.aggregation, o.aggregate_count, o.aggregate_size),
            (true, 4_294_967_295, 51_200)
        );
        assert_eq!(
            (o.request_count, o.request_size, o.in_flight),
            (500, 5_242_880, 24)
        );
        assert_eq!(
            (o.fail_if_throttled, o.rate_limit, o.connect_timeout),
            (false, 150, None)
        );
        assert_eq!(o.linger, Duration::from_millis(100));
        assert_eq!(o.ttl, Duration::from_secs(30));
        assert_eq!(o.request_timeout, Duration::from_secs(6));
    }

    #[test]
    fn values_beyond_the_services_limits_are_cut_to_them() {
        let mut settings = Settings::new(SETTINGS);
        settings.set("AggregationMaxSize", "10485760");
        settings.set("CollectionMaxSize", "9223372036854775807");
        let options = Options::read(&mut settings).unwrap();
        assert_eq!(
            (options.aggregate_size, options.request_size),
            (1_048_575, 10_485_760)
        );
    }

    #[test]
    fn a_record_that_would_expire_unsent_is_a_problem() {
        let mut settings = Settings::new(SETTINGS);
        settings.set("RecordMaxBufferedTime", "30000");
        settings.set("RateLimt", "1");
        let text = Options::read(&mut settings).unwrap_err().to_string();
        assert!(
            text.contains("RecordMaxBufferedTime: 30000 ms is not shorter than RecordTtl"),
            "{text}"
        );
        assert!(text.contains("did you mean RateLimit?"), "{text}");
    }
}
