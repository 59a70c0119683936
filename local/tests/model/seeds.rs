//! Which seeds run, and what is said of one that fails.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub(crate) fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Runs seeds: one that was asked for, as many as were asked for, or the usual number.
pub(crate) fn each(test: &str, usual: u64, run: impl Fn(u64)) {
    let (first, count) = match number("KINESIS_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("KINESIS_SEEDS").unwrap_or(usual)),
    };
    for seed in first..first + count {
        if let Err(reason) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "seed {seed} failed; again with: \
                 KINESIS_SEED={seed} cargo test -p local --test model {test}"
            );
            resume_unwind(reason);
        }
    }
}
