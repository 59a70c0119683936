//! What must hold at the end of a seed.

use crate::callers::Record;
use crate::chaos::Damage;
use crate::support::{POISON, place, readable};
use crate::world::{Run, STREAM};
use kpl::{Attempts, DeliveryError};
use local::Local;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const THROTTLED: &str = "ProvisionedThroughputExceededException";
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
        let wrong = |code: &Option<String>| code.as_deref() == Some(WRONG_SHARD);
        run.wrong_shard += u64::from(codes(attempts).any(wrong));
    }
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
        DeliveryError::Rejected { code, attempts, .. } if code == "ValidationException" => {
            run.poisonous += 1;
            let data = record.record.data();
            let holds = data.windows(POISON.len()).any(|part| part == POISON);
            assert!(holds, "a neighbour failed with it: {record:?}");
            assert_eq!(codes(attempts).last(), Some(&Some(code.clone())));
        }
        DeliveryError::Rejected { code, attempts, .. } => {
            run.rejected += 1;
            assert!(!record.setup.wait_on_permanent, "{record:?}");
            assert!(damage.permanent.contains(&code.as_str()), "{record:?}");
            assert_eq!(
                codes(attempts).last(),
                Some(&Some(code.clone())),
                "{record:?}"
            );
        }
        DeliveryError::Closed { .. } => run.closed += 1,
        other => panic!("{other:?}"),
    }
    assert!(record.setup.linger <= Duration::from_secs(1));
}
