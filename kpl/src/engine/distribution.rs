//! What the engine does as it learns how the stream distributes its records, and when something
//! contradicts what it knew.

use super::Engine;
use crate::error::DeliveryError;
use crate::routing::{LARGEST_RECORD, Routing, Strategy};
use crate::sealed::Sealed;
use crate::settings::{Options, RECORD_LIMIT};
use crate::shared::Shared;
use crate::strategist::{Answer, Answered};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// What is known of the stream's record distribution.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    /// Nothing is sent before then, unless the strategy becomes known.
    pub(super) held_until: Option<Instant>,
    /// Kinesis records that wait to know how they are sent.
    pub(super) waiting: Vec<Sealed>,
    /// When the last answer was asked for.
    known: Option<Instant>,
    /// When something last contradicted what is known.
    contradicted: Option<Instant>,
    /// That it cannot be had was said.
    warned: bool,
}

impl Distribution {
    pub(super) fn new(shared: &Shared, options: &Options, now: Instant) -> Self {
        let held = shared.map.load().routing == Routing::Held;
        Self {
            held_until: held.then(|| now + options.strategy_wait),
            ..Self::default()
        }
    }
}

/// How a producer begins, by what it knows of the stream and by what its user says: the way that records
/// are sent, and the largest record.
pub(crate) fn beginning(
    answer: Option<&Answer>,
    assumed: Option<Strategy>,
    wait: Duration,
) -> (Routing, usize) {
    match (answer, assumed) {
        (
            Some(Answer::Known {
                strategy,
                record_limit,
            }),
            _,
        ) => (Routing::from(*strategy), *record_limit),
        (_, Some(strategy)) => (Routing::from(strategy), RECORD_LIMIT),
        (Some(Answer::Strange(_) | Answer::Denied(_)), None) => (Routing::Single, RECORD_LIMIT),
        (Some(Answer::Failed(_)) | None, None) if wait.is_zero() => (Routing::Single, RECORD_LIMIT),
        (Some(Answer::Failed(_)) | None, None) => (Routing::Held, LARGEST_RECORD),
    }
}

impl Engine {
    /// A Kinesis record that the stream takes; one that is larger fails, unless it can be taken apart.
    pub(super) fn within_limit(&mut self, sealed: Sealed) -> Option<Sealed> {
        let (size, limit) = (sealed.size, self.shared.record_limit.load(Relaxed));
        if size <= limit {
            return Some(sealed);
        }
        if sealed.claims.records() > 1 {
            self.take_apart(sealed, Instant::now());
        } else {
            self.fail(sealed, |attempts| DeliveryError::TooLarge {
                size,
                limit,
                attempts,
                record: None,
            });
        }
        None
    }

