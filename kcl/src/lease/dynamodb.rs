//! Leases in DynamoDB, in the layout and with the conditions of KCL 3.5.

use super::row::{self, Row};
use super::table_check::check_row;
use super::{Lease, LeaseList, LeaseStore, StoreError, TableInfo, Written};
use crate::position::Position;
use aggregation::HashRange;
use aws::ErrorKind;
use aws::dynamodb::{
    AttributeValue, BillingMode, Client, CreateTable, DeleteItem, GetItem, Item, KeyAttribute,
    Placeholders, PutItem, ReturnValues, Scan, UpdateItem, condition_failed_item,
};
use futures::future::BoxFuture;
use runtime::RetryPolicy;
use std::collections::BTreeSet;
use std::time::Duration;

/// A lease table in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoDbLeases {
    client: Client,
    /// Makes one attempt a call.
    once: Client,
    table: String,
    billing: BillingMode,
    deletion_protection: bool,
}

/// How often a table that is being made is looked at, and for how long (KCL: each 10 s for 600 s).
const TABLE_POLL: Duration = Duration::from_secs(1);
const TABLE_POLLS: usize = 600;

impl DynamoDbLeases {
    /// The table of that name, called through `client`. It is made, if it has to be, on demand
    /// (`PAY_PER_REQUEST`) and without deletion protection.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            once: client.with_retry(RetryPolicy::none()),
            client,
            table: table.into(),
            billing: BillingMode::PayPerRequest,
            deletion_protection: false,
        }
    }

    /// How the table is made, if it has to be.
    #[must_use]
    pub fn made_with(mut self, billing: BillingMode, deletion_protection: bool) -> Self {
        self.billing = billing;
        self.deletion_protection = deletion_protection;
        self
    }

    fn key(key: &str) -> Item {
        Item::from([(row::KEY.to_owned(), AttributeValue::s(key))])
    }

    async fn update(&self, key: &str, change: Change) -> Result<Written, StoreError> {
        let input = UpdateItem {
            table_name: self.table.clone(),
            key: Self::key(key),
            update_expression: change.expression(),
            condition_expression: Some(change.conditions.join(" AND ")),
            placeholders: change.placeholders,
            return_values: if change.all_new {
                ReturnValues::AllNew
            } else {
                ReturnValues::None
            },
        };
        match self.once.update_item(&input).await {
            Ok(item) => Ok(Written::Done(read_lease(item)?)),
            Err(error) if error.kind() == ErrorKind::ConditionFailed => {
                // The row comes with the error; an endpoint that does not send it is asked.
                let lease = match condition_failed_item(&error) {
                    Some(item) => read_lease(Some(item))?,
                    None => self.get(key).await?.map(Box::new),
                };
                Ok(Written::Refused(lease))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn read_lease(item: Option<Item>) -> Result<Option<Box<Lease>>, StoreError> {
    match item {
        None => Ok(None),
        Some(item) => match row::read(&item)? {
            Row::Lease(lease) => Ok(Some(lease)),
            Row::Other { .. } => Ok(None),
        },
    }
}

/// One conditional update, attribute by attribute. Every name goes through a placeholder: some are
/// reserved words.
#[derive(Debug, Default)]
struct Change {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    conditions: Vec<String>,
    placeholders: Placeholders,
    all_new: bool,
}

impl Change {
    fn name(&mut self, attribute: &str) -> String {
        let name = format!("#{attribute}");
        self.placeholders
            .names
            .insert(name.clone(), attribute.to_owned());
        name
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let name = format!(":{name}");
        self.placeholders.values.insert(name.clone(), value);
        name
    }

    fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(attribute, value));
        self.set.push(format!("{name} = {value}"));
        self
    }

    fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.remove.push(name);
        self
    }

    fn add_one(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        let one = self.value("one", AttributeValue::n(1));
        self.add.push(format!("{name} {one}"));
        self
    }

    fn if_equal(mut self, attribute: &str, value: AttributeValue) -> Self {
        let name = self.name(attribute);
        let value = self.value(&format!("seen_{attribute}"), value);
        self.conditions.push(format!("{name} = {value}"));
        self
    }

    fn if_absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions
            .push(format!("attribute_not_exists({name})"));
        self
    }

    fn if_present(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    fn all_new(mut self) -> Self {
        self.all_new = true;
        self
    }

    fn expression(&self) -> String {
        let clauses = [
            ("SET", &self.set),
            ("REMOVE", &self.remove),
            ("ADD", &self.add),
        ];
        let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
        let clauses: Vec<String> = clauses
            .map(|(verb, parts)| format!("{verb} {}", parts.join(", ")))
            .collect();
        clauses.join(" ")
    }

    /// The condition of every write that keeps a lease: nobody wrote since.
    fn counted(counter: u64) -> Self {
        Self::default()
            .if_equal(row::COUNTER, AttributeValue::n(counter))
            .set(row::COUNTER, AttributeValue::n(counter.saturating_add(1)))
    }

    fn set_hash_range(self, range: Option<HashRange>) -> Self {
        match range {
            None => self,
            Some(range) => self
                .set(
                    row::RANGE_START,
                    AttributeValue::s(range.start().to_string()),
                )
                .set(row::RANGE_END, AttributeValue::s(range.end().to_string())),
        }
    }

    fn set_children(self, children: &BTreeSet<String>) -> Self {
        if children.is_empty() {
            return self;
        }
        self.set(row::CHILDREN, AttributeValue::Ss(children.clone()))
    }
}

