//! The way of records into the spool before they are admitted, and back out of it after a restart.

use super::log::{Log, Recovered};
use super::segment::{put_record, record_size};
use super::writer::Spool;
use super::{SpoolError, SpoolOptions};
use crate::events::ProducerEvent;
use crate::record::Record;
use crate::shared::Shared;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio_util::sync::DropGuard;

/// Records that are on disk and not admitted yet. What is left when it is dropped was never admitted,
/// and is not sent after a restart.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Spooled {
    spool: Option<Spool>,
    numbers: Range<u64>,
}

impl Spooled {
    /// The number of the first record; none without a spool.
    pub(crate) fn first(&self) -> Option<u64> {
        self.spool.as_ref().map(|_| self.numbers.start)
    }

    /// So many of them were admitted: their claims answer for them now.
    pub(crate) fn admitted(&mut self, records: usize) {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.numbers.start = self
            .numbers
            .start
            .saturating_add(records)
            .min(self.numbers.end);
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(spool) = &self.spool
            && !self.numbers.is_empty()
        {
            spool.resolved(vec![self.numbers.clone()]);
        }
    }
}

impl Shared {
    /// Puts records on disk, if there is a spool.
    ///
    /// # Cancellation
    /// A future that is dropped has spooled nothing, or what counts as resolved.
    pub(crate) async fn spool(&self, records: &[Record]) -> Result<Spooled, Arc<SpoolError>> {
        let Some(spool) = self.ledger.spool.get() else {
            return Ok(Spooled::default());
        };
        spool.recovered().await;
        let size = records.iter().map(record_size).sum();
        let encode = || {
            let mut encoded = Vec::with_capacity(size);
            records
                .iter()
                .for_each(|record| put_record(record, &mut encoded));
            encoded
        };
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let first = spool.append(size, count, encode).await?;
        Ok(Spooled {
            spool: Some(spool.clone()),
            numbers: first..first.saturating_add(count),
        })
    }
}

/// Opens the spool, and with it what an earlier producer left.
pub(crate) async fn open(
    options: SpoolOptions,
    stream: &str,
) -> Result<(Log, Recovered), SpoolError> {
    let stream = stream.to_owned();
    spawn_blocking(move || Log::open(options, &stream))
        .await
        .unwrap_or(Err(SpoolError::Closed))
}

/// Admits what an earlier producer left, in its order, as room comes. Ends when there is no more, or
/// when the producer is closed: the rest stays on disk for the next. `_recovering` holds up new records.
pub(crate) async fn recover(shared: Arc<Shared>, mut recovered: Recovered, _recovering: DropGuard) {
    let stream = Arc::clone(&shared.stream);
    loop {
        let read = spawn_blocking(move || {
            let next = recovered.next_segment();
            (recovered, next)
        });
        let Ok((rest, records)) = read.await else {
            return;
        };
        recovered = rest;
        let records = match records {
            Ok(Some(records)) => records,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%stream, %error, "spooled records cannot be read; they stay on disk");
                break;
            }
        };
        for (number, record) in records {
            let put = shared.put_in_turn(&record, Some(number)).await;
            let Ok(receipt) = put else { return };
            receipt.forget();
            shared.ledger.meters.recovered.add(1);
        }
    }
    let records = shared.ledger.meters.recovered.value();
    let event = || ProducerEvent::Recovered { records };
    shared.listeners.tell(event);
    tracing::info!(%stream, records, "what an earlier producer had spooled is admitted");
}
