//! Many records with one admission and one receipt.

use crate::admission::{Charge, Demand, Seat};
use crate::claims::Fresh;
use crate::error::{PutAllError, PutAllReason};
use crate::lane::Entry;
use crate::receipt::BatchReceipt;
use crate::record::Record;
use crate::shard_map::ShardMap;
use crate::shared::Shared;
use aggregation::{HashKey, hash_keys};
use std::sync::Arc;
use tokio::time::Instant;

pub(crate) async fn put_all(
    shared: &Shared,
    records: Vec<Record>,
) -> Result<BatchReceipt, PutAllError> {
    let prepared = shared.preparation.all(&shared.stream, records);
    let (records, originals) = prepared.map_err(|(index, problem, records)| PutAllError {
        reason: PutAllReason::Serializer {
            index,
            problem: problem.to_string(),
        },
        records,
        admitted: None,
    })?;
    let put = put_prepared(shared, records).await;
    put.map_err(|mut refused| {
        if let Some(mut originals) = originals {
            originals.drain(..originals.len() - refused.records.len());
            refused.records = originals;
        }
        refused
    })
}

async fn put_prepared(
    shared: &Shared,
    mut records: Vec<Record>,
) -> Result<BatchReceipt, PutAllError> {
    let unacceptable = records
        .iter()
        .position(|record| shared.problem(record).is_some());
    if let Some(index) = unacceptable {
        let reason = PutAllReason::Unacceptable { index };
        return Err(PutAllError {
            reason,
            records,
            admitted: None,
        });
    }
    let mut spooled = match shared.spool(&records).await {
        Ok(spooled) => spooled,
        Err(error) => {
            let reason = PutAllReason::Spool {
                problem: error.to_string(),
            };
            return Err(PutAllError {
                reason,
                records,
                admitted: None,
            });
        }
    };
    let mut keys = Vec::with_capacity(records.len());
    all_hash_keys(&records, &mut keys);
    let mut receipt = BatchReceipt::default();
    let admission = &shared.ledger.admission;
    let (part, share) = (admission.part(), admission.share());
    let most = Charge {
        bytes: part.bytes.min(share.bytes),
        records: part.records.min(share.records).max(1),
    };
    let cost = |record: &Record| shared.cost(&record.view());
    let mut done = 0;
    while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
        let (count, _) = first_part(rest, most, cost);
        let (Some(part), Some(keys)) = (rest.get(..count), keys.get(done..)) else {
            break;
        };
        let plan = Plan::new(shared, keys.get(..count).unwrap_or_default());
        let demand = plan.demand(part, cost);
        let Ok(epoch) = admission.acquire(demand).await else {
            let admitted = (done > 0).then(|| Box::new(receipt));
            records.drain(..done);
            return Err(PutAllError {
                reason: PutAllReason::Closed,
                records,
                admitted,
            });
        };
        let part = Part {
            records: part,
            keys,
            spooled: spooled.first(),
            place: done,
        };
        plan.append(shared, &part, epoch, &mut receipt);
        spooled.admitted(count);
        done += count;
    }
    Ok(receipt)
}

/// Some of a batch's records that are admitted together.
struct Part<'a> {
    records: &'a [Record],
    keys: &'a [HashKey],
    /// The first one's number in the spool, if there is one; the others follow.
    spooled: Option<u64>,
    /// The first one's place in the batch.
    place: usize,
}

/// Which record of a part goes to which lane, by a map. Where the map has changed before they were
/// admitted, they are charged to the shards of the old one all the same.
struct Plan {
    map: Arc<ShardMap>,
    /// Lane and place of each record, in this order.
    todo: Vec<(usize, usize)>,
}

