//! The seam between typed operations and bytes on a wire.

pub use crate::request_body::RequestBody;

use crate::tls::CaFileError;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Sends one request and gives one answer. No retry, no signing, no time-out: those belong to the
/// caller.
///
/// # Cancellation
/// Dropping the future gives the attempt up; the service may have received it.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends `request` and waits for the head of the answer.
    fn call(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>>;

    /// A transport to the same places over connections of its own, for work that must not wait behind
    /// other requests or that runs on another runtime; `None` where there are no connections to share.
    ///
    /// # Errors
    /// When it cannot be made.
    fn separate(&self) -> Result<Option<Arc<dyn Transport>>, TransportError> {
        Ok(None)
    }
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection was made; the service has seen nothing.
    #[error("no connection: {}", with_causes(.0.as_ref()))]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// The server's certificate was not accepted; the service has seen nothing.
    #[error(
        "the server's certificate is not accepted: {0}; if an authority of your own signed it, name \
         that authority's PEM file: `ca_file`, AWS_CA_BUNDLE, or `ca_bundle` of the profile"
    )]
    Certificate(#[source] Box<dyn StdError + Send + Sync>),
    /// The file of certificates to trust cannot be used.
    #[error(transparent)]
    CaFile(Box<CaFileError>),
    /// The connection ended before the answer was whole; the service may have acted.
    #[error("connection lost: {}", with_causes(.0.as_ref()))]
    Lost(#[source] Box<dyn StdError + Send + Sync>),
    /// The answer is larger than anything this operation can answer.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound that was passed.
        limit: usize,
    },
}

/// The error and its causes, down to the one that says what to do about it ("connection refused",
/// "invalid peer certificate").
fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some wrap an error and say nothing of their own.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

impl TransportError {
    /// True when the service may have received the request.
    #[must_use]
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Certificate(_) | Self::CaFile(_) => false,
            Self::Lost(_) | Self::TooLarge { .. } => true,
        }
    }
}

/// The body of an answer, as it arrives.
pub struct Body {
    parts: BoxStream<'static, Result<Bytes, TransportError>>,
    /// As announced; a hint and no more.
    length: usize,
}

impl Body {
    /// A body from its parts.
    pub fn from_stream<S>(parts: S) -> Self
    where
        S: futures::Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
    {
        Self {
            parts: parts.boxed(),
            length: 0,
        }
    }

    /// The same body with the length that was announced for it (`Content-Length`), so that its parts
    /// are joined in a buffer of that size and not in a growing one. Nothing else depends on it.
    #[must_use]
    pub fn with_length(self, bytes: u64) -> Self {
        Self {
            length: usize::try_from(bytes).unwrap_or(usize::MAX),
            ..self
        }
    }

    /// The whole body; a body of one part is not copied.
    ///
    /// # Errors
    /// When the connection ends early, or the body passes `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, TransportError> {
        let too_large = TransportError::TooLarge { limit };
        let Some(first) = self.parts.next().await else {
            return Ok(Bytes::new());
        };
        let first = first?;
        let Some(second) = self.parts.next().await else {
            return if first.len() > limit {
                Err(too_large)
            } else {
                Ok(first)
            };
        };
        let mut whole = BytesMut::with_capacity(self.length.min(limit).max(first.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(part) = next {
            let part = part?;
            if whole.len() + part.len() > limit {
                return Err(too_large);
            }
            whole.extend_from_slice(&part);
            next = self.parts.next().await;
        }
        Ok(whole.freeze())
    }

    /// The parts as they arrive.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, TransportError>> {
        self.parts
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self::from_stream(futures::stream::once(async { Ok(whole) }))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

/// A transport without sockets: calls a handler on the caller's task, so that a paused clock cannot
/// jump past the answer. The handler's error counts as a lost connection.
pub struct InProcess<F>(F);

impl<F> InProcess<F> {
    /// A transport that answers with `handler`.
    pub const fn new(handler: F) -> Self {
        Self(handler)
    }
}

impl<F> fmt::Debug for InProcess<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl<F, Answer, E> Transport for InProcess<F>
where
    F: Fn(http::Request<Bytes>) -> Answer + Send + Sync,
    Answer: Future<Output = Result<http::Response<Bytes>, E>> + Send + 'static,
    E: StdError + Send + Sync + 'static,
{
    fn call(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        let answer = (self.0)(request.map(RequestBody::into_bytes));
        Box::pin(async move {
            match answer.await {
                Ok(response) => Ok(response.map(Body::from)),
                Err(error) => Err(TransportError::Lost(Box::new(error))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[&'static str]) -> Body {
        let parts: Vec<_> = parts
            .iter()
            .map(|p| Ok(Bytes::from_static(p.as_bytes())))
            .collect();
        Body::from_stream(futures::stream::iter(parts))
    }

    #[tokio::test]
    async fn a_large_body_takes_the_memory_that_it_was_announced_with() {
        const PART: usize = 10_000;
        let parts = || {
            let part = || Ok(Bytes::from(vec![7; PART]));
            Body::from_stream(futures::stream::iter((0..101).map(move |_| part())))
        };
        let whole = parts().with_length(101 * PART as u64);
        let whole = whole.collect(1 << 30).await.unwrap();
        assert_eq!(whole.len(), 101 * PART);
        let memory = whole.try_into_mut().unwrap().capacity();
        assert!(memory <= 101 * PART + PART, "{memory}");
        for lie in [0, 1, u64::MAX] {
            let whole = parts().with_length(lie).collect(101 * PART).await.unwrap();
            assert_eq!(whole.len(), 101 * PART, "{lie}");
        }
    }

    #[test]
    fn causes_are_told_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Inner(#[from] std::fmt::Error);
        let error = TransportError::Connect(Box::new(Outer(Inner(std::fmt::Error))));
        let text = format!("no connection: outer: {}", std::fmt::Error);
        assert_eq!(error.to_string(), text);
    }

    #[tokio::test]
    async fn bodies_are_joined_within_their_bound() {
        assert_eq!(parts(&[]).collect(0).await.unwrap(), "");
        assert_eq!(parts(&["abc"]).collect(3).await.unwrap(), "abc");
        assert_eq!(parts(&["a", "bc", "d"]).collect(4).await.unwrap(), "abcd");
        assert!(matches!(
            parts(&["abc"]).collect(2).await,
            Err(TransportError::TooLarge { limit: 2 })
        ));
        assert!(matches!(
            parts(&["ab", "cd"]).collect(3).await,
            Err(TransportError::TooLarge { limit: 3 })
        ));
    }
}
