use super::*;
use futures::FutureExt;
use futures::task::noop_waker;
use proptest::collection::vec;
use proptest::prelude::*;

fn charge(bytes: usize, records: usize) -> Charge {
    Charge { bytes, records }
}

/// One shard, which may take everything.
fn single(bytes: usize, records: usize) -> Admission {
    let admission = Admission::new(charge(bytes, records), 100);
    assert_eq!(admission.open_seat(), 0);
    admission
}

fn demand(bytes: usize, records: usize) -> Demand {
    Demand::one(0, charge(bytes, records))
}

fn permit(charge: Charge, epoch: u64) -> Permit {
    Permit {
        charge,
        epoch,
        seat: 0,
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&noop_waker()))
}

fn granted(future: &mut Acquire<'_>) -> Option<u64> {
    match poll(future) {
        Poll::Ready(Ok(epoch)) => Some(epoch),
        _ => None,
    }
}

#[test]
fn bounded_by_bytes_and_by_records() {
    let admission = single(100, 3);
    let epoch = granted(&mut admission.acquire(demand(60, 1))).unwrap();
    assert!(granted(&mut admission.acquire(demand(41, 1))).is_none());
    assert!(granted(&mut admission.acquire(demand(40, 2))).is_some());
    assert!(granted(&mut admission.acquire(demand(0, 1))).is_none());
    admission.release([permit(charge(60, 1), epoch)]);
    assert_eq!(admission.outstanding(), charge(40, 2));
    assert_eq!(admission.admitted(), 3);
}

#[test]
fn first_come_first_served_even_if_a_later_one_would_fit() {
    let admission = single(100, 9);
    let held = granted(&mut admission.acquire(demand(80, 1))).unwrap();
    let mut large = admission.acquire(demand(90, 1));
    let mut small = admission.acquire(demand(5, 1));
    assert!(granted(&mut large).is_none() && granted(&mut small).is_none());
    assert_eq!(admission.try_acquire(&demand(5, 1)), Err(NotNow::Full));
    assert_eq!(admission.waiting(), 2);
    admission.release([permit(charge(80, 1), held)]);
    assert!(granted(&mut large).is_some() && granted(&mut small).is_some());
}

#[test]
fn who_gives_way_to_the_senders_is_admitted_before_and_a_flush_waits_for_it() {
    let admission = single(100, 9);
    let demand = demand(10, 1);
    let giving_way = || {
        admission.turns.admitted(1 << 20);
        let mut put = Box::pin(admission.acquire_in_turn(&demand));
        assert!(poll(&mut put).is_pending());
        assert_eq!(admission.outstanding(), charge(10, 1));
        put
    };
    drop(giving_way());
    assert_eq!(
        (admission.outstanding(), admission.admitted()),
        (charge(0, 0), 0)
    );
    let mut put = giving_way();
    let flushed = admission.end_epoch();
    let mut flush = Box::pin(admission.passed(flushed));
    assert!(poll(&mut flush).is_pending());
    let Poll::Ready(Ok(epoch)) = poll(&mut put) else {
        panic!("it is admitted")
    };
    assert!(epoch <= flushed && poll(&mut flush).is_pending());
    admission.release([permit(charge(10, 1), epoch)]);
    assert!(poll(&mut flush).is_ready());
}

#[test]
fn who_gives_way_where_there_is_no_room_waits_in_its_place() {
    let admission = single(10, 9);
    let held = granted(&mut admission.acquire(demand(10, 1))).unwrap();
    admission.turns.admitted(1 << 20);
    let demand = demand(10, 1);
    let mut first = Box::pin(admission.acquire_in_turn(&demand));
    let mut second = admission.acquire(&demand);
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    admission.release([permit(charge(10, 1), held)]);
    assert!(poll(&mut second).is_pending());
    assert!(matches!(poll(&mut first), Poll::Ready(Ok(_))));
}

