//! DynamoDB: the operations that the lease table needs.

mod codec;
mod types;

pub use types::*;

use crate::client::Caller;
use crate::config::Config;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind};
use runtime::RetryPolicy;
use std::time::Duration;

/// Calls DynamoDB. Clones share connections.
///
/// Each method makes as many attempts as the client's [`RetryPolicy`] allows and returns the last
/// error. A conditional write that was repeated after its answer was lost may fail on its own effect:
/// callers of conditional writes must look at the row before they believe
/// [`ErrorKind::ConditionFailed`]. Dropping a method's future gives the call up; the service may have
/// acted on it.
#[derive(Debug, Clone)]
pub struct Client(Caller);

impl Client {
    /// A client with the configuration's time-outs and retry policy.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(Caller::new(config, Service::DynamoDb))
    }

    /// The same client with another retry policy; [`RetryPolicy::none`] makes one attempt a call.
    #[must_use]
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self(self.0.with_retry(retry))
    }

    /// The same client with another bound on one attempt.
    #[must_use]
    pub fn with_attempt_timeout(&self, bound: Duration) -> Self {
        Self(self.0.with_attempt_timeout(bound))
    }

    /// Makes a table. It is usable once its status is `ACTIVE`.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] when the table exists; and any of [`Error`].
    pub async fn create_table(&self, input: &CreateTable) -> Result<(), Error> {
        self.0
            .call("CreateTable", codec::create_table(input), codec::nothing)
            .await
    }

    /// The table's state and key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such table; and any of [`Error`].
    pub async fn describe_table(&self, table: &str) -> Result<TableDescription, Error> {
        self.0
            .call(
                "DescribeTable",
                codec::table(table),
                codec::table_description,
            )
            .await
    }

    /// Deletes a table with everything in it.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn delete_table(&self, table: &str) -> Result<(), Error> {
        self.0
            .call("DeleteTable", codec::table(table), codec::nothing)
            .await
    }

    /// Writes a whole row.
    ///
    /// # Errors
    /// [`ErrorKind::ConditionFailed`]; and any of [`Error`].
    pub async fn put_item(&self, input: &PutItem) -> Result<(), Error> {
        self.0
            .call("PutItem", codec::put_item(input), codec::nothing)
            .await
    }

    /// Reads a row; `None` when there is none.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn get_item(&self, input: &GetItem) -> Result<Option<Item>, Error> {
        self.0
            .call("GetItem", codec::get_item(input), codec::item)
            .await
    }

    /// Changes a row; gives what [`UpdateItem::return_values`] asks for.
    ///
    /// # Errors
    /// [`ErrorKind::ConditionFailed`], which brings the row ([`condition_failed_item`]); and any of
    /// [`Error`].
    pub async fn update_item(&self, input: &UpdateItem) -> Result<Option<Item>, Error> {
        self.0
            .call("UpdateItem", codec::update_item(input), codec::attributes)
            .await
    }

    /// Deletes a row; success also when there was none, unless the condition says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::ConditionFailed`]; and any of [`Error`].
    pub async fn delete_item(&self, input: &DeleteItem) -> Result<(), Error> {
        self.0
            .call("DeleteItem", codec::delete_item(input), codec::nothing)
            .await
    }

    /// Reads one page of the table.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn scan(&self, input: &Scan) -> Result<Page, Error> {
        self.0.call("Scan", codec::scan(input), codec::page).await
    }
}

/// The row that a failed condition was tested on, where the service sent it along.
#[must_use]
pub fn condition_failed_item(error: &Error) -> Option<Item> {
    match error {
        Error::Service(e) if e.kind() == ErrorKind::ConditionFailed => {
            codec::item(&e.body).ok().flatten()
        }
        _ => None,
    }
}
