//! Rows of the lease table, attribute by attribute, in the layout of KCL 3.5.

use super::{Lease, Pending};
use crate::position::Position;
use aggregation::{HashKey, HashRange};
use aws::dynamodb::{AttributeValue, Item};
use std::collections::BTreeSet;

pub(crate) const KEY: &str = "leaseKey";
pub(crate) const ENTITY: &str = "entityType";
pub(crate) const OWNER: &str = "leaseOwner";
pub(crate) const COUNTER: &str = "leaseCounter";
pub(crate) const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const CHECKPOINT_SUB: &str = "checkpointSubSequenceNumber";
pub(crate) const PENDING: &str = "pendingCheckpoint";
pub(crate) const PENDING_SUB: &str = "pendingCheckpointSubSequenceNumber";
pub(crate) const PENDING_STATE: &str = "pendingCheckpointState";
pub(crate) const PARENTS: &str = "parentShardId";
pub(crate) const CHILDREN: &str = "childShardIds";
pub(crate) const RANGE_START: &str = "startingHashKey";
pub(crate) const RANGE_END: &str = "endingHashKey";
pub(crate) const THROUGHPUT: &str = "throughputKBps";
pub(crate) const CHECKPOINT_OWNER: &str = "checkpointOwner";
const STREAM: &str = "streamName";

/// What a row of the table is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    /// A lease.
    Lease(Box<Lease>),
    /// A row of another kind, which no reader of leases looks into.
    Other {
        /// The row's key.
        key: String,
        /// Its kind.
        entity: Entity,
    },
}

/// Kinds of rows beside leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entity {
    Leader,
    ClientVersionMigration,
    TableMigration,
    WorkerMetrics,
    Stream,
}

/// A row that cannot be read as what it says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {key:?} of the lease table: attribute {attribute} {reason}")]
pub struct RowProblem {
    /// The row's key; empty when even that is missing.
    pub key: String,
    /// The attribute.
    pub attribute: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// An inclusive range from decimal texts; `None` unless the start lies below the end.
pub(crate) fn hash_range(start: &str, end: &str) -> Option<HashRange> {
    let start = HashKey::parse_decimal(start).ok()?;
    let end = HashKey::parse_decimal(end).ok()?;
    HashRange::new(start, end).ok()
}

struct Reader<'a> {
    item: &'a Item,
    key: &'a str,
}

