//! The registry of keys: every key of the original's `agent.json` and our own, with type, range,
//! default and what becomes of it here.

/// Type and range (inclusive) of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any scalar, in its text form.
    Text,
    /// A whole number, or text as Java's `Long.decode` reads it.
    Integer {
        /// The smallest allowed value.
        min: i64,
        /// The largest allowed value.
        max: i64,
    },
    /// A JSON boolean, or `true/t/yes/y/1`, `false/f/no/n/0` in any case.
    Bool,
    /// One of these words, exactly.
    OneOf(&'static [&'static str]),
    /// A JSON array.
    List,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It works.
    Built,
    /// It changes what is sent or where, and is not built yet: the start stops and names it. Values
    /// that mean "off" pass.
    Stops {
        /// The text forms that mean "off".
        off: &'static [&'static str],
    },
    /// It is known and has no effect here; the text says why. A warning. Values that ask for what
    /// happens anyway pass in silence.
    Ignored {
        /// Why it has no effect.
        why: &'static str,
        /// The text forms that ask for what happens anyway.
        quiet: &'static [&'static str],
    },
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default as a user would write it; empty = unset or computed.
    pub default: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// What it does.
    pub meaning: &'static str,
}

const BIG: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;
const TEXT: Kind = Kind::Text;
const BOOL: Kind = Kind::Bool;
const STOPS: Fate = Fate::Stops { off: &[""] };
const UNSENT: Fate = ignored("metrics are not sent to CloudWatch yet");
const POOL: Fate = ignored(
    "there is no pool of sending threads: requests in flight and bytes are bounded instead",
);
const HTTP: Fate = ignored("the HTTP client has no such setting");
const DEAD: Fate = ignored("the original dropped it in 2018; use --log");

const fn ignored(why: &'static str) -> Fate {
    Fate::Ignored { why, quiet: &[] }
}

const fn int(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    fate: Fate,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        fate,
        meaning,
    }
}

