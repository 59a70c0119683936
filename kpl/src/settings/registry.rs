//! The registry: what each setting is called, takes and means.

use runtime::settings::{Kind, Rule};
use runtime::{Registry, Setting};

/// The largest number that the original's `long` settings take.
const LONG_MAX: u64 = i64::MAX as u64;

/// A host, as the original takes it, or a URL, which it does not.
static HOST: Rule = Rule {
    expected: "a host name, or a URL that begins with http:// or https://",
    allows: |text| {
        let part = |host: &str, more: &[u8]| {
            let allowed =
                |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b) || more.contains(&b);
            !host.is_empty() && host.bytes().all(allowed)
        };
        let url = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        url.map_or_else(|| part(text, b""), |rest| part(rest, b":/_[]"))
    },
};

/// What CloudWatch takes; the original takes more, and is refused.
static NAMESPACE: Rule = Rule {
    expected: "1 to 255 printable ASCII characters, not beginning with AWS/ or a colon",
    allows: |text| {
        (1..=255).contains(&text.len())
            && !text.starts_with("AWS/")
            && !text.starts_with(':')
            && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
    },
};

/// The original's pattern, widened for the numbers of regions to come.
static REGION: Rule = Rule {
    expected: "the name of a region, e.g. eu-west-1",
    allows: |text| {
        let parts: Vec<&str> = text.split('-').collect();
        let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        match parts.split_last() {
            Some((number, words)) => {
                (2..=3).contains(&words.len())
                    && words.iter().all(word)
                    && !number.is_empty()
                    && number.bytes().all(|b| b.is_ascii_digit())
            }
            None => false,
        }
    },
};

static SYNC: Rule = Rule {
    expected: "always, never, or a number of milliseconds",
    allows: |text| super::spool_sync(text).is_some(),
};

const fn switch(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        kind: Kind::Bool,
        default: Some(default),
        meaning,
    }
}

const fn integer(
    name: &'static str,
    (min, max): (u64, u64),
    default: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        kind: Kind::Integer { min, max },
        default,
        meaning,
    }
}

const fn millis(
    name: &'static str,
    (min, max): (u64, u64),
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        kind: Kind::Millis { min, max },
        default: Some(default),
        meaning,
    }
}

const fn unset(name: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting {
        name,
        kind,
        default: None,
        meaning,
    }
}

const fn idle(name: &'static str, why: &'static str) -> Setting {
    unset(name, Kind::WithoutEffect, why)
}

const DAEMON: &str = "there is no daemon: the producer is part of the process.";
const GLUE: &str = "there is no client of a schema registry here.";
const JAVA: &str = "an object of Java, which the original cannot read from a file either: give the aws::Config a source of credentials.";

