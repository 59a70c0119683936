//! Indexes that take time to be built, for as many polls as a fault says.

use super::{Answer, resource};
use crate::refusal::Refusal;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The indexes that are CREATING, by table and name, and for how many answers of DescribeTable.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    creating: Mutex<BTreeMap<(String, String), u32>>,
}

impl Indexes {
    /// The refusal of a read from an index that is not there yet.
    pub(super) fn refuses(&self, operation: &str, body: &[u8]) -> Option<Refusal> {
        if !matches!(operation, "Query" | "Scan") {
            return None;
        }
        let creating = self.creating.lock();
        if creating.is_empty() {
            return None;
        }
        let tree: Value = serde_json::from_slice(body).ok()?;
        let index = tree.get("IndexName")?.as_str()?;
        creating
            .contains_key(&(resource(body)?, index.to_owned()))
            .then(|| {
                Refusal::validation(format!(
                    "Cannot read from backfilling global secondary index: {index}"
                ))
            })
    }

    /// Notes what a good UpdateTable added, and lets the answer tell what still is CREATING.
    pub(super) fn after(
        &self,
        operation: &str,
        body: &[u8],
        polls: u32,
        mut answer: Answer,
    ) -> Answer {
        let member = match operation {
            "UpdateTable" => "TableDescription",
            "DescribeTable" => "Table",
            "DeleteTable" => {
                if let Some(table) = resource(body) {
                    self.creating.lock().retain(|(of, _), _| *of != table);
                }
                return answer;
            }
            _ => return answer,
        };
        let Some(table) = resource(body) else {
            return answer;
        };
        let mut creating = self.creating.lock();
        if operation == "UpdateTable" && polls > 0 {
            for index in added(body) {
                creating.insert((table.clone(), index), polls);
            }
        }
        if !creating.keys().any(|(of, _)| *of == table) {
            return answer;
        }
        if let Ok(mut tree) = serde_json::from_slice::<Value>(&answer.body) {
            mark(tree.get_mut(member), &|index| {
                creating.contains_key(&(table.clone(), index.to_owned()))
            });
            answer.body = tree.to_string().into_bytes();
        }
        if operation == "DescribeTable" {
            creating.retain(|(of, _), left| {
                if *of == table {
                    *left = left.saturating_sub(1);
                }
                *left > 0
            });
        }
        answer
    }
}

/// The names of the indexes that an UpdateTable adds.
fn added(body: &[u8]) -> Vec<String> {
    let Ok(tree) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let updates = tree
        .get("GlobalSecondaryIndexUpdates")
        .and_then(Value::as_array);
    updates
        .into_iter()
        .flatten()
        .filter_map(|update| update.pointer("/Create/IndexName")?.as_str())
        .map(str::to_owned)
        .collect()
}

fn mark(description: Option<&mut Value>, creating: &dyn Fn(&str) -> bool) {
    let Some(description) = description.and_then(Value::as_object_mut) else {
        return;
    };
    description.insert("TableStatus".to_owned(), json!("UPDATING"));
    let indexes = description
        .get_mut("GlobalSecondaryIndexes")
        .and_then(Value::as_array_mut);
    for index in indexes.into_iter().flatten() {
        let found = index.get("IndexName").and_then(Value::as_str);
        if found.is_some_and(creating)
            && let Some(index) = index.as_object_mut()
        {
            index.insert("IndexStatus".to_owned(), json!("CREATING"));
            index.insert("Backfilling".to_owned(), json!(true));
        }
    }
}
