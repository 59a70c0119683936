//! Errors, and the one table that says what each means.

use crate::credentials::CredentialsError;
use crate::transport::TransportError;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service answered with an error.
    #[error(transparent)]
    Service(Box<ServiceError>),
    /// The request or the answer got lost on the way; whether the call took effect is unknown.
    #[error("{operation} at {endpoint}: {source}")]
    Transport {
        /// The operation.
        operation: &'static str,
        /// Where it was sent.
        endpoint: String,
        /// What happened.
        source: TransportError,
    },
    /// No answer in time; whether the call took effect is unknown.
    #[error("{operation} at {endpoint}: no answer within {after:?}")]
    Timeout {
        /// The operation.
        operation: &'static str,
        /// Where it was sent.
        endpoint: String,
        /// The bound that was reached.
        after: Duration,
    },
    /// There were no credentials to sign with.
    #[error("{operation}: {source}")]
    Credentials {
        /// The operation.
        operation: &'static str,
        /// What was tried.
        source: CredentialsError,
    },
    /// The request could not be made or signed.
    #[error("{operation}: the request could not be made: {reason}")]
    Request {
        /// The operation.
        operation: &'static str,
        /// Why.
        reason: String,
    },
    /// The answer was not understood (cut, garbled, or a member is missing); whether the call took
    /// effect is unknown.
    #[error("{operation} at {endpoint}: the answer was not understood: {reason}")]
    Answer {
        /// The operation.
        operation: &'static str,
        /// Who answered.
        endpoint: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// An error that the service answered with.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// The operation.
    pub operation: &'static str,
    /// Who answered.
    pub endpoint: String,
    /// The HTTP status.
    pub status: u16,
    /// The error's name, e.g. `ResourceNotFoundException`; empty when the answer names none.
    pub code: String,
    /// The service's text.
    pub message: String,
    /// The request's id, to quote to the service's support.
    pub request_id: Option<String>,
    /// The whole body, for members that only some errors have.
    pub(crate) body: Bytes,
}

impl fmt::Debug for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceError")
            .field("operation", &self.operation)
            .field("endpoint", &self.endpoint)
            .field("status", &self.status)
            .field("code", &self.code)
            .field("message", &self.message)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: ", self.operation, self.endpoint)?;
        match self.code.as_str() {
            "" => write!(f, "HTTP status {}", self.status)?,
            code => write!(f, "{code}: {}", self.message)?,
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServiceError {}

/// What an error means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Too many or too large calls: slow down, then try again.
    Throttled,
    /// A passing fault of the service or the network: try again.
    Transient,
    /// The credentials are missing, wrong or expired, or the clocks differ: get new ones.
    Credential,
    /// The credentials are good but may not do this.
    AccessDenied,
    /// The stream, table, shard or item does not exist.
    NotFound,
    /// It exists already, or its state forbids the call for now.
    InUse,
    /// A limit of calls per second of the control plane, or of the account. The service does not tell
    /// which, so it is tried again, as the AWS SDKs do.
    LimitExceeded,
    /// The iterator is older than five minutes.
    ExpiredIterator,
    /// The continuation token is older than five minutes.
    ExpiredToken,
    /// A write's condition did not hold.
    ConditionFailed,
    /// Another transaction was at the same item.
    Conflict,
    /// The encryption key is disabled, deleted or may not be used.
    Key,
    /// The request is wrong; sending it again changes nothing.
    Invalid,
    /// Anything else that trying again does not mend.
    Fatal,
}

impl ErrorKind {
    /// True when the same call may succeed later without anyone's doing.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Transient | Self::Conflict | Self::LimitExceeded
        )
    }
}

