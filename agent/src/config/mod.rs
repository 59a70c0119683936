//! `agent.json`: what it may say, what it says, and everything that is wrong with it at once.

mod glob;
mod json;
pub mod keys;
mod read;
mod values;

pub use glob::{Glob, GlobError};

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the main file is looked for unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/aws-kinesis/agent.json";
/// Where positions are kept unless `checkpointFile` says otherwise.
pub const DEFAULT_POSITIONS: &str = "/var/lib/aws-kinesis-agent/checkpoints";
/// Where the original keeps its positions unless `checkpointFile` says otherwise.
pub const ORIGINAL_POSITIONS: &str = "/var/run/aws-kinesis-agent/checkpoints";

/// What an unknown key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// A warning, as the original tolerates it.
    #[default]
    Lenient,
    /// An error.
    Strict,
}

/// A whole configuration, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The flows, in the order of the files.
    pub flows: Vec<FlowConfig>,
    /// `checkpointFile`: the database of positions.
    pub positions: PathBuf,
    /// Another database to read the original's positions from; `None` = the one above.
    pub original_positions: Option<PathBuf>,
    /// `checkpointTimeToLiveDays`: how long the position of a file that is gone is kept.
    pub positions_ttl: Duration,
    /// `kinesis.endpoint`, with a scheme.
    pub endpoint: Option<String>,
    /// `kinesis.region`.
    pub region: Option<String>,
    /// `awsAccessKeyId` and `awsSecretAccessKey`.
    pub credentials: Option<StaticCredentials>,
    /// `connectionTimeoutMillis`.
    pub connect_timeout: Duration,
    /// `socketTimeoutMillis`.
    pub request_timeout: Duration,
    /// `shutdownTimeoutMillis`: the time for draining at a stop.
    pub shutdown_timeout: Duration,
    /// `log.statusReportingPeriodSeconds`: time between summary lines.
    pub summary_period: Duration,
    /// `maxBufferedBytes`: file data held until it is delivered, over all flows.
    pub memory: u64,
}

/// Credentials of the configuration file. The secret is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    /// `awsAccessKeyId`.
    pub access_key_id: String,
    /// `awsSecretAccessKey`.
    pub secret_access_key: String,
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticCredentials").finish_non_exhaustive()
    }
}

/// One flow: files of one pattern to one stream.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FlowConfig {
    /// The directory part of `filePattern`, taken literally.
    pub directory: PathBuf,
    /// The file part of `filePattern`.
    pub glob: Glob,
    /// `kinesisStream`.
    pub stream: String,
    /// `initialPosition`.
    pub initial: InitialPosition,
    /// `partitionKeyOption`.
    pub partition_key: PartitionKey,
    /// `truncatedRecordTerminator`.
    pub terminator: Vec<u8>,
    /// `maxBufferAgeMillis`.
    pub max_buffer_age: Duration,
    /// `maxBufferSizeRecords`.
    pub max_buffer_records: usize,
    /// `maxBufferSizeBytes`.
    pub max_buffer_bytes: usize,
    /// `minTimeBetweenFilePollsMillis`, at least 1 ms.
    pub poll: Duration,
    /// `maxTimeBetweenFileTrackerRefreshMillis`, at most 1 s.
    pub rescan: Duration,
    /// `retryInitialBackoffMillis`.
    pub retry_first: Duration,
    /// `retryMaxBackoffMillis`.
    pub retry_longest: Duration,
    /// `aggregation`: pack lines into KPL aggregates.
    pub aggregation: bool,
    /// `copyHoldMillis`.
    pub copy_hold: Duration,
}

impl FlowConfig {
    /// The original's identity of a flow, by which positions are kept:
    /// `kinesis:<stream>:<directory>/<glob>`.
    #[must_use]
    pub fn id(&self) -> String {
        let directory = self.directory.to_string_lossy();
        format!("kinesis:{}:{directory}/{}", self.stream, self.glob.as_str())
    }
}

/// Where the newest file is begun at the first start of a flow. Files that appear later are always
/// begun at their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialPosition {
    /// At its first byte.
    StartOfFile,
    /// After its last newline.
    EndOfFile,
}

/// Which partition key a record gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKey {
    /// The decimal text of a random number from 0 to 1,000,000.
    Random,
    /// The MD5 of the record in lower-case hex.
    Deterministic,
}

/// Something the user should know, that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where: the key, for a flow as `flows[n].key`, or the file.
    pub key: String,
    /// What.
    pub reason: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// One thing that stops the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, for a flow as `flows[n].key`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub kind: ProblemKind,
}

/// Kinds of problems.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The value has the wrong type or is out of range.
    Value(String),
    /// A required key is absent.
    Missing,
    /// The key is known, is not built yet, and would change what is sent or where.
    NotBuilt,
    /// Nobody knows the key (an error under `--strict` only).
    Unknown(String),
    /// Two flows have the same identity.
    DuplicateFlow(String),
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        match &self.kind {
            ProblemKind::Value(reason) | ProblemKind::Unknown(reason) => f.write_str(reason),
            ProblemKind::Missing => f.write_str("required, and missing"),
            ProblemKind::NotBuilt => f.write_str(
                "not built yet, and without it something else would be sent than was asked for",
            ),
            ProblemKind::DuplicateFlow(id) => write!(f, "duplicate flow {id}"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{} is not JSON", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file is JSON, and something in it is wrong.
    #[error("{}: {}", path.display(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The main file.
        path: PathBuf,
        /// Every problem, in the order of the registry.
        problems: Vec<ConfigProblem>,
    },
}

impl Config {
    /// Reads the main file and the files of `agent.d` beside it, in the order of their names; of those
    /// only `flows` is used, and one that cannot be parsed is skipped with a warning.
    ///
    /// # Errors
    /// The main file cannot be read or parsed, or anything in it or in a flow stops the start: all of it
    /// at once.
    pub fn from_file(
        path: impl AsRef<Path>,
        strictness: Strictness,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        read::from_file(path.as_ref(), strictness)
    }
}