/// The changes that KCL makes, under its conditions.
impl Change {
    fn renew(counter: u64, throughput_kbps: Option<f64>) -> Self {
        let change = Self::counted(counter).if_absent(row::CHECKPOINT_OWNER);
        match throughput_kbps {
            None => change,
            Some(kbps) => change.set(
                row::THROUGHPUT,
                AttributeValue::N(row::throughput_text(kbps)),
            ),
        }
    }

    fn take(seen: &Lease, worker: &str) -> Self {
        let change = Self::counted(seen.counter)
            .set(row::OWNER, AttributeValue::s(worker))
            .remove(row::CHECKPOINT_OWNER)
            .all_new();
        let changes_owner = seen.owner.as_deref().is_some_and(|owner| owner != worker);
        if changes_owner || seen.checkpoint_owner.as_deref() == Some(worker) {
            change.add_one(row::SWITCHES)
        } else {
            change
        }
    }

    fn checkpoint(held: &Lease, position: &Position) -> Self {
        Self::counted(held.counter)
            .set(
                row::CHECKPOINT,
                AttributeValue::s(position.sequence.to_string()),
            )
            .set(
                row::CHECKPOINT_SUB,
                AttributeValue::n(position.sub_sequence),
            )
            .set(row::SWITCHES, AttributeValue::n(0))
            .remove(row::PENDING)
            .remove(row::PENDING_SUB)
            .remove(row::PENDING_STATE)
            .set_children(&held.children)
            .set_hash_range(held.hash_range)
    }

    fn evict(worker: &str) -> Self {
        Self::default()
            .if_equal(row::OWNER, AttributeValue::s(worker))
            .if_absent(row::CHECKPOINT_OWNER)
            .remove(row::OWNER)
            .add_one(row::COUNTER)
    }

    fn children(children: &BTreeSet<String>) -> Self {
        Self::default().if_present(row::KEY).set_children(children)
    }
}

