//! Sending in order, where that is set.

use super::Engine;
use crate::claims::Claims;
use crate::error::DeliveryError;
use crate::lane::Lane;
use crate::record;
use crate::refill::Refill;
use crate::routing::{Keyless, Routing};
use crate::sealed::{Sealed, expires};
use crate::slot::Verdict;
use aggregation::IdentityReader;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

impl Engine {
    /// True if records go in order: a stream that distributes them itself has none.
    pub(super) fn orders(&self) -> bool {
        self.options.strict_ordering && self.shared.map.load().routing != Routing::Auto
    }

    /// Gives what may go now to the collector.
    pub(super) fn release(&mut self, now: Instant) {
        while let Some((shard, sealed)) = self.order.next(self.options.ttl) {
            self.collector.add(&shard, sealed, now);
        }
    }

    /// Expects everything that a lane has closed.
    pub(super) fn await_rest(&mut self, lane: &Lane) {
        if self.options.strict_ordering {
            self.order.lane_closed(lane.key, lane.range, lane.issued());
        }
    }

    /// Parts an aggregate by the present map. Its records keep their turn.
    pub(super) fn part_in_order(&mut self, mut sealed: Sealed, now: Instant) {
        let map = self.shared.map.load_full();
        let attempts = Arc::new(std::mem::take(&mut sealed.attempts));
        let costs = sealed
            .content
            .records()
            .map(|record| self.shared.cost(&record.as_user_record()));
        let claims = std::mem::replace(
            &mut sealed.claims,
            Claims::new(Arc::clone(&self.shared.ledger)),
        );
        let claims = claims.take_apart(&attempts, costs);
        let together = map.routing == Routing::Packed;
        let identified = self.maker.identifies(map.routing);
        let mut identity = IdentityReader::default();
        let mut parts: BTreeMap<usize, (u32, Refill)> = BTreeMap::new();
        for ((place, record), claim) in (0u32..).zip(sealed.content.records()).zip(claims) {
            let id = identity.next(record.tags.iter().copied());
            let id = id.filter(|_| identified);
            let record = record.as_user_record();
            if expires(claim.arrival(), self.options.ttl).is_some_and(|at| at <= now) {
                let throttled = self.collector.is_throttled(&sealed.shard);
                let error = DeliveryError::expired(Arc::default(), throttled);
                claim.settle(&Verdict::failed_at(&sealed.shard, error));
                continue;
            }
            let keyless = record.partition_key.is_empty();
            if keyless && map.routing.keyless() == Keyless::Refused {
                claim.settle(&DeliveryError::no_partition_key(Arc::default()).into());
                continue;
            }
            let key = record::hash_key(&record);
            let own = sealed.order.turn.place;
            let (at, place) = if together {
                (map.find(key).0, own)
            } else {
                (usize::try_from(place).unwrap_or(usize::MAX), own.max(place))
            };
            let ledger = &self.shared.ledger;
            let part = parts.entry(at);
            let (_, part) = part.or_insert_with(|| (place, Refill::new(ledger, key)));
            part.push(&record, id, key, claim);
        }
        let wraps = self.maker.wraps(map.routing);
        for (place, part) in parts.into_values() {
            let mut next = part.seal(&sealed.shard, wraps, now);
            next.order = sealed.order;
            next.order.turn.place = place;
            next.order.busy = None;
            self.enqueue(next, now);
        }
        self.order.done(&mut sealed);
    }
}
