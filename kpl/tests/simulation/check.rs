//! What must hold at the end of a seed.

use crate::callers::Record;
use crate::chaos::Damage;
use crate::support::{POISON, Place, THROTTLED, emitted, place, readable};
use crate::world::{Run, STREAM};
use bytes::Bytes;
use kpl::{Attempts, DeliveryError, HashKey};
use local::Local;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WRONG_SHARD: &str = "Wrong Shard";

pub(crate) fn records(local: &Local, records: &[Record], damage: &Damage, run: &mut Run) {
    let read = readable(local, STREAM);
    let mut places = BTreeSet::new();
    for record in records {
        run.admitted += 1;
        run.outcomes.push(format!("{:?}", record.outcome));
        let attempts = match &record.outcome {
            Ok(at) => {
                run.delivered += 1;
                run.keyless_delivered += u64::from(!record.record.has_key());
                let place = place(at);
                let Some((key, data)) = read.get(&place) else {
                    panic!("acknowledged, but no consumer sees it: {record:?}")
                };
                assert_eq!(key, record.record.partition_key(), "{record:?}");
                assert_eq!(data, record.record.data(), "{record:?}");
                assert!(places.insert(place), "two records at one place: {record:?}");
                let last = at.attempts.last().expect("a delivery takes an attempt");
                assert_eq!(last.code, None, "the last attempt succeeded: {record:?}");
                &at.attempts
            }
            Err(error) => {
                assert_true_reason(record, error, damage, run);
                error.attempts()
            }
        };
        run.errors.extend(codes(attempts).flatten().cloned());
        let wrong = |code: &Option<String>| code.as_deref() == Some(WRONG_SHARD);
        run.wrong_shard += u64::from(codes(attempts).any(wrong));
    }
    order(&read, records, run);
    identities(local, records, run);
    let mut seen: BTreeMap<_, u64> = BTreeMap::new();
    for (_, data) in read.into_values() {
        *seen.entry(data).or_default() += 1;
    }
    let known: BTreeSet<_> = records.iter().map(|record| record.record.data()).collect();
    for (data, times) in &seen {
        assert!(known.contains(data), "a consumer sees what nobody put");
        run.duplicates += times - 1;
    }
    if damage.lost_answers == 0 {
        for record in records.iter().filter(|record| record.outcome.is_ok()) {
            let times = seen.get(record.record.data());
            assert_eq!(times, Some(&1), "no answer got lost: {record:?}");
        }
    }
}

/// Order mode keeps order: of the records of one caller and one hash key, what a reader sees first of each
/// comes in the order in which they were put. Streams that distribute records themselves have no order.
fn order(read: &BTreeMap<Place, (String, Bytes)>, records: &[Record], run: &mut Run) {
    let strict = records
        .iter()
        .filter(|r| r.setup.strict && !r.setup.on_demand);
    let hash_key = |record: &kpl::Record| {
        let key = record.partition_key();
        let hashed = || HashKey::of_partition_key(key);
        record.hash_key_set().unwrap_or_else(hashed)
    };
    let keys: BTreeMap<&Bytes, HashKey> = strict
        .map(|r| (r.record.data(), hash_key(&r.record)))
        .collect();
    let mut places: Vec<(&Place, &Bytes)> = read
        .iter()
        .map(|(place, (_, data))| (place, data))
        .collect();
    // Sequence numbers grow from a parent to its children.
    places.sort_by_key(|((_, number, sub), _)| (number.len(), number, *sub));
    let mut first = BTreeSet::new();
    let mut last: BTreeMap<(&[u8], HashKey), u64> = BTreeMap::new();
    for (_, data) in places {
        let Some(key) = keys.get(data) else { continue };
        if !first.insert(data) {
            continue;
        }
        // The data begins with the caller and a number.
        let mut parts = data.split(|b| *b == b'/');
        let (Some(caller), Some(number)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Ok(number) = String::from_utf8_lossy(number).parse::<u64>() else {
            continue;
        };
        if let Some(before) = last.insert((caller, *key), number) {
            assert!(before < number, "{before} was stored before {number}");
            run.ordered += 1;
        }
    }
}

/// With identities a reader that looks at them sees each record once, whatever was stored twice. Streams
/// that distribute records themselves carry none.
fn identities(local: &Local, records: &[Record], run: &mut Run) {
    let (emitted, all) = emitted(local);
    let seen: usize = emitted.values().sum();
    run.dropped += (all - seen) as u64;
    let with = |r: &&Record| r.setup.idempotent && !r.setup.on_demand;
    for record in records.iter().filter(with) {
        let times = emitted.get(record.record.data()).copied().unwrap_or(0);
        assert!(times <= 1, "{times} times: {record:?}");
        assert!(times == 1 || record.outcome.is_err(), "{record:?}");
    }
}

fn codes(attempts: &Attempts) -> impl Iterator<Item = &Option<String>> {
    attempts.as_slice().iter().map(|attempt| &attempt.code)
}

fn assert_true_reason(record: &Record, error: &DeliveryError, damage: &Damage, run: &mut Run) {
    match error {
        DeliveryError::Expired { .. } => {
            run.expired += 1;
            let lived = record.resolved - record.admitted;
            assert!(lived >= record.setup.ttl, "expired early: {record:?}");
        }
        DeliveryError::Throttled { attempts, .. } => {
            run.throttled += 1;
            assert!(record.setup.fail_if_throttled, "{record:?}");
            let last = attempts.last().and_then(|attempt| attempt.code.as_deref());
            assert_eq!(last, Some(THROTTLED), "{record:?}");
        }
        DeliveryError::Rejected { code, attempts, .. }
            if code == "ValidationException" && record.record.has_key() =>
        {
            run.poisonous += 1;
            let data = record.record.data();
            let holds = data.windows(POISON.len()).any(|part| part == POISON);
            assert!(holds, "a neighbour failed with it: {record:?}");
            assert_eq!(codes(attempts).last(), Some(&Some(code.clone())));
        }
        DeliveryError::Rejected { code, attempts, .. } => {
            run.rejected += 1;
            // Refused for want of a key, held until the strategy allowed it, and refused again.
            let keyless = !record.record.has_key() && code == "ValidationException";
            assert!(keyless || !record.setup.wait_on_permanent, "{record:?}");
            let permanent = damage.permanent.contains(&code.as_str());
            assert!(permanent || keyless, "{record:?}");
            assert_eq!(
                codes(attempts).last(),
                Some(&Some(code.clone())),
                "{record:?}"
            );
        }
        DeliveryError::NoPartitionKey { .. } => {
            run.keyless_failed += 1;
            assert!(!record.record.has_key(), "{record:?}");
        }
        DeliveryError::Closed { .. } => run.closed += 1,
        other => panic!("{other:?}"),
    }
    assert!(record.setup.linger <= Duration::from_secs(1));
}
