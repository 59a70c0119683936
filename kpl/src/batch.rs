//! Many records with one admission and one receipt.

use crate::admission::{Charge, Demand};
use crate::claims::Fresh;
use crate::error::{PutAllError, PutAllReason};
use crate::lane::Entry;
use crate::receipt::BatchReceipt;
use crate::record::{Problem, Record};
use crate::shard_map::ShardMap;
use crate::shared::Shared;
use aggregation::{HashKey, hash_keys};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Records whose keys are gathered before they are hashed.
const AT_ONCE: usize = 128;

/// Room for so many records is kept, and so often.
const LARGEST_KEPT: usize = 4_096;
const MOST_KEPT: usize = 8;

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

async fn put_prepared(shared: &Shared, records: Vec<Record>) -> Result<BatchReceipt, PutAllError> {
    let mut scratch = shared.desk.take();
    let put = put_in_parts(shared, records, &mut scratch).await;
    shared.desk.give(scratch);
    put
}

async fn put_in_parts(
    shared: &Shared,
    mut records: Vec<Record>,
    scratch: &mut Scratch,
) -> Result<BatchReceipt, PutAllError> {
    let Scratch { keys, hashes, plan } = scratch;
    if let Err(index) = keys_of(&records, |record| shared.problem(record), keys, hashes) {
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
    let mut receipt = BatchReceipt::default();
    let admission = &shared.ledger.admission;
    let most = admission.part();
    let cost = |record: &Record| shared.cost(&record.view());
    let mut done = 0;
    while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
        let (count, _) = first_part(rest, most, cost);
        let part = Part {
            records: rest.get(..count).unwrap_or_default(),
            keys: keys.get(done..done + count).unwrap_or_default(),
            spooled: spooled.first(),
            place: done,
        };
        let map = shared.map.load_full();
        plan.divide(&part, &map, cost);
        let Ok(epoch) = admission.acquire_in_turn(&plan.demand).await else {
            let admitted = (done > 0).then(|| Box::new(receipt));
            records.drain(..done);
            return Err(PutAllError {
                reason: PutAllReason::Closed,
                records,
                admitted,
            });
        };
        plan.append(&part, &map, shared, epoch, &mut receipt);
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

/// Where a batch is worked on; kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The hash keys of the whole batch.
    keys: Vec<HashKey>,
    /// Those of some partition keys.
    hashes: Vec<HashKey>,
    plan: Plan,
}

/// The rooms to work in that are free. Whoever finds the lock taken does without.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Vec<Scratch>>);

impl Desk {
    fn take(&self) -> Scratch {
        let free = self.0.try_lock().and_then(|mut free| free.pop());
        free.unwrap_or_default()
    }

    fn give(&self, scratch: Scratch) {
        if scratch.keys.capacity() > LARGEST_KEPT {
            return;
        }
        if let Some(mut free) = self.0.try_lock()
            && free.len() < MOST_KEPT
        {
            free.push(scratch);
        }
    }
}

/// No group, or no further record.
const NONE: usize = usize::MAX;

/// Which record of a part goes to which lane, by a map. Where the map has changed before they were
/// admitted, they are charged to the shards of the old one all the same.
#[derive(Debug, Default)]
struct Plan {
    /// In the order of their first records.
    groups: Vec<Group>,
    /// For each record the next one of its group.
    next: Vec<usize>,
    /// By the place of their lane; all [`NONE`] but while a part is divided.
    group_of: Vec<usize>,
    /// What the groups are charged.
    demand: Demand,
}

/// The records of one lane: a chain.
#[derive(Debug)]
struct Group {
    /// The lane's place in the map.
    lane: usize,
    first: usize,
    last: usize,
    charge: Charge,
}

impl Plan {
    fn divide(&mut self, part: &Part<'_>, map: &ShardMap, cost: impl Fn(&Record) -> usize) {
        self.groups.clear();
        self.next.clear();
        self.next.resize(part.records.len(), NONE);
        if self.group_of.len() < map.lanes().len() {
            self.group_of.resize(map.lanes().len(), NONE);
        }
        for (at, (record, key)) in part.records.iter().zip(part.keys).enumerate() {
            let (lane, _) = map.find(*key);
            let Some(of_lane) = self.group_of.get_mut(lane) else {
                debug_assert!(false, "each lane has its place");
                continue;
            };
            let charge = Charge {
                bytes: cost(record),
                records: 1,
            };
            if let Some(group) = self.groups.get_mut(*of_lane) {
                if let Some(next) = self.next.get_mut(group.last) {
                    *next = at;
                }
                group.last = at;
                group.charge = group.charge.plus(charge);
            } else {
                *of_lane = self.groups.len();
                self.groups.push(Group {
                    lane,
                    first: at,
                    last: at,
                    charge,
                });
            }
        }
        for group in &self.groups {
            if let Some(of_lane) = self.group_of.get_mut(group.lane) {
                *of_lane = NONE;
            }
        }
        let groups = self.groups.iter();
        self.demand
            .refill(groups.map(|group| (map.lane(group.lane).seat, group.charge)));
    }

    /// The places of a group's records in their part, in their order.
    fn places(&self, group: &Group) -> impl Iterator<Item = usize> {
        let next = |at: &usize| self.next.get(*at).copied().filter(|next| *next != NONE);
        std::iter::successors(Some(group.first), next)
    }

    /// Puts the records into their shards' open aggregates, one lock for each shard.
    fn append(
        &self,
        part: &Part<'_>,
        map: &ShardMap,
        shared: &Shared,
        epoch: u64,
        receipt: &mut BatchReceipt,
    ) {
        let now = Instant::now();
        let received = &shared.ledger.meters.received;
        received.add_at(part.records.len() as u64, now);
        receipt.reserve(part.records.len(), self.groups.len());
        if shared.patience.is_some() {
            shared.be_patient(part.records, now, receipt);
        }
        let mut left = Vec::new();
        for group in &self.groups {
            let lane = map.lane(group.lane);
            let records = self.places(group).filter_map(|at| {
                let (record, key) = (part.records.get(at)?, *part.keys.get(at)?);
                let fresh = Fresh {
                    bytes: shared.cost(&record.view()),
                    epoch,
                    arrival: now,
                    seat: lane.seat,
                    spooled: part.spooled.map(|first| first + at as u64),
                };
                Some((at, record, key, fresh))
            });
            match lane.enter(now) {
                Entry::Open(mut append) => {
                    let kept = shared.keep_records;
                    let places = self.places(group).map(|at| part.place + at);
                    let records = records.map(|(_, record, key, fresh)| (record, key, fresh));
                    receipt.add_places(places);
                    append.push_all(records, kept, |slot, first, count| {
                        receipt.add_run(slot, first, count);
                    });
                    shared.apply(lane, append.finish());
                }
                Entry::Retired => left.extend(records),
                Entry::Closed => {
                    for (at, record, _, fresh) in records {
                        let (slot, position) = shared.closed(record, &fresh);
                        receipt.add(part.place + at, &slot, position);
                    }
                }
            }
        }
        // The map has changed under way.
        for (at, record, key, fresh) in left {
            let (slot, position) = shared.place(record, key, &fresh);
            receipt.add(part.place + at, &slot, position);
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

/// Finds out the hash key of each record, in one pass with what may be wrong with it; partition keys are
/// hashed together, and one that follows itself is hashed once.
///
/// # Errors
/// The place of the first record that cannot be taken.
fn keys_of(
    records: &[Record],
    problem: impl Fn(&Record) -> Option<Problem>,
    keys: &mut Vec<HashKey>,
    hashes: &mut Vec<HashKey>,
) -> Result<(), usize> {
    keys.clear();
    keys.reserve(records.len());
    for (chunk, first) in records.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
        let mut hashed = [""; AT_ONCE];
        // For each record the place of its partition key among those that are hashed.
        let mut places = [0; AT_ONCE];
        let mut count = 0;
        let mut last = None;
        for ((record, place), at) in chunk.iter().zip(&mut places).zip(first..) {
            if problem(record).is_some() {
                return Err(at);
            }
            let key = record.partition_key.as_str();
            if record.explicit_hash_key.is_none() {
                if last != Some(key)
                    && let Some(next) = hashed.get_mut(count)
                {
                    (*next, last) = (key, Some(key));
                    count += 1;
                }
                *place = count - 1;
            }
        }
        let hashed = hashed.get(..count).unwrap_or_default();
        if records.len() <= AT_ONCE && count == records.len() {
            hash_keys(hashed, keys);
            return Ok(());
        }
        hash_keys(hashed, hashes);
        let key = |(record, place): (&Record, &usize)| {
            let hashed = || hashes.get(*place).copied();
            record.explicit_hash_key.or_else(hashed)
        };
        keys.extend(chunk.iter().zip(&places).filter_map(key));
    }
    debug_assert_eq!(keys.len(), records.len(), "each record has a hash key");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Wrapping;
    use crate::routing::Routing;
    use crate::settings::RECORD_LIMIT;
    use crate::shard_map::tests::{maker, shard};

    #[test]
    fn explicit_hash_keys_stand_between_hashed_ones() {
        let plain = |key: &str| Record::new(key, "x");
        let table = [
            vec![plain("a"), plain("b")],
            vec![plain("a"), plain("b").explicit_hash_key(7u128), plain("pk")],
            vec![plain("a").explicit_hash_key(1u128)],
            vec![plain("a"), plain("a"), plain("b"), plain("a")],
            vec![plain("a"), plain("a").explicit_hash_key(7u128), plain("a")],
            Vec::new(),
        ];
        for records in table {
            for records in [1, 100].map(|times| vec![records.as_slice(); times].concat()) {
                let mut keys = vec![HashKey::MIN];
                assert_eq!(
                    keys_of(&records, |_| None, &mut keys, &mut Vec::new()),
                    Ok(())
                );
                assert_eq!(
                    keys,
                    records.iter().map(Record::hash_key).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn the_first_record_that_cannot_be_taken_is_named() {
        let mut records = vec![Record::new("a", "x"); 300];
        for bad in [299, 200, 128, 127, 5, 0] {
            records[bad].partition_key.clear();
            let problem =
                |record: &Record| record.problem(Wrapping::default(), usize::MAX, RECORD_LIMIT);
            assert_eq!(
                keys_of(&records, problem, &mut Vec::new(), &mut Vec::new()),
                Err(bad)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_divided_by_lanes_each_in_its_order() {
        let shards = [shard(0, 0, 9), shard(1, 10, 19), shard(2, 20, u128::MAX)];
        let map = ShardMap::new(&shards, Instant::now(), Routing::Packed, &maker()).unwrap();
        let mut plan = Plan::default();
        // Twice, because room is used again.
        for keys in [&[25u128, 3, 30, 4, 5][..], &[11], &[], &[1, 11, 2, 12]] {
            let records: Vec<Record> = keys.iter().map(|_| Record::new("k", "x")).collect();
            let keys: Vec<HashKey> = keys.iter().copied().map(HashKey::new).collect();
            let part = Part {
                records: &records,
                keys: &keys,
                spooled: None,
                place: 0,
            };
            plan.divide(&part, &map, |_| 7);
            let mut seen = Vec::new();
            for group in &plan.groups {
                let places: Vec<usize> = plan.places(group).collect();
                assert!(places.is_sorted());
                for at in &places {
                    assert_eq!(map.find(keys[*at]).0, group.lane);
                }
                let charge = Charge {
                    bytes: 7 * places.len(),
                    records: places.len(),
                };
                assert_eq!(group.charge, charge);
                seen.extend(places);
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..keys.len()));
            assert!(plan.groups.is_sorted_by_key(|group| group.first));
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
