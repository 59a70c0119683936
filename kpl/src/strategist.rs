//! Asking for the stream's record distribution strategy: when, how often, and what the answer means.
//! Nothing is asked for while nothing is put: a producer without work makes no calls.

use crate::routing::{Strategy, record_limit};
use aws::ErrorKind;
use aws::kinesis::{Client, StreamSummary};
use futures::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use runtime::{Backoff, Chance, RetryPolicy};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After a refused call it is asked again after these times, as the original does; then at each interval.
const AFTER_FAILURES: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];

/// What is known after a call.
#[derive(Debug)]
pub(crate) enum Answer {
    Known {
        strategy: Strategy,
        record_limit: usize,
    },
    /// The service tells, but not something that this version understands.
    Strange(String),
    /// It will not be told, for the permission is missing or the endpoint does not know the operation.
    Denied(aws::Error),
    /// It was not told this time.
    Failed(aws::Error),
}

impl Answer {
    fn of(result: Result<StreamSummary, aws::Error>) -> Self {
        match result {
            Ok(summary) => match Strategy::of(&summary) {
                Some(strategy) => Self::Known {
                    strategy,
                    record_limit: record_limit(&summary),
                },
                None => Self::Strange(summary.record_distribution_strategy.unwrap_or_default()),
            },
            Err(error) => match error.kind() {
                ErrorKind::AccessDenied | ErrorKind::Invalid | ErrorKind::Fatal => {
                    Self::Denied(error)
                }
                _ => Self::Failed(error),
            },
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) asked: Instant,
    pub(crate) answer: Answer,
}

/// Streams whose latest answers are kept for other producers.
const MOST_KEPT: usize = 1_024;

/// What the producers of one configuration were told, the latest of each stream: when one asks again, the
/// others need not.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<Arc<str>, Latest>>);

#[derive(Debug, Clone, Copy)]
struct Latest {
    asked: Instant,
    strategy: Strategy,
    record_limit: usize,
}

impl Told {
    fn note(&self, stream: &Arc<str>, answered: &Answered) {
        let Answer::Known {
            strategy,
            record_limit,
        } = answered.answer
        else {
            return;
        };
        let mut streams = self.0.lock();
        let newer = |latest: &Latest| latest.asked > answered.asked;
        if streams.get(stream).is_some_and(newer) {
            return;
        }
        if streams.len() >= MOST_KEPT && !streams.contains_key(stream) {
            streams.clear();
        }
        let latest = Latest {
            asked: answered.asked,
            strategy,
            record_limit,
        };
        streams.insert(Arc::clone(stream), latest);
    }

    /// The latest answer, if it was asked for after `since`.
    fn after(&self, since: Instant, stream: &str) -> Option<Answered> {
        let latest = *self.0.lock().get(stream)?;
        let answer = Answer::Known {
            strategy: latest.strategy,
            record_limit: latest.record_limit,
        };
        let asked = latest.asked;
        (asked > since).then_some(Answered { asked, answer })
    }
}

pub(crate) struct Strategist {
    client: Client,
    stream: Arc<str>,
    /// What others of the same configuration were told, and what this was.
    told: Arc<Told>,
    chance: Chance,
    interval: Duration,
    running: Option<BoxFuture<'static, Answered>>,
    /// When to ask next, if there is work.
    next: Option<Instant>,
    failures: usize,
    /// While records are held: short delays.
    hasty: Option<Backoff>,
    /// Of doubts that come again and again.
    doubts: Option<Backoff>,
    doubt_from: Option<Instant>,
}

impl Strategist {
    pub(crate) fn new(
        client: Client,
        stream: Arc<str>,
        told: Arc<Told>,
        chance: Chance,
        interval: Duration,
    ) -> Self {
        Self {
            client,
            stream,
            told,
            chance,
            interval,
            running: None,
            next: None,
            failures: 0,
            hasty: None,
            doubts: None,
            doubt_from: None,
        }
    }

    /// Asks, unless a call is under way.
    pub(crate) fn ask(&mut self) {
        if self.running.is_some() {
            return;
        }
        self.next = None;
        let (client, stream) = (self.client.clone(), Arc::clone(&self.stream));
        let told = Arc::clone(&self.told);
        let call = async move {
            let asked = Instant::now();
            let result = client.describe_stream_summary(&stream).await;
            let answer = Answer::of(result);
            let answered = Answered { asked, answer };
            told.note(&stream, &answered);
            answered
        };
        self.running = Some(call.boxed());
    }

