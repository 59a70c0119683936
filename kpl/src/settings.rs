//! The settings as the engine uses them.

mod registry;

pub use registry::SETTINGS;

use crate::cloudwatch::UploadOptions;
use crate::outcome::OnPermanent;
use crate::routing::Strategy;
use crate::spool::{SpoolOptions, SpoolSync};
#[cfg(feature = "compression")]
use aggregation::Compression;
use runtime::settings::Source;
use runtime::{Settings, SettingsError};
use std::time::Duration;

/// The most that a Kinesis record holds, data and partition key together, unless its stream was set
/// to more: 1 MiB.
pub(crate) const RECORD_LIMIT: usize = 1024 * 1024;

/// The most that a `PutRecords` request holds, data and partition keys together: 10 MiB.
const REQUEST_LIMIT: usize = 10 * 1024 * 1024;

fn spool_sync(text: &str) -> Option<SpoolSync> {
    match text {
        "always" => Some(SpoolSync::Always),
        "never" => Some(SpoolSync::Never),
        number => Some(SpoolSync::Every(Duration::from_millis(
            number.parse().ok()?,
        ))),
    }
}

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
    #[cfg(feature = "compression")]
    pub(crate) compression: Option<Compressed>,
    pub(crate) connection: Connection,
    pub(crate) fail_if_throttled: bool,
    /// Records carry an identity.
    pub(crate) idempotent: bool,
    pub(crate) buffered_bytes: usize,
    pub(crate) buffered_records: usize,
    /// Percent of both that one shard may take.
    pub(crate) buffered_per_shard: usize,
    pub(crate) in_flight: usize,
    /// Bytes of a user record's data.
    pub(crate) user_record_size: usize,
    /// Percent; `None` = as much as the shard gives.
    pub(crate) rate_limit: Option<u64>,
    pub(crate) upload: UploadOptions,
    pub(crate) linger: Duration,
    /// Records are kept, to be given back with the error of their delivery.
    pub(crate) keep_records: bool,
    pub(crate) on_permanent: OnPermanent,
    /// How long a receipt waits.
    pub(crate) patience: Option<Duration>,
    /// Where records are kept until they are resolved.
    pub(crate) spool: Option<SpoolOptions>,
    /// What the stream's record distribution strategy is, until it is known.
    pub(crate) strategy: Option<Strategy>,
    /// How often it is asked for.
    pub(crate) strategy_interval: Duration,
    /// How long the first records wait for it.
    pub(crate) strategy_wait: Duration,
    pub(crate) stream_id: Option<String>,
    /// Records of one hash key are stored in the order of their admission.
    pub(crate) strict_ordering: bool,
    pub(crate) ttl: Duration,
    pub(crate) request_timeout: Duration,
}

/// How to connect, as far as the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) region: Option<String>,
    /// A URL.
    pub(crate) endpoint: Option<String>,
    pub(crate) ca_file: Option<String>,
    /// `Debug` does not show its password.
    pub(crate) proxy: Option<aws::Proxy>,
    pub(crate) verify_certificate: bool,
    pub(crate) connect_timeout: Duration,
    /// It is not the default.
    pub(crate) connect_timeout_set: bool,
}

/// These make a configuration; where there is one, it goes before them.
const OF_A_CONFIG: [&str; 9] = [
    "CaCertFile",
    "KinesisEndpoint",
    "KinesisPort",
    "ProxyHost",
    "ProxyPassword",
    "ProxyPort",
    "ProxyUserName",
    "Region",
    "VerifyCertificate",
];

/// The URL of an endpoint that may be given as a host.
pub(crate) fn url(settings: &Settings, endpoint: &str, port: &str) -> Option<String> {
    let endpoint = settings.text(endpoint)?;
    if endpoint.contains("://") {
        return Some(endpoint);
    }
    let port = settings.integer(port).unwrap_or(443);
    Some(format!("https://{endpoint}:{port}"))
}

impl Connection {
    fn read(settings: &mut Settings) -> Self {
        let proxy = match proxy(settings) {
            Ok(proxy) => proxy,
            Err(bad) => {
                settings.problem("ProxyHost", bad.to_string());
                None
            }
        };
        Self {
            region: settings.text("Region"),
            endpoint: url(settings, "KinesisEndpoint", "KinesisPort"),
            ca_file: settings.text("CaCertFile"),
            proxy,
            verify_certificate: settings.bool("VerifyCertificate"),
            connect_timeout: settings.duration("ConnectTimeout").unwrap_or_default(),
            connect_timeout_set: settings.is_set("ConnectTimeout"),
        }
    }
}