impl LeaseStore for DynamoDbLeases {
    fn describe(&self) -> BoxFuture<'_, Result<Option<TableInfo>, StoreError>> {
        Box::pin(async move {
            match self.client.describe_table(&self.table).await {
                Ok(table) => Ok(Some(TableInfo {
                    name: table.table_name,
                    is_active: matches!(&*table.table_status, "ACTIVE" | "UPDATING"),
                    key: table.key.into_iter().map(|a| (a.name, a.kind)).collect(),
                })),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn exists<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            match self.client.describe_table(table).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn create_table(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let input = CreateTable {
                table_name: self.table.clone(),
                key: vec![KeyAttribute {
                    name: row::KEY.to_owned(),
                    kind: "S".to_owned(),
                    is_hash: true,
                }],
                billing_mode: self.billing,
                deletion_protection: self.deletion_protection,
            };
            match self.client.create_table(&input).await {
                Ok(()) => tracing::info!(table = self.table, "lease table made"),
                Err(error) if error.kind() == ErrorKind::InUse => {}
                Err(error) => return Err(error.into()),
            }
            for _ in 0..TABLE_POLLS {
                if self.describe().await?.is_some_and(|t| t.is_active) {
                    break;
                }
                tokio::time::sleep(TABLE_POLL).await;
            }
            Ok(())
        })
    }

    fn list(&self, consistent: bool) -> BoxFuture<'_, Result<LeaseList, StoreError>> {
        Box::pin(async move {
            let mut list = LeaseList::default();
            let mut scan = Scan {
                table_name: self.table.clone(),
                exclusive_start_key: None,
                consistent_read: consistent,
                limit: None,
            };
            loop {
                let page = self.client.scan(&scan).await?;
                for item in &page.items {
                    check_row(&self.table, item)?;
                    match row::read(item) {
                        Ok(Row::Lease(lease)) => list.leases.push(*lease),
                        Ok(Row::Other { .. }) => {}
                        Err(problem) => list.problems.push(problem),
                    }
                }
                match page.last_evaluated_key {
                    Some(key) => scan.exclusive_start_key = Some(key),
                    None => break,
                }
            }
            list.leases.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(list)
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Lease>, StoreError>> {
        Box::pin(async move {
            let input = GetItem {
                table_name: self.table.clone(),
                key: Self::key(key),
                consistent_read: true,
            };
            let item = self.client.get_item(&input).await?;
            Ok(read_lease(item)?.map(|lease| *lease))
        })
    }

    fn create<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let input = PutItem {
                table_name: self.table.clone(),
                item: row::new_item(lease),
                condition_expression: Some("attribute_not_exists(#leaseKey)".to_owned()),
                placeholders: Placeholders {
                    names: [("#leaseKey".to_owned(), row::KEY.to_owned())].into(),
                    ..Placeholders::default()
                },
            };
            match self.client.put_item(&input).await {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::ConditionFailed => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn renew<'a>(
        &'a self,
        key: &'a str,
        counter: u64,
        throughput_kbps: Option<f64>,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.update(key, Change::renew(counter, throughput_kbps)))
    }

    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.update(&seen.key, Change::take(seen, worker)))
    }

