//! What the engine does when the shards have changed: decide about records that were stored where the
//! map did not foretell, fetch a newer map, and move what is queued.

use super::{Engine, Evidence, MAP_AGE, Misplaced};
use crate::events::ProducerEvent;
use crate::outcome::{self, Landing};
use crate::refresh::Fetched;
use crate::sealed::Sealed;
use crate::shard_map::ShardMap;
use aws::kinesis::Shard;
use std::sync::Arc;
use tokio::time::Instant;

/// The code of an attempt that stored an aggregate where consumers would drop it.
const WRONG_SHARD: &str = "Wrong Shard";

impl Engine {
    /// Decides about a record that was stored in another shard than the map foretold.
    pub(super) fn landed(&mut self, mut misplaced: Misplaced) {
        let map = self.shared.map.load_full();
        let Misplaced {
            sealed,
            shard,
            ended,
            ..
        } = &misplaced;
        let asked_since = map.asked >= *ended;
        let key = sealed.span.first;
        let foretold = map.find(key).1.shard == *shard;
        let landing = outcome::of_landing(
            sealed.aggregated,
            &sealed.span,
            map.range(shard),
            asked_since,
        );
        // No list of shards explains it.
        let excluded = map.range(shard).is_some_and(|range| !range.contains(key));
        let scatters = excluded && !sealed.aggregated;
        if landing == Landing::AskFirst || !(scatters || foretold || asked_since) {
            self.evidence = Some(Evidence {
                at: *ended,
                key,
                shard: Arc::clone(shard),
            });
            self.refresher.start();
        }
        if excluded {
            self.contradicted(*ended, Instant::now());
        }
        match landing {
            Landing::AskFirst => self.misplaced.push(misplaced),
            Landing::Delivered => {
                let Misplaced { started, ended, .. } = misplaced;
                self.attempted(&mut misplaced.sealed, started, ended, None);
                self.deliver(misplaced.sealed, misplaced.shard, misplaced.sequence_number);
            }
            Landing::SendAllAgain => {
                let sealed = self.wrong_shard(misplaced);
                let records = u64::from(sealed.claims.records());
                self.shared.ledger.meters.retried.add(records);
                self.take_apart(sealed, Instant::now());
            }
        }
    }

    /// Notes that an attempt stored an aggregate in vain.
    pub(super) fn wrong_shard(&self, misplaced: Misplaced) -> Sealed {
        let Misplaced {
            mut sealed,
            shard,
            started,
            ended,
            ..
        } = misplaced;
        let message =
            format!("stored in {shard}, which is not known to hold all of the aggregate's keys");
        let records = u64::from(sealed.claims.records());
        self.shared.ledger.meters.in_wrong_shard(records);
        self.attempted(&mut sealed, started, ended, Some((WRONG_SHARD, &message)));
        sealed
    }

    /// Something was put: a map that is old by now is fetched again, while it stays in use. When that
    /// fails, the first put after as long again tries it.
    pub(super) fn look_again(&mut self, now: Instant) {
        if now >= self.look_at {
            self.look_at = now + MAP_AGE;
            self.refresher.start();
        }
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        let Fetched { asked, result } = fetched;
        self.shared.ledger.meters.shard_maps.add(1);
        let problem = match result {
            Ok(shards) => match self.install(&shards, asked) {
                Ok(()) => return,
                Err(problem) => problem,
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!(stream = %self.shared.stream, problem, "the shards could not be listed");
        // The old map stays in use; what waits for a new one makes us ask again.
        if self.evidence.is_some() || !self.misplaced.is_empty() {
            self.refresher.again();
        }
    }

    fn install(&mut self, shards: &[Shard], asked: Instant) -> Result<(), String> {
        let before = self.shared.map.load_full();
        let map = before
            .succeed(shards, asked, &self.maker)
            .map_err(|bad| bad.to_string())?;
        self.refresher.succeeded();
        self.look_at = asked + MAP_AGE;
        let map = Arc::new(map);
        self.replace(&before, Arc::clone(&map), Instant::now());
        for misplaced in std::mem::take(&mut self.misplaced) {
            self.landed(misplaced);
        }
        if let Some(evidence) = &self.evidence {
            let foretold = *map.find(evidence.key).1.shard == *evidence.shard;
            if foretold || asked >= evidence.at {
                self.evidence = None;
            } else {
                self.refresher.start();
            }
        }
        Ok(())
    }

    /// Puts a new map in the place of the present one, and moves what is queued.
    pub(super) fn replace(&mut self, before: &ShardMap, map: Arc<ShardMap>, now: Instant) {
        // First the new map, then the end of the old lanes: who finds a lane retired finds the new map.
        self.shared.map.store(Arc::clone(&map));
        self.shared.ledger.admission.set_shards(map.lanes().len());
        self.collector.widen(map.open_shards(), now);
        let retired = map.retired(before);
        if !retired.is_empty() && map.routing == before.routing {
            let (closed, open) = (retired.len(), map.lanes().len());
            let event = || ProducerEvent::Resharded { closed, open };
            self.shared.listeners.tell(event);
            tracing::info!(stream = %self.shared.stream, closed, open, "the shards have changed");
        }
        self.shared.ledger.meters.keep_shards(&map.names());
        for lane in &retired {
            for sealed in self.collector.remove(&lane.shard) {
                self.enqueue(sealed, now);
            }
            for sealed in self.order.remove(&lane.shard, &lane.range) {
                self.enqueue(sealed, now);
            }
            if let Some(sealed) = lane.retire(now) {
                self.enqueue(sealed, now);
            }
            self.await_rest(lane);
        }
    }
}