/// Names that services give to errors, and what each means. The first match counts.
const CODES: &[(&str, ErrorKind)] = &[
    (
        "ProvisionedThroughputExceededException",
        ErrorKind::Throttled,
    ),
    ("ThrottlingException", ErrorKind::Throttled),
    ("Throttling", ErrorKind::Throttled),
    ("ThrottledException", ErrorKind::Throttled),
    ("RequestLimitExceeded", ErrorKind::Throttled),
    ("TooManyRequestsException", ErrorKind::Throttled),
    ("SlowDown", ErrorKind::Throttled),
    ("KMSThrottlingException", ErrorKind::Throttled),
    ("BandwidthLimitExceeded", ErrorKind::Throttled),
    ("RequestThrottled", ErrorKind::Throttled),
    ("RequestThrottledException", ErrorKind::Throttled),
    ("InternalFailure", ErrorKind::Transient),
    ("InternalFailureException", ErrorKind::Transient),
    ("InternalServerError", ErrorKind::Transient),
    ("ServiceUnavailable", ErrorKind::Transient),
    ("ServiceUnavailableException", ErrorKind::Transient),
    ("RequestTimeout", ErrorKind::Transient),
    ("RequestTimeoutException", ErrorKind::Transient),
    ("PriorRequestNotComplete", ErrorKind::Transient),
    ("ExpiredIteratorException", ErrorKind::ExpiredIterator),
    ("ExpiredNextTokenException", ErrorKind::ExpiredToken),
    (
        "ConditionalCheckFailedException",
        ErrorKind::ConditionFailed,
    ),
    ("TransactionConflictException", ErrorKind::Conflict),
    ("TransactionInProgressException", ErrorKind::Conflict),
    ("ResourceNotFoundException", ErrorKind::NotFound),
    ("ResourceInUseException", ErrorKind::InUse),
    ("LimitExceededException", ErrorKind::LimitExceeded),
    (
        "ItemCollectionSizeLimitExceededException",
        ErrorKind::Invalid,
    ),
    ("AccessDeniedException", ErrorKind::AccessDenied),
    ("AccessDenied", ErrorKind::AccessDenied),
    ("NotAuthorized", ErrorKind::AccessDenied),
    ("OptInRequired", ErrorKind::AccessDenied),
    ("ExpiredTokenException", ErrorKind::Credential),
    ("ExpiredToken", ErrorKind::Credential),
    ("UnrecognizedClientException", ErrorKind::Credential),
    ("InvalidClientTokenId", ErrorKind::Credential),
    ("MissingAuthenticationToken", ErrorKind::Credential),
    ("MissingAuthenticationTokenException", ErrorKind::Credential),
    ("IncompleteSignature", ErrorKind::Credential),
    ("IncompleteSignatureException", ErrorKind::Credential),
    ("InvalidSignatureException", ErrorKind::Credential),
    ("SignatureDoesNotMatch", ErrorKind::Credential),
    ("RequestExpired", ErrorKind::Credential),
    ("RequestTimeTooSkewed", ErrorKind::Credential),
    ("KMSAccessDeniedException", ErrorKind::Key),
    ("KMSDisabledException", ErrorKind::Key),
    ("KMSInvalidStateException", ErrorKind::Key),
    ("KMSNotFoundException", ErrorKind::Key),
    ("KMSOptInRequired", ErrorKind::Key),
    ("InvalidArgumentException", ErrorKind::Invalid),
    ("ValidationException", ErrorKind::Invalid),
    ("SerializationException", ErrorKind::Invalid),
    ("UnknownOperationException", ErrorKind::Invalid),
    ("MissingAction", ErrorKind::Invalid),
    ("TransactionCanceledException", ErrorKind::Fatal),
];

/// Errors that say that our clock and the service's differ.
const SKEW: &[&str] = &[
    "RequestTimeTooSkewed",
    "RequestExpired",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
];

/// What an error that a service answered with means: by its name, else by the HTTP status.
#[must_use]
pub(crate) fn classify(code: &str, status: u16) -> ErrorKind {
    match CODES.iter().find(|(name, _)| *name == code) {
        Some((_, kind)) => *kind,
        None => match status {
            429 | 509 => ErrorKind::Throttled,
            408 | 500..=599 => ErrorKind::Transient,
            401 => ErrorKind::Credential,
            403 => ErrorKind::AccessDenied,
            404 => ErrorKind::NotFound,
            400..=499 => ErrorKind::Invalid,
            _ => ErrorKind::Fatal,
        },
    }
}