impl Reader<'_> {
    fn problem(&self, attribute: &'static str, reason: &'static str) -> RowProblem {
        RowProblem {
            key: self.key.to_owned(),
            attribute,
            reason,
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, RowProblem> {
        match self.item.get(name) {
            None => Ok(None),
            Some(value) => match value.as_s() {
                Some(text) if !text.is_empty() => Ok(Some(text)),
                Some(_) => Err(self.problem(name, "is empty")),
                None => Err(self.problem(name, "is not of type S")),
            },
        }
    }

    /// Numbers are whatever text the writer's language prints; they are read, never compared as text.
    fn number(&self, name: &'static str) -> Result<Option<u64>, RowProblem> {
        match self.item.get(name) {
            None => Ok(None),
            Some(value) => {
                let text = value
                    .as_n()
                    .ok_or_else(|| self.problem(name, "is not of type N"))?;
                let number = text
                    .parse()
                    .map_err(|_| self.problem(name, "is no whole number"))?;
                Ok(Some(number))
            }
        }
    }

    fn set(&self, name: &'static str) -> Result<BTreeSet<String>, RowProblem> {
        match self.item.get(name) {
            None => Ok(BTreeSet::new()),
            Some(value) => match value.as_ss() {
                Some(set) => Ok(set.clone()),
                None => Err(self.problem(name, "is not of type SS")),
            },
        }
    }

    fn position(
        &self,
        name: &'static str,
        sub: &'static str,
    ) -> Result<Option<Position>, RowProblem> {
        let Some(sequence) = self.text(name)? else {
            return Ok(None);
        };
        let sub = self.number(sub)?.unwrap_or(0);
        Position::parse(sequence, sub)
            .map(Some)
            .ok_or_else(|| self.problem(name, "is neither a sequence number nor a known word"))
    }

    fn lease(&self) -> Result<Lease, RowProblem> {
        let missing = |name| move || self.problem(name, "is missing");
        let state = match self.item.get(PENDING_STATE) {
            None => None,
            Some(value) => Some(
                value
                    .as_b()
                    .cloned()
                    .ok_or_else(|| self.problem(PENDING_STATE, "is not of type B"))?,
            ),
        };
        let hash_range = match (self.text(RANGE_START)?, self.text(RANGE_END)?) {
            (Some(start), Some(end)) => Some(
                hash_range(start, end)
                    .filter(|range| range.start() < range.end())
                    .ok_or_else(|| self.problem(RANGE_START, "does not lie below endingHashKey"))?,
            ),
            _ => None,
        };
        let throughput_kbps = self
            .item
            .get(THROUGHPUT)
            .and_then(AttributeValue::as_n)
            .and_then(|text| text.parse().ok());
        Ok(Lease {
            key: self.key.to_owned(),
            owner: self.text(OWNER)?.map(str::to_owned),
            counter: self.number(COUNTER)?.ok_or_else(missing(COUNTER))?,
            owner_switches: self.number(SWITCHES)?.unwrap_or(0),
            checkpoint: self
                .position(CHECKPOINT, CHECKPOINT_SUB)?
                .ok_or_else(missing(CHECKPOINT))?,
            pending: self
                .position(PENDING, PENDING_SUB)?
                .map(|position| Pending { position, state }),
            parents: self.set(PARENTS)?,
            children: self.set(CHILDREN)?,
            hash_range,
            throughput_kbps,
            checkpoint_owner: self.text(CHECKPOINT_OWNER)?.map(str::to_owned),
        })
    }
}

/// Reads a row. A row without a kind is a lease (writers before KCL 3.5 gave it none), and so is one
/// of an unknown kind.
pub(crate) fn read(item: &Item) -> Result<Row, RowProblem> {
    let nameless = Reader { item, key: "" };
    let key = nameless
        .text(KEY)?
        .ok_or_else(|| nameless.problem(KEY, "is missing"))?;
    let reader = Reader { item, key };
    let entity = match reader.text(ENTITY)? {
        Some("LEADER") => Entity::Leader,
        Some("CLIENT_VERSION_MIGRATION") => Entity::ClientVersionMigration,
        Some("TABLE_MIGRATION") => Entity::TableMigration,
        Some("WORKER_METRIC_STATS") => Entity::WorkerMetrics,
        Some("STREAM") => Entity::Stream,
        // The coordinator's rows carried no kind before KCL 3.5; their keys tell.
        None if key == "Migration3.0" => Entity::ClientVersionMigration,
        None if key == "TableMigration3.5" => Entity::TableMigration,
        _ => return Ok(Row::Lease(Box::new(reader.lease()?))),
    };
    Ok(Row::Other {
        key: key.to_owned(),
        entity,
    })
}

/// True for the row of a worker that reads several streams.
pub(crate) fn is_multi_stream(item: &Item) -> bool {
    item.contains_key(STREAM)
}

/// The attributes of a new lease. Only ever written where no row is.
pub(crate) fn new_item(lease: &Lease) -> Item {
    let mut item = Item::new();
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put(KEY, AttributeValue::s(&*lease.key));
    put(ENTITY, AttributeValue::s("LEASE"));
    put(COUNTER, AttributeValue::n(lease.counter));
    put(SWITCHES, AttributeValue::n(lease.owner_switches));
    put(
        CHECKPOINT,
        AttributeValue::s(lease.checkpoint.sequence.to_string()),
    );
    put(
        CHECKPOINT_SUB,
        AttributeValue::n(lease.checkpoint.sub_sequence),
    );
    if !lease.parents.is_empty() {
        put(PARENTS, AttributeValue::Ss(lease.parents.clone()));
    }
    if let Some(range) = lease.hash_range {
        put(RANGE_START, AttributeValue::s(range.start().to_string()));
        put(RANGE_END, AttributeValue::s(range.end().to_string()));
    }
    item
}

/// A measured throughput as the table holds it: at most six decimals, halves away from zero.
pub(crate) fn throughput_text(kbps: f64) -> String {
    let rounded = (kbps * 1e6).round() / 1e6;
    format!("{rounded}")
}
