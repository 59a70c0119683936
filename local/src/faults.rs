//! Scripted faults: what goes wrong, on which call.

use parking_lot::Mutex;
use std::time::Duration;

/// Which of the calls that match a fault it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nth {
    /// The nth matching call from now (1 is the next), once. Counted from when the fault was added.
    Once(u64),
    /// Every matching call, until the faults are cleared.
    Every,
}

/// What a fault does to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// Answers with an error; the call has no effect.
    Error {
        /// The HTTP status.
        status: u16,
        /// AWS' name of the error.
        code: String,
        /// The error's text.
        message: String,
    },
    /// The call takes effect and its answer is lost: [`ConnectionLost`](crate::ConnectionLost) in
    /// process, a closed connection over sockets.
    LoseAnswer,
    /// The call has no effect and no answer.
    Refuse,
    /// The call is carried out after a delay on tokio's clock.
    Delay(Duration),
    /// PutRecords: every `every`-th entry (counted from 1) is refused with `code`, the others are
    /// stored. Other operations are carried out unchanged.
    SplitEntries {
        /// Which entries are refused; 0 counts as 1.
        every: usize,
        /// The `ErrorCode` of a refused entry.
        code: String,
    },
    /// GetRecords: the iterator counts as expired. Other operations are carried out unchanged.
    ExpireIterator,
}

/// A fault: what happens to which calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The operation (`PutRecords`, `UpdateItem`), or `*` for all.
    pub operation: String,
    /// Which of the matching calls.
    pub nth: Nth,
    /// What happens.
    pub action: FaultAction,
    /// The stream or table that the call has to name; none for any.
    pub resource: Option<String>,
}

impl Fault {
    /// A fault of the nth call of an operation (1 is the next), on any stream or table.
    #[must_use]
    pub fn nth(operation: impl Into<String>, nth: u64, action: FaultAction) -> Self {
        Self {
            operation: operation.into(),
            nth: Nth::Once(nth),
            action,
            resource: None,
        }
    }

    /// A fault of every call of an operation, on any stream or table.
    #[must_use]
    pub fn every(operation: impl Into<String>, action: FaultAction) -> Self {
        Self {
            nth: Nth::Every,
            ..Self::nth(operation, 1, action)
        }
    }

    /// The same, but only for calls that name this stream or table.
    #[must_use]
    pub fn on(self, resource: impl Into<String>) -> Self {
        Self {
            resource: Some(resource.into()),
            ..self
        }
    }

    fn matches(&self, operation: &str, resource: Option<&str>) -> bool {
        (self.operation == "*" || self.operation == operation)
            && self
                .resource
                .as_deref()
                .is_none_or(|wanted| resource == Some(wanted))
    }
}

/// Names a fault that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

/// The faults that wait to strike.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    /// In the order they were added, with the matching calls each has seen.
    faults: Vec<(FaultId, Fault, u64)>,
}

impl Faults {
    /// Adds a fault. Of several that strike one call, the one added first does; the others have
    /// seen the call, and a one-shot fault whose turn it was strikes the next matching call.
    pub fn add(&self, fault: Fault) -> FaultId {
        let mut waiting = self.waiting.lock();
        let id = FaultId(waiting.next_id);
        waiting.next_id += 1;
        waiting.faults.push((id, fault, 0));
        id
    }

    /// Takes one fault back. False when it has struck already, or was taken back before.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut waiting = self.waiting.lock();
        let before = waiting.faults.len();
        waiting.faults.retain(|(found, ..)| *found != id);
        waiting.faults.len() < before
    }

    /// Takes all faults back.
    pub fn clear(&self) {
        self.waiting.lock().faults.clear();
    }

    /// How many faults still wait: one-shot ones that have not struck, and repeating ones.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.waiting.lock().faults.len()
    }

    /// Counts a call, and gives what strikes it.
    pub(crate) fn strike(&self, operation: &str, resource: Option<&str>) -> Option<FaultAction> {
        let mut waiting = self.waiting.lock();
        let mut struck: Option<(usize, bool)> = None;
        for (position, (_, fault, seen)) in waiting.faults.iter_mut().enumerate() {
            if !fault.matches(operation, resource) {
                continue;
            }
            *seen += 1;
            let (due, once) = match fault.nth {
                Nth::Once(nth) => (*seen >= nth, true),
                Nth::Every => (true, false),
            };
            if due && struck.is_none() {
                struck = Some((position, once));
            }
        }
        let (position, once) = struck?;
        if once {
            Some(waiting.faults.remove(position).1.action)
        } else {
            waiting.faults.get(position).map(|f| f.1.action.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(operation: &str, nth: u64) -> Fault {
        Fault::nth(operation, nth, FaultAction::Refuse)
    }

    #[test]
    fn the_nth_matching_call_is_struck_once() {
        let faults = Faults::default();
        faults.add(refuse("PutRecords", 3));
        let struck: Vec<bool> = (0..5)
            .map(|_| {
                assert_eq!(faults.strike("GetRecords", None), None);
                faults.strike("PutRecords", None).is_some()
            })
            .collect();
        assert_eq!(struck, [false, false, true, false, false]);
        assert_eq!(faults.remaining(), 0);
    }

    #[test]
    fn a_resource_narrows_and_a_star_widens() {
        let faults = Faults::default();
        let id = faults.add(Fault::every("*", FaultAction::Refuse).on("orders"));
        assert!(faults.strike("GetRecords", Some("orders")).is_some());
        assert!(faults.strike("UpdateItem", Some("orders")).is_some());
        assert!(faults.strike("GetRecords", Some("other")).is_none());
        assert!(faults.strike("GetRecords", None).is_none());
        assert_eq!(faults.remaining(), 1);
        assert!(faults.remove(id));
        assert!(!faults.remove(id));
        assert!(faults.strike("GetRecords", Some("orders")).is_none());
    }

    #[test]
    fn two_faults_due_at_once_strike_one_after_the_other() {
        let faults = Faults::default();
        faults.add(Fault::nth("X", 1, FaultAction::LoseAnswer));
        faults.add(refuse("X", 1));
        assert_eq!(faults.strike("X", None), Some(FaultAction::LoseAnswer));
        assert_eq!(faults.strike("X", None), Some(FaultAction::Refuse));
        assert_eq!(faults.strike("X", None), None);
        faults.add(refuse("X", 1));
        faults.clear();
        assert_eq!(faults.strike("X", None), None);
    }
}
