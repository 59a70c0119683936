//! DynamoDB, by dynoxide: one arm per operation.

mod backups;
mod indexes;
mod stale;
pub(crate) mod store;
pub(crate) mod thread;

use crate::error::LocalError;
use crate::refusal::Refusal;
use dynoxide::{Database, DynoxideError};
use runtime::WallClock;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

/// The endpoint's clock, as dynoxide asks for it.
struct Clock(Arc<dyn WallClock>);

impl dynoxide::storage_backend::Clock for Clock {
    fn now_unix_secs(&self) -> u64 {
        runtime::time::epoch_millis(self.0.now()) / 1_000
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.0
            .now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64())
    }
}

/// An empty store in memory, on the endpoint's clock.
fn open(clock: Arc<dyn WallClock>) -> Result<Database, LocalError> {
    Database::memory_with_clock(Arc::new(Clock(clock)))
        .map_err(|e| LocalError::Store(e.to_string()))
}

/// An answer: the HTTP status, the body, and the error's name if it is one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) error: Option<Cow<'static, str>>,
}

impl Answer {
    pub(crate) fn good(tree: &serde_json::Value) -> Self {
        Self {
            status: 200,
            body: tree.to_string().into_bytes(),
            error: None,
        }
    }

    pub(crate) fn refusal(refusal: Refusal) -> Self {
        let body = serde_json::json!({"__type": refusal.code, "message": refusal.message});
        Self {
            status: refusal.status,
            body: body.to_string().into_bytes(),
            error: Some(refusal.code),
        }
    }
}

/// The table that a request names, for the journal and for faults.
pub(crate) fn resource(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(rename = "TableName", borrow)]
        table: Option<Cow<'a, str>>,
    }
    serde_json::from_slice::<Named<'_>>(body)
        .ok()?
        .table
        .map(Cow::into_owned)
}

/// Carries out one operation on the calling thread.
fn call(db: &Database, operation: &str, body: &[u8]) -> Answer {
    match dispatch(db, operation, body) {
        Ok(body) => Answer {
            status: 200,
            body,
            error: None,
        },
        Err(Failure::Unknown) => Answer::refusal(crate::endpoint::unknown_operation(operation)),
        Err(Failure::Refused(error)) => refused(enveloped(operation, error)),
    }
}

enum Failure {
    Unknown,
    Refused(DynoxideError),
}

impl From<DynoxideError> for Failure {
    fn from(error: DynoxideError) -> Self {
        Self::Refused(error)
    }
}

fn dispatch(db: &Database, operation: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(match operation {
        "BatchExecuteStatement" => write(&db.batch_execute_statement(read(body)?)?)?,
        "BatchGetItem" => write(&db.batch_get_item(read(body)?)?)?,
        "BatchWriteItem" => write(&db.batch_write_item(read(body)?)?)?,
        "CreateTable" => write(&db.create_table(read(body)?)?)?,
        "DeleteItem" => write(&db.delete_item(read(body)?)?)?,
        "DeleteTable" => write(&db.delete_table(read(body)?)?)?,
        "DescribeTable" => write(&db.describe_table(read(body)?)?)?,
        "DescribeTimeToLive" => write(&db.describe_time_to_live(read(body)?)?)?,
        "ExecuteStatement" => write(&db.execute_statement(read(body)?)?)?,
        "ExecuteTransaction" => write(&db.execute_transaction(read(body)?)?)?,
        "GetItem" => write(&db.get_item(read(body)?)?)?,
        "ListTables" => write(&db.list_tables(read(body)?)?)?,
        "ListTagsOfResource" => write(&db.list_tags_of_resource(read(body)?)?)?,
        "PutItem" => write(&db.put_item(read(body)?)?)?,
        "Query" => write(&db.query(read(body)?)?)?,
        "Scan" => write(&db.scan(read(body)?)?)?,
        "TagResource" => write(&db.tag_resource(read(body)?)?)?,
        "TransactGetItems" => write(&db.transact_get_items(read(body)?)?)?,
        "TransactWriteItems" => write(&db.transact_write_items(read(body)?)?)?,
        "UntagResource" => write(&db.untag_resource(read(body)?)?)?,
        "UpdateItem" => write(&db.update_item(read(body)?)?)?,
        "UpdateTable" => write(&db.update_table(read(body)?)?)?,
        "UpdateTimeToLive" => write(&db.update_time_to_live(read(body)?)?)?,
        _ => return Err(Failure::Unknown),
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        // dynoxide's requests mark what is a failed validation, not a wrong type.
        let text = error.to_string();
        let text = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(text, _)| text);
        match text.strip_prefix("VALIDATION:") {
            Some(text) => DynoxideError::ValidationException(text.to_owned()),
            None => DynoxideError::SerializationException(text.to_owned()),
        }
    })
}

/// Through a tree with sorted members: dynoxide's items are hash maps, whose order would differ from
/// run to run.
fn write<T: serde::Serialize>(answer: &T) -> Result<Vec<u8>, DynoxideError> {
    serde_json::to_value(answer)
        .and_then(|tree| serde_json::to_vec(&tree))
        .map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}

/// The request validations that the service words with an envelope on the item writes.
fn enveloped(operation: &str, error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(text)
            if matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem") =>
        {
            DynoxideError::ValidationException(format!("1 validation error detected: {text}"))
        }
        other => other,
    }
}

fn refused(error: DynoxideError) -> Answer {
    let name = error.error_type();
    let body = error.to_json();
    // Sorted, as answers are.
    let body =
        serde_json::from_str::<serde_json::Value>(&body).map_or(body, |tree| tree.to_string());
    Answer {
        status: error.status_code(),
        body: body.into_bytes(),
        error: Some(Cow::Borrowed(
            name.rsplit_once('#').map_or(name, |(_, short)| short),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_in_a_request() {
        assert_eq!(
            resource(br#"{"TableName":"leases","Key":{}}"#).unwrap(),
            "leases"
        );
        assert_eq!(resource(br#"{"RequestItems":{}}"#), None);
        assert_eq!(resource(b"nonsense"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let db = Database::memory().unwrap();
        let cases = [
            ("NoSuchThing", "{}", "UnknownOperationException"),
            ("GetItem", "nonsense", "SerializationException"),
            (
                "DescribeTable",
                r#"{"TableName":"missing"}"#,
                "ResourceNotFoundException",
            ),
            (
                "PutItem",
                r#"{"TableName":"x","Item":{}}"#,
                "ValidationException",
            ),
        ];
        for (operation, body, error) in cases {
            let answer = call(&db, operation, body.as_bytes());
            assert_eq!(answer.error.as_deref(), Some(error), "{operation}");
            assert_eq!(answer.status, 400);
            let text = String::from_utf8(answer.body).unwrap();
            assert!(text.contains(error), "{text}");
        }
    }
}