impl ServiceError {
    /// What the error means.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        classify(&self.code, self.status)
    }

    /// True when the error may come from a wrong clock.
    pub(crate) fn may_be_skew(&self) -> bool {
        SKEW.contains(&self.code.as_str())
    }
}

impl Error {
    /// What the error means.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Service(e) => e.kind(),
            Self::Transport {
                source: TransportError::TooLarge { .. } | TransportError::CaFile(_),
                ..
            } => ErrorKind::Fatal,
            Self::Transport { .. } | Self::Timeout { .. } | Self::Answer { .. } => {
                ErrorKind::Transient
            }
            Self::Credentials { .. } => ErrorKind::Credential,
            Self::Request { .. } => ErrorKind::Invalid,
        }
    }

    /// True when the same call may succeed later without anyone's doing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }

    /// True when the attempt that this error is of may have taken effect although it failed: the answer
    /// got lost, was not understood, or came from a server in trouble. After a call that was tried
    /// again the error is that of the last attempt, and says nothing of those before it: who needs to
    /// know makes one attempt a call ([`runtime::RetryPolicy::none`]).
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Service(e) => e.kind() == ErrorKind::Transient,
            Self::Transport { source, .. } => source.may_have_been_sent(),
            Self::Timeout { .. } | Self::Answer { .. } => true,
            Self::Credentials { .. } | Self::Request { .. } => false,
        }
    }

    /// The error's name as attempts and metrics show it: the service's own, else one of `Transport`,
    /// `Timeout`, `Credentials`, `Request`, `Answer`, or `HTTP <status>`.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Service(e) if e.code.is_empty() => format!("HTTP {}", e.status),
            Self::Service(e) => e.code.clone(),
            Self::Transport { .. } => "Transport".to_owned(),
            Self::Timeout { .. } => "Timeout".to_owned(),
            Self::Credentials { .. } => "Credentials".to_owned(),
            Self::Request { .. } => "Request".to_owned(),
            Self::Answer { .. } => "Answer".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_before_status() {
        let table = [
            (
                "ProvisionedThroughputExceededException",
                400,
                ErrorKind::Throttled,
            ),
            ("ThrottlingException", 400, ErrorKind::Throttled),
            ("ExpiredIteratorException", 400, ErrorKind::ExpiredIterator),
            (
                "ConditionalCheckFailedException",
                400,
                ErrorKind::ConditionFailed,
            ),
            ("ExpiredTokenException", 400, ErrorKind::Credential),
            ("ResourceNotFoundException", 400, ErrorKind::NotFound),
            ("AccessDeniedException", 400, ErrorKind::AccessDenied),
            ("ValidationException", 400, ErrorKind::Invalid),
            ("KMSThrottlingException", 400, ErrorKind::Throttled),
            ("SomethingNew", 400, ErrorKind::Invalid),
            ("SomethingNew", 500, ErrorKind::Transient),
            ("", 503, ErrorKind::Transient),
            ("", 429, ErrorKind::Throttled),
            ("", 403, ErrorKind::AccessDenied),
            ("", 301, ErrorKind::Fatal),
        ];
        for (code, status, kind) in table {
            assert_eq!(classify(code, status), kind, "{code} {status}");
        }
    }

    #[test]
    fn only_passing_faults_are_retried() {
        let retried: Vec<_> = CODES
            .iter()
            .map(|c| c.1)
            .filter(|k| k.is_retryable())
            .collect();
        assert!(retried.iter().all(|k| {
            matches!(
                k,
                ErrorKind::Throttled
                    | ErrorKind::Transient
                    | ErrorKind::Conflict
                    | ErrorKind::LimitExceeded
            )
        }));
        assert_eq!(retried.len(), 22);
        let too_large = Error::Transport {
            operation: "GetRecords",
            endpoint: String::new(),
            source: TransportError::TooLarge { limit: 1 },
        };
        assert!(!too_large.is_retryable(), "it will be as large again");
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<_> = CODES.iter().map(|c| c.0).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