/// The keys of the root object.
pub const GLOBAL: &[Key] = &[
    key(
        "flows",
        Kind::List,
        "",
        Fate::Built,
        "The flows; more may stand in files of `agent.d`.",
    ),
    key(
        "checkpointFile",
        TEXT,
        "/var/lib/aws-kinesis-agent/checkpoints",
        Fate::Built,
        "SQLite database of positions; parent directories are created. Unset: the original's /var/run/aws-kinesis-agent/checkpoints is read as a starting position.",
    ),
    key(
        "checkpointTimeToLiveDays",
        int(1, INT),
        "7",
        Fate::Built,
        "Days that the position of a file that is gone is kept.",
    ),
    key(
        "checkpoints.queryTimeoutSeconds",
        int(0, INT),
        "30",
        ignored("no query of ours is slow"),
        "Time-out of the clean-up query.",
    ),
    key(
        "checkpoints.connectionTimeoutSeconds",
        int(0, INT),
        "5",
        ignored("the original never used it either"),
        "Nothing.",
    ),
    key(
        "awsAccessKeyId",
        TEXT,
        "",
        Fate::Built,
        "Static credentials, with awsSecretAccessKey.",
    ),
    key(
        "awsSecretAccessKey",
        TEXT,
        "",
        Fate::Built,
        "Static credentials, with awsAccessKeyId.",
    ),
    key(
        "assumeRoleARN",
        TEXT,
        "",
        STOPS,
        "Role to assume for sending.",
    ),
    key(
        "assumeRoleExternalId",
        TEXT,
        "",
        STOPS,
        "External id for the role.",
    ),
    key(
        "userDefinedCredentialsProvider.classname",
        TEXT,
        "",
        STOPS,
        "Java class that gives credentials.",
    ),
    key(
        "userDefinedCredentialsProvider.location",
        TEXT,
        "",
        STOPS,
        "Jar of that class.",
    ),
    key(
        "kinesis.endpoint",
        TEXT,
        "",
        Fate::Built,
        "Host or URL of Kinesis; https without a scheme.",
    ),
    key(
        "kinesis.region",
        TEXT,
        "",
        Fate::Built,
        "Region of the streams.",
    ),
    key(
        "firehose.endpoint",
        TEXT,
        "",
        ignored("Firehose is not built yet"),
        "Host or URL of Firehose.",
    ),
    key(
        "cloudwatch.endpoint",
        TEXT,
        "",
        UNSENT,
        "Host or URL of CloudWatch.",
    ),
    key(
        "sts.endpoint",
        TEXT,
        "",
        ignored("assuming a role is not built yet"),
        "Host or URL of STS.",
    ),
    key(
        "cloudwatch.emitMetrics",
        BOOL,
        "true",
        Fate::Ignored {
            why: "metrics are not sent to CloudWatch yet",
            quiet: &["false"],
        },
        "Send metrics.",
    ),
    key(
        "cloudwatch.namespace",
        TEXT,
        "AWSKinesisAgent",
        UNSENT,
        "Namespace of the metrics.",
    ),
    key(
        "cloudwatch.tagInstance",
        BOOL,
        "false",
        Fate::Ignored {
            why: "metrics are not sent to CloudWatch yet",
            quiet: &["false"],
        },
        "Add the dimension Instance.",
    ),
    key(
        "cloudwatch.metricsBufferTimeMillis",
        int(0, BIG),
        "30000",
        UNSENT,
        "Pace of sending metrics.",
    ),
    key(
        "cloudwatch.metricsQueueSize",
        int(0, INT),
        "10000",
        UNSENT,
        "Distinct metrics held.",
    ),
    key(
        "log.emitMetrics",
        BOOL,
        "false",
        Fate::Ignored {
            why: "metrics do not go to the log",
            quiet: &["false"],
        },
        "Metrics to the log.",
    ),
    key(
        "log.emitInternalMetrics",
        BOOL,
        "false",
        Fate::Ignored {
            why: "the summary line carries the counters",
            quiet: &["false"],
        },
        "Status JSON to the log.",
    ),
    key(
        "log.statusReportingPeriodSeconds",
        int(1, INT),
        "30",
        Fate::Built,
        "Seconds between summary lines.",
    ),
    key(
        "maxSendingThreadsPerCore",
        int(1, INT),
        "12",
        POOL,
        "Size of the pool per CPU.",
    ),
    key(
        "maxSendingThreads",
        int(1, INT),
        "",
        POOL,
        "Size of the pool.",
    ),
    key(
        "sendingThreadsMaxQueueSize",
        int(0, INT),
        "100",
        POOL,
        "Tasks waiting for the pool.",
    ),
    key(
        "sendingThreadsKeepAliveMillis",
        int(0, BIG),
        "60000",
        POOL,
        "Idle time of a thread.",
    ),
    key("maxConnections", int(1, INT), "", HTTP, "Connections held."),
    key(
        "connectionTimeoutMillis",
        int(1, INT),
        "10000",
        Fate::Built,
        "Time-out for connecting.",
    ),
    key(
        "socketTimeoutMillis",
        int(1, INT),
        "50000",
        Fate::Built,
        "Time-out of one attempt to send.",
    ),
    key(
        "connectionTTLMillis",
        int(-1, BIG),
        "-1",
        HTTP,
        "Life of a connection.",
    ),
    key("useTcpKeepAlive", BOOL, "false", HTTP, "TCP keep-alive."),
    key("useHttpGzip", BOOL, "false", HTTP, "Compressed responses."),
    key(
        "shutdownTimeoutMillis",
        int(0, BIG),
        "10000",
        Fate::Built,
        "Time for draining at a stop.",
    ),
    key("userAgent", TEXT, "", HTTP, "Prefix of the user agent."),
    key("userAgentOverride", TEXT, "", HTTP, "The whole user agent."),
    key("log.level", TEXT, "", DEAD, "Nothing."),
    key("log.file", TEXT, "", DEAD, "Nothing."),
    key("log.maxFileSize", TEXT, "", DEAD, "Nothing."),
    key("log.maxBackupIndex", TEXT, "", DEAD, "Nothing."),
    key(
        "maxBufferedBytes",
        int(2_097_152, BIG),
        "67108864",
        Fate::Built,
        "Ours: bytes of file data held in memory over all flows until they are delivered.",
    ),
];