    fn checkpoint<'a>(
        &'a self,
        held: &'a Lease,
        position: &'a Position,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.update(&held.key, Change::checkpoint(held, position)))
    }

    fn evict<'a>(
        &'a self,
        key: &'a str,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.update(key, Change::evict(worker)))
    }

    fn set_children<'a>(
        &'a self,
        key: &'a str,
        children: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.update(key, Change::children(children)))
    }

    fn set_hash_range<'a>(
        &'a self,
        key: &'a str,
        range: HashRange,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        let change = Change::default()
            .if_present(row::KEY)
            .if_absent(row::RANGE_START)
            .set_hash_range(Some(range));
        Box::pin(self.update(key, change))
    }

    fn delete_finished<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let input = DeleteItem {
                table_name: self.table.clone(),
                key: Self::key(key),
                condition_expression: Some("#checkpoint = :end".to_owned()),
                placeholders: Placeholders {
                    names: [("#checkpoint".to_owned(), row::CHECKPOINT.to_owned())].into(),
                    values: [(":end".to_owned(), AttributeValue::s("SHARD_END"))].into(),
                },
            };
            match self.client.delete_item(&input).await {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == ErrorKind::ConditionFailed => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

#[cfg(test)]
mod golden {
    //! Our changes against those that the Java library sent: same attributes, same types, same values,
    //! same conditions, put into expressions.

    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    type Parts = BTreeMap<String, String>;

    /// A recorded request's changes and conditions.
    fn golden(purpose: &str, n: usize) -> (Parts, Parts) {
        let load = |name: &str| -> Vec<Value> {
            let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
            let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            file["requests"].as_array().unwrap().clone()
        };
        let mut all = load("3.5.1-requests.json");
        all.extend(load("3.5.1-compatible-with-2x-requests.json"));
        let request = all
            .iter()
            .filter(|r| r["purpose"] == purpose)
            .nth(n)
            .unwrap()["request"]
            .clone();
        let changes =
            request["AttributeUpdates"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, update)| {
                    let what = match (update["Action"].as_str().unwrap(), update.get("Value")) {
                        ("PUT", Some(value)) => format!("set {}", shown(value)),
                        ("ADD", Some(value)) => format!("add {}", shown(value)),
                        ("DELETE", None) => "remove".to_owned(),
                        other => panic!("{other:?}"),
                    };
                    (name.clone(), what)
                });
        let conditions = request["Expected"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, expected)| {
                let what = match expected.get("Value") {
                    _ if expected["Exists"] == false => "absent".to_owned(),
                    Some(value) => format!("= {}", shown(value)),
                    None => panic!("{expected}"),
                };
                (name.clone(), what)
            });
        (changes.collect(), conditions.collect())
    }

    fn shown(value: &Value) -> String {
        let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
        match value.as_array() {
            Some(values) => {
                let values: BTreeSet<_> = values.iter().map(|v| v.as_str().unwrap()).collect();
                format!("{kind} {values:?}")
            }
            None => format!("{kind} {}", value.as_str().unwrap()),
        }
    }

    /// Our changes and conditions, read back from the expressions.
    fn ours(change: &Change) -> (Parts, Parts) {
        let value = |name: &str| match &change.placeholders.values[name] {
            AttributeValue::S(text) => format!("S {text}"),
            AttributeValue::N(text) => format!("N {text}"),
            AttributeValue::Ss(texts) => format!("SS {texts:?}"),
            other => panic!("{other:?}"),
        };
        let attribute = |name: &str| change.placeholders.names[name].clone();
        let mut changes = Parts::new();
        for part in &change.set {
            let (name, new) = part.split_once(" = ").unwrap();
            changes.insert(attribute(name), format!("set {}", value(new)));
        }
        for part in &change.add {
            let (name, new) = part.split_once(' ').unwrap();
            changes.insert(attribute(name), format!("add {}", value(new)));
        }
        for name in &change.remove {
            changes.insert(attribute(name), "remove".to_owned());
        }
        let conditions = change.conditions.iter().map(|part| {
            if let Some(name) = part.strip_prefix("attribute_not_exists(") {
                (attribute(name.trim_end_matches(')')), "absent".to_owned())
            } else if let Some(name) = part.strip_prefix("attribute_exists(") {
                (attribute(name.trim_end_matches(')')), "present".to_owned())
            } else {
                let (name, seen) = part.split_once(" = ").unwrap();
                (attribute(name), format!("= {}", value(seen)))
            }
        });
        (changes, conditions.collect())
    }

    fn lease(counter: u64) -> Lease {
        let mut lease = Lease::new("shardId-000000000000", Position::TRIM_HORIZON);
        lease.counter = counter;
        lease
    }

    #[test]
    fn renewals() {
        assert_eq!(ours(&Change::renew(1, None)), golden("renew", 0));
        assert_eq!(
            ours(&Change::renew(40, Some(0.008_079))),
            golden("renew", 1)
        );
    }

    #[test]
    fn takes() {
        assert_eq!(ours(&Change::take(&lease(0), "javaA")), golden("take", 0));
        let mut owned = lease(0);
        owned.owner = Some("javaB".to_owned());
        let (mut changes, conditions) = golden("take", 0);
        changes.insert(
            "ownerSwitchesSinceCheckpoint".to_owned(),
            "add N 1".to_owned(),
        );
        assert_eq!(ours(&Change::take(&owned, "javaA")), (changes, conditions));
        owned.owner = Some("javaA".to_owned());
        assert_eq!(
            ours(&Change::take(&owned, "javaA")),
            golden("take", 0),
            "back to its owner"
        );
    }

    #[test]
    fn checkpoints() {
        let mut held = lease(12);
        held.hash_range = row::hash_range("0", "85070591730234615865843651857942052862");
        let position = Position::parse(
            "49680415131649607713166408629539477037611226137370820610",
            0,
        )
        .unwrap();
        assert_eq!(
            ours(&Change::checkpoint(&held, &position)),
            golden("checkpoint", 0)
        );
    }

    #[test]
    fn children() {
        let children = ["shardId-000000000004", "shardId-000000000005"].map(str::to_owned);
        let (changes, conditions) = ours(&Change::children(&children.into()));
        let (expected, on) = golden("children", 0);
        assert_eq!(changes, expected);
        // The original compares the key with itself; that it exists is the same.
        assert_eq!(
            conditions.keys().collect::<Vec<_>>(),
            on.keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_eviction_is_an_assignment_to_nobody() {
        // The original's condition for a change of owner, and its step of the counter.
        let (assigned, on) = golden("assign", 0);
        let (changes, conditions) = ours(&Change::evict("javaA"));
        assert_eq!(changes["leaseCounter"], assigned["leaseCounter"]);
        assert_eq!(changes["leaseOwner"], "remove");
        assert_eq!(conditions["checkpointOwner"], on["checkpointOwner"]);
        assert_eq!(conditions["leaseOwner"], "= S javaA");
    }
}
