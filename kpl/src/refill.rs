//! Records of an aggregate that was taken apart, put together anew by the engine.

use crate::claims::{Claim, Claims};
use crate::outcome::Span;
use crate::sealed::{KinesisRecord, Sealed};
use crate::stats::Ledger;
use aggregation::{Aggregate, HashKey, IDENTITY_TAG, IdentityWriter, RecordId, UserRecordRef};
use std::sync::Arc;
use tokio::time::Instant;

/// An aggregate that is filled again. It has a record at least.
#[derive(Debug)]
pub(crate) struct Refill {
    aggregate: Aggregate,
    identity: IdentityWriter,
    claims: Claims,
    span: Span,
    keyless: bool,
}

impl Refill {
    /// For records of which the first has this key.
    pub(crate) fn new(ledger: &Arc<Ledger>, key: HashKey) -> Self {
        Self {
            aggregate: Aggregate::new(),
            identity: IdentityWriter::default(),
            claims: Claims::new(Arc::clone(ledger)),
            span: Span::of(key),
            keyless: false,
        }
    }

    /// Takes a record in. Its tags are made anew from its identity, if it has one.
    pub(crate) fn push(
        &mut self,
        record: &UserRecordRef<'_>,
        id: Option<RecordId>,
        key: HashKey,
        claim: Claim,
    ) {
        let text = id.and_then(|id| self.identity.tag(id));
        let tag = text
            .as_ref()
            .map(|text| (IDENTITY_TAG, Some(text.as_str())));
        let tags = tag.as_slice();
        self.aggregate.push(&UserRecordRef { tags, ..*record });
        if let Some(id) = id {
            self.identity.wrote(id);
        }
        self.span.add(key);
        self.keyless |= record.partition_key.is_empty();
        self.claims.note_size(record.data.len());
        self.claims.adopt(claim);
    }

    pub(crate) fn seal(self, shard: &Arc<str>, wrap: bool, due: Instant) -> Sealed {
        let shard = Arc::clone(shard);
        let mut sealed = KinesisRecord::new(
            self.aggregate.finish(),
            self.claims,
            self.span,
            shard,
            wrap,
            due,
        );
        sealed.keyless = self.keyless;
        sealed
    }
}
