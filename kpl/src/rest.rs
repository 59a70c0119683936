//! Back-off: of a shard that refuses, of an endpoint that is away.

use runtime::{Backoff, Chance, RetryPolicy};
use std::time::Duration;
use tokio::time::Instant;

/// The back-off of a shard, or of the endpoint.
#[derive(Debug)]
pub(crate) struct Rest {
    policy: RetryPolicy,
    backoff: Option<Backoff>,
    until: Option<Instant>,
    since: Option<Instant>,
}

impl Rest {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        let policy = RetryPolicy::unbounded(first, longest);
        Self {
            policy,
            backoff: None,
            until: None,
            since: None,
        }
    }

    /// Something that was begun at `started` failed. What was begun before the present back-off says
    /// nothing new.
    pub(crate) fn failed(&mut self, started: Instant, now: Instant, chance: &Chance) {
        if !self.is_news(started) {
            return;
        }
        let backoff = self
            .backoff
            .get_or_insert_with(|| self.policy.start(chance));
        let delay = backoff.next_delay().unwrap_or(self.policy.max_delay);
        self.until = Some(now + delay);
        self.since = Some(now);
    }

    /// Something succeeded: the next failure starts from the shortest delay.
    pub(crate) fn succeeded(&mut self) {
        self.backoff = None;
        self.until = None;
        self.since = None;
    }

    /// What was begun at `started` says something about the present.
    pub(crate) fn is_news(&self, started: Instant) -> bool {
        self.since.is_none_or(|since| since <= started)
    }

    /// Until when to rest.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// The last that is known is a failure.
    pub(crate) const fn is_failing(&self) -> bool {
        self.until.is_some()
    }
}