fn proxy(settings: &Settings) -> Result<Option<aws::Proxy>, aws::BadProxy> {
    let Some(host) = settings.text("ProxyHost") else {
        return Ok(None);
    };
    let port = settings.integer("ProxyPort").unwrap_or(443);
    let proxy = aws::Proxy::new(format!("{host}:{port}"))?;
    Ok(Some(match settings.text("ProxyUserName") {
        Some(user) => proxy.with_login(user, settings.text("ProxyPassword").unwrap_or_default()),
        None => proxy,
    }))
}

/// The configuration that the program gave goes before what files and the environment say about it;
/// what the program says twice is a problem.
fn beside_a_config(settings: &mut Settings) {
    let reason = "the aws::Config that was given decides about it";
    for name in OF_A_CONFIG {
        match settings.source(name) {
            Some(Source::Setter) => settings.problem(name, format!("{reason}: set it there")),
            Some(_) => settings.warning(name, format!("without effect: {reason}")),
            None => {}
        }
    }
}

/// What is compressed, and how.
#[cfg(feature = "compression")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compressed {
    Records(Compression),
    Aggregates(Compression),
}

#[cfg(feature = "compression")]
impl Compressed {
    fn read(settings: &Settings) -> Option<Self> {
        let level = settings.integer("CompressionLevel");
        let compression = match settings.text("Compression")?.as_str() {
            "gzip" => Compression::Gzip(
                level
                    .and_then(|level| u32::try_from(level).ok())
                    .unwrap_or(6),
            ),
            "zstd" => Compression::Zstd(
                level
                    .and_then(|level| i32::try_from(level).ok())
                    .unwrap_or(3),
            ),
            _ => return None,
        };
        let aggregates = settings
            .text("CompressionUnit")
            .is_some_and(|unit| unit == "aggregate");
        Some(if aggregates {
            Self::Aggregates(compression)
        } else {
            Self::Records(compression)
        })
    }

    pub(crate) const fn of_records(self) -> Option<Compression> {
        match self {
            Self::Records(compression) => Some(compression),
            Self::Aggregates(_) => None,
        }
    }

    pub(crate) const fn of_aggregates(self) -> Option<Compression> {
        match self {
            Self::Records(_) => None,
            Self::Aggregates(compression) => Some(compression),
        }
    }
}

