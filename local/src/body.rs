//! The body of an answer: whole, or events as they come.

use crate::error::ConnectionLost;
use crate::kinesis::subscription::Subscription;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer of [`Local::handle_streaming`](crate::Local::handle_streaming).
///
/// An answer of SubscribeToShard is a stream of event frames. They are made when the body is polled
/// and not before: a reader that does not read holds nothing but its place in the shard.
pub struct AnswerBody {
    kind: Kind,
    /// Ends the body early, without an error.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

enum Kind {
    Whole(Bytes),
    Events(Box<Subscription>),
    Ended,
}

impl AnswerBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            kind: Kind::Whole(bytes.into()),
            end: None,
        }
    }

    pub(crate) fn events(subscription: Subscription) -> Self {
        Self {
            kind: Kind::Events(Box::new(subscription)),
            end: None,
        }
    }

    /// The same, but events end when `end` does. A whole body is not cut.
    pub(crate) fn ending_with(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            end: matches!(self.kind, Kind::Events(_)).then(|| Box::pin(end) as _),
            ..self
        }
    }

    /// All of a body that is whole; none of one that comes in events.
    #[must_use]
    pub fn as_whole(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Whole(bytes) => Some(bytes),
            Kind::Events(_) | Kind::Ended => None,
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Whole(_) => "AnswerBody::Whole",
            Kind::Events(_) => "AnswerBody::Events",
            Kind::Ended => "AnswerBody::Ended",
        })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ConnectionLost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionLost>>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            self.end = None;
            self.kind = Kind::Ended;
        }
        let frame = match &mut self.kind {
            Kind::Events(subscription) => match subscription.poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            },
            Kind::Whole(bytes) if !bytes.is_empty() => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Ended;
                Some(bytes)
            }
            Kind::Whole(_) | Kind::Ended => None,
        };
        if frame.is_none() {
            self.kind = Kind::Ended;
            self.end = None;
        }
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Events(_) => false,
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Events(_) => SizeHint::default(),
            Kind::Ended => SizeHint::with_exact(0),
        }
    }
}
