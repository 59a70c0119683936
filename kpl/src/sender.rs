//! One `PutRecords` request: a single attempt.

use crate::engine::isolate::CaseId;
use crate::sealed::Sealed;
use aggregation::FinishedAggregate;
use aws::kinesis::{Client, PutRecordsEntry, PutRecordsOutput, Segment};
use std::fmt::Write;
use std::sync::Arc;
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

/// Sends a batch. Dropping the future drops the batch, whose records resolve as closed.
pub(crate) async fn send(
    client: Client,
    stream: Arc<str>,
    batch: Vec<Sealed>,
    case: Option<CaseId>,
) -> Done {
    let started = Instant::now();
    let result = {
        let aggregates: Vec<&FinishedAggregate> = batch
            .iter()
            .filter(|sealed| sealed.aggregated)
            .map(|sealed| &sealed.content)
            .collect();
        FinishedAggregate::hash_many(&aggregates);
        let hash_keys = HashKeys::of(&batch);
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
        client.put_records(&stream, &entries).await
    };
    Done {
        batch,
        case,
        started,
        ended: Instant::now(),
        result,
    }
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
