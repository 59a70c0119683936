//! Probes for shards that were throttled.

use super::Engine;
use super::isolate::part;
use crate::collector::probe::first_records;
use tokio::time::Instant;

impl Engine {
    /// For each shard that was throttled: cuts a probe off what is first in its queue. The rest stays
    /// behind it, in its turn.
    pub(super) fn cut_probes(&mut self, now: Instant) {
        while let Some(mut sealed) = self.collector.take_uncut(now) {
            self.order.done(&mut sealed);
            let (order, doubted) = (sealed.order, sealed.doubted);
            let sizes = sealed.content.records();
            let sizes = sizes.map(|record| record.data.len() + record.partition_key.len());
            let first = first_records(sealed.size, sizes);
            match part(sealed, first, &self.shared, now) {
                Ok(mut parts) => {
                    parts
                        .iter_mut()
                        .flatten()
                        .for_each(|part| part.doubted = doubted);
                    let [first, _] = &mut parts;
                    first.iter_mut().for_each(|part| part.probe = true);
                    self.take_turns(parts, order, now);
                }
                Err(mut whole) => {
                    whole.probe = true;
                    self.enqueue(whole, now);
                }
            }
            self.release(now);
        }
    }
}
