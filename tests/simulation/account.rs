//! What was put, what became of it, what was processed and checkpointed; and the rules that hold
//! between them.

use kcl::Position;
use local::Local;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Default)]
struct Inner {
    /// Records that a producer admitted, and how often their receipts resolved: delivered, failed.
    admitted: BTreeMap<u64, (u32, u32)>,
    processed: BTreeMap<u64, u32>,
    /// By shard: what was processed there, and the last checkpoint that succeeded.
    seen: BTreeMap<String, BTreeMap<Position, u64>>,
    checkpoints: BTreeMap<String, Position>,
    ended: BTreeSet<String>,
    parents: BTreeMap<String, Vec<String>>,
}

/// Everything that is told about records. Each entry checks the rules that concern it.
#[derive(Debug, Default)]
pub struct Account(Mutex<Inner>);

impl Account {
    /// A producer took the record.
    pub fn admitted(&self, id: u64) {
        let before = self.0.lock().admitted.insert(id, (0, 0));
        assert!(before.is_none(), "record {id} was admitted twice");
    }

    /// A record's receipt resolved.
    pub fn resolved(&self, id: u64, delivered: bool) {
        let mut inner = self.0.lock();
        let times = inner
            .admitted
            .get_mut(&id)
            .expect("only admitted records resolve");
        *(if delivered {
            &mut times.0
        } else {
            &mut times.1
        }) += 1;
        assert!(
            times.0 + times.1 == 1,
            "record {id} resolved more than once"
        );
    }

    /// Which shards a shard came from.
    pub fn lineage(&self, shard: &str, parents: &[String]) {
        self.0
            .lock()
            .parents
            .insert(shard.to_owned(), parents.to_vec());
    }

    /// A worker processed a record of a shard.
    pub fn processed(&self, shard: &str, position: Position, id: u64) {
        let mut inner = self.0.lock();
        for parent in inner.parents.get(shard).into_iter().flatten() {
            assert!(
                inner.ended.contains(parent),
                "{shard} was read before {parent} was finished"
            );
        }
        *inner.processed.entry(id).or_default() += 1;
        inner
            .seen
            .entry(shard.to_owned())
            .or_default()
            .insert(position, id);
    }

    /// A checkpoint of all that was delivered up to a position has succeeded.
    pub fn checkpointed(&self, shard: &str, position: Position) {
        let mut inner = self.0.lock();
        let last = inner.checkpoints.insert(shard.to_owned(), position.clone());
        assert!(
            last.as_ref().is_none_or(|last| *last <= position),
            "the checkpoint of {shard} went back from {last:?} to {position:?}"
        );
    }

    /// The end of a shard was checkpointed.
    pub fn ended(&self, shard: &str) {
        self.0.lock().ended.insert(shard.to_owned());
    }

    /// True when every record that was delivered has been processed.
    pub fn all_processed(&self) -> bool {
        let inner = self.0.lock();
        let mut delivered = inner.admitted.iter().filter(|(_, times)| times.0 > 0);
        delivered.all(|(id, _)| inner.processed.contains_key(id))
    }

    /// What must hold when everything has come to rest.
    pub fn check_at_the_end(&self, local: &Local) {
        let inner = self.0.lock();
        for (id, (delivered, failed)) in &inner.admitted {
            assert!(delivered + failed == 1, "record {id} never resolved");
        }
        // What lies before a checkpoint was processed: nothing was skipped.
        let end = Position::SHARD_END;
        for record in local.records(super::world::STREAM) {
            let shard = &record.shard_id;
            let limit = if inner.ended.contains(shard) {
                Some(&end)
            } else {
                inner.checkpoints.get(shard)
            };
            for (position, id) in super::world::user_records(local, &record) {
                let processed = inner
                    .seen
                    .get(shard)
                    .is_some_and(|s| s.contains_key(&position));
                assert!(
                    processed || limit.is_none_or(|limit| position > *limit),
                    "record {id} at {position:?} of {shard} lies before the checkpoint {limit:?} and \
                     was never processed"
                );
            }
        }
    }

    /// Counts, the same for the same seed.
    pub fn summary(&self) -> String {
        let inner = self.0.lock();
        let mut text = String::new();
        let delivered = inner.admitted.values().filter(|times| times.0 > 0).count();
        let failed = inner.admitted.values().filter(|times| times.1 > 0).count();
        let repeats: u32 = inner.processed.values().map(|times| times - 1).sum();
        writeln!(
            text,
            "admitted {} delivered {delivered} failed {failed} processed {} repeats {repeats}",
            inner.admitted.len(),
            inner.processed.len(),
        )
        .expect("a String takes everything");
        for (shard, position) in &inner.checkpoints {
            writeln!(text, "{shard} {position:?}").expect("a String takes everything");
        }
        text
    }
}
