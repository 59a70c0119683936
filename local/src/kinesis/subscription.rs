//! A SubscribeToShard's answer: events, made when they are asked for.

use bytes::Bytes;
use std::task::{Context, Poll};

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscription;

impl Subscription {
    /// The next frame; none when the subscription is over.
    pub(crate) fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(None)
    }
}
