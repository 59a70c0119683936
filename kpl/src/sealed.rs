//! A Kinesis record that is ready to be sent, with the claims of the user records in it.

use crate::claims::Claims;
use crate::order::Ordered;
use crate::outcome::Span;
use aggregation::{
    AGGREGATE_PARTITION_KEY, FinishedAggregate, UserRecordRef, looks_like_aggregate,
};
use aws::kinesis::Segment;
use bytes::Bytes;
use runtime::{Attempt, Attempts};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const NOTHING: Segment<'static> = Segment::Borrowed(&[]);

/// Moved from hand to hand: in a box.
pub(crate) type Sealed = Box<KinesisRecord>;

#[derive(Debug)]
pub(crate) struct KinesisRecord {
    pub(crate) content: FinishedAggregate,
    pub(crate) claims: Claims,
    pub(crate) span: Span,
    /// The shard that it is meant for.
    pub(crate) shard: Arc<str>,
    /// When it is to be sent, if nothing fills a request before.
    pub(crate) due: Instant,
    /// Sent as an aggregate. A single record goes as it is, unless a reader would take its data for an
    /// aggregate.
    pub(crate) aggregated: bool,
    /// One of its records has no partition key.
    pub(crate) keyless: bool,
    /// Sent without a hash key, for the service to choose the shard.
    pub(crate) to_any: bool,
    /// The service refused it without a partition key, and the strategy was asked for again.
    pub(crate) doubted: bool,
    /// Cut off another to find out whether its shard takes something again.
    pub(crate) probe: bool,
    pub(crate) order: Ordered,
    /// The aggregate, compressed.
    #[cfg(feature = "compression")]
    envelope: Option<Bytes>,
    /// Data and partition key, in bytes: what the service counts.
    pub(crate) size: usize,
    pub(crate) attempts: Attempts,
    /// When the first record was admitted.
    pub(crate) oldest: Instant,
    /// When the last record was admitted.
    newest: Instant,
    /// The end of the latest attempt; before the first, when the first record was admitted.
    pub(crate) since: Instant,
}

impl KinesisRecord {
    pub(crate) fn new(
        content: FinishedAggregate,
        claims: Claims,
        span: Span,
        shard: Arc<str>,
        wrap: bool,
        due: Instant,
    ) -> Sealed {
        let alone = |record: &UserRecordRef<'_>| !(wrap && looks_like_aggregate(record.data));
        let (aggregated, size) = match content.single().filter(alone) {
            Some(record) => (false, record.data.len() + record.partition_key.len()),
            None => (true, content.len() + AGGREGATE_PARTITION_KEY.len()),
        };
        let oldest = claims.oldest().unwrap_or(due);
        Box::new(Self {
            newest: claims.newest().unwrap_or(due),
            content,
            claims,
            span,
            shard,
            due,
            aggregated,
            keyless: false,
            to_any: false,
            doubted: false,
            probe: false,
            order: Ordered::default(),
            #[cfg(feature = "compression")]
            envelope: None,
            size,
            attempts: Attempts::default(),
            oldest,
            since: oldest,
        })
    }

    /// Compresses the aggregate, unless it is or it would not become smaller.
    #[cfg(feature = "compression")]
    pub(crate) fn compress(&mut self, compression: aggregation::Compression) {
        if !self.aggregated || self.envelope.is_some() {
            return;
        }
        match aggregation::compress(compression, &self.content.to_bytes()) {
            Ok(Some(envelope)) => {
                self.size = envelope.len() + AGGREGATE_PARTITION_KEY.len();
                self.envelope = Some(envelope.into());
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "an aggregate is sent uncompressed"),
        }
    }

    /// The partition key and the data that are sent.
    pub(crate) fn entry(&self) -> (&str, [Segment<'_>; 5]) {
        let whole = |data: Bytes| [Segment::Shared(data), NOTHING, NOTHING, NOTHING, NOTHING];
        if let Some((record, data)) = self.alone().zip(self.content.single_data()) {
            return (record.partition_key, whole(data));
        }
        #[cfg(feature = "compression")]
        if let Some(envelope) = &self.envelope {
            return (AGGREGATE_PARTITION_KEY, whole(envelope.clone()));
        }
        let [magic, .., md5] = self.content.segments();
        let [partition_keys, explicit_hash_keys, records] = self.content.regions();
        let data = [
            magic.into(),
            Segment::Shared(partition_keys.clone()),
            Segment::Shared(explicit_hash_keys.clone()),
            Segment::Shared(records.clone()),
            md5.into(),
        ];
        (AGGREGATE_PARTITION_KEY, data)
    }

    /// The one record in it, if that is sent as it is.
    pub(crate) fn alone(&self) -> Option<UserRecordRef<'_>> {
        if self.aggregated {
            None
        } else {
            self.content.single()
        }
    }

    /// The time to live of all its records has passed.
    pub(crate) fn is_expired(&self, ttl: Duration, now: Instant) -> bool {
        expires(self.newest, ttl).is_some_and(|at| at <= now)
    }

    /// When the time to live of all its records has passed; `None` = never.
    pub(crate) fn gone(&self, ttl: Duration) -> Option<Instant> {
        expires(self.newest, ttl)
    }

    /// How long its records waited for an attempt that started then, before it is noted; and how many of
    /// them so long.
    pub(crate) fn waits(&self, started: Instant, mut each: impl FnMut(Duration, u64)) {
        if self.attempts.count() == 0 {
            self.claims.waits(started, each);
        } else {
            let waited = started.saturating_duration_since(self.since);
            each(waited, u64::from(self.claims.records()));
        }
    }

    /// Notes an attempt.
    pub(crate) fn attempted(
        &mut self,
        started: Instant,
        ended: Instant,
        failure: Option<(&str, &str)>,
    ) {
        let delay = started.saturating_duration_since(self.since);
        self.since = ended;
        self.attempts.push(Attempt {
            delay,
            duration: ended.saturating_duration_since(started),
            code: failure.map(|(code, _)| code.to_owned()),
            message: failure.map(|(_, message)| message.to_owned()),
        });
    }
}

/// When the time to live of a record passes; `None` beyond what the clock can show.
pub(crate) fn expires(arrival: Instant, ttl: Duration) -> Option<Instant> {
    arrival.checked_add(ttl)
}
