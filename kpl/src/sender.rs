//! `PutRecords` requests, each a single attempt: one by one, or two whose bodies are hashed together.

use crate::engine::isolate::CaseId;
use crate::sealed::Sealed;
use aggregation::FinishedAggregate;
use aws::kinesis::{Client, PreparedPut, PutRecordsEntry, PutRecordsOutput, Segment};
use std::fmt::Write;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) batch: Vec<Sealed>,
    /// A part of a request that was refused.
    pub(crate) case: Option<CaseId>,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    pub(crate) result: Result<PutRecordsOutput, aws::Error>,
}

/// From so many bytes on a batch goes in two requests whose bodies are hashed together.
const WORTH_TWO: usize = 512 << 10;

/// Two parts of a batch of about as many bytes each, if that is worth while; the records of a shard stay in
/// their order.
pub(crate) fn halves(mut batch: Vec<Sealed>) -> Result<[Vec<Sealed>; 2], Vec<Sealed>> {
    let sizes = || batch.iter().map(|sealed| sealed.size);
    let whole: usize = sizes().sum();
    if whole < WORTH_TWO || !Client::hashes_two_together() {
        return Err(batch);
    }
    let middle = middle(sizes(), whole);
    let second = batch.split_off(middle);
    if second.is_empty() {
        return Err(batch);
    }
    Ok([batch, second])
}

/// How many of the first have nearest to half of the whole; at least one.
fn middle(sizes: impl Iterator<Item = usize>, whole: usize) -> usize {
    let mut sum = 0;
    let before = |size: &usize| {
        // Its own middle lies in the first half.
        let first = 2 * sum + size <= whole;
        sum += size;
        first
    };
    sizes.take_while(before).count().max(1)
}

/// Sends a batch. Dropping the future drops the batch, whose records resolve as closed.
pub(crate) async fn send(
    client: Client,
    stream: Arc<str>,
    batch: Vec<Sealed>,
    case: Option<CaseId>,
) -> Done {
    let started = Instant::now();
    hash_aggregates(&[&batch]);
    let prepared = with_entries(&batch, |entries| client.prepare_put(&stream, entries));
    Ready {
        prepared,
        batch,
        started,
    }
    .send(&client, case)
    .await
}

/// The same of two batches that are got ready together, by the first of the futures. The second gives
/// nothing if the first was dropped before that.
pub(crate) fn send_two(
    client: Client,
    stream: Arc<str>,
    [batch, other]: [Vec<Sealed>; 2],
) -> (
    impl Future<Output = Done> + Send + 'static,
    impl Future<Output = Option<Done>> + Send + 'static,
) {
    let (give, take) = oneshot::channel::<Ready>();
    let same = client.clone();
    let first = async move {
        let started = Instant::now();
        hash_aggregates(&[&batch, &other]);
        let prepare = |entries: &[PutRecordsEntry<'_>]| {
            with_entries(&other, |others| {
                client.prepare_two_puts(&stream, [entries, others])
            })
        };
        let [prepared, prepared_other] = with_entries(&batch, prepare);
        // Whoever took it is dropped when the engine ends.
        drop(give.send(Ready {
            prepared: prepared_other,
            batch: other,
            started,
        }));
        let ready = Ready {
            prepared,
            batch,
            started,
        };
        ready.send(&client, None).await
    };
    let second = async move { Some(take.await.ok()?.send(&same, None).await) };
    (first, second)
}

/// A request that is to be signed and sent.
struct Ready {
    prepared: PreparedPut,
    batch: Vec<Sealed>,
    started: Instant,
}

impl Ready {
    async fn send(self, client: &Client, case: Option<CaseId>) -> Done {
        let result = client.put_prepared(self.prepared).await;
        Done {
            batch: self.batch,
            case,
            started: self.started,
            ended: Instant::now(),
            result,
        }
    }
}

fn hash_aggregates(batches: &[&[Sealed]]) {
    let sealed = batches.iter().flat_map(|batch| batch.iter());
    let aggregates: Vec<&FinishedAggregate> = sealed
        .filter(|sealed| sealed.aggregated)
        .map(|sealed| &sealed.content)
        .collect();
    FinishedAggregate::hash_many(&aggregates);
}

fn with_entries<T>(batch: &[Sealed], with: impl FnOnce(&[PutRecordsEntry<'_>]) -> T) -> T {
    let hash_keys = HashKeys::of(batch);
    let contents: Vec<(&str, [Segment<'_>; 5])> =
        batch.iter().map(|sealed| sealed.entry()).collect();
    let entries: Vec<PutRecordsEntry<'_>> = contents
        .iter()
        .zip(hash_keys.iter())
        .map(
            |((partition_key, data), explicit_hash_key)| PutRecordsEntry {
                partition_key,
                explicit_hash_key,
                data,
            },
        )
        .collect();
    with(&entries)
}

/// The explicit hash keys of a request's entries, in one text.
struct HashKeys {
    text: String,
    /// Where each one ends; `None` for an entry that goes without.
    ends: Vec<Option<usize>>,
}

impl HashKeys {
    /// The longest has 39 digits.
    const DIGITS: usize = 39;

    fn of(batch: &[Sealed]) -> Self {
        let mut text = String::with_capacity(batch.len() * Self::DIGITS);
        let end = |sealed: &Sealed| {
            if sealed.to_any {
                return None;
            }
            // Writing into a String cannot fail.
            let _ = write!(text, "{}", sealed.span.first);
            Some(text.len())
        };
        let ends = batch.iter().map(end).collect();
        Self { text, ends }
    }

    fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let text = self.text.get(start..(*end)?);
            start = end.unwrap_or(start);
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_request_whose_other_was_dropped_before_both_were_ready_is_over() {
        let config = aws::Config::builder()
            .region("us-east-1")
            .endpoint_url("http://localhost:1")
            .credentials(aws::Credentials::new("AKID", "hush", None))
            .environment(aws::Environment::fixed([("HOME", "/nonexistent")]))
            .load()
            .unwrap();
        let client = Client::new(&config);
        let (first, second) = send_two(client, "orders".into(), [Vec::new(), Vec::new()]);
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        drop(first);
        assert!(matches!(second.now_or_never(), Some(None)));
    }

    #[test]
    fn the_middle_is_where_both_sides_weigh_nearly_the_same() {
        let table: [(&[usize], usize); 7] = [
            (&[10], 1),
            (&[1, 100], 1),
            (&[100, 1], 1),
            (&[5, 5], 1),
            (&[5, 5, 5, 5], 2),
            (&[1, 1, 1, 9], 3),
            (&[9, 1, 1, 1], 1),
        ];
        for (sizes, want) in table {
            let whole = sizes.iter().sum();
            assert_eq!(middle(sizes.iter().copied(), whole), want, "{sizes:?}");
        }
    }
}