#[test]
fn a_dropped_caller_lets_the_next_one_pass_and_keeps_nothing() {
    let admission = single(100, 9);
    let held = granted(&mut admission.acquire(demand(80, 1))).unwrap();
    let mut large = admission.acquire(demand(90, 1));
    let mut small = admission.acquire(demand(5, 1));
    assert!(granted(&mut large).is_none() && granted(&mut small).is_none());
    drop(large);
    assert!(granted(&mut small).is_some());
    let mut granted_but_dropped = admission.acquire(demand(90, 1));
    assert!(granted(&mut granted_but_dropped).is_none());
    admission.release([permit(charge(80, 1), held)]);
    drop(granted_but_dropped);
    assert_eq!(admission.outstanding(), charge(5, 1));
    assert_eq!(admission.admitted(), 2);
}

#[test]
fn closing_turns_the_waiting_away() {
    let admission = single(10, 1);
    assert!(granted(&mut admission.acquire(demand(1, 1))).is_some());
    let mut waits = admission.acquire(demand(1, 1));
    assert!(poll(&mut waits).is_pending());
    admission.close();
    assert_eq!(poll(&mut waits), Poll::Ready(Err(IntakeClosed)));
    assert_eq!(
        poll(&mut admission.acquire(demand(1, 1))),
        Poll::Ready(Err(IntakeClosed))
    );
    assert_eq!(admission.try_acquire(&demand(1, 1)), Err(NotNow::Closed));
    assert!(admission.is_closed());
}

#[test]
fn a_barrier_covers_those_who_wait_and_no_later_ones() {
    let admission = single(10, 1);
    let at_once = admission.passed(admission.end_epoch()).now_or_never();
    assert!(at_once.is_some());
    let first = granted(&mut admission.acquire(demand(1, 1))).unwrap();
    let mut waits = admission.acquire(demand(1, 1));
    assert!(poll(&mut waits).is_pending());
    let barrier = admission.end_epoch();
    let mut later = admission.acquire(demand(1, 1));
    assert!(poll(&mut later).is_pending());
    let passed = || admission.passed(barrier).now_or_never().is_some();
    assert!(!passed());
    admission.release([permit(charge(1, 1), first)]);
    assert!(!passed());
    let second = granted(&mut waits).unwrap();
    assert!(second < admission.epoch());
    admission.release([permit(charge(1, 1), second)]);
    assert!(passed());
    assert!(granted(&mut later).is_some());
    assert!(admission.idle().now_or_never().is_none());
}

#[test]
fn a_share_is_a_percentage_or_an_equal_part() {
    for (whole, percent, shards, share) in [
        (1_000, 25, 1, 1_000),
        (1_000, 25, 2, 500),
        (1_000, 25, 4, 250),
        (1_000, 25, 500, 250),
        (1_000, 100, 500, 1_000),
        (1_000, 1, 1_000, 10),
        (3, 1, 1_000, 1),
        (usize::MAX, 100, 3, usize::MAX),
    ] {
        assert_eq!(share_of(whole, percent, shards), share);
    }
}

/// Four shards, each of which may take a quarter.
fn four() -> (Admission, [Seat; 4]) {
    let admission = Admission::new(charge(400, 40), 25);
    let seats = [(); 4].map(|()| admission.open_seat());
    admission.set_shards(4);
    (admission, seats)
}

