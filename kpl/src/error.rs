//! Errors: of building a producer, of putting a record, of delivering one.

use crate::prepare::SerializeError;
use crate::receipt::BatchReceipt;
use crate::record::Record;
use crate::spool::SpoolError;
use bytes::Bytes;
use runtime::{Attempts, SettingsError};
use std::sync::Arc;
use std::time::Duration;

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings that are unknown or impossible, all of them.
    #[error("bad settings: {0}")]
    Settings(#[from] SettingsError),
    /// No place to connect to could be made out.
    #[error(transparent)]
    Config(#[from] aws::ConfigError),
    /// The stream does not exist in this account and region.
    #[error("stream {stream:?} does not exist in {region}: {source}")]
    StreamNotFound {
        /// The stream's name.
        stream: String,
        /// Where it was looked for.
        region: String,
        /// The service's answer.
        source: Box<aws::Error>,
    },
    /// The stream is being made or deleted, or has no open shard.
    #[error("stream {stream:?} is not active: {reason}")]
    StreamNotActive {
        /// The stream's name.
        stream: String,
        /// What the service said, or what is missing.
        reason: String,
    },
    /// The credentials may not list the stream's shards (`kinesis:ListShards`).
    #[error("stream {stream:?}: access denied: {source}")]
    Denied {
        /// The stream's name.
        stream: String,
        /// The service's answer.
        source: Box<aws::Error>,
    },
    /// The credentials are missing, wrong or expired.
    #[error("stream {stream:?}: no usable credentials: {source}")]
    Credentials {
        /// The stream's name.
        stream: String,
        /// What was tried, or the service's answer.
        source: Box<aws::Error>,
    },
    /// The shards could not be listed for another reason, after retries.
    #[error("stream {stream:?}: its shards could not be listed: {source}")]
    Unavailable {
        /// The stream's name.
        stream: String,
        /// The last failure.
        source: Box<aws::Error>,
    },
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What was given for a stream is neither a name nor the ARN of a stream of the region, or `StreamId`
    /// is not one.
    #[error("{stream:?} is no stream to put to: {reason}")]
    BadStream {
        /// What was given.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The upload of metrics cannot be started.
    #[error("metrics cannot be uploaded: {0}")]
    Metrics(#[from] aws::cloudwatch::UploaderError),
    /// There is no tokio runtime to deliver on.
    #[error("a producer is built inside a tokio runtime; without one, by build_blocking")]
    NoRuntime,
    /// A blocking producer was to be built on a thread of a runtime, which it would block.
    #[error(transparent)]
    InRuntime(#[from] InRuntime),
    /// A blocking producer's own runtime or thread could not be made.
    #[error("no thread to deliver on: {0}")]
    Thread(#[source] std::io::Error),
}

/// A blocking call was made on a thread of an async runtime: it would keep the thread from everything
/// else that runs there, which may be what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blocking call on a thread of an async runtime")]
pub struct InRuntime;

/// Why there is no delivery to a blocking caller.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The call was made on a thread of an async runtime. The record is delivered all the same.
    #[error(transparent)]
    InRuntime(#[from] InRuntime),
    /// The record was not delivered.
    #[error(transparent)]
    Failed(#[from] DeliveryError),
}

/// Why a record was not admitted. It comes back: [`PutError::into_record`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The producer is closed, or its runtime has ended.
    #[error("the producer is closed")]
    Closed {
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// There is no room, or others wait for it: only from [`Producer::try_put`](crate::Producer::try_put).
    #[error("there is no room for the record now")]
    Full {
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// A blocking call on a thread of an async runtime: only from a
    /// [`BlockingProducer`](crate::BlockingProducer).
    #[error("{InRuntime}")]
    InRuntime {
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// The [`Serializer`](crate::Serializer) refused it, or it could not be compressed.
    #[error("the record was not admitted: {source}")]
    Serializer {
        /// What the serializer said.
        source: SerializeError,
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// The record could not be written to the spool: a full disk, for instance.
    #[error("the record was not admitted: {source}")]
    Spool {
        /// What went wrong.
        source: Arc<SpoolError>,
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// There is a spool, and its disk has to be waited for: only from
    /// [`Producer::try_put`](crate::Producer::try_put).
    #[error(
        "with a spool a record is written to disk first, which try_put does not wait for: use put"
    )]
    Spooled {
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// Data and partition key are larger than a Kinesis record may be.
    #[error("the record takes {size} bytes with its partition key, more than {limit}")]
    TooLarge {
        /// The record's size in bytes.
        size: usize,
        /// The service's limit in bytes.
        limit: usize,
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// The data is larger than `MaxUserRecordSize`.
    #[error("the record's data takes {size} bytes, more than MaxUserRecordSize ({limit})")]
    DataTooLarge {
        /// The data's size in bytes.
        size: usize,
        /// The setting.
        limit: usize,
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// The partition key is empty or longer than 256 characters.
    #[error("the partition key has {length} characters; 1 to 256 are allowed")]
    InvalidKey {
        /// The key's length in UTF-16 units, as the service counts.
        length: usize,
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// The record has no partition key, and the stream places records by theirs, or is not known to
    /// distribute them itself.
    #[error("the record has no partition key, and the stream is not known to do without")]
    NoPartitionKey {
        /// The record that was not admitted.
        record: Box<Record>,
    },
}

impl PutError {
    /// The record that was not admitted.
    #[must_use]
    pub fn into_record(mut self) -> Record {
        let nothing = Record::new(String::new(), Bytes::new());
        std::mem::replace(self.record_mut(), nothing)
    }

    /// The same, giving back another record: the one that the caller gave.
    pub(crate) fn giving_back(mut self, record: Option<Record>) -> Self {
        if let Some(record) = record {
            *self.record_mut() = record;
        }
        self
    }

    fn record_mut(&mut self) -> &mut Record {
        match self {
            Self::Closed { record }
            | Self::Full { record }
            | Self::InRuntime { record }
            | Self::Serializer { record, .. }
            | Self::Spool { record, .. }
            | Self::Spooled { record }
            | Self::TooLarge { record, .. }
            | Self::DataTooLarge { record, .. }
            | Self::InvalidKey { record, .. }
            | Self::NoPartitionKey { record } => record,
        }
    }
}

/// Why a batch was not admitted, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{} records of the batch were not admitted: {reason}", .records.len())]
#[non_exhaustive]
pub struct PutAllError {
    /// What stopped it. With [`PutAllReason::Unacceptable`], nothing was admitted.
    pub reason: PutAllReason,
    /// The records that were not admitted, in their order.
    pub records: Vec<Record>,
    /// The records before them, if the batch was larger than the bounds and went in parts.
    pub admitted: Option<Box<BatchReceipt>>,
}

/// What stopped a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutAllReason {
    /// The producer is closed, or its runtime has ended.
    #[error("the producer is closed")]
    Closed,
    /// A blocking call on a thread of an async runtime: only from a
    /// [`BlockingProducer`](crate::BlockingProducer).
    #[error("{InRuntime}")]
    InRuntime,
    /// The [`Serializer`](crate::Serializer) refused a record, or it could not be compressed.
    #[error("record {index} of the batch: {problem}")]
    Serializer {
        /// The first such record's place in the batch, from 0.
        index: usize,
        /// What the serializer said.
        problem: String,
    },
    /// The records could not be written to the spool: a full disk, for instance.
    #[error("{problem}")]
    Spool {
        /// What went wrong.
        problem: String,
    },
    /// A record is too large or has a bad partition key; [`Producer::put`](crate::Producer::put) says
    /// more about it.
    #[error("record {index} of the batch is too large or has no valid partition key")]
    Unacceptable {
        /// The first such record's place in the batch, from 0.
        index: usize,
    },
}

/// Why an admitted record was not delivered. Clones share the attempts. Each holds the record if
/// `ReturnUserRecordOnFailure` is set.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Its time to live (`RecordTtl`) passed. The last attempt says what kept it; without attempts, it
    /// was never its turn (rate limit, back-off, endpoint away). Where an attempt's answer was lost, it
    /// may have been stored all the same.
    #[error("expired after {} attempts{}{}", .attempts.count(), last(.attempts), throttle(*.behind_throttle))]
    #[non_exhaustive]
    Expired {
        /// What was tried.
        attempts: Arc<Attempts>,
        /// Its shard refused everything as throttled then. Such a shard is asked with little; what waits
        /// behind that has no attempt that would say so.
        behind_throttle: bool,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
    /// The service throttled it, and `FailIfThrottled` is set.
    #[error("throttled{}", last(.attempts))]
    #[non_exhaustive]
    Throttled {
        /// What was tried.
        attempts: Arc<Attempts>,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
    /// The service refused it for a reason that trying again does not mend: no such stream, access
    /// denied, the encryption key disabled, an invalid request.
    #[error("refused: {code}: {message}")]
    #[non_exhaustive]
    Rejected {
        /// What the refusal means.
        kind: aws::ErrorKind,
        /// The error's name.
        code: String,
        /// The error's text.
        message: String,
        /// What was tried.
        attempts: Arc<Attempts>,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
    /// It has no partition key, and the stream turned out to place records by theirs: it was put before
    /// that was known, or the stream was changed.
    #[error("the record has no partition key, and the stream is not known to do without{}", last(.attempts))]
    #[non_exhaustive]
    NoPartitionKey {
        /// What was tried.
        attempts: Arc<Attempts>,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
    /// It is larger than the stream takes, which was not known when it was put.
    #[error(
        "the record takes {size} bytes with its partition key, more than the stream takes: {limit}"
    )]
    #[non_exhaustive]
    TooLarge {
        /// The record's size in bytes.
        size: usize,
        /// The stream's limit in bytes.
        limit: usize,
        /// What was tried.
        attempts: Arc<Attempts>,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
    /// The producer was closed, or its runtime ended, before there was an outcome. If a request was on
    /// its way, the record may have been stored.
    #[error("the producer was closed before delivery, after {} attempts", .attempts.count())]
    #[non_exhaustive]
    Closed {
        /// What was tried.
        attempts: Arc<Attempts>,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
    /// `UserRecordTimeoutInMillis` passed. Only the receipt has given up: delivery goes on and may still
    /// succeed.
    #[error("no outcome within {after:?}; delivery goes on")]
    #[non_exhaustive]
    TimedOut {
        /// The setting.
        after: Duration,
        /// Empty: the attempts are known with the outcome.
        attempts: Arc<Attempts>,
        /// The record, if it was to be kept.
        record: Option<Box<Record>>,
    },
}

impl DeliveryError {
    /// What was tried, oldest first.
    #[must_use]
    pub fn attempts(&self) -> &Attempts {
        match self {
            Self::Expired { attempts, .. }
            | Self::Throttled { attempts, .. }
            | Self::Rejected { attempts, .. }
            | Self::NoPartitionKey { attempts, .. }
            | Self::TooLarge { attempts, .. }
            | Self::Closed { attempts, .. }
            | Self::TimedOut { attempts, .. } => attempts,
        }
    }

    /// The record, if `ReturnUserRecordOnFailure` is set.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Expired { record, .. }
            | Self::Throttled { record, .. }
            | Self::Rejected { record, .. }
            | Self::NoPartitionKey { record, .. }
            | Self::TooLarge { record, .. }
            | Self::Closed { record, .. }
            | Self::TimedOut { record, .. } => record.as_deref(),
        }
    }

    /// The record by value, if `ReturnUserRecordOnFailure` is set.
    #[must_use]
    pub fn into_record(mut self) -> Option<Record> {
        self.parts_mut().1.take().map(|record| *record)
    }

    pub(crate) const fn parts_mut(&mut self) -> (&mut Arc<Attempts>, &mut Option<Box<Record>>) {
        match self {
            Self::Expired {
                attempts, record, ..
            }
            | Self::Throttled { attempts, record }
            | Self::NoPartitionKey { attempts, record }
            | Self::Rejected {
                attempts, record, ..
            }
            | Self::TooLarge {
                attempts, record, ..
            }
            | Self::Closed { attempts, record }
            | Self::TimedOut {
                attempts, record, ..
            } => (attempts, record),
        }
    }

    pub(crate) const fn expired(attempts: Arc<Attempts>, behind_throttle: bool) -> Self {
        Self::Expired {
            attempts,
            behind_throttle,
            record: None,
        }
    }

    pub(crate) const fn throttled(attempts: Arc<Attempts>) -> Self {
        Self::Throttled {
            attempts,
            record: None,
        }
    }

    pub(crate) const fn no_partition_key(attempts: Arc<Attempts>) -> Self {
        Self::NoPartitionKey {
            attempts,
            record: None,
        }
    }

    pub(crate) fn closed() -> Self {
        Self::Closed {
            attempts: Arc::default(),
            record: None,
        }
    }

    pub(crate) fn timed_out(after: Duration, record: Option<Record>) -> Self {
        Self::TimedOut {
            after,
            attempts: Arc::default(),
            record: record.map(Box::new),
        }
    }
}

const fn throttle(behind: bool) -> &'static str {
    if behind {
        "; its shard was throttled"
    } else {
        ""
    }
}

fn last(attempts: &Attempts) -> String {
    let Some(last) = attempts.last() else {
        return String::new();
    };
    match (&last.code, &last.message) {
        (Some(code), Some(message)) => format!("; the last: {code}: {message}"),
        (Some(code), None) => format!("; the last: {code}"),
        _ => String::new(),
    }
}
