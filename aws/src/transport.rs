//! The seam between typed operations and bytes on a wire.

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
        request: http::Request<Bytes>,
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
    #[error("no connection: {0}")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection ended before the answer was whole; the service may have acted.
    #[error("connection lost: {0}")]
    Lost(#[source] Box<dyn StdError + Send + Sync>),
    /// The answer is larger than anything this operation can answer.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound that was passed.
        limit: usize,
    },
}

impl TransportError {
    /// True when the service may have received the request.
    #[must_use]
    pub fn may_have_been_sent(&self) -> bool {
        !matches!(self, Self::Connect(_))
    }
}

/// The body of an answer, as it arrives.
pub struct Body(BoxStream<'static, Result<Bytes, TransportError>>);

impl Body {
    /// A body from its parts.
    pub fn from_stream<S>(parts: S) -> Self
    where
        S: futures::Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
    {
        Self(parts.boxed())
    }

    /// The whole body; a body of one part is not copied.
    ///
    /// # Errors
    /// When the connection ends early, or the body passes `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, TransportError> {
        let too_large = TransportError::TooLarge { limit };
        let Some(first) = self.0.next().await else {
            return Ok(Bytes::new());
        };
        let first = first?;
        let Some(second) = self.0.next().await else {
            return if first.len() > limit {
                Err(too_large)
            } else {
                Ok(first)
            };
        };
        let mut whole = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(part) = next {
            whole.extend_from_slice(&part?);
            if whole.len() > limit {
                return Err(too_large);
            }
            next = self.0.next().await;
        }
        Ok(whole.freeze())
    }

    /// The parts as they arrive.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, TransportError>> {
        self.0
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self(futures::stream::once(async { Ok(whole) }).boxed())
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
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        let answer = (self.0)(request);
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
