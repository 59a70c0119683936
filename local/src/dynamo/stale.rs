//! What stale reads see: the store as it stood when a fault asked for it.

use super::Answer;
use dynoxide::Database;
use parking_lot::Mutex;
use serde_json::Value;

/// A copy of the store, kept as long as a fault may want it.
#[derive(Default)]
pub(super) struct Frozen {
    copy: Mutex<Option<(u64, Database)>>,
}

impl Frozen {
    /// Makes the copy if one is wanted and not there yet, before the call that comes first after the
    /// fault was added; drops one that nobody wants any more.
    pub(super) fn prepare(&self, db: &Database, freezes: (u64, bool)) -> Result<(), String> {
        let (generation, wanted) = freezes;
        let mut copy = self.copy.lock();
        if !wanted {
            *copy = None;
            return Ok(());
        }
        if copy.as_ref().is_none_or(|(of, _)| *of != generation) {
            *copy = Some((generation, duplicate(db)?));
        }
        Ok(())
    }

    /// Answers a read that does not ask for consistency; none for all other calls.
    pub(super) fn read(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        if !matches!(operation, "GetItem" | "Query" | "Scan" | "BatchGetItem") {
            return None;
        }
        let tree: Value = serde_json::from_slice(body).ok()?;
        let consistent =
            |of: &Value| of.get("ConsistentRead").and_then(Value::as_bool) == Some(true);
        let of_tables = tree.get("RequestItems").and_then(Value::as_object);
        if consistent(&tree) || of_tables.is_some_and(|tables| tables.values().any(consistent)) {
            return None;
        }
        let copy = self.copy.lock();
        let (_, db) = copy.as_ref()?;
        Some(super::call(db, operation, body))
    }
}

/// Through a file: the one way that dynoxide has.
fn duplicate(db: &Database) -> Result<Database, String> {
    let problem = |e: &dyn std::fmt::Display| format!("The store could not be frozen: {e}");
    let directory = tempfile::tempdir().map_err(|e| problem(&e))?;
    let path = directory.path().join("frozen.sqlite");
    let path = path
        .to_str()
        .ok_or_else(|| problem(&"the path is no text"))?;
    db.vacuum_into(path).map_err(|e| problem(&e))?;
    let copy = Database::memory().map_err(|e| problem(&e))?;
    copy.restore_from(path).map_err(|e| problem(&e))?;
    Ok(copy)
}
