//! What was asked, in order.

use crate::service::Service;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

/// One request that came in, noted when it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// The operation, without its service (`PutRecords`, `UpdateItem`).
    pub operation: String,
    /// The service it was for, if its target names one.
    pub service: Option<Service>,
    /// The access key id it was signed with (checked or not), if it was signed.
    pub caller: Option<String>,
    /// The stream or table (delivery stream, metric namespace) it named, if it named one.
    pub resource: Option<String>,
    /// The HTTP status of the answer; 0 when a fault left the request without one.
    pub status: u16,
    /// AWS' name of the error, if it was answered with one.
    pub error: Option<String>,
    /// When it was done, on the endpoint's clock.
    pub at: SystemTime,
    /// How long it took, on the endpoint's clock: zero on one that a test holds.
    pub took: Duration,
}

/// Names that are counted apart: more than there are operations, since whoever calls can make some up.
const NAMES: usize = 512;
/// Stands for the names beyond.
const OTHERS: &str = "(others)";
/// Bytes of a name that are kept: more than any real one has.
const NAME_LENGTH: usize = 300;

fn shorten(name: &mut String) {
    if name.len() > NAME_LENGTH {
        name.truncate(name.floor_char_boundary(NAME_LENGTH));
        name.shrink_to_fit();
    }
}

/// The last requests, and counts of all.
#[derive(Debug)]
pub(crate) struct Journal {
    capacity: usize,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    seen: VecDeque<RequestSeen>,
    counts: BTreeMap<String, u64>,
    dropped: u64,
    errors: u64,
}

impl Journal {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            pages: Mutex::default(),
        }
    }

    pub(crate) fn note(&self, mut request: RequestSeen) {
        shorten(&mut request.operation);
        for text in [&mut request.resource, &mut request.caller]
            .into_iter()
            .flatten()
        {
            shorten(text);
        }
        let mut pages = self.pages.lock();
        if let Some(count) = pages.counts.get_mut(&request.operation) {
            *count += 1;
        } else {
            let name = match pages.counts.len() {
                0..NAMES => request.operation.clone(),
                _ => OTHERS.to_owned(),
            };
            *pages.counts.entry(name).or_default() += 1;
        }
        if request.status != 200 {
            pages.errors += 1;
        }
        pages.seen.push_back(request);
        if pages.seen.len() > self.capacity {
            pages.seen.pop_front();
            pages.dropped += 1;
        }
    }

    pub(crate) fn seen(&self) -> Vec<RequestSeen> {
        self.pages.lock().seen.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.pages.lock().counts.clone()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.pages.lock().errors
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.pages.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_counts_what_it_drops() {
        let journal = Journal::new(2);
        for operation in ["A", "B", "A"] {
            journal.note(RequestSeen {
                operation: operation.to_owned(),
                resource: None,
                status: if operation == "B" { 400 } else { 200 },
                error: None,
                at: SystemTime::UNIX_EPOCH,
                took: Duration::ZERO,
                service: None,
                caller: None,
            });
        }
        let seen: Vec<String> = journal.seen().into_iter().map(|r| r.operation).collect();
        assert_eq!(seen, ["B", "A"]);
        assert_eq!((journal.dropped(), journal.errors()), (1, 1));
        assert_eq!(journal.counts()["A"], 2);
    }

    #[test]
    fn made_up_names_do_not_fill_the_memory() {
        let journal = Journal::new(10);
        let request = |operation: String| RequestSeen {
            operation,
            resource: Some("é".repeat(1_000_000)),
            status: 400,
            error: None,
            at: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            service: None,
            caller: Some("é".repeat(1_000_000)),
        };
        for n in 0..2_000 {
            journal.note(request(format!("Made{n}Up{}", "x".repeat(1_000))));
        }
        let counts = journal.counts();
        assert!(counts.len() <= NAMES + 1, "{}", counts.len());
        assert_eq!(counts.values().sum::<u64>(), 2_000);
        for seen in journal.seen() {
            assert!(seen.operation.len() <= NAME_LENGTH);
            assert!(seen.resource.unwrap().len() <= NAME_LENGTH);
            assert!(seen.caller.unwrap().len() <= NAME_LENGTH);
        }
    }
}
