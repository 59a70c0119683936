//! What can go wrong on the side of the user of this library.

use crate::refusal::Refusal;

/// An endpoint could not be made, or a direct helper was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The service would have answered with this error.
    #[error("{code}: {message}")]
    Refused {
        /// AWS' name of the error.
        code: String,
        /// Its text.
        message: String,
    },
    /// The DynamoDB store could not be opened.
    #[error("the DynamoDB store could not be opened: {0}")]
    Store(String),
}

impl From<Refusal> for LocalError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            code: refusal.code.into_owned(),
            message: refusal.message,
        }
    }
}

/// A fault left a request without an answer. Whether it took effect cannot be told from this, as on a
/// real connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was lost by a scripted fault")]
pub struct ConnectionLost;