#[test]
fn who_waits_for_a_full_shard_is_overtaken_by_others_and_by_no_one_of_its_own() {
    let (admission, [hot, cold, ..]) = four();
    let held = granted(&mut admission.acquire(Demand::one(hot, charge(90, 1)))).unwrap();
    let mut first = admission.acquire(Demand::one(hot, charge(50, 1)));
    let mut second = admission.acquire(Demand::one(hot, charge(5, 1)));
    assert!(granted(&mut first).is_none() && granted(&mut second).is_none());
    assert_eq!(
        admission.try_acquire(&Demand::one(hot, charge(5, 1))),
        Err(NotNow::Full)
    );
    assert!(
        admission
            .try_acquire(&Demand::one(cold, charge(100, 1)))
            .is_ok()
    );
    let both = [(hot, charge(1, 1)), (cold, charge(0, 1))];
    let mut mixed = admission.acquire(Demand::many(both));
    assert!(granted(&mut mixed).is_none());
    assert_eq!(admission.waiting(), 3);
    let charge = charge(90, 1);
    admission.release([Permit {
        charge,
        epoch: held,
        seat: hot,
    }]);
    assert!(granted(&mut first).is_some() && granted(&mut second).is_some());
    assert!(granted(&mut mixed).is_some());
}

#[test]
fn who_waits_for_the_whole_is_overtaken_by_no_one() {
    let (admission, seats) = four();
    admission.set_shards(1);
    for seat in seats {
        let taken = admission.try_acquire(&Demand::one(seat, charge(90, 1)));
        assert!(taken.is_ok());
    }
    let mut large = admission.acquire(Demand::one(seats[0], charge(50, 1)));
    assert!(granted(&mut large).is_none());
    for seat in seats {
        let small = Demand::one(seat, charge(1, 1));
        assert_eq!(admission.try_acquire(&small), Err(NotNow::Full));
    }
    drop(large);
    assert!(
        admission
            .try_acquire(&Demand::one(seats[3], charge(1, 1)))
            .is_ok()
    );
}

#[test]
fn a_seat_is_given_again_when_nothing_is_charged_there() {
    let (admission, [first, ..]) = four();
    let epoch = granted(&mut admission.acquire(Demand::one(first, charge(9, 1)))).unwrap();
    admission.close_seat(first);
    assert_eq!(admission.open_seat(), 4);
    let charge = charge(9, 1);
    admission.release([Permit {
        charge,
        epoch,
        seat: first,
    }]);
    assert_eq!(admission.open_seat(), first);
    for _ in 0..100 {
        let seat = admission.open_seat();
        admission.close_seat(seat);
    }
    assert_eq!(admission.state.lock().shares.len(), 6);
}

#[derive(Debug, Clone)]
enum Step {
    /// Asks for so much of some shards, by one bit each.
    Ask(u8, usize),
    /// Releases the nth that was admitted.
    Release(usize),
    /// The nth that waits changes its mind.
    Leave(usize),
    Flush,
    Shards(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u8..16, 1usize..60).prop_map(|(seats, bytes)| Step::Ask(seats, bytes)),
        6 => any::<prop::sample::Index>().prop_map(|n| Step::Release(n.index(1 << 16))),
        1 => any::<prop::sample::Index>().prop_map(|n| Step::Leave(n.index(1 << 16))),
        1 => Just(Step::Flush),
        1 => (1usize..6).prop_map(Step::Shards),
    ]
}

fn parts_of(seats: u8, bytes: usize) -> Vec<(Seat, Charge)> {
    let named = |seat: &Seat| seats & (1 << seat) != 0;
    (0..4)
        .filter(named)
        .map(|seat| (seat, charge(bytes, 1)))
        .collect()
}

/// Nobody waits who could be admitted without overtaking an earlier one that names one of its shards,
/// or that could be admitted but for the whole.
fn assert_nobody_waits_in_vain(state: &State) {
    let fits_shares = |demand: &Demand| demand.parts().all(|(s, p)| state.shares.fits(s, p));
    let mut earlier: Vec<Seat> = Vec::new();
    for (ticket, demand) in state.waits() {
        let fits = fits_shares(&demand);
        let whole = state.used.plus(demand.total).within(state.bound);
        let alone = !demand.parts().any(|(seat, _)| earlier.contains(&seat));
        assert!(!(fits && whole && alone), "{ticket} {demand:?} {state:?}");
        if fits && !whole {
            // Who comes later may wait for it.
            return;
        }
        earlier.extend(demand.parts().map(|(seat, _)| seat));
    }
}

