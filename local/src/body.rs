//! The body of an answer: whole, or events as they come.

use crate::error::ConnectionLost;
use crate::kinesis::subscription::Subscription;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// The body of an answer of [`Local::handle_streaming`](crate::Local::handle_streaming).
///
/// An answer of SubscribeToShard is a stream of event frames. They are made when the body is polled
/// and not before: a reader that does not read holds nothing but its place in the shard.
pub struct AnswerBody {
    kind: Kind,
    /// Ends the body early, without an error.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Lets the body break off.
    severed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    cut: Option<Cut>,
    /// What a trickle holds back, and until when.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
    broken: Option<Broken>,
}

/// A body that broke off.
#[derive(Debug, Clone, Copy)]
enum Broken {
    Written,
    Sent,
}

/// How a fault lets a body break off or drag on. Its announced length stays what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It breaks off after so many bytes.
    Truncate(usize),
    /// It comes in pieces of so many bytes, with a pause before each.
    Trickle { bytes: usize, every: Duration },
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
            severed: None,
            cut: None,
            held: None,
            broken: None,
        }
    }

    pub(crate) fn events(subscription: Subscription) -> Self {
        Self {
            kind: Kind::Events(Box::new(subscription)),
            end: None,
            severed: None,
            cut: None,
            held: None,
            broken: None,
        }
    }

    /// The same, but events end when `end` does. A whole body is not cut.
    pub(crate) fn ending_with(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            end: matches!(self.kind, Kind::Events(_)).then(|| Box::pin(end) as _),
            ..self
        }
    }

    /// The same, but events break off, as if the connection were lost, when `severed` is over.
    pub(crate) fn breaking_with(
        self,
        severed: impl FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Self {
        Self {
            severed: matches!(self.kind, Kind::Events(_)).then(severed),
            ..self
        }
    }

    /// The same with what `keep` makes of a whole body; none when it makes none.
    pub(crate) fn kept_in(mut self, keep: impl FnOnce(Bytes) -> Option<Bytes>) -> Option<Self> {
        if let Kind::Whole(bytes) = &mut self.kind {
            *bytes = keep(std::mem::take(bytes))?;
        }
        Some(self)
    }

    /// The same, but it breaks off or drags on.
    pub(crate) fn cut(self, cut: Option<Cut>) -> Self {
        Self { cut, ..self }
    }

    /// All of a body that is whole; none of one that comes in events, or that a fault cuts.
    #[must_use]
    pub fn as_whole(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Whole(bytes) if self.cut.is_none() => Some(bytes),
            Kind::Whole(_) | Kind::Events(_) | Kind::Ended => None,
        }
    }

    /// The next piece of what a trickle holds.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let (Some((mut rest, mut pause)), Some(Cut::Trickle { bytes, every })) =
            (self.held.take(), self.cut)
        else {
            return Poll::Ready(None);
        };
        if pause.as_mut().poll(cx).is_pending() {
            self.held = Some((rest, pause));
            return Poll::Pending;
        }
        let piece = rest.split_to(bytes.min(rest.len()));
        if !rest.is_empty() {
            self.held = Some((rest, Box::pin(tokio::time::sleep(every))));
        }
        Poll::Ready(Some(piece))
    }

    /// The next part of an uncut body; none at its end.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            self.end = None;
            self.kind = Kind::Ended;
        }
        let part = match &mut self.kind {
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
        if part.is_none() {
            self.kind = Kind::Ended;
            self.end = None;
            self.severed = None;
        }
        Poll::Ready(part)
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
        let body = &mut *self;
        match body.broken {
            Some(Broken::Written) => {
                // What came before is sent before the connection breaks.
                body.broken = Some(Broken::Sent);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Broken::Sent) => {
                body.kind = Kind::Ended;
                return Poll::Ready(Some(Err(ConnectionLost)));
            }
            None => {}
        }
        if let Some(severed) = &mut body.severed
            && severed.as_mut().poll(cx).is_ready()
        {
            body.severed = None;
            body.held = None;
            body.kind = Kind::Ended;
            return Poll::Ready(Some(Err(ConnectionLost)));
        }
        if body.held.is_none() {
            match body.poll_part(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(mut part)) => match &mut body.cut {
                    None => return Poll::Ready(Some(Ok(Frame::data(part)))),
                    Some(Cut::Truncate(left)) => {
                        if part.len() > *left {
                            part.truncate(*left);
                            body.broken = Some(Broken::Written);
                        } else {
                            *left -= part.len();
                        }
                        return Poll::Ready(Some(Ok(Frame::data(part))));
                    }
                    Some(Cut::Trickle { every, .. }) => {
                        body.held = Some((part, Box::pin(tokio::time::sleep(*every))));
                    }
                },
            }
        }
        body.poll_piece(cx)
            .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        if self.held.is_some() || self.broken.is_some() {
            return false;
        }
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
