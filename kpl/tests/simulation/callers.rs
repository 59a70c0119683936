//! Callers: they put, some change their minds, some flush, and they wait for every receipt.

use crate::world::{Setup, assert_within};
use bytes::Bytes;
use futures::FutureExt;
use kpl::{BatchReceipt, Delivered, DeliveryError, Producer, PutAllReason, PutError, Receipt};
use runtime::Chance;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) producer: Producer,
    pub(crate) setup: Setup,
    pub(crate) chance: Chance,
}

/// An admitted record and what became of it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) record: kpl::Record,
    pub(crate) setup: Setup,
    pub(crate) admitted: Instant,
    pub(crate) resolved: Instant,
    pub(crate) outcome: Result<Delivered, DeliveryError>,
}

#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) records: Vec<Record>,
    pub(crate) cancelled: u64,
    pub(crate) waited: u64,
    pub(crate) refused_full: u64,
    pub(crate) flushes: u64,
    /// Records without a partition key that were not admitted.
    pub(crate) refused: u64,
}

enum Pending {
    One(kpl::Record, Receipt),
    Many(Vec<kpl::Record>, BatchReceipt),
}

impl Caller {
    /// A record whose data names it, so that it is told from every other one.
    fn record(&self, number: u64) -> kpl::Record {
        let key = match self.chance.below(10) {
            0..4 => format!("key-{}", self.chance.below(5)),
            4..9 => format!("key-{}", self.chance.next_u64()),
            _ => "ж".repeat(1 + self.chance.index(256)),
        };
        if self.chance.happens(self.setup.keyless) {
            return kpl::Record::without_key(format!("{}/{number}/", self.name).into_bytes());
        }
        let size = match self.chance.below(20) {
            0 => self.chance.index(60_000),
            1..6 => self.chance.index(600),
            _ => self.chance.index(40),
        };
        let poison = if self.setup.poison && number.is_multiple_of(40) {
            "POISON/"
        } else {
            ""
        };
        let mut data = format!("{}/{number}/{poison}", self.name).into_bytes();
        data.resize(data.len() + size, b'.');
        // Without aggregation such a payload goes as it is, and a consumer does expand it.
        // Where the service distributes the records, it goes as it is.
        let look_alike = self.setup.aggregation && !self.setup.on_demand;
        let data = if look_alike && self.chance.happens(0.03) {
            aggregated(&data)
        } else {
            Bytes::from(data)
        };
        let record = kpl::Record::new(key, data);
        if self.chance.happens(0.2) {
            record.explicit_hash_key(self.chance.next_u128())
        } else {
            record
        }
    }
}

/// A payload that a reader would take for an aggregate.
fn aggregated(data: &[u8]) -> Bytes {
    let mut aggregate = aggregation::Aggregate::new();
    aggregate.push(&aggregation::UserRecordRef {
        partition_key: "inner",
        explicit_hash_key: None,
        data,
        tags: &[],
    });
    aggregate.finish().to_bytes()
}

