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

#[cfg(test)]
mod golden {
    //! Rows that the Java library (3.5.1, 3.4.2) left in DynamoDB are read; rows and changes that we
    //! write have the same attributes and types.

    use super::*;
    use crate::lease::table_check::{Refusal, check_row};
    use serde_json::Value;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn directory() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
    }

    fn load(name: &str) -> Value {
        let text = std::fs::read_to_string(directory().join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn attribute(value: &Value) -> AttributeValue {
        let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        match kind.as_str() {
            "S" => AttributeValue::S(text(value)),
            "N" => AttributeValue::N(text(value)),
            // The content of a binary attribute means nothing here; its type does.
            "B" => AttributeValue::B(text(value).into_bytes().into()),
            "SS" => AttributeValue::Ss(value.as_array().unwrap().iter().map(text).collect()),
            "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
            "M" => AttributeValue::M(
                value
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(k, v)| (k.clone(), attribute(v)))
                    .collect(),
            ),
            other => panic!("attribute of type {other}"),
        }
    }

    fn item(value: &Value) -> Item {
        value
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), attribute(v)))
            .collect()
    }

    fn kinds(item: &Item) -> BTreeMap<String, &'static str> {
        let kind = |value: &AttributeValue| match value {
            AttributeValue::S(_) => "S",
            AttributeValue::N(_) => "N",
            AttributeValue::B(_) => "B",
            AttributeValue::Ss(_) => "SS",
            _ => "other",
        };
        item.iter()
            .map(|(name, value)| (name.clone(), kind(value)))
            .collect()
    }

    /// Every row of every recorded moment: file, table, row.
    fn rows() -> Vec<(String, String, Item)> {
        let mut names: Vec<String> = std::fs::read_dir(directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("-requests.json") && !name.ends_with("-tables.json"))
            .collect();
        names.sort();
        let mut rows = Vec::new();
        for name in names {
            for (table, items) in load(&name)["tables"].as_object().unwrap() {
                for row in items.as_array().unwrap() {
                    rows.push((name.clone(), table.clone(), item(row)));
                }
            }
        }
        rows
    }

    #[test]
    fn every_recorded_row_of_a_lease_table_is_read() {
        let mut leases = 0;
        let mut others = BTreeMap::new();
        for (file, table, item) in rows() {
            if table.ends_with("-CoordinatorState") || table.ends_with("-WorkerMetricStats") {
                // Tables of KCL 3.0 to 3.4 with other keys; that they exist is enough to refuse.
                assert!(!item.contains_key(KEY), "{file} {table}");
                continue;
            }
            match read(&item).unwrap_or_else(|problem| panic!("{file}: {problem}")) {
                Row::Lease(lease) => {
                    leases += 1;
                    assert!(lease.key.starts_with("shardId-"), "{file}");
                    assert!(lease.hash_range.is_some(), "{file}");
                    assert_eq!(lease.owner.is_some(), item.contains_key(OWNER), "{file}");
                    assert_eq!(
                        lease.pending.is_some(),
                        item.contains_key(PENDING),
                        "{file}"
                    );
                    assert_eq!(
                        lease.checkpoint.to_string(),
                        item[CHECKPOINT].as_s().unwrap()
                    );
                    assert_eq!(
                        lease.throughput_kbps.is_some(),
                        item.contains_key(THROUGHPUT)
                    );
                    assert_eq!(check_row(&table, &item), Ok(()), "{file}");
                }
                Row::Other { entity, .. } => {
                    *others.entry(format!("{entity:?}")).or_insert(0) += 1;
                    let refusal = check_row(&table, &item).unwrap_err();
                    assert!(
                        matches!(
                            refusal,
                            Refusal::Leader { .. }
                                | Refusal::Migration { .. }
                                | Refusal::WorkerMetrics { .. }
                        ),
                        "{file}: {refusal}"
                    );
                }
            }
        }
        assert!(leases > 80, "{leases} leases");
        assert_eq!(
            others.keys().map(String::as_str).collect::<Vec<_>>(),
            ["ClientVersionMigration", "Leader", "WorkerMetrics"]
        );
    }

    #[test]
    fn a_handoff_a_pending_checkpoint_and_a_family_are_read_as_they_are() {
        let find = |file: &str, key: &str| {
            let (.., item) = rows()
                .into_iter()
                .find(|(f, _, item)| f.contains(file) && item.get(KEY).unwrap().as_s() == Some(key))
                .unwrap();
            match read(&item).unwrap() {
                Row::Lease(lease) => lease,
                Row::Other { .. } => panic!("no lease"),
            }
        };
        let handoff = rows()
            .into_iter()
            .filter(|(file, ..)| file.contains("04-handoff"))
            .filter_map(|(_, _, item)| match read(&item).unwrap() {
                Row::Lease(lease) if lease.checkpoint_owner.is_some() => Some(lease),
                _ => None,
            })
            .collect::<Vec<_>>();
        assert_eq!(handoff.len(), 2);
        assert!(
            handoff.iter().all(|l| {
                l.owner.as_deref() == Some("javaB") && l.actual_owner() == Some("javaA")
            })
        );
        let pending: Vec<_> = rows()
            .into_iter()
            .filter_map(|(_, _, item)| match read(&item) {
                Ok(Row::Lease(lease)) => lease.pending,
                _ => None,
            })
            .collect();
        assert!(!pending.is_empty() && pending.iter().all(|p| p.state.is_some()));
        let parent = find("3.5.1-08", "shardId-000000000000");
        assert!(parent.is_finished());
        assert_eq!(parent.children.len(), 2);
        for child in &parent.children {
            let child = find("3.5.1-08", child);
            assert!(child.parents.contains("shardId-000000000000"));
            assert_eq!(child.checkpoint, Position::TRIM_HORIZON);
        }
        let merged = rows().into_iter().any(|(file, _, item)| {
            file.contains("3.5.1-10")
                && matches!(read(&item), Ok(Row::Lease(lease)) if lease.parents.len() == 2)
        });
        assert!(merged, "a child of two parents");
    }

    fn requests(purpose: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for file in [
            "3.5.1-requests.json",
            "3.5.1-compatible-with-2x-requests.json",
        ] {
            let all = load(file)["requests"].as_array().unwrap().clone();
            found.extend(
                all.into_iter()
                    .filter(|r| r["purpose"] == purpose)
                    .map(|r| r["request"].clone()),
            );
        }
        assert!(!found.is_empty(), "no request of purpose {purpose}");
        found
    }

    #[test]
    fn new_rows_are_those_of_the_original() {
        for request in requests("put:LEASE") {
            let golden = item(&request["Item"]);
            let Row::Lease(lease) = read(&golden).unwrap() else {
                panic!("a lease")
            };
            // Text for text, not only type for type.
            assert_eq!(new_item(&lease), golden);
            assert_eq!(kinds(&new_item(&lease)), kinds(&golden));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut item = new_item(&Lease::new("shardId-000000000000", Position::LATEST));
        let mut broken = |name: &str, value: Option<AttributeValue>| {
            let before = item.get(name).cloned();
            match value {
                Some(value) => item.insert(name.to_owned(), value),
                None => item.remove(name),
            };
            let problem = read(&item).unwrap_err().to_string();
            match before {
                Some(before) => item.insert(name.to_owned(), before),
                None => item.remove(name),
            };
            problem
        };
        assert!(broken(COUNTER, None).contains("leaseCounter is missing"));
        assert!(broken(COUNTER, Some(AttributeValue::s("7"))).contains("not of type N"));
        assert!(broken(COUNTER, Some(AttributeValue::n("1.5"))).contains("no whole number"));
        assert!(broken(CHECKPOINT, Some(AttributeValue::s("soon"))).contains("neither"));
        assert!(broken(OWNER, Some(AttributeValue::s(""))).contains("is empty"));
        assert!(broken(PARENTS, Some(AttributeValue::s("p"))).contains("not of type SS"));
        assert!(broken(KEY, None).contains("leaseKey is missing"));
        item.insert(RANGE_START.to_owned(), AttributeValue::s("9"));
        item.insert(RANGE_END.to_owned(), AttributeValue::s("9"));
        assert!(read(&item).is_err());
        item.remove(RANGE_END);
        assert!(matches!(read(&item), Ok(Row::Lease(lease)) if lease.hash_range.is_none()));
    }

    #[test]
    fn throughput_has_six_decimals_at_most() {
        let table = [
            (0.0351138, "0.035114"),
            (812.25, "812.25"),
            (1.0, "1"),
            (0.0000004, "0"),
        ];
        for (kbps, text) in table {
            assert_eq!(throughput_text(kbps), text);
        }
    }
}
