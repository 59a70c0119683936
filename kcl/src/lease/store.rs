//! The seam between leases and the table that holds them.

use super::{Lease, RowProblem};
use crate::lease::table_check::Refusal;
use crate::position::Position;
use aggregation::HashRange;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::fmt;

/// What a store may fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The service refused or could not be reached.
    #[error(transparent)]
    Service(#[from] aws::Error),
    /// A row could not be read.
    #[error(transparent)]
    Row(#[from] RowProblem),
    /// The table is not one that this version may use.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl StoreError {
    /// What the error means; a row or table of the wrong kind is fatal.
    #[must_use]
    pub fn kind(&self) -> aws::ErrorKind {
        match self {
            Self::Service(error) => error.kind(),
            Self::Row(_) | Self::Refused(_) => aws::ErrorKind::Fatal,
        }
    }

    /// True when the call may have taken effect although it failed.
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Service(error) => error.may_have_taken_effect(),
            // The write was answered; its answer was not understood.
            Self::Row(_) => true,
            Self::Refused(_) => false,
        }
    }

    /// True when the same call may succeed later without anyone's doing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }
}

/// The table's description.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Usable.
    pub is_active: bool,
    /// Its key: attribute and type, the partition key first.
    pub key: Vec<(String, String)>,
}

/// All leases of the table, and the rows that could not be read as one.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LeaseList {
    /// In order of their keys.
    pub leases: Vec<Lease>,
    /// Rows that say they are leases and cannot be read.
    pub problems: Vec<RowProblem>,
}

/// How a conditional write ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Written {
    /// The write took effect; where the table told, the row as it is now.
    Done(Option<Box<Lease>>),
    /// Its condition did not hold: the row as it is; `None` = there is no row.
    Refused(Option<Box<Lease>>),
}

/// Where leases are kept. Every write but [`LeaseStore::delete_finished`] is one conditional update of single
/// attributes, so that attributes of other writers survive; a row is only ever made where none is.
///
/// Conditional writes make one attempt: who repeats one after a lost answer must expect to be refused
/// by its own effect, and only then may take the row that comes with [`Written::Refused`] for it.
pub trait LeaseStore: Send + Sync + fmt::Debug {
    /// The table, or `None` when there is none.
    fn describe(&self) -> BoxFuture<'_, Result<Option<TableInfo>, StoreError>>;
    /// Whether another table of this name exists.
    fn exists<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;
    /// Makes the table; success also when somebody else did.
    fn create_table(&self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// All leases.
    ///
    /// Fails with [`StoreError::Refused`] when a row shows that others use the table in ways that this
    /// version does not take part in.
    fn list(&self, consistent: bool) -> BoxFuture<'_, Result<LeaseList, StoreError>>;
    /// One lease, strongly consistent.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Lease>, StoreError>>;
    /// Makes a lease; false when there is one already.
    fn create<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool, StoreError>>;
    /// Raises the counter from `counter` by one, if nobody changed it and no handoff began.
    fn renew<'a>(
        &'a self,
        key: &'a str,
        counter: u64,
        throughput_kbps: Option<f64>,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;
    /// Makes `worker` the owner, if the counter is still the one of `seen`; gives the row as it is then.
    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;
    /// Writes a checkpoint and raises the counter from that of `held` by one, if nobody changed it.
    fn checkpoint<'a>(
        &'a self,
        held: &'a Lease,
        position: &'a Position,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;
    /// Removes the owner, if it is still `worker`.
    fn evict<'a>(
        &'a self,
        key: &'a str,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;
    /// Notes a shard's children on its row, if that exists.
    fn set_children<'a>(
        &'a self,
        key: &'a str,
        children: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;
    /// Notes a shard's hash keys on its row, if that exists and knows none.
    fn set_hash_range<'a>(
        &'a self,
        key: &'a str,
        range: HashRange,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;
    /// Deletes a lease if its shard is finished; success also when it was gone.
    fn delete_finished<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
}
