//! Fetching the list of shards: one call at a time, while the present map stays in use.

use aws::kinesis::{Client, Shard, ShardFilter};
use futures::future::{self, BoxFuture, FutureExt};
use runtime::{Backoff, Chance, RetryPolicy};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A list of shards, or why there is none.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// When it was asked for: what happened later may be missing.
    pub(crate) asked: Instant,
    pub(crate) result: Result<Vec<Shard>, aws::Error>,
}

pub(crate) struct Refresher {
    client: Client,
    stream: Arc<str>,
    chance: Chance,
    running: Option<BoxFuture<'static, Fetched>>,
    backoff: Option<Backoff>,
}

impl Refresher {
    pub(crate) fn new(client: Client, stream: Arc<str>, chance: Chance) -> Self {
        Self {
            client,
            stream,
            chance,
            running: None,
            backoff: None,
        }
    }

    /// Asks, unless a call is under way.
    pub(crate) fn start(&mut self) {
        self.start_after(Duration::ZERO);
    }

    /// Asks again after a failure, after a delay: 200 ms, growing to the original's 30 s. Aggregates
    /// may wait for the answer.
    pub(crate) fn again(&mut self) {
        let policy = RetryPolicy::unbounded(Duration::from_millis(200), Duration::from_secs(30));
        let backoff = self
            .backoff
            .get_or_insert_with(|| policy.start(&self.chance));
        let delay = backoff.next_delay().unwrap_or(policy.max_delay);
        self.start_after(delay);
    }

    pub(crate) fn succeeded(&mut self) {
        self.backoff = None;
    }

    fn start_after(&mut self, delay: Duration) {
        if self.running.is_some() {
            return;
        }
        let (client, stream) = (self.client.clone(), Arc::clone(&self.stream));
        let call = async move {
            if delay > Duration::ZERO {
                tokio::time::sleep(delay).await;
            }
            fetch(&client, &stream, None).await
        };
        self.running = Some(call.boxed());
    }

    /// The answer to the call under way; never, if there is none.
    ///
    /// Cancel-safe: the call goes on at the next poll.
    pub(crate) async fn fetched(&mut self) -> Fetched {
        let Some(running) = &mut self.running else {
            return future::pending().await;
        };
        let fetched = running.await;
        self.running = None;
        fetched
    }
}

/// Lists the shards. A refresh asks for the closed ones too: what is to be placed may have been stored
/// in a shard that has closed since.
pub(crate) async fn fetch(client: &Client, stream: &str, filter: Option<&ShardFilter>) -> Fetched {
    let asked = Instant::now();
    let result = client.list_shards(stream, filter).await;
    Fetched { asked, result }
}
