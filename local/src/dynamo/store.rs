//! The DynamoDB store: dynoxide, and what it lacks.

use super::{Answer, backups::Backups, indexes::Indexes, stale::Frozen};
use crate::error::LocalError;
use crate::faults::plan::StoreTwist;
use crate::refusal::Refusal;
use bytes::Bytes;
use dynoxide::Database;
use runtime::WallClock;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// One call of DynamoDB.
#[derive(Debug, Clone)]
pub(crate) struct StoreCall {
    pub(crate) operation: String,
    pub(crate) body: Bytes,
    pub(crate) twist: StoreTwist,
    /// How often what stale reads see was to be frozen, and whether a
    /// fault wanted it before this call was struck.
    pub(crate) freezes: (u64, bool),
    /// The host that the caller reached this endpoint by.
    pub(crate) host: String,
}

/// Clones are handles on the same store.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    clock: Arc<dyn WallClock>,
    frozen: Frozen,
    indexes: Indexes,
    backups: Backups,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store in memory, on the endpoint's clock.
    pub(crate) fn open(clock: Arc<dyn WallClock>) -> Result<Self, LocalError> {
        Ok(Self {
            inner: Arc::new(Inner {
                db: super::open(Arc::clone(&clock))?,
                clock,
                frozen: Frozen::default(),
                indexes: Indexes::default(),
                backups: Backups::default(),
            }),
        })
    }

    /// Carries out one call on the calling thread.
    pub(crate) fn call(&self, call: &StoreCall) -> Answer {
        let inner = &*self.inner;
        if let Err(problem) = inner.frozen.prepare(&inner.db, call.freezes) {
            return Answer::refusal(Refusal {
                status: 500,
                ..Refusal::new("InternalServerError", problem)
            });
        }
        if call.twist == StoreTwist::Conflict
            && let Some(answer) = conflict(&call.operation, &call.body)
        {
            return answer;
        }
        if let Some(refusal) = inner.indexes.refuses(&call.operation, &call.body) {
            return Answer::refusal(refusal);
        }
        let now = runtime::time::epoch_millis(inner.clock.now());
        if let Some(answer) = inner.backups.call(&inner.db, call, now) {
            return answer;
        }
        match call.operation.as_str() {
            "DescribeLimits" => {
                return Answer::good(&json!({
                    "AccountMaxReadCapacityUnits": 80_000,
                    "AccountMaxWriteCapacityUnits": 80_000,
                    "TableMaxReadCapacityUnits": 40_000,
                    "TableMaxWriteCapacityUnits": 40_000,
                }));
            }
            "DescribeEndpoints" => {
                return Answer::good(&json!({
                    "Endpoints": [{"Address": call.host, "CachePeriodInMinutes": 1_440}],
                }));
            }
            _ => {}
        }
        if call.twist == StoreTwist::Stale
            && let Some(answer) = inner.frozen.read(&call.operation, &call.body)
        {
            return answer;
        }
        let answer = super::call(&inner.db, &call.operation, &call.body);
        if answer.status != 200 {
            return answer;
        }
        inner.backups.after(&call.operation, &call.body);
        let polls = match call.twist {
            StoreTwist::IndexCreating(polls) => polls,
            _ => 0,
        };
        inner
            .indexes
            .after(&call.operation, &call.body, polls, answer)
    }
}

/// A lost race against a transaction; none for calls that do not take part in one.
fn conflict(operation: &str, body: &[u8]) -> Option<Answer> {
    const TEXT: &str = "Transaction is ongoing for the item";
    let (name, message, reasons) = match operation {
        "TransactWriteItems" | "TransactGetItems" | "ExecuteTransaction" => {
            let items = serde_json::from_slice::<Value>(body)
                .ok()
                .and_then(|tree| {
                    let list = tree
                        .get("TransactItems")
                        .or(tree.get("TransactStatements"))?;
                    list.as_array().map(Vec::len)
                })?;
            let message = format!(
                "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
                vec!["TransactionConflict"; items].join(", ")
            );
            let reason = json!({"Code": "TransactionConflict", "Message": TEXT});
            let reasons = vec![reason; items];
            ("TransactionCanceledException", message, Some(reasons))
        }
        "PutItem" | "UpdateItem" | "DeleteItem" => {
            ("TransactionConflictException", TEXT.to_owned(), None)
        }
        _ => return None,
    };
    let mut tree = json!({
        "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"),
        "message": message,
    });
    if let (Some(reasons), Some(members)) = (reasons, tree.as_object_mut()) {
        members.insert("CancellationReasons".to_owned(), Value::Array(reasons));
    }
    Some(Answer {
        status: 400,
        body: tree.to_string().into_bytes(),
        error: Some(name.into()),
    })
}