/// Runs until the caller has nothing left to put, or its producer is closed.
pub(crate) async fn live(caller: Caller) -> Done {
    let mut done = Done::default();
    let mut pending = Vec::new();
    let mut number = 0;
    let rounds = 5 + caller.chance.below(25);
    for _ in 0..rounds {
        assert_within(&caller.producer, &caller.setup);
        match caller.chance.below(20) {
            0 => {
                caller.producer.flush().await;
                done.flushes += 1;
                // A barrier: whatever this caller has put before is resolved.
                for (admitted, pending) in pending.drain(..) {
                    let resolved = resolve(&caller, pending, admitted).now_or_never();
                    done.records
                        .extend(resolved.expect("a flush resolves what was put before"));
                }
            }
            1..8 => tokio::time::sleep(Duration::from_millis(caller.chance.below(2_000))).await,
            8..11 => {
                let count = 1 + caller.chance.below(45);
                let mut batch: Vec<kpl::Record> = (0..count)
                    .map(|_| caller.record(next(&mut number)))
                    .collect();
                // Some without a key would make the whole batch unacceptable.
                batch.retain(kpl::Record::has_key);
                let admitted = Instant::now();
                match caller.producer.put_all(batch.clone()).await {
                    Ok(receipt) => {
                        done.waited += u64::from(admitted != Instant::now());
                        // A large batch is admitted in parts, the first of them at once.
                        pending.push((admitted, Pending::Many(batch, receipt)));
                    }
                    Err(refused) => {
                        assert_eq!(refused.reason, PutAllReason::Closed);
                        let taken = batch.len() - refused.records.len();
                        assert_eq!(batch[taken..], refused.records, "the rest comes back");
                        if let Some(receipt) = refused.admitted {
                            let records = batch[..taken].to_vec();
                            pending.push((admitted, Pending::Many(records, *receipt)));
                        }
                        break;
                    }
                }
            }
            11..14 => {
                let record = caller.record(next(&mut number));
                match caller.producer.try_put(record.clone()) {
                    Ok(receipt) => {
                        pending.push((Instant::now(), Pending::One(record, receipt)));
                    }
                    Err(PutError::NoPartitionKey { record: back }) => {
                        assert!(!back.has_key() && *back == record);
                        done.refused += 1;
                    }
                    Err(refused) => {
                        let full = matches!(refused, PutError::Full { .. });
                        assert!(
                            full || matches!(refused, PutError::Closed { .. }),
                            "{refused}"
                        );
                        assert_eq!(refused.into_record(), record);
                        if !full {
                            break;
                        }
                        done.refused_full += 1;
                    }
                }
            }
            _ => {
                let record = caller.record(next(&mut number));
                let put = caller.producer.put(record.clone());
                let patience = match caller.chance.below(5) {
                    0 => Duration::from_millis(caller.chance.below(50)),
                    _ => Duration::from_secs(100_000),
                };
                let begin = Instant::now();
                match tokio::time::timeout(patience, put).await {
                    Ok(Ok(receipt)) => {
                        done.waited += u64::from(begin != Instant::now());
                        pending.push((Instant::now(), Pending::One(record, receipt)));
                    }
                    Ok(Err(PutError::NoPartitionKey { record: back })) => {
                        assert!(!back.has_key() && *back == record);
                        done.refused += 1;
                    }
                    Ok(Err(refused)) => {
                        assert!(matches!(refused, PutError::Closed { .. }), "{refused}");
                        assert_eq!(refused.into_record(), record);
                        break;
                    }
                    Err(_) => done.cancelled += 1,
                }
            }
        }
    }
    // Whoever waits for the last receipts keeps the producer or drops it.
    let keep = caller.chance.happens(0.5).then(|| caller.producer.clone());
    let Caller {
        producer, setup, ..
    } = caller;
    drop(producer);
    for (admitted, pending) in pending {
        done.records
            .extend(resolve_with(&setup, pending, admitted).await);
    }
    drop(keep);
    done
}

fn next(number: &mut u64) -> u64 {
    *number += 1;
    *number
}

async fn resolve(caller: &Caller, pending: Pending, admitted: Instant) -> Vec<Record> {
    resolve_with(&caller.setup, pending, admitted).await
}

async fn resolve_with(setup: &Setup, pending: Pending, admitted: Instant) -> Vec<Record> {
    let (records, outcomes) = match pending {
        Pending::One(record, receipt) => (vec![record], vec![receipt.await]),
        Pending::Many(records, receipt) => {
            let report = receipt.await;
            assert_eq!(report.len(), records.len());
            let failures = report.failures().len();
            assert_eq!(report.delivered() + failures, records.len());
            assert_eq!(report.all_delivered(), failures == 0);
            (records, report.into_iter().collect())
        }
    };
    assert_eq!(records.len(), outcomes.len(), "an outcome for each record");
    records
        .into_iter()
        .zip(outcomes)
        .map(|(record, outcome)| Record {
            record,
            setup: setup.clone(),
            admitted,
            resolved: Instant::now(),
            outcome,
        })
        .collect()
}
