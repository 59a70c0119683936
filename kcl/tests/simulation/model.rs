//! What must hold, checked against the lease table as it is.

use crate::STREAM;
use aws::dynamodb::Item;
use kcl::Position;
use local::Local;
use runtime::WallClock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::time::Instant;

#[derive(Clone)]
pub(crate) struct Model(Arc<Mutex<State>>);

struct State {
    local: Local,
    clock: Arc<dyn WallClock>,
    begin: Instant,
    journal: Vec<String>,
    violations: Vec<String>,
    /// Records by shard and position.
    stored: BTreeMap<String, BTreeMap<Position, String>>,
    consumed: BTreeSet<String>,
    finished: BTreeSet<String>,
}

impl Model {
    /// `clock` is the endpoint's.
    pub(crate) fn new(local: Local, clock: Arc<dyn WallClock>) -> Self {
        Self(Arc::new(Mutex::new(State {
            local,
            clock,
            begin: Instant::now(),
            journal: Vec::new(),
            violations: Vec::new(),
            stored: BTreeMap::new(),
            consumed: BTreeSet::new(),
            finished: BTreeSet::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn local(&self) -> Local {
        self.state().local.clone()
    }

    pub(crate) fn clock(&self) -> Arc<dyn WallClock> {
        Arc::clone(&self.state().clock)
    }

    pub(crate) fn log(&self, line: String) {
        self.state().log(line);
    }

    pub(crate) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        self.state().check(holds, what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        let state = self.state();
        (state.journal.clone(), state.violations.clone())
    }

    /// An aggregate (or a single record) was stored.
    pub(crate) fn stored(&self, shard: &str, sequence: &str, ids: Vec<String>) {
        let mut state = self.state();
        state.log(format!("put {shard} {sequence} {ids:?}"));
        let shard = state.stored.entry(shard.to_owned()).or_default();
        for (sub, id) in (0..).zip(ids) {
            shard.insert(Position::parse(sequence, sub).unwrap(), id);
        }
    }

    /// A processor took these records.
    pub(crate) fn consumed(&self, ids: &[String]) {
        self.state().consumed.extend(ids.iter().cloned());
    }

    /// A shard is begun: its parents must be finished.
    pub(crate) fn begun(&self, worker: &str, shard: &str) {
        let mut state = self.state();
        state.log(format!("{worker} begins {shard}"));
        let shards = state.local.shards(STREAM);
        let parents = shards
            .iter()
            .find(|s| s.shard_id == shard)
            .map(|s| s.parents.clone());
        for parent in parents.unwrap_or_default() {
            let finished = state.finished.contains(&parent);
            state.check(finished, || {
                format!("{worker} begins {shard} before {parent} is finished")
            });
        }
    }

    /// A worker's update of a lease: the row before and after it.
    pub(crate) fn written(&self, worker: &str, before: Option<&Item>, after: Option<&Item>) {
        let (Some(before), Some(after)) = (before, after) else {
            let none = before.is_none() && after.is_none();
            return self.check(none, || format!("{worker} made a row by an update"));
        };
        if before == after {
            return;
        }
        let mut state = self.state();
        let shard = text(before, "leaseKey");
        let (owner, owner_after) = (text(before, "leaseOwner"), text(after, "leaseOwner"));
        let counter = |item| text(item, "leaseCounter").parse::<u64>().unwrap_or(0);
        let children_only = counter(before) == counter(after);
        let step = format!(
            "{worker} writes {shard}: owner {owner:?} -> {owner_after:?}, counter {}, checkpoint {}",
            counter(after),
            position(after),
        );
        state.log(step.clone());
        state.check(
            children_only || counter(after) == counter(before) + 1,
            || format!("the counter jumped: {step}"),
        );
        state.check(
            owner == owner_after
                || owner_after == worker
                || (owner == worker && owner_after.is_empty()),
            || format!("a lease was given to another: {step}"),
        );
        if position(before) != position(after) {
            state.check(owner == worker && owner_after == worker, || {
                format!("a checkpoint by one that is not the owner: {step}")
            });
            state.check(position(before) < position(after), || {
                format!("a checkpoint went backwards: {step}")
            });
            let covered: Vec<String> = state
                .stored
                .get(&shard)
                .into_iter()
                .flatten()
                .filter(|(at, _)| **at <= position(after))
                .map(|(_, id)| id.clone())
                .collect();
            for id in covered {
                let consumed = state.consumed.contains(&id);
                state.check(consumed, || {
                    format!("{id} is checkpointed and was not consumed: {step}")
                });
            }
            if position(after).is_shard_end() {
                state.finished.insert(shard);
            }
        }
    }

    fn missing(&self) -> Vec<String> {
        let state = self.state();
        let all = state.stored.values().flat_map(BTreeMap::values);
        all.filter(|id| !state.consumed.contains(*id))
            .cloned()
            .collect()
    }

    pub(crate) fn all_consumed(&self) -> bool {
        self.missing().is_empty()
    }

    pub(crate) fn check_all_consumed(&self) {
        let missing = self.missing();
        self.check(missing.is_empty(), || {
            format!("never consumed: {missing:?}")
        });
    }
}

impl State {
    fn log(&mut self, line: String) {
        let at = self.begin.elapsed().as_millis();
        self.journal.push(format!("{at:>8} {line}"));
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            self.log(format!("VIOLATED {what}"));
            self.violations.push(what);
        }
    }
}

fn text(item: &Item, name: &str) -> String {
    let value = item.get(name);
    value
        .and_then(|v| v.as_s().or_else(|| v.as_n()))
        .unwrap_or_default()
        .to_owned()
}

fn position(item: &Item) -> Position {
    let sub = text(item, "checkpointSubSequenceNumber")
        .parse()
        .unwrap_or(0);
    Position::parse(&text(item, "checkpoint"), sub).unwrap()
}
