//! How a processor says how far it got.

use crate::lease::StoreError;
use crate::lease::held::HeldLease;
use crate::position::Position;
use crate::record::UserRecord;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// This worker does not own the shard's lease any more, or could not renew it for so long that
    /// others may own it. Final: the records since the last checkpoint are read again by the new owner.
    #[error("the lease of the shard is lost")]
    LeaseLost,
    /// The position lies before the last checkpoint, or behind the last record that was delivered.
    #[error(
        "position {position} is out of range: the last checkpoint is {last}{}",
        .largest.as_ref().map(|l| format!(", the last record delivered {l}")).unwrap_or_default()
    )]
    OutOfRange {
        /// What was asked for.
        position: Position,
        /// The last checkpoint.
        last: Position,
        /// The last record that was delivered, where that is the limit.
        largest: Option<Position>,
    },
    /// The lease table takes no more writes for now; try again later.
    #[error("the lease table is throttled: {0}")]
    Throttled(#[source] StoreError),
    /// The lease table could not be written to. Whether the checkpoint took effect is unknown; trying
    /// again is safe.
    #[error("the lease table could not be written to: {0}")]
    Store(#[source] StoreError),
}

impl CheckpointError {
    pub(crate) fn from_store(error: StoreError) -> Self {
        match error.kind() {
            aws::ErrorKind::Throttled => Self::Throttled(error),
            _ => Self::Store(error),
        }
    }

    /// True when the same checkpoint may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Store(_))
    }
}

/// Writes a shard's checkpoints: where the next owner goes on. Clones write to the same shard; they
/// may be used from other tasks, also after `process` returned.
///
/// A checkpoint never goes backwards, never beyond what was delivered, and is only written while this
/// worker owns the lease. Every write is one conditional update; a lost answer does not lose the
/// lease.
#[derive(Clone)]
pub struct Checkpointer {
    lease: HeldLease,
    largest: Arc<Mutex<Position>>,
}

impl Checkpointer {
    pub(crate) fn new(lease: HeldLease, start: Position) -> Self {
        Self {
            lease,
            largest: Arc::new(Mutex::new(start)),
        }
    }

    /// Allows checkpoints up to here: called before the records are delivered.
    pub(crate) fn permit(&self, position: Position) {
        let mut largest = self.largest.lock();
        if position > *largest {
            *largest = position;
        }
    }

    /// The last record that may be checkpointed.
    pub(crate) fn permitted(&self) -> Position {
        self.largest.lock().clone()
    }

    /// Takes a permission back: the processor failed on the records behind `position`, and a checkpoint
    /// of everything delivered must not cover them.
    pub(crate) fn retract(&self, position: Position) {
        *self.largest.lock() = position.max(self.lease.checkpoint());
    }

    /// The shard that this writes for.
    #[must_use]
    pub fn shard_id(&self) -> &str {
        self.lease.key()
    }

    /// The last checkpoint that was written.
    #[must_use]
    pub fn last_checkpoint(&self) -> Position {
        self.lease.checkpoint()
    }

    /// False once the lease is lost or others may own it: checkpoints will fail, and work on the
    /// shard's records is done again elsewhere.
    #[must_use]
    pub fn is_lease_held(&self) -> bool {
        self.lease.is_valid()
    }

    /// Waits until the lease is lost or given back: lets long work stop early.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn lease_over(&self) {
        self.lease.over().await;
    }

    /// Checkpoints everything that was delivered so far, but for a batch that the processor failed on.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    ///
    /// # Cancellation
    /// The checkpoint may be written nevertheless.
    pub async fn checkpoint(&self) -> Result<(), CheckpointError> {
        let position = self.largest.lock().clone();
        self.write(position).await
    }

    /// Checkpoints everything up to and including the record, which must have been delivered. Inside an
    /// aggregate the next owner goes on right behind it.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    ///
    /// # Cancellation
    /// The checkpoint may be written nevertheless.
    pub async fn checkpoint_record(&self, record: &UserRecord) -> Result<(), CheckpointError> {
        self.checkpoint_at(record.position()).await
    }

    /// Checkpoints everything up to and including the position.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    ///
    /// # Cancellation
    /// The checkpoint may be written nevertheless.
    pub async fn checkpoint_at(&self, position: Position) -> Result<(), CheckpointError> {
        let largest = self.largest.lock().clone();
        if position > largest {
            return Err(CheckpointError::OutOfRange {
                position,
                last: self.lease.checkpoint(),
                largest: Some(largest),
            });
        }
        self.write(position).await
    }

    async fn write(&self, position: Position) -> Result<(), CheckpointError> {
        if !self.lease.is_valid() {
            return Err(CheckpointError::LeaseLost);
        }
        self.lease.write_checkpoint(position).await
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer")
            .field("shard_id", &self.shard_id())
            .field("last_checkpoint", &self.last_checkpoint())
            .finish_non_exhaustive()
    }
}

/// The end of a shard: all its records were delivered, the leases of its children exist. They are
/// begun to be read once the end is checkpointed, which consumes this value.
#[derive(Debug)]
pub struct ShardEnd {
    checkpointer: Checkpointer,
}

/// Proof that a shard's end was checkpointed: only [`ShardEnd::checkpoint`] makes one. A processor that
/// forgets the last checkpoint, and with it keeps the children from being read for ever, does not
/// compile:
///
/// ```compile_fail,E0451
/// use kcl::{Finished, ProcessorError, ShardEnd};
///
/// async fn shard_ended(end: ShardEnd) -> Result<Finished, ProcessorError> {
///     Ok(Finished { shard_id: end.shard_id().to_owned() })
/// }
/// ```
///
/// ```
/// # use kcl::{Finished, ProcessorError, ShardEnd};
/// async fn shard_ended(end: ShardEnd) -> Result<Finished, ProcessorError> {
///     Ok(end.checkpoint().await?)
/// }
/// ```
#[derive(Debug)]
pub struct Finished {
    pub(crate) shard_id: String,
}

impl ShardEnd {
    pub(crate) fn new(checkpointer: Checkpointer) -> Self {
        Self { checkpointer }
    }

    /// The shard.
    #[must_use]
    pub fn shard_id(&self) -> &str {
        self.checkpointer.shard_id()
    }

    /// Writes down that the shard is finished. After an error the processor's `shard_ended` is called
    /// again with a new value, unless the lease is lost.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    ///
    /// # Cancellation
    /// The end may be written nevertheless.
    pub async fn checkpoint(self) -> Result<Finished, CheckpointError> {
        self.checkpointer.write(Position::SHARD_END).await?;
        Ok(Finished {
            shard_id: self.checkpointer.shard_id().to_owned(),
        })
    }
}
