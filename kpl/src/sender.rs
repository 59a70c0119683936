//! One `PutRecords` request: a single attempt.

use crate::engine::isolate::CaseId;
use crate::sealed::Sealed;
use aggregation::FinishedAggregate;
use aws::kinesis::{Client, PutRecordsEntry, PutRecordsOutput, Segment};
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
        let hash_keys: Vec<Option<String>> = batch
            .iter()
            .map(|sealed| (!sealed.to_any).then(|| sealed.span.first.to_string()))
            .collect();
        let contents: Vec<(&str, [Segment<'_>; 5])> = batch.iter().map(Sealed::entry).collect();
        let entries: Vec<PutRecordsEntry<'_>> = contents
            .iter()
            .zip(&hash_keys)
            .map(|((partition_key, data), hash_key)| PutRecordsEntry {
                partition_key,
                explicit_hash_key: hash_key.as_deref(),
                data,
            })
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
