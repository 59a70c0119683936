//! Receipts against outcomes: no wake-up is lost, and each gets its own outcome once.

use super::{in_every_order, in_many_orders, together, work};
use crate::error::DeliveryError;
use crate::receipt::{BatchReceipt, Receipt};
use crate::slot::{Slot, Verdict};
use futures::FutureExt;
use shuttle::{future::block_on, thread};
use std::sync::Arc;

fn delivered(number: &str) -> Verdict {
    Verdict::Delivered {
        shard_id: "shardId-000000000000".into(),
        sequence_number: number.into(),
        aggregated: true,
        attempts: Arc::default(),
    }
}

fn assert_delivered(outcome: Result<crate::Delivered, DeliveryError>, number: &str, sub: u64) {
    let delivered = outcome.unwrap();
    let place = (&*delivered.sequence_number, delivered.sub_sequence_number);
    assert_eq!(place, (number, sub));
}

#[test]
fn a_receipt_is_woken_whenever_its_outcome_comes() {
    in_every_order(|| {
        let slot = Arc::<Slot>::default();
        let receipt = Receipt::new(Arc::clone(&slot), 1);
        together([
            work(move || assert_delivered(block_on(receipt), "7", 1)),
            work(move || slot.resolve(delivered("7"))),
        ]);
    });
}

#[test]
fn a_receipt_that_goes_to_another_task_is_woken_there() {
    in_every_order(|| {
        let slot = Arc::<Slot>::default();
        let mut receipt = Receipt::new(Arc::clone(&slot), 3);
        let resolving = thread::spawn(move || slot.resolve(delivered("7")));
        // Polled here with a waker that wakes nobody, then awaited elsewhere.
        match (&mut receipt).now_or_never() {
            Some(outcome) => assert_delivered(outcome, "7", 3),
            None => {
                let elsewhere = move || assert_delivered(block_on(receipt), "7", 3);
                thread::spawn(elsewhere).join().unwrap();
            }
        }
        resolving.join().unwrap();
    });
}

#[test]
fn a_receipt_that_is_dropped_takes_nothing_from_its_neighbours() {
    in_every_order(|| {
        let slot = Arc::<Slot>::default();
        let [mut gone, stays] = [0, 1].map(|n| Receipt::new(Arc::clone(&slot), n));
        together([
            work(move || assert_delivered(block_on(stays), "7", 1)),
            work(move || {
                if let Some(outcome) = (&mut gone).now_or_never() {
                    assert_delivered(outcome, "7", 0);
                }
            }),
            work(move || slot.resolve(delivered("7"))),
        ]);
    });
}

/// An aggregate that is taken apart while its receipts wait, with an outcome from each of two places.
#[test]
fn receipts_of_an_aggregate_that_is_taken_apart_get_each_its_own_outcome() {
    in_many_orders(|| {
        let slot = Arc::<Slot>::default();
        let single = Receipt::new(Arc::clone(&slot), 0);
        let mut batch = BatchReceipt::default();
        (0..3).for_each(|place| batch.add(place, &slot, u32::try_from(place).unwrap() + 1));
        let gone = Receipt::new(Arc::clone(&slot), 4);
        together([
            work(move || assert_delivered(block_on(single), "a", 10)),
            work(move || drop(gone.now_or_never())),
            work(move || {
                let mut outcomes = block_on(batch).into_iter();
                assert_delivered(outcomes.next().unwrap(), "b", 11);
                assert_delivered(outcomes.next().unwrap(), "a", 12);
                let failed = outcomes.next().unwrap();
                assert!(matches!(failed, Err(DeliveryError::Closed { .. })));
                assert!(outcomes.next().is_none());
            }),
            work(move || {
                slot.take_apart(5);
                let other = {
                    let slot = Arc::clone(&slot);
                    thread::spawn(move || slot.resolve_one(1, delivered("b").at(11)))
                };
                slot.resolve_one(4, delivered("a").at(14));
                slot.resolve_one(2, delivered("a").at(12));
                slot.resolve_one(0, delivered("a").at(10));
                slot.resolve_one(3, Err(DeliveryError::closed()));
                other.join().unwrap();
            }),
        ]);
    });
}

#[test]
fn a_batch_over_two_aggregates_is_woken_by_the_last() {
    in_every_order(|| {
        let slots: [Arc<Slot>; 2] = Default::default();
        let mut batch = BatchReceipt::default();
        (0..)
            .zip(&slots)
            .for_each(|(n, slot)| batch.add(n, slot, 0));
        let waits = work(move || {
            let numbers: Vec<_> = block_on(batch)
                .into_iter()
                .map(|outcome| outcome.unwrap().sequence_number.to_string())
                .collect();
            assert_eq!(numbers, ["0", "1"]);
        });
        let resolve =
            |(n, slot): (u32, Arc<Slot>)| work(move || slot.resolve(delivered(&n.to_string())));
        together(std::iter::once(waits).chain((0..).zip(slots).map(resolve)));
    });
}