impl Plan {
    fn new(shared: &Shared, keys: &[HashKey]) -> Self {
        let map = shared.map.load_full();
        let mut todo: Vec<(usize, usize)> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| (map.find(*key).0, at))
            .collect();
        todo.sort_unstable();
        Self { map, todo }
    }

    fn demand(&self, records: &[Record], cost: impl Fn(&Record) -> usize) -> Demand {
        let part = |group: &[(usize, usize)]| {
            let places = group.iter().filter_map(|(_, at)| records.get(*at));
            let charge = Charge {
                bytes: places.map(&cost).sum(),
                records: group.len(),
            };
            let lane = group.first().map_or(0, |(lane, _)| *lane);
            (self.map.lane(lane).seat, charge)
        };
        Demand::many(self.todo.chunk_by(|a, b| a.0 == b.0).map(part))
    }

    /// Puts the records into their shards' open aggregates, one lock for each shard.
    fn append(self, shared: &Shared, part: &Part<'_>, epoch: u64, receipt: &mut BatchReceipt) {
        let Part {
            records,
            keys,
            spooled,
            place,
        } = *part;
        let now = Instant::now();
        let received = &shared.ledger.meters.received;
        received.add_at(records.len() as u64, now);
        receipt.reserve(records.len());
        if shared.patience.is_some() {
            shared.be_patient(records, now, receipt);
        }
        let Self { mut map, mut todo } = self;
        let mut seats: Vec<Seat> = vec![0; records.len()];
        for (lane, at) in &todo {
            if let Some(seat) = seats.get_mut(*at) {
                *seat = map.lane(*lane).seat;
            }
        }
        loop {
            let mut left: Vec<usize> = Vec::new();
            for group in todo.chunk_by(|a, b| a.0 == b.0) {
                let Some((lane, _)) = group.first() else {
                    continue;
                };
                let lane = map.lane(*lane);
                let mut entry = lane.enter(now);
                for (_, at) in group {
                    let (Some(record), Some(key), Some(seat)) =
                        (records.get(*at), keys.get(*at), seats.get(*at))
                    else {
                        continue;
                    };
                    let view = record.view();
                    let fresh = Fresh {
                        bytes: shared.cost(&view),
                        epoch,
                        arrival: now,
                        seat: *seat,
                        spooled: spooled.map(|first| first + *at as u64),
                    };
                    let placed = match &mut entry {
                        Entry::Open(append) => append
                            .push(&view, *key, fresh, shared.keep(record))
                            .map(|(slot, position)| receipt.add(place + at, slot, position)),
                        Entry::Retired => {
                            left.push(*at);
                            continue;
                        }
                        Entry::Closed => None,
                    };
                    if placed.is_none() {
                        shared.closed_in_batch(record, fresh, place + at, receipt);
                    }
                }
                if let Entry::Open(append) = entry {
                    shared.apply(lane, append.finish());
                }
            }
            if left.is_empty() {
                return;
            }
            map = shared.map.load_full();
            todo.clear();
            let found = |at: usize| Some((map.find(*keys.get(at)?).0, at));
            todo.extend(left.into_iter().filter_map(found));
            todo.sort_unstable();
        }
    }
}

/// How many of the first records go together, and what they cost: as many as the bound allows, at
/// least one.
fn first_part(
    records: &[Record],
    bound: Charge,
    cost: impl Fn(&Record) -> usize,
) -> (usize, Charge) {
    let mut charge = Charge::default();
    let mut count = 0;
    for record in records {
        let bytes = charge.bytes + cost(record);
        if count > 0 && (bytes > bound.bytes || count + 1 > bound.records) {
            break;
        }
        count += 1;
        charge = Charge {
            bytes,
            records: count,
        };
    }
    (count, charge)
}

/// The hash key of each record; partition keys are hashed together.
fn all_hash_keys(records: &[Record], out: &mut Vec<HashKey>) {
    let hashed: Vec<&str> = records
        .iter()
        .filter(|record| record.explicit_hash_key.is_none())
        .map(|record| record.partition_key.as_str())
        .collect();
    if hashed.len() == records.len() {
        hash_keys(&hashed, out);
        return;
    }
    let mut hashes = Vec::with_capacity(hashed.len());
    hash_keys(&hashed, &mut hashes);
    let mut hashes = hashes.into_iter();
    let key = |record: &Record| record.explicit_hash_key.or_else(|| hashes.next());
    out.extend(records.iter().filter_map(key));
    debug_assert_eq!(out.len(), records.len(), "each record has a hash key");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_hash_keys_stand_between_hashed_ones() {
        let plain = |key: &str| Record::new(key, "x");
        let table = [
            vec![plain("a"), plain("b")],
            vec![plain("a"), plain("b").explicit_hash_key(7u128), plain("pk")],
            vec![plain("a").explicit_hash_key(1u128)],
            Vec::new(),
        ];
        for records in table {
            let mut keys = Vec::new();
            all_hash_keys(&records, &mut keys);
            assert_eq!(
                keys,
                records.iter().map(Record::hash_key).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn parts_stay_within_the_bound_and_hold_at_least_one_record() {
        let records: Vec<Record> = (0..5).map(|_| Record::new("k", vec![0; 35])).collect();
        let cost_of = |record: &Record| crate::record::cost(&record.view(), false);
        let cost = cost_of(&records[0]);
        assert_eq!(cost, 100);
        for (bytes, count, expected) in [(250, 9, 2), (1_000, 3, 3), (10, 9, 1), (1_000, 9, 5)] {
            let (taken, charge) = first_part(
                &records,
                Charge {
                    bytes,
                    records: count,
                },
                cost_of,
            );
            assert_eq!(
                (taken, charge.bytes, charge.records),
                (expected, expected * cost, expected)
            );
        }
    }
}
