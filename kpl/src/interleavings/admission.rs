//! Admission against release, cancellation and close: nothing leaks, nobody sleeps while there is room,
//! and callers are served in their order.

use super::{Work, in_every_order, in_many_orders, together, work};
use crate::admission::{Admission, Charge, Demand, IntakeClosed, Pool, Seat};
use crate::stats::Ledger;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::Metrics;
use shuttle::future::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const SHARD: Seat = 0;

fn records(records: usize) -> Charge {
    Charge { bytes: 0, records }
}

/// Of one shard, which may take everything.
fn admission(bound: usize) -> Arc<Admission> {
    let charge = Charge {
        bytes: 1,
        records: bound,
    };
    let admission = Admission::new(charge, 100);
    assert_eq!(admission.open_seat(), SHARD);
    Arc::new(admission)
}

fn one(seat: Seat) -> Demand {
    Demand::one(seat, records(1))
}

fn release(admission: &Admission, demand: &Demand, epoch: u64) {
    assert!(admission.outstanding().records <= admission.bound().records);
    admission.release(demand.permits(epoch));
}

/// Waits for admission, holds it for a moment, and gives it back; tells whether it was turned away.
fn comes_and_goes(admission: &Admission, demand: &Demand) -> Result<(), IntakeClosed> {
    let epoch = block_on(admission.acquire(demand.clone()))?;
    release(admission, demand, epoch);
    Ok(())
}

/// Asks, and goes away if it is not served at once: also at the moment at which it is served.
fn gives_up(admission: &Admission, demand: &Demand) {
    let mut acquire = admission.acquire(demand.clone());
    if let Some(Ok(epoch)) = (&mut acquire).now_or_never() {
        release(admission, demand, epoch);
    }
}

fn assert_empty(admission: &Admission) {
    assert_eq!(admission.outstanding(), Charge::default());
    assert_eq!(admission.waiting(), 0);
}

#[test]
fn whoever_waits_is_served_when_room_comes() {
    in_every_order(|| {
        let admission = admission(1);
        together([(); 2].map(|()| {
            let admission = Arc::clone(&admission);
            work(move || comes_and_goes(&admission, &one(SHARD)).unwrap())
        }));
        assert_empty(&admission);
        assert_eq!(admission.admitted(), 2);
    });
}

#[test]
fn whoever_goes_away_takes_nobodys_turn() {
    in_every_order(|| {
        let admission = admission(2);
        let held = block_on(admission.acquire(one(SHARD))).unwrap();
        // Large, and ahead of the other.
        let large = queued(&admission, Demand::one(SHARD, records(2)));
        let small = queued(&admission, one(SHARD));
        let (a, b) = (Arc::clone(&admission), Arc::clone(&admission));
        together([
            work(move || {
                drop(large);
                release(&a, &one(SHARD), block_on(small));
            }),
            work(move || release(&b, &one(SHARD), held)),
        ]);
        assert_empty(&admission);
    });
}

#[test]
fn many_callers_of_several_sizes_leave_nothing_behind() {
    in_many_orders(|| {
        let admission = admission(3);
        let mut all = Vec::new();
        for n in 1..=3 {
            let (stays, goes) = (Arc::clone(&admission), Arc::clone(&admission));
            let demand = Demand::one(SHARD, records(n));
            let other = demand.clone();
            all.push(work(move || {
                comes_and_goes(&stays, &demand).unwrap();
                comes_and_goes(&stays, &demand).unwrap();
            }));
            all.push(work(move || gives_up(&goes, &other)));
        }
        together(all);
        assert_empty(&admission);
    });
}

#[test]
fn closing_turns_everyone_away_who_waits_and_loses_no_one_who_was_served() {
    for close_first in [true, false] {
        in_every_order(move || {
            let admission = admission(1);
            let held = block_on(admission.acquire(one(SHARD))).unwrap();
            let (a, b) = (Arc::clone(&admission), Arc::clone(&admission));
            together([
                work(move || {
                    let _ = comes_and_goes(&a, &one(SHARD));
                }),
                work(move || {
                    if close_first {
                        b.close();
                    }
                    release(&b, &one(SHARD), held);
                    b.close();
                }),
            ]);
            assert_empty(&admission);
            let late = comes_and_goes(&admission, &one(SHARD));
            assert_eq!(late, Err(IntakeClosed));
        });
    }
}

#[test]
fn what_was_admitted_when_the_close_came_is_waited_for() {
    in_many_orders(|| {
        let admission = admission(2);
        let here = || Arc::clone(&admission);
        let mut all: Vec<Work> = [1, 2, 1]
            .map(|n| (here(), Demand::one(SHARD, records(n))))
            .map(|(admission, demand)| {
                work(move || {
                    let _ = comes_and_goes(&admission, &demand);
                })
            })
            .into();
        let (leaves, closing) = (here(), here());
        all.push(work(move || gives_up(&leaves, &one(SHARD))));
        all.push(work(move || {
            closing.close();
            block_on(closing.idle());
            assert_eq!(closing.outstanding(), Charge::default());
        }));
        together(all);
        assert_empty(&admission);
    });
}

/// A caller that has its place in the queue, to be awaited anywhere.
fn queued(admission: &Arc<Admission>, demand: Demand) -> BoxFuture<'static, u64> {
    let admission = Arc::clone(admission);
    let mut acquire = async move { admission.acquire(demand).await.unwrap() }.boxed();
    assert_eq!((&mut acquire).now_or_never(), None, "there is no room");
    acquire
}