/// All settings of a [`Producer`](crate::Producer), with the names, ranges and defaults of the Kinesis
/// Producer Library where it has them, and those of its settings that mean nothing here.
///
#[doc = include_str!("../../SETTINGS.md")]
pub const SETTINGS: Registry = Registry(&[
    switch(
        "AggregationEnabled",
        "true",
        "Packs many user records into one Kinesis record. Off: each user record is a Kinesis record of its own, sent as it is.",
    ),
    integer(
        "AggregationMaxCount",
        (1, LONG_MAX),
        Some("4294967295"),
        "User records in one Kinesis record, at the most.",
    ),
    integer(
        "AggregationMaxSize",
        (64, 10_485_760),
        Some("51200"),
        "Bytes of one aggregated Kinesis record, at the most; never above what the stream takes for a record, which is 1 MiB unless it was set to more. A larger user record goes alone.",
    ),
    unset(
        "CaCertFile",
        Kind::Text,
        "A file of certificates in PEM that are trusted in place of the machine's. Taken when the producer makes its own configuration; an aws::Config has its own.",
    ),
    unset(
        "CloudwatchEndpoint",
        Kind::Matching(&HOST),
        "Where CloudWatch is called: a host, then over https at CloudwatchPort, or a whole URL. Unset: where all services are called, if there is such a place, else the region's own.",
    ),
    integer(
        "CloudwatchPort",
        (1, 65_535),
        Some("443"),
        "The port of a CloudwatchEndpoint that is a host.",
    ),
    integer(
        "CollectionMaxCount",
        (1, 500),
        Some("500"),
        "Kinesis records in one PutRecords request, at the most.",
    ),
    integer(
        "CollectionMaxSize",
        (52_224, LONG_MAX),
        Some("5242880"),
        "Bytes of data and partition keys in one PutRecords request, at the most; never above the service's limit of 10 MiB. A larger Kinesis record goes alone. What has 512 KiB or more leaves in two requests at once, where the CPU hashes their bodies together.",
    ),
    Setting {
        name: "Compression",
        kind: Kind::OneOf(&["none", "gzip", "zstd"]),
        default: Some("none"),
        meaning: "Compresses data, in an envelope that consumers have to know (aggregation::expand opens it). Needs the feature `compression`.",
    },
    unset(
        "CompressionLevel",
        Kind::Integer { min: 0, max: 22 },
        "How hard: 0 to 9 for gzip, 1 to 22 for zstd. Unset: 6 and 3.",
    ),
    Setting {
        name: "CompressionUnit",
        kind: Kind::OneOf(&["record", "aggregate"]),
        default: Some("record"),
        meaning: "What is compressed: each user record's data, before any limit is looked at, or each aggregate as a whole, which is smaller. What would not become smaller is sent as it is.",
    },
    millis(
        "ConnectTimeout",
        (100, 300_000),
        "6000",
        "How long to wait for a connection. When it is set beside an aws::Config, the producer makes connections of its own; when it is not, it uses the aws::Config's and their bound.",
    ),
    millis(
        "DescribeStreamSummaryIntervalMs",
        (1, LONG_MAX),
        "300000",
        "How often the stream's record distribution strategy and record limit are asked for while records are put, with 10 percent of jitter. Producers built from clones of one `aws::Config` ask once for all. Needs the permission kinesis:DescribeStreamSummary.",
    ),
    switch(
        "FailIfThrottled",
        "false",
        "Fails a record at the first throttling answer, in place of trying again.",
    ),
    switch(
        "Idempotent",
        "false",
        "Gives each user record an identity in the tags of its aggregate, so that a consumer that looks at it drops what was stored twice. Others are not disturbed. Each record goes in an aggregate, also alone, also without aggregation.",
    ),
    unset(
        "KinesisEndpoint",
        Kind::Matching(&HOST),
        "Where Kinesis is called: a host, then over https at KinesisPort, or a whole URL. Unset: the region's own. Taken when the producer makes its own configuration; an aws::Config has its own.",
    ),
    integer(
        "KinesisPort",
        (1, 65_535),
        Some("443"),
        "The port of a KinesisEndpoint that is a host.",
    ),
    integer(
        "MaxBufferedBytes",
        (2_097_152, LONG_MAX),
        Some("67108864"),
        "Bytes admitted and not yet resolved, at the most; put waits at the bound. A record counts its data, its partition key and 64 bytes.",
    ),
    integer(
        "MaxBufferedPerShard",
        (1, 100),
        Some("25"),
        "Percent of MaxBufferedBytes and of MaxBufferedRecords that the records of one shard may take; never less than an equal share of the open shards. Who puts for other shards is not held up by those who wait for a shard at its bound.",
    ),
    integer(
        "MaxBufferedRecords",
        (1, LONG_MAX),
        Some("500000"),
        "User records admitted and not yet resolved, at the most; put waits at the bound.",
    ),
    integer(
        "MaxConnections",
        (1, 256),
        Some("24"),
        "PutRecords requests in flight, at the most.",
    ),
    integer(
        "MaxUserRecordSize",
        (64, 10_485_760),
        Some("1048576"),
        "Bytes of a user record's data, at the most; a larger one is not admitted. Data and partition key together have the stream's limit besides, 1 MiB unless it was set to more.",
    ),
    Setting {
        name: "MetricsGranularity",
        kind: Kind::OneOf(&["global", "stream", "shard"]),
        default: Some("shard"),
        meaning: "How fine the places are that uploaded metrics are told apart by.",
    },
    Setting {
        name: "MetricsLevel",
        kind: Kind::OneOf(&["none", "summary", "detailed"]),
        default: Some("detailed"),
        meaning: "Which metrics are uploaded: none, those that an operator watches, or all.",
    },
    Setting {
        name: "MetricsNamespace",
        kind: Kind::Matching(&NAMESPACE),
        default: Some("KinesisProducerLibrary"),
        meaning: "The namespace of uploaded metrics.",
    },
    unset(
        "MetricsUpload",
        Kind::Bool,
        "Uploads metrics to CloudWatch (cloudwatch:PutMetricData), as the original always does. Unset: when any other setting of metrics or CloudWatch, or a further dimension, is given, and MetricsLevel is not none.",
    ),
    millis(
        "MetricsUploadDelay",
        (1, 60_000),
        "60000",
        "How often metrics are uploaded.",
    ),
    Setting {
        name: "OnPermanentError",
        kind: Kind::OneOf(&["fail", "wait"]),
        default: Some("fail"),
        meaning: "What becomes of records when the stream does not exist, access is denied or the encryption key cannot be used: they fail at once, or wait for someone to mend it, until RecordTtl passes; a request asks for it after 1 s, then ever more rarely, down to every 30 to 60 s.",
    },
    unset(
        "ProxyHost",
        Kind::Text,
        "An HTTP proxy that every request goes through. Unset: as HTTPS_PROXY and its like say. Taken when the producer makes its own configuration; an aws::Config has its own.",
    ),
    unset("ProxyPassword", Kind::Secret, "For a proxy that wants one."),
    integer(
        "ProxyPort",
        (1, 65_535),
        Some("443"),
        "The port of the proxy.",
    ),
    unset("ProxyUserName", Kind::Text, "For a proxy that wants one."),
    integer(
        "RateLimit",
        (1, LONG_MAX),
        None,
        "Percent of a shard's 1 MiB and 1,000 records per second that this producer sends to it, at the most: a fixed cap (the original's default is 150). Unset: as much as the shard gives, found by its throttling; several producers share a shard so.",
    ),
    Setting {
        name: "RecordDistributionStrategyDefault",
        kind: Kind::OneOf(&["UNSET", "AUTO", "USER_PARTITION_KEY"]),
        default: Some("UNSET"),
        meaning: "What the stream's record distribution strategy is until it is known; nothing waits for it then. USER_PARTITION_KEY also stands where the permission to ask is missing; without it, records are not aggregated there.",
    },
    millis(
        "RecordDistributionStrategyWait",
        (0, 60_000),
        "5000",
        "How long the first records wait until the stream's record distribution strategy is known. Then they go alone, with partition key and hash key, which is right whatever it is.",
    ),
    millis(
        "RecordMaxBufferedTime",
        (0, LONG_MAX),
        "100",
        "How long a record waits for others before it is sent. Shorter than RecordTtl.",
    ),
    millis(
        "RecordTtl",
        (100, LONG_MAX),
        "30000",
        "How long delivery of a record is tried after its admission.",
    ),
    unset(
        "Region",
        Kind::Matching(&REGION),
        "The region. Unset: as the AWS SDKs look it up. Taken when the producer makes its own configuration; an aws::Config has its own.",
    ),
    millis(
        "RequestTimeout",
        (100, 600_000),
        "6000",
        "How long one request may take, from sending to the last byte of its answer.",
    ),
    switch(
        "ReturnUserRecordOnFailure",
        "false",
        "Gives a record back with the error of its delivery. Each record is kept beside the aggregate that it is in until its outcome is known, and counts twice against MaxBufferedBytes.",
    ),
    unset(
        "SpoolDirectory",
        Kind::Text,
        "A directory, of this producer alone, where records are kept from their admission to their outcome: they outlive the process, and are sent at the next start. Unset: records live in memory alone.",
    ),
    millis(
        "SpoolMarkInterval",
        (0, LONG_MAX),
        "1000",
        "How often it is written down which spooled records have their outcome. After a crash, those since are sent once more.",
    ),
    integer(
        "SpoolMaxBytes",
        (1_048_576, LONG_MAX),
        Some("1073741824"),
        "Bytes of spooled records on disk, at the most; put waits at the bound.",
    ),
    Setting {
        name: "SpoolSync",
        kind: Kind::Matching(&SYNC),
        default: Some("always"),
        meaning: "When spooled records are flushed to the disk itself: always (before put says admitted: a power loss loses nothing), so many milliseconds after the first that is not, or never. A crash of the process loses nothing with any.",
    },
    unset(
        "StreamId",
        Kind::Text,
        "The stream's id, sent along with its name or ARN. The service reserves it for later.",
    ),
    switch(
        "StrictOrdering",
        "false",
        "Records of one hash key are stored in the order of their admission: of each shard one Kinesis record is on its way at a time, and after a split or a merge the children wait for it. A record that fails leaves a gap; one whose answer got lost may be stored again before those behind it, or after them if the service carries out a request that was given up. Costs a round trip for each Kinesis record of a shard. No order on streams that distribute their records themselves.",
    ),
    millis(
        "UserRecordTimeoutInMillis",
        (0, LONG_MAX),
        "0",
        "How long a receipt waits for its outcome; then it resolves as timed out, while delivery goes on and may still succeed. 0: as long as it takes.",
    ),
    switch(
        "VerifyCertificate",
        "true",
        "Off: any certificate is accepted from any server, with a warning: for trials alone. Taken when the producer makes its own configuration; an aws::Config has its own.",
    ),
    idle(
        "CaCertPath",
        "a directory of certificates cannot be read: name a file, CaCertFile.",
    ),
    idle("CredentialsProvider", JAVA),
    idle(
        "CredentialsRefreshDelay",
        "credentials are looked up again before they expire; nobody polls for them.",
    ),
    idle("DaemonHealthCheckTimeoutMs", DAEMON),
    idle(
        "EnableCoreDumps",
        "core files are the process' own matter: `ulimit -c`.",
    ),
    idle("EnableDaemonHealthCheck", DAEMON),
    idle(
        "EnableOldestFutureTracker",
        "the age of the oldest record is always known, and costs nothing.",
    ),
    idle("GlueSchemaRegistryConfiguration", GLUE),
    idle("GlueSchemaRegistryCredentialsProvider", GLUE),
    idle("GlueSchemaRegistryPropertiesFilePath", GLUE),
    idle(
        "LogLevel",
        "what is logged is decided by the program's `tracing` subscriber.",
    ),
    idle("MetricsCredentialsProvider", JAVA),
    idle(
        "MinConnections",
        "connections are made when they are needed; the original never reads it either.",
    ),
    idle("NativeExecutable", DAEMON),
    idle(
        "StsEndpoint",
        "the original has not used it since 1.0.5; roles are the aws::Config's matter.",
    ),
    idle(
        "StsPort",
        "the original has not used it since 1.0.5; roles are the aws::Config's matter.",
    ),
    idle(
        "TempDirectory",
        "nothing is unpacked, and there are no pipes.",
    ),
    idle(
        "ThreadingModel",
        "requests have no threads: the runtime's serve all.",
    ),
    idle(
        "ThreadPoolSize",
        "requests have no threads: the runtime's serve all.",
    ),
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_regions() {
        for (text, right) in [
            ("kinesis.eu-west-1.amazonaws.com", true),
            ("https://localhost:4567/", true),
            ("http://[::1]:4567", true),
            ("localhost:4567", false),
            ("ftp://x", false),
            ("https://", false),
            ("", false),
        ] {
            assert_eq!((HOST.allows)(text), right, "{text:?}");
        }
        for (text, right) in [
            ("us-east-1", true),
            ("us-gov-west-1", true),
            ("ap-southeast-12", true),
            ("us-east", false),
            ("US-EAST-1", false),
            ("us-east-1b", false),
            ("a-b-c-d-1", false),
            ("", false),
        ] {
            assert_eq!((REGION.allows)(text), right, "{text:?}");
        }
    }

    /// Names, types, defaults and ranges of the original (1.1.1), but for what the second list names.
    #[test]
    fn every_setting_of_the_original_is_known() {
        let originals = "AggregationEnabled AggregationMaxCount AggregationMaxSize CloudwatchEndpoint \
            CloudwatchPort CollectionMaxCount CollectionMaxSize ConnectTimeout EnableCoreDumps \
            FailIfThrottled KinesisEndpoint KinesisPort LogLevel MaxConnections MetricsGranularity \
            MetricsLevel MetricsNamespace MetricsUploadDelay MinConnections RateLimit \
            RecordMaxBufferedTime RecordTtl Region RequestTimeout VerifyCertificate ProxyHost ProxyPort \
            ProxyUserName ProxyPassword ThreadingModel ThreadPoolSize DescribeStreamSummaryIntervalMs \
            RecordDistributionStrategyDefault CredentialsRefreshDelay MaxUserRecordSize \
            NativeExecutable TempDirectory StsEndpoint StsPort CaCertPath CaCertFile \
            GlueSchemaRegistryPropertiesFilePath GlueSchemaRegistryConfiguration \
            UserRecordTimeoutInMillis ReturnUserRecordOnFailure EnableOldestFutureTracker EnableDaemonHealthCheck DaemonHealthCheckTimeoutMs \
            CredentialsProvider MetricsCredentialsProvider GlueSchemaRegistryCredentialsProvider";
        for name in originals.split_whitespace() {
            let found = SETTINGS.find(name).map(|setting| setting.name);
            assert_eq!(found, Some(name));
        }
        let long = |min, max| Kind::Integer { min, max };
        let table = [
            ("AggregationMaxCount", long(1, LONG_MAX), Some("4294967295")),
            ("AggregationMaxSize", long(64, 10_485_760), Some("51200")),
            ("CollectionMaxCount", long(1, 500), Some("500")),
            ("CollectionMaxSize", long(52_224, LONG_MAX), Some("5242880")),
            ("KinesisPort", long(1, 65_535), Some("443")),
            ("CloudwatchPort", long(1, 65_535), Some("443")),
            (
                "MetricsUploadDelay",
                Kind::Millis {
                    min: 1,
                    max: 60_000,
                },
                Some("60000"),
            ),
            (
                "MetricsLevel",
                Kind::OneOf(&["none", "summary", "detailed"]),
                Some("detailed"),
            ),
            (
                "MetricsGranularity",
                Kind::OneOf(&["global", "stream", "shard"]),
                Some("shard"),
            ),
            (
                "MetricsNamespace",
                Kind::Matching(&NAMESPACE),
                Some("KinesisProducerLibrary"),
            ),
            ("MaxConnections", long(1, 256), Some("24")),
            ("MaxUserRecordSize", long(64, 10_485_760), Some("1048576")),
            (
                "RecordTtl",
                Kind::Millis {
                    min: 100,
                    max: LONG_MAX,
                },
                Some("30000"),
            ),
            (
                "RecordMaxBufferedTime",
                Kind::Millis {
                    min: 0,
                    max: LONG_MAX,
                },
                Some("100"),
            ),
            (
                "ConnectTimeout",
                Kind::Millis {
                    min: 100,
                    max: 300_000,
                },
                Some("6000"),
            ),
            (
                "RequestTimeout",
                Kind::Millis {
                    min: 100,
                    max: 600_000,
                },
                Some("6000"),
            ),
            ("AggregationEnabled", Kind::Bool, Some("true")),
            ("FailIfThrottled", Kind::Bool, Some("false")),
            ("VerifyCertificate", Kind::Bool, Some("true")),
            ("ReturnUserRecordOnFailure", Kind::Bool, Some("false")),
            (
                "UserRecordTimeoutInMillis",
                Kind::Millis {
                    min: 0,
                    max: LONG_MAX,
                },
                Some("0"),
            ),
        ];
        for (name, kind, default) in table {
            let setting = SETTINGS.find(name).unwrap();
            assert_eq!((setting.kind, setting.default), (kind, default), "{name}");
        }
    }
}