    /// Gives an answer once more, to whoever takes the next one.
    pub(crate) fn answer_again(&mut self, answered: Answered) {
        self.running = Some(future::ready(answered).boxed());
    }

    /// Asks because of a contradiction: at once, then with growing distances. False when it was asked
    /// just before, and will be again.
    pub(crate) fn doubt(&mut self, now: Instant) -> bool {
        if self.running.is_some() {
            return false;
        }
        if let Some(from) = self.doubt_from.filter(|from| *from > now) {
            self.next = Some(self.next.map_or(from, |next| next.min(from)));
            return false;
        }
        let policy = RetryPolicy::unbounded(Duration::from_secs(1), Duration::from_secs(60));
        let backoff = self
            .doubts
            .get_or_insert_with(|| policy.start(&self.chance));
        let gap = backoff.next_delay().unwrap_or(policy.max_delay);
        self.doubt_from = now.checked_add(gap.max(policy.max_delay / 120));
        self.ask();
        true
    }

    /// When to ask next.
    pub(crate) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Asks if it is time to, unless another producer was told since half of the interval.
    pub(crate) fn ask_if_due(&mut self, now: Instant) {
        if self.next.is_none_or(|next| next > now) || self.running.is_some() {
            return;
        }
        let since = now.checked_sub(self.interval / 2);
        match since.and_then(|since| self.told.after(since, &self.stream)) {
            Some(answered) => {
                self.next = None;
                self.answer_again(answered);
            }
            None => self.ask(),
        }
    }

    /// The answer to the call under way; never, if there is none.
    ///
    /// Cancel-safe: the call goes on at the next poll.
    pub(crate) async fn answered(&mut self) -> Answered {
        let Some(running) = &mut self.running else {
            return future::pending().await;
        };
        let answered = running.await;
        self.running = None;
        answered
    }

    /// Plans the next call after an answer. `held`: records wait for it.
    pub(crate) fn plan(&mut self, answered: &Answered, held: bool, now: Instant) {
        let mut from = now;
        let delay = match &answered.answer {
            Answer::Known { .. } | Answer::Strange(_) => {
                self.failures = 0;
                self.hasty = None;
                // A quiet interval ends the doubts.
                let quiet = |from: Instant| now.saturating_duration_since(from) > self.interval;
                if self.doubt_from.is_some_and(quiet) {
                    self.doubts = None;
                }
                // Perhaps another producer asked, some time ago.
                from = answered.asked;
                self.jittered(self.interval)
            }
            Answer::Failed(_) if held => {
                let policy =
                    RetryPolicy::unbounded(Duration::from_millis(200), Duration::from_secs(5));
                let backoff = self.hasty.get_or_insert_with(|| policy.start(&self.chance));
                backoff.next_delay().unwrap_or(policy.max_delay)
            }
            Answer::Denied(_) | Answer::Failed(_) => {
                let delay = AFTER_FAILURES.get(self.failures).copied();
                self.failures += 1;
                self.jittered(delay.unwrap_or(self.interval))
            }
        };
        // A call that took longer than the interval is not followed by another at once.
        self.next = from.checked_add(delay).max(now.checked_add(delay / 4));
    }

    /// 90 to 110 percent: processes that started together do not ask together.
    fn jittered(&self, delay: Duration) -> Duration {
        let tenth = delay / 10;
        let nanos = u64::try_from(tenth.as_nanos()).unwrap_or(u64::MAX / 4);
        let spread = self.chance.below(nanos.saturating_mul(2).saturating_add(1));
        (delay - tenth).saturating_add(Duration::from_nanos(spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_late_does_not_hide_a_newer_one() {
        let (told, stream) = (Told::default(), Arc::from("orders"));
        let (before, early) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let late = early + Duration::from_secs(1);
        let note = |asked, strategy| {
            let record_limit = 1;
            let answer = Answer::Known {
                strategy,
                record_limit,
            };
            told.note(&stream, &Answered { asked, answer });
        };
        note(late, Strategy::Auto);
        note(early, Strategy::UserPartitionKey);
        let latest = told.after(before, &stream).unwrap();
        assert_eq!(latest.asked, late);
        assert!(told.after(late, &stream).is_none());
    }
}
