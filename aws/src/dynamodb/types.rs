//! Items, expressions, and the inputs and outputs of the DynamoDB operations.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// Text.
    S(String),
    /// A number, as text.
    N(String),
    /// Bytes.
    B(Bytes),
    /// True or false.
    Bool(bool),
    /// Nothing.
    Null,
    /// A set of texts.
    Ss(BTreeSet<String>),
    /// A set of numbers, as texts.
    Ns(BTreeSet<String>),
    /// A set of byte strings.
    Bs(BTreeSet<Bytes>),
    /// A list.
    L(Vec<AttributeValue>),
    /// A map.
    M(BTreeMap<String, AttributeValue>),
}

impl AttributeValue {
    /// The text of an `S`.
    #[must_use]
    pub fn as_s(&self) -> Option<&str> {
        if let Self::S(s) = self { Some(s) } else { None }
    }

    /// The text of an `N`.
    #[must_use]
    pub fn as_n(&self) -> Option<&str> {
        if let Self::N(n) = self { Some(n) } else { None }
    }

    /// The members of an `SS`.
    #[must_use]
    pub fn as_ss(&self) -> Option<&BTreeSet<String>> {
        if let Self::Ss(set) = self {
            Some(set)
        } else {
            None
        }
    }

    /// The bytes of a `B`.
    #[must_use]
    pub fn as_b(&self) -> Option<&Bytes> {
        if let Self::B(b) = self { Some(b) } else { None }
    }

    /// Text.
    pub fn s(text: impl Into<String>) -> Self {
        Self::S(text.into())
    }

    /// A number.
    pub fn n(number: impl ToString) -> Self {
        Self::N(number.to_string())
    }
}

/// A row, or a row's key: attributes by name.
pub type Item = BTreeMap<String, AttributeValue>;

/// Placeholders of an expression: `#name` → attribute name, `:value` → value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// `#name` → attribute name.
    pub names: BTreeMap<String, String>,
    /// `:value` → value.
    pub values: BTreeMap<String, AttributeValue>,
}

/// `PutItem`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutItem {
    /// The table.
    pub table_name: String,
    /// The whole row.
    pub item: Item,
    /// Written only if this holds.
    pub condition_expression: Option<String>,
    /// Placeholders of the condition.
    pub placeholders: Placeholders,
}

/// `GetItem`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetItem {
    /// The table.
    pub table_name: String,
    /// The row's key.
    pub key: Item,
    /// Strongly consistent.
    pub consistent_read: bool,
}

/// What `UpdateItem` gives back on success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReturnValues {
    /// Nothing.
    #[default]
    None,
    /// The row as it is now.
    AllNew,
    /// The row as it was.
    AllOld,
}

/// `UpdateItem`. When its condition fails, the row as it is comes with the error:
/// [`super::condition_failed_item`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateItem {
    /// The table.
    pub table_name: String,
    /// The row's key.
    pub key: Item,
    /// What to change, e.g. `SET leaseCounter = :new REMOVE checkpointOwner`.
    pub update_expression: String,
    /// Changed only if this holds.
    pub condition_expression: Option<String>,
    /// Placeholders of both expressions.
    pub placeholders: Placeholders,
    /// What comes back on success.
    pub return_values: ReturnValues,
}

/// `DeleteItem`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteItem {
    /// The table.
    pub table_name: String,
    /// The row's key.
    pub key: Item,
    /// Deleted only if this holds.
    pub condition_expression: Option<String>,
    /// Placeholders of the condition.
    pub placeholders: Placeholders,
}

/// One page of `Scan`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The table.
    pub table_name: String,
    /// Where the page before ended.
    pub exclusive_start_key: Option<Item>,
    /// Strongly consistent.
    pub consistent_read: bool,
    /// Rows read at the most; `None` = as many as fit a page of 1 MB.
    pub limit: Option<u32>,
}

/// One page of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub items: Vec<Item>,
    /// Where the next page starts; `None` = this was the last.
    pub last_evaluated_key: Option<Item>,
}

/// One attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAttribute {
    /// The attribute's name.
    pub name: String,
    /// `S`, `N` or `B`.
    pub kind: String,
    /// True for the partition (`HASH`) key, false for the sort (`RANGE`) key.
    pub is_hash: bool,
}

/// How a table is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BillingMode {
    /// By request.
    PayPerRequest,
    /// By capacity that was set aside.
    Provisioned {
        /// Read capacity units.
        read: u64,
        /// Write capacity units.
        write: u64,
    },
}

/// `CreateTable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    /// The table.
    pub table_name: String,
    /// Its key, the partition key first.
    pub key: Vec<KeyAttribute>,
    /// How it is paid for.
    pub billing_mode: BillingMode,
    /// Protected against deletion.
    pub deletion_protection: bool,
}

/// The answer to `DescribeTable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDescription {
    /// The table.
    pub table_name: String,
    /// `CREATING`, `UPDATING`, `DELETING`, `ACTIVE` …
    pub table_status: String,
    /// Its key, the partition key first.
    pub key: Vec<KeyAttribute>,
    /// Names of its global secondary indexes.
    pub indexes: Vec<String>,
    /// How it is paid for, as the service says it.
    pub billing_mode: Option<String>,
}
