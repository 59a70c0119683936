//! Interleavings, explored by shuttle: receipts against outcomes, admission against release,
//! cancellation and close, puts against reshards and the end.
//!
//! Every lock of the slots, of admission and of the lanes is a place where another thread may go on
//! ([`crate::sync`]). Small cases are explored exhaustively, larger ones by many random schedules; a
//! schedule that fails is printed, and `shuttle::replay` repeats it. A thread that sleeps while nobody
//! is left to wake it is a deadlock, and found as such.

mod admission;
mod closing;
mod receipts;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

/// Schedules of each kind.
const SCHEDULES: usize = 2_000;

/// More than there are of a small case.
const EXHAUSTIVE: usize = 200_000;

/// Runs every schedule of a case that is small enough.
fn in_every_order(case: impl Fn() + Send + Sync + 'static) {
    let scheduler = DfsScheduler::new(Some(EXHAUSTIVE), false);
    let schedules = Runner::new(scheduler, Config::new()).run(case);
    assert!(schedules < EXHAUSTIVE, "the case is too large to explore");
}

/// Runs random schedules, and such as change the running thread seldom and at the worst places.
fn in_many_orders(case: fn()) {
    let scheduler = RandomScheduler::new_from_seed(5, SCHEDULES);
    Runner::new(scheduler, Config::new()).run(case);
    for depth in 1..=4 {
        let scheduler = PctScheduler::new_from_seed(7, depth, SCHEDULES / 4);
        Runner::new(scheduler, Config::new()).run(case);
    }
}

type Work = Box<dyn FnOnce() + Send>;

fn work(work: impl FnOnce() + Send + 'static) -> Work {
    Box::new(work)
}

/// Does all of it at the same time, the first on this thread.
fn together(all: impl IntoIterator<Item = Work>) {
    let mut all = all.into_iter();
    let first = all.next();
    let others: Vec<_> = all.map(thread::spawn).collect();
    first.into_iter().for_each(|first| first());
    others.into_iter().for_each(|thread| thread.join().unwrap());
}