/// The keys of a flow.
pub const FLOW: &[Key] = &[
    key(
        "filePattern",
        TEXT,
        "",
        Fate::Built,
        "Directory, taken literally, and a glob on file names.",
    ),
    key(
        "kinesisStream",
        TEXT,
        "",
        Fate::Built,
        "Name of the stream.",
    ),
    key(
        "deliveryStream",
        TEXT,
        "",
        Fate::Stops { off: &[] },
        "Name of a Firehose delivery stream.",
    ),
    key(
        "initialPosition",
        Kind::OneOf(&["START_OF_FILE", "END_OF_FILE"]),
        "END_OF_FILE",
        Fate::Built,
        "Where the newest file is begun at the first start of the flow.",
    ),
    key(
        "partitionKeyOption",
        Kind::OneOf(&["RANDOM", "DETERMINISTIC"]),
        "RANDOM",
        Fate::Built,
        "A random key, or the MD5 of the record in hex.",
    ),
    key(
        "aggregatedRecordSizeBytes",
        int(0, 1_024_000),
        "0",
        Fate::Ignored {
            why: "it concerns Firehose alone",
            quiet: &["0"],
        },
        "Firehose: lines joined to records of this size.",
    ),
    key(
        "multiLineStartPattern",
        TEXT,
        "",
        STOPS,
        "Regular expression that begins a record of many lines.",
    ),
    key(
        "fileFooterPattern",
        TEXT,
        "",
        STOPS,
        "Regular expression of a line after which a file is over.",
    ),
    key(
        "skipHeaderLines",
        int(0, INT),
        "0",
        Fate::Stops { off: &["0"] },
        "Lines skipped at the head of each file.",
    ),
    key(
        "truncatedRecordTerminator",
        TEXT,
        "\\n",
        Fate::Built,
        "The last bytes of a record that was cut.",
    ),
    key(
        "dataProcessingOptions",
        Kind::List,
        "",
        Fate::Stops { off: &["[]"] },
        "Conversions.",
    ),
    key(
        "maxBufferAgeMillis",
        int(1_000, 900_000),
        "60000",
        Fate::Built,
        "Longest wait of a record before it is sent.",
    ),
    key(
        "maxBufferSizeRecords",
        int(1, 500),
        "500",
        Fate::Built,
        "Records of a request.",
    ),
    key(
        "maxBufferSizeBytes",
        int(1, 5_242_880),
        "5242880",
        Fate::Built,
        "Bytes of a request.",
    ),
    key(
        "minTimeBetweenFilePollsMillis",
        int(0, BIG),
        "100",
        Fate::Built,
        "Wait after a poll that found nothing; 0 counts as 1.",
    ),
    key(
        "maxTimeBetweenFileTrackerRefreshMillis",
        int(0, BIG),
        "10000",
        Fate::Built,
        "Longest time between two listings of the directory; ours lists at least each second.",
    ),
    key(
        "publishQueueCapacity",
        int(1, INT),
        "100",
        ignored("memory is bounded by maxBufferedBytes, not by batches"),
        "Batches waiting.",
    ),
    key(
        "waitOnEmptyPublishQueueMillis",
        int(1_000, 900_000),
        "60000",
        ignored("there is no queue of batches"),
        "Wait of the dispatcher.",
    ),
    key(
        "waitOnFullPublishQueueMillis",
        int(1_000, 900_000),
        "60000",
        ignored("the original never used it either"),
        "Nothing.",
    ),
    key(
        "retryInitialBackoffMillis",
        int(0, BIG),
        "100",
        Fate::Built,
        "First wait before failed records are sent again.",
    ),
    key(
        "retryMaxBackoffMillis",
        int(0, BIG),
        "10000",
        Fate::Built,
        "Longest wait before failed records are sent again.",
    ),
    key(
        "log.emitInternalMetrics",
        BOOL,
        "false",
        Fate::Ignored {
            why: "the summary line carries the counters",
            quiet: &["false"],
        },
        "Status JSON to the log.",
    ),
    key("log.level", TEXT, "", DEAD, "Nothing."),
    key(
        "aggregation",
        BOOL,
        "false",
        Fate::Built,
        "Ours: pack lines into KPL aggregates. Off, one line is one Kinesis record, as in the original, and consumers need not de-aggregate.",
    ),
    key(
        "copyHoldMillis",
        int(0, BIG),
        "60000",
        Fate::Built,
        "Ours: how long a new file that repeats the start of a tailed one is held back as its copy, in wait for the truncation.",
    ),
];

/// The key of this name.
#[must_use]
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// A Markdown table of keys.
#[must_use]
pub fn markdown(keys: &[Key]) -> String {
    let mut out =
        String::from("| Key | Values | Default | Here | Meaning |\n|---|---|---|---|---|\n");
    for key in keys {
        let kind = match key.kind {
            Kind::Text => "text".to_owned(),
            Kind::Integer { min, max } if max == BIG => format!("whole number from {min}"),
            Kind::Integer { min, max } => format!("whole number from {min} to {max}"),
            Kind::Bool => "true or false".to_owned(),
            Kind::OneOf(words) => words.join(", "),
            Kind::List => "list".to_owned(),
        };
        let fate = match key.fate {
            Fate::Built => "works",
            Fate::Stops { .. } => "stops the start",
            Fate::Ignored { .. } => "warns",
        };
        out.push_str(&format!(
            "| `{}` | {kind} | {} | {fate} | {} |\n",
            key.name,
            if key.default.is_empty() {
                "–"
            } else {
                key.default
            },
            key.meaning
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        for keys in [GLOBAL, FLOW] {
            for (n, key) in keys.iter().enumerate() {
                assert!(
                    keys[n + 1..].iter().all(|k| k.name != key.name),
                    "{}",
                    key.name
                );
                if !key.default.is_empty() {
                    let value = serde_json::Value::String(key.default.to_owned());
                    assert!(
                        super::super::values::convert(key.kind, &value).is_ok(),
                        "{}",
                        key.name
                    );
                }
            }
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_key() {
        assert_eq!(markdown(FLOW).lines().count(), 2 + FLOW.len());
        assert!(
            markdown(FLOW)
                .contains("| `maxBufferSizeRecords` | whole number from 1 to 500 | 500 | works |")
        );
    }
}
