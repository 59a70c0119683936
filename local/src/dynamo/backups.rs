//! Continuous backups: a setting that is kept, since nothing here has a yesterday to restore.

use super::{Answer, resource, store::StoreCall};
use crate::refusal::Refusal;
use dynoxide::Database;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Days that the service goes back.
const WINDOW: u64 = 35;

/// The tables with point-in-time recovery, and since when, in milliseconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct Backups {
    enabled: Mutex<BTreeMap<String, u64>>,
}

impl Backups {
    /// Answers the two operations; none for all others.
    pub(super) fn call(&self, db: &Database, call: &StoreCall, now: u64) -> Option<Answer> {
        let update = match call.operation.as_str() {
            "UpdateContinuousBackups" => true,
            "DescribeContinuousBackups" => false,
            _ => return None,
        };
        Some(
            self.answer(db, &call.body, update, now)
                .unwrap_or_else(Answer::refusal),
        )
    }

    fn answer(
        &self,
        db: &Database,
        body: &[u8],
        update: bool,
        now: u64,
    ) -> Result<Answer, Refusal> {
        let tree: Value =
            serde_json::from_slice(body).map_err(|e| Refusal::serialization(e.to_string()))?;
        let table = resource(body).ok_or_else(|| {
            Refusal::validation(
                "1 validation error detected: Value null at 'tableName' failed to satisfy \
                 constraint: Member must not be null",
            )
        })?;
        let describe = json!({"TableName": table}).to_string();
        if super::call(db, "DescribeTable", describe.as_bytes()).status != 200 {
            return Err(Refusal::new(
                "TableNotFoundException",
                format!("Table not found: {table}"),
            ));
        }
        let mut enabled = self.enabled.lock();
        if update {
            let wanted = tree
                .pointer("/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled")
                .and_then(Value::as_bool)
                .ok_or_else(|| {
                    Refusal::validation(
                        "1 validation error detected: Value null at \
                         'pointInTimeRecoverySpecification.pointInTimeRecoveryEnabled' failed to \
                         satisfy constraint: Member must not be null",
                    )
                })?;
            if wanted {
                enabled.entry(table.clone()).or_insert(now);
            } else {
                enabled.remove(&table);
            }
        }
        let recovery = match enabled.get(&table) {
            None => json!({"PointInTimeRecoveryStatus": "DISABLED"}),
            Some(since) => {
                let earliest = (*since).max(now.saturating_sub(WINDOW * 86_400_000));
                json!({
                    "PointInTimeRecoveryStatus": "ENABLED",
                    "RecoveryPeriodInDays": WINDOW,
                    "EarliestRestorableDateTime": earliest / 1_000,
                    "LatestRestorableDateTime": now / 1_000,
                })
            }
        };
        Ok(Answer::good(&json!({"ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": recovery,
        }})))
    }

    /// A table that is deleted takes its setting with it.
    pub(super) fn after(&self, operation: &str, body: &[u8]) {
        if operation == "DeleteTable"
            && let Some(table) = resource(body)
        {
            self.enabled.lock().remove(&table);
        }
    }
}