#[test]
fn callers_of_a_shard_are_served_in_their_order_and_no_newcomer_overtakes_them() {
    in_many_orders(|| {
        let admission = admission(1);
        let held = block_on(admission.acquire(one(SHARD))).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        for n in 0..3 {
            let acquire = queued(&admission, one(SHARD));
            let (admission, log) = (Arc::clone(&admission), Arc::clone(&log));
            all.push(work(move || {
                let epoch = block_on(acquire);
                log.lock().push(n);
                release(&admission, &one(SHARD), epoch);
            }));
        }
        let newcomer = Arc::clone(&admission);
        let seen = Arc::clone(&log);
        all.push(work(move || {
            if let Ok(epoch) = newcomer.try_acquire(&one(SHARD)) {
                assert_eq!(seen.lock().len(), 3, "it has overtaken somebody");
                release(&newcomer, &one(SHARD), epoch);
            }
        }));
        let releasing = Arc::clone(&admission);
        all.push(work(move || release(&releasing, &one(SHARD), held)));
        together(all);
        assert_eq!(*log.lock(), [0, 1, 2]);
        assert_empty(&admission);
    });
}

#[test]
fn a_flush_misses_no_end() {
    in_every_order(|| {
        let admission = admission(1);
        let held = block_on(admission.acquire(one(SHARD))).unwrap();
        let barrier = admission.end_epoch();
        let (a, b) = (Arc::clone(&admission), Arc::clone(&admission));
        together([
            work(move || block_on(a.passed(barrier))),
            work(move || release(&b, &one(SHARD), held)),
        ]);
    });
}

#[test]
fn a_flush_waits_for_all_before_it_those_who_wait_included() {
    in_many_orders(|| {
        let admission = admission(1);
        let held = block_on(admission.acquire(one(SHARD))).unwrap();
        let waits = queued(&admission, one(SHARD));
        let gone = queued(&admission, one(SHARD));
        let done = Arc::new([const { AtomicBool::new(false) }; 2]);
        let here = || (Arc::clone(&admission), Arc::clone(&done));
        let ((a, first), (b, second), (c, both)) = (here(), here(), here());
        let barrier = admission.end_epoch();
        let late = Arc::clone(&admission);
        together([
            work(move || {
                block_on(c.passed(barrier));
                assert!(both.iter().all(|done| done.load(SeqCst)));
            }),
            work(move || {
                first[0].store(true, SeqCst);
                release(&a, &one(SHARD), held);
            }),
            work(move || {
                let epoch = block_on(waits);
                second[1].store(true, SeqCst);
                release(&b, &one(SHARD), epoch);
            }),
            work(move || drop(gone)),
            work(move || comes_and_goes(&late, &one(SHARD)).unwrap()),
        ]);
        assert_empty(&admission);
    });
}

#[test]
fn callers_of_other_shards_do_not_wait_for_one_that_is_full() {
    in_many_orders(|| {
        let bound = Charge {
            bytes: 1,
            records: 4,
        };
        let admission = Arc::new(Admission::new(bound, 50));
        let (hot, cold) = (admission.open_seat(), admission.open_seat());
        admission.set_shards(2);
        let two = Demand::one(hot, records(2));
        let held = block_on(admission.acquire(two.clone())).unwrap();
        let here = || Arc::clone(&admission);
        let both = Demand::many([(hot, records(1)), (cold, records(1))]);
        let hot_ones = [one(hot), both].map(|demand| {
            let admission = here();
            work(move || comes_and_goes(&admission, &demand).unwrap())
        });
        let goes = here();
        let (releasing, cold_ones) = (here(), [(); 2].map(|()| here()));
        let cold_ones = work(move || {
            let come_and_go = |admission: Arc<Admission>| {
                work(move || comes_and_goes(&admission, &one(cold)).unwrap())
            };
            together(cold_ones.map(come_and_go));
            // Nothing of the hot shard is released before the others are through.
            release(&releasing, &two, held);
        });
        let goes = work(move || gives_up(&goes, &one(hot)));
        together(hot_ones.into_iter().chain([goes, cold_ones]));
        assert_empty(&admission);
    });
}

/// A stream in a pool.
fn member(pool: &Arc<Pool>) -> Arc<Ledger> {
    let ledger = Ledger::shared(pool.whole(), 100, &Metrics::new(), "orders");
    assert_eq!(ledger.admission.open_seat(), SHARD);
    pool.join(&ledger);
    ledger
}

#[test]
fn streams_that_share_a_bound_wake_each_other() {
    in_many_orders(|| {
        let pool = Pool::new(Charge {
            bytes: 1,
            records: 4,
        });
        let streams = [(); 3].map(|()| member(&pool));
        let mut all = Vec::new();
        for (n, stream) in streams.iter().enumerate() {
            // More than its part: it needs what others hold.
            let demand = Demand::one(SHARD, records(2 + n % 2));
            let other = demand.clone();
            let (stays, goes) = (Arc::clone(stream), Arc::clone(stream));
            let watched = Arc::clone(&pool);
            all.push(work(move || {
                comes_and_goes(&stays.admission, &demand).unwrap();
                assert!(watched.used().records <= 4);
            }));
            all.push(work(move || gives_up(&goes.admission, &other)));
        }
        together(all);
        assert_eq!(pool.used(), Charge::default());
        for stream in streams {
            assert_empty(&stream.admission);
        }
    });
}