impl Options {
    /// Reads the settings, or reports every problem. `config_given`: there is an `aws::Config`.
    pub(crate) fn read(settings: &mut Settings, config_given: bool) -> Result<Self, SettingsError> {
        if config_given {
            beside_a_config(settings);
        }
        let connection = Connection::read(settings);
        let size = |name| {
            let n = settings.integer(name).unwrap_or_default();
            usize::try_from(n).unwrap_or(usize::MAX)
        };
        let time = |name| settings.duration(name).unwrap_or_default();
        let options = Self {
            aggregation: settings.bool("AggregationEnabled"),
            // Positions in an aggregate are 32-bit numbers.
            aggregate_count: size("AggregationMaxCount").min(0xffff_ffff),
            aggregate_size: size("AggregationMaxSize"),
            request_count: size("CollectionMaxCount"),
            request_size: size("CollectionMaxSize").min(REQUEST_LIMIT),
            #[cfg(feature = "compression")]
            compression: Compressed::read(settings),
            connection,
            fail_if_throttled: settings.bool("FailIfThrottled"),
            idempotent: settings.bool("Idempotent"),
            buffered_bytes: size("MaxBufferedBytes"),
            buffered_records: size("MaxBufferedRecords"),
            buffered_per_shard: size("MaxBufferedPerShard"),
            in_flight: size("MaxConnections"),
            user_record_size: size("MaxUserRecordSize"),
            rate_limit: settings.integer("RateLimit"),
            upload: UploadOptions::read(settings),
            linger: time("RecordMaxBufferedTime"),
            keep_records: settings.bool("ReturnUserRecordOnFailure"),
            on_permanent: match settings.text("OnPermanentError").as_deref() {
                Some("wait") => OnPermanent::Wait,
                _ => OnPermanent::Fail,
            },
            patience: settings
                .duration("UserRecordTimeoutInMillis")
                .filter(|patience| !patience.is_zero()),
            spool: settings
                .text("SpoolDirectory")
                .map(|directory| SpoolOptions {
                    directory: directory.into(),
                    max_bytes: settings.integer("SpoolMaxBytes").unwrap_or(u64::MAX),
                    sync: settings
                        .text("SpoolSync")
                        .and_then(|text| spool_sync(&text))
                        .unwrap_or(SpoolSync::Always),
                    mark_every: time("SpoolMarkInterval"),
                }),
            strategy: match settings
                .text("RecordDistributionStrategyDefault")
                .as_deref()
            {
                Some("AUTO") => Some(Strategy::Auto),
                Some("USER_PARTITION_KEY") => Some(Strategy::UserPartitionKey),
                _ => None,
            },
            strategy_interval: time("DescribeStreamSummaryIntervalMs"),
            strategy_wait: time("RecordDistributionStrategyWait"),
            stream_id: settings.text("StreamId"),
            strict_ordering: settings.bool("StrictOrdering"),
            ttl: time("RecordTtl"),
            request_timeout: time("RequestTimeout"),
        };
        #[cfg(not(feature = "compression"))]
        if settings
            .text("Compression")
            .is_some_and(|codec| codec != "none")
        {
            let reason = "the feature `compression` of the crate is not switched on";
            settings.problem("Compression", reason.to_owned());
        }
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
        Self::read(&mut Settings::new(SETTINGS), false).unwrap()
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
            (o.fail_if_throttled, o.rate_limit, o.user_record_size),
            (false, None, 1_048_576)
        );
        let expected = Connection {
            verify_certificate: true,
            connect_timeout: Duration::from_secs(6),
            ..Connection::default()
        };
        assert_eq!(o.connection, expected);
        assert_eq!(o.linger, Duration::from_millis(100));
        assert_eq!(o.ttl, Duration::from_secs(30));
        assert_eq!(o.request_timeout, Duration::from_secs(6));
    }

    #[test]
    fn values_beyond_the_services_limits_are_cut_to_them() {
        let mut settings = Settings::new(SETTINGS);
        settings.set("AggregationMaxSize", "10485760");
        settings.set("CollectionMaxSize", "9223372036854775807");
        let options = Options::read(&mut settings, false).unwrap();
        assert_eq!(
            (options.aggregate_size, options.request_size),
            (10_485_760, 10_485_760)
        );
    }

    #[test]
    fn an_endpoint_is_a_host_with_a_port_or_a_url() {
        let mut settings = Settings::new(SETTINGS);
        settings.set("KinesisEndpoint", "kinesis.test");
        let endpoint = |settings: &mut Settings| Connection::read(settings).endpoint.unwrap();
        assert_eq!(endpoint(&mut settings), "https://kinesis.test:443");
        settings.set("KinesisPort", "4567");
        assert_eq!(endpoint(&mut settings), "https://kinesis.test:4567");
        settings.set("KinesisEndpoint", "http://127.0.0.1:1");
        assert_eq!(endpoint(&mut settings), "http://127.0.0.1:1");
    }

    #[test]
    fn a_proxy_has_a_port_and_perhaps_a_login_that_nothing_shows() {
        let mut settings = Settings::new(SETTINGS);
        assert_eq!(Connection::read(&mut settings).proxy, None);
        settings.set("ProxyHost", "proxy.test");
        let plain = aws::Proxy::new("proxy.test:443").unwrap();
        assert_eq!(Connection::read(&mut settings).proxy, Some(plain));
        settings.set("ProxyPort", "3128");
        settings.set("ProxyUserName", "me");
        settings.set("ProxyPassword", "a secret");
        let login = aws::Proxy::new("proxy.test:3128")
            .unwrap()
            .with_login("me", "a secret");
        let connection = Connection::read(&mut settings);
        assert_eq!(connection.proxy, Some(login));
        let shown = format!("{connection:?} {settings:?}");
        assert!(
            shown.contains("ProxyPassword") && !shown.contains("a secret"),
            "{shown}"
        );
        settings.set_properties("f", "ProxyPassword = a secret  ");
        let warnings = format!("{:?}", settings.warnings());
        assert!(
            warnings.contains("blanks") && !warnings.contains("a secret"),
            "{warnings}"
        );
        settings.set("ProxyHost", "not a host");
        let problems = Options::read(&mut settings, false).unwrap_err();
        assert_eq!(problems.0[0].key, "ProxyHost");
    }

    #[test]
    fn a_given_configuration_goes_before_files_and_setters_must_not_say_otherwise() {
        let mut settings = Settings::new(SETTINGS);
        settings.set_properties("f", "Region=eu-west-1\nConnectTimeout=100");
        settings.set("KinesisPort", "1");
        let problems = Options::read(&mut settings, true).unwrap_err();
        assert_eq!(
            (problems.0.len(), problems.0[0].key.as_str()),
            (1, "KinesisPort")
        );
        let warnings: Vec<&str> = settings.warnings().iter().map(|w| w.key.as_str()).collect();
        assert_eq!(warnings, ["Region"]);
    }

    #[test]
    fn a_record_that_would_expire_unsent_is_a_problem() {
        let mut settings = Settings::new(SETTINGS);
        settings.set("RecordMaxBufferedTime", "30000");
        settings.set("RateLimt", "1");
        let text = Options::read(&mut settings, false).unwrap_err().to_string();
        assert!(
            text.contains("RecordMaxBufferedTime: 30000 ms is not shorter than RecordTtl"),
            "{text}"
        );
        assert!(text.contains("did you mean RateLimit?"), "{text}");
    }
}
