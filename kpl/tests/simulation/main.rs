//! Seeded simulation: producers against the embedded endpoint in process on a paused clock, with
//! faults, reshards and outages. What holds for every seed:
//!
//! - each admitted record resolves exactly once;
//! - delivered means readable, by a consumer that checks ranges, at the place that the receipt names;
//! - a failure's reason is true, and nothing expires before its time to live;
//! - what is outstanding never passes the bounds: looked at before each put and after each answer;
//! - with identities a reader that looks at them sees each record once;
//! - strict order keeps the order of each key;
//! - a record that the service refuses a whole request for fails alone;
//! - no task of a producer outlives its close.
//!
//! `KINESIS_SEEDS=10000` runs more seeds, `KINESIS_SEED=7` one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod chaos;
mod check;
mod world;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use world::{Run, run};

/// How many seeds run by default.
const SEEDS: u64 = 300;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Runs a seed; a failure says how to repeat it.
fn checked(seed: u64) -> Run {
    match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(run) => run,
        Err(cause) => {
            eprintln!(
                "seed {seed} failed; to repeat it:\n    \
                 KINESIS_SEED={seed} cargo test -p kpl --test simulation every_seed"
            );
            std::panic::resume_unwind(cause)
        }
    }
}

#[test]
fn every_seed_keeps_the_promises() {
    let (first, seeds) = match variable("KINESIS_SEED") {
        Some(seed) => (seed, 1),
        None => (0, variable("KINESIS_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let totals = std::thread::scope(|scope| {
        let worker = || {
            let mut total = Run::default();
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= first + seeds {
                    return total;
                }
                total.add(&checked(seed));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut total = Run::default();
        for worker in workers {
            match worker.join() {
                Ok(run) => total.add(&run),
                Err(cause) => std::panic::resume_unwind(cause),
            }
        }
        total
    });
    println!("{seeds} seeds: {totals}");
    if seeds >= SEEDS {
        totals.assert_covers();
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [3, 11, 42, 77] {
        let (one, other) = (checked(seed), checked(seed));
        assert!(one.admitted > 0);
        assert_eq!(one.outcomes, other.outcomes, "seed {seed}: outcomes");
        assert_eq!(one.journal, other.journal, "seed {seed}: journal");
    }
}