proptest! {
    #[test]
    fn bounds_hold_turns_are_kept_and_nobody_is_forgotten(steps in vec(step(), 1..120)) {
        let (admission, seats) = four();
        let mut waiting: Vec<(u8, usize, Acquire<'_>)> = Vec::new();
        let mut admitted: Vec<(u8, usize, u64)> = Vec::new();
        let mut records = 0;
        let mut shrunk = false;
        let mut barrier = None;
        for step in steps {
            match step {
                Step::Ask(seats, bytes) => {
                    let mut turn = admission.acquire(Demand::many(parts_of(seats, bytes)));
                    records += usize::try_from(seats.count_ones()).unwrap();
                    match granted(&mut turn) {
                        Some(epoch) => admitted.push((seats, bytes, epoch)),
                        None => waiting.push((seats, bytes, turn)),
                    }
                }
                Step::Release(n) if !admitted.is_empty() => {
                    let (seats, bytes, epoch) = admitted.remove(n % admitted.len());
                    records -= usize::try_from(seats.count_ones()).unwrap();
                    admission.release(parts_of(seats, bytes).into_iter().map(|(seat, charge)| {
                        Permit { charge, epoch, seat }
                    }));
                }
                Step::Leave(n) if !waiting.is_empty() => {
                    let (seats, ..) = waiting.remove(n % waiting.len());
                    records -= usize::try_from(seats.count_ones()).unwrap();
                }
                Step::Flush => barrier = Some(admission.end_epoch()),
                Step::Shards(shards) => {
                    shrunk |= shards < 4;
                    admission.set_shards(shards);
                }
                Step::Release(_) | Step::Leave(_) => {}
            }
            // Those of one shard alone are served in their order.
            let mut passed_over: Vec<u8> = Vec::new();
            let mut still = Vec::new();
            for (seats, bytes, mut turn) in waiting {
                match granted(&mut turn) {
                    Some(epoch) => {
                        prop_assert!(seats.count_ones() > 1 || !passed_over.contains(&seats));
                        admitted.push((seats, bytes, epoch));
                    }
                    None => {
                        passed_over.push(seats);
                        still.push((seats, bytes, turn));
                    }
                }
            }
            waiting = still;
            let state = admission.state.lock();
            let bytes: usize = admitted
                .iter()
                .map(|(seats, bytes, _)| parts_of(*seats, *bytes).len() * bytes)
                .sum();
            prop_assert_eq!(state.used.bytes, bytes);
            prop_assert!(state.used.within(state.bound));
            for seat in seats {
                let used = state.shares.used(seat);
                let within = used.within(charge(100, 10)) || shrunk;
                prop_assert!(within || used.records == 1, "{used:?}");
            }
            assert_nobody_waits_in_vain(&state);
        }
        while !waiting.is_empty() || !admitted.is_empty() {
            prop_assert!(!admitted.is_empty(), "somebody waits and nothing is held");
            let (seats, bytes, epoch) = admitted.remove(0);
            records -= usize::try_from(seats.count_ones()).unwrap();
            admission.release(parts_of(seats, bytes).into_iter().map(|(seat, charge)| {
                Permit { charge, epoch, seat }
            }));
            let mut still = Vec::new();
            for (seats, bytes, mut turn) in waiting {
                match granted(&mut turn) {
                    Some(epoch) => admitted.push((seats, bytes, epoch)),
                    None => still.push((seats, bytes, turn)),
                }
            }
            waiting = still;
        }
        prop_assert_eq!((records, admission.outstanding()), (0, Charge::default()));
        prop_assert_eq!(admission.waiting(), 0);
        if let Some(barrier) = barrier {
            prop_assert!(admission.passed(barrier).now_or_never().is_some());
        }
    }
}
