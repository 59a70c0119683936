//! Errors: of building a producer, of putting a record, of delivering one.

use crate::receipt::BatchReceipt;
use crate::record::Record;
use runtime::{Attempts, SettingsError};
use std::sync::Arc;

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
        source: aws::Error,
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
        source: aws::Error,
    },
    /// The credentials are missing, wrong or expired.
    #[error("stream {stream:?}: no usable credentials: {source}")]
    Credentials {
        /// The stream's name.
        stream: String,
        /// What was tried, or the service's answer.
        source: aws::Error,
    },
    /// The shards could not be listed for another reason, after retries.
    #[error("stream {stream:?}: its shards could not be listed: {source}")]
    Unavailable {
        /// The stream's name.
        stream: String,
        /// The last failure.
        source: aws::Error,
    },
    /// There is no tokio runtime to deliver on.
    #[error("a producer is built inside a tokio runtime")]
    NoRuntime,
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
}

impl PutError {
    /// The record that was not admitted.
    #[must_use]
    pub fn into_record(self) -> Record {
        match self {
            Self::Closed { record }
            | Self::TooLarge { record, .. }
            | Self::DataTooLarge { record, .. }
            | Self::InvalidKey { record, .. } => *record,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutAllReason {
    /// The producer is closed, or its runtime has ended.
    #[error("the producer is closed")]
    Closed,
    /// A record is too large or has a bad partition key; [`Producer::put`](crate::Producer::put) says
    /// more about it.
    #[error("record {index} of the batch is too large or has no valid partition key")]
    Unacceptable {
        /// The first such record's place in the batch, from 0.
        index: usize,
    },
}

/// Why an admitted record was not delivered. Clones share the attempts.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Its time to live (`RecordTtl`) passed. The last attempt says what kept it; without attempts, it
    /// was never its turn (rate limit, back-off, endpoint away). Where an attempt's answer was lost, it
    /// may have been stored all the same.
    #[error("expired after {} attempts{}", .attempts.count(), last(.attempts))]
    Expired {
        /// What was tried.
        attempts: Arc<Attempts>,
    },
    /// The service throttled it, and `FailIfThrottled` is set.
    #[error("throttled{}", last(.attempts))]
    Throttled {
        /// What was tried.
        attempts: Arc<Attempts>,
    },
    /// The service refused it for a reason that trying again does not mend: no such stream, access
    /// denied, the encryption key disabled, an invalid request.
    #[error("refused: {code}: {message}")]
    Rejected {
        /// What the refusal means.
        kind: aws::ErrorKind,
        /// The error's name.
        code: String,
        /// The error's text.
        message: String,
        /// What was tried.
        attempts: Arc<Attempts>,
    },
    /// The producer was closed, or its runtime ended, before there was an outcome. If a request was on
    /// its way, the record may have been stored.
    #[error("the producer was closed before delivery, after {} attempts", .attempts.count())]
    Closed {
        /// What was tried.
        attempts: Arc<Attempts>,
    },
}

impl DeliveryError {
    /// What was tried, oldest first.
    #[must_use]
    pub fn attempts(&self) -> &Attempts {
        match self {
            Self::Expired { attempts }
            | Self::Throttled { attempts }
            | Self::Rejected { attempts, .. }
            | Self::Closed { attempts } => attempts,
        }
    }

    pub(crate) fn attempts_mut(&mut self) -> &mut Arc<Attempts> {
        match self {
            Self::Expired { attempts }
            | Self::Throttled { attempts }
            | Self::Rejected { attempts, .. }
            | Self::Closed { attempts } => attempts,
        }
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