    /// Asks for the strategy if it is time to, and holds no longer than is allowed. Gives the time of the
    /// next call.
    pub(super) fn distribute(&mut self, now: Instant) -> Option<Instant> {
        let held_until = self.distribution.held_until;
        if held_until.is_some_and(|until| until <= now) {
            let stream = &self.shared.stream;
            tracing::warn!(%stream, "the record distribution strategy is not known in time: records go alone until it is");
            self.set_record_limit(RECORD_LIMIT);
            self.reroute(Routing::Single, now);
        }
        if self.shared.ledger.admission.outstanding().records == 0 {
            return self.distribution.held_until;
        }
        self.strategist.ask_if_due(now);
        let expiry = self.distribution.waiting.iter();
        let expiry = expiry
            .filter_map(|sealed| sealed.gone(self.options.ttl))
            .min();
        [self.distribution.held_until, self.strategist.next(), expiry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Fails what waited until its time to live was over.
    pub(super) fn expire_waiting(&mut self, now: Instant) {
        let ttl = self.options.ttl;
        let waiting = &mut self.distribution.waiting;
        let expired = waiting.extract_if(.., |sealed| sealed.is_expired(ttl, now));
        let expired: Vec<Sealed> = expired.collect();
        for sealed in expired {
            self.fail_expired(sealed);
        }
    }

    pub(super) fn strategy_answered(&mut self, answered: Answered, now: Instant) {
        let routing = self.shared.map.load().routing;
        self.strategist
            .plan(&answered, routing == Routing::Held, now);
        let Answered { asked, answer } = answered;
        let stream = Arc::clone(&self.shared.stream);
        let contradicted_since = self.distribution.contradicted.is_some_and(|at| at > asked);
        match answer {
            Answer::Known {
                strategy,
                record_limit,
            } => {
                self.distribution.warned = false;
                self.distribution.known = Some(asked);
                self.set_record_limit(record_limit);
                if contradicted_since && strategy == Strategy::UserPartitionKey {
                    self.doubt(now);
                    return;
                }
                self.distribution.contradicted = None;
                let next = Routing::from(strategy);
                if next != routing {
                    tracing::debug!(%stream, ?strategy, "the record distribution strategy is known");
                }
                self.reroute(next, now);
            }
            Answer::Strange(strategy) => {
                if !std::mem::replace(&mut self.distribution.warned, true) {
                    tracing::warn!(%stream, strategy, "a record distribution strategy that is not known here: records go alone");
                }
                self.set_record_limit(RECORD_LIMIT);
                self.reroute(Routing::Single, now);
            }
            Answer::Denied(error) => self.strategy_denied(&error, routing, now),
            Answer::Failed(error) => {
                tracing::debug!(%stream, %error, "the record distribution strategy cannot be had now");
            }
        }
    }

    /// It will not be told. Whoever said by a setting what it is gets that; else records go alone, which is
    /// right whatever it is.
    fn strategy_denied(&mut self, error: &aws::Error, routing: Routing, now: Instant) {
        let assumed = self.options.strategy.is_some();
        let stream = Arc::clone(&self.shared.stream);
        if !assumed && !std::mem::replace(&mut self.distribution.warned, true) {
            tracing::warn!(
                %stream,
                %error,
                "without the permission kinesis:DescribeStreamSummary nobody knows whether the stream \
                 distributes its records itself, so they are not aggregated: grant it, or say so by \
                 RecordDistributionStrategyDefault"
            );
        }
        match routing {
            Routing::Held => {
                self.set_record_limit(RECORD_LIMIT);
                self.reroute(Routing::Single, now);
            }
            Routing::Doubted => {
                // Who said that it goes by keys is believed again after an interval without contradiction.
                let interval = self.options.strategy_interval;
                let quiet = |at: Instant| now.saturating_duration_since(at) >= interval;
                let next = match self.options.strategy {
                    Some(Strategy::UserPartitionKey)
                        if self.distribution.contradicted.is_none_or(quiet) =>
                    {
                        self.distribution.contradicted = None;
                        Routing::Packed
                    }
                    _ => Routing::Single,
                };
                self.reroute(next, now);
            }
            Routing::Packed | Routing::Single | Routing::Auto => {}
        }
    }

    /// A record was stored where its key does not belong by any list of shards: the stream may not go by
    /// keys any more. First no more aggregates, then the question.
    pub(super) fn contradicted(&mut self, at: Instant, now: Instant) {
        let routing = self.shared.map.load().routing;
        let asked_since = self.distribution.known.is_some_and(|asked| asked >= at);
        // What was sent before it was known says nothing new.
        if asked_since || matches!(routing, Routing::Auto | Routing::Held) {
            return;
        }
        self.distribution.contradicted = Some(at);
        if routing == Routing::Packed {
            self.reroute(Routing::Doubted, now);
        }
        self.doubt(now);
    }

    fn doubt(&mut self, now: Instant) {
        if self.strategist.doubt(now) {
            // The same is seen when the stream was made anew with other shards.
            self.refresher.start();
        }
    }

    /// The service refused a request that holds records without a partition key.
    pub(super) fn keyless_refused(&mut self, now: Instant) {
        self.distribution.contradicted = Some(now);
        if self.shared.map.load().routing == Routing::Auto {
            self.reroute(Routing::Doubted, now);
        }
        self.strategist.ask();
    }

    fn set_record_limit(&mut self, limit: usize) {
        let limit = limit.min(LARGEST_RECORD);
        if self.shared.record_limit.swap(limit, Relaxed) != limit {
            self.maker = self.maker.limited(limit);
        }
    }

    /// Sends records in another way from now on: the map is replaced, and what is queued or waits finds
    /// its place by the new one.
    fn reroute(&mut self, routing: Routing, now: Instant) {
        let before = self.shared.map.load_full();
        self.distribution.held_until = None;
        match before.reroute(routing, &self.maker) {
            Ok(map) => self.replace(&before, Arc::new(map), now),
            Err(problem) => {
                debug_assert!(false, "the shards were a map before: {problem}");
            }
        }
        for sealed in std::mem::take(&mut self.distribution.waiting) {
            self.enqueue(sealed, now);
        }
    }
}
