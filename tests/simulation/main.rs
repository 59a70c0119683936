//! Producers and workers together against one endpoint, in process, on a paused clock: seeded faults,
//! reshards and crashes, and every record accounted for.
//!
//! `KINESIS_SEEDS=N` runs N seeds in place of the usual number, `KINESIS_SEED=n` one.

#![allow(unreachable_pub, reason = "a test has no public interface")]
#![expect(
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod account;
mod chaos;
mod world;

use account::Account;
use chaos::Chaos;
use runtime::Chance;
use std::env;
use std::panic;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use world::World;

/// Seeds that run without being asked for.
const SEEDS: u64 = 200;

/// Past this much simulated time after the last record something hangs.
const PATIENCE: Duration = Duration::from_secs(900);

/// One run: what was asked of the endpoint, in order, and what became of each record.
fn run(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let journal = runtime.block_on(story(seed));
    drop(runtime);
    journal
}

async fn story(seed: u64) -> String {
    let chance = Chance::seeded(seed);
    let account = Arc::new(Account::default());
    let world = World::new(seed, &chance, Arc::clone(&account));
    let producers = world.start_producers(1 + chance.below(3)).await;
    let mut chaos = Chaos::new(&world, chance.fork()).await;
    let mut sending = tokio::spawn(async move {
        for producer in producers {
            producer.await.expect("a producer's task");
        }
    });
    // The clock moves only when everybody waits: each turn of this loop is one of its advances.
    while !sending.is_finished() {
        chaos.strike().await;
        tokio::time::sleep(Duration::from_millis(20 + chance.below(400))).await;
        world.check();
    }
    (&mut sending).await.expect("the producers' task");
    chaos.calm_down().await;
    let begin = Instant::now();
    while !account.all_processed() {
        assert!(
            begin.elapsed() < PATIENCE,
            "records were never processed: {}",
            account.summary()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.check();
    }
    chaos.stop_workers().await;
    world.check();
    account.check_at_the_end(&world.local);
    world.journal() + &account.summary()
}

fn reproduce(seed: u64) -> String {
    format!("KINESIS_SEED={seed} cargo test -p tests --test simulation")
}

/// Runs a seed; a failure names it and how to run it again.
fn run_named(seed: u64) -> String {
    panic::catch_unwind(|| run(seed)).unwrap_or_else(|reason| {
        eprintln!("seed {seed} failed; again with: {}", reproduce(seed));
        panic::resume_unwind(reason)
    })
}

#[test]
fn every_record_is_accounted_for() {
    if let Ok(seed) = env::var("KINESIS_SEED") {
        run_named(seed.parse().expect("KINESIS_SEED is a number"));
        return;
    }
    let seeds =
        env::var("KINESIS_SEEDS").map_or(SEEDS, |n| n.parse().expect("KINESIS_SEEDS is a number"));
    let next = std::sync::atomic::AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    run_named(seed);
                }
            });
        }
    });
}

/// Whoever signs nothing gets nothing done: each request of each run has been verified.
#[test]
fn the_endpoint_verifies_signatures() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let chance = Chance::seeded(1);
    let local = World::new(1, &chance, Arc::default()).local;
    let unsigned = http::Request::post("/")
        .header("x-amz-target", "Kinesis_20131202.ListStreams")
        .header("content-type", "application/x-amz-json-1.1")
        .body("{}".into())
        .expect("a request");
    let answer = runtime.block_on(local.handle(unsigned)).expect("an answer");
    let body = String::from_utf8_lossy(answer.body()).into_owned();
    assert_eq!(answer.status(), 400, "{body}");
    assert!(
        body.contains("MissingAuthenticationTokenException"),
        "{body}"
    );
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 17] {
        let (first, second) = (run_named(seed), run_named(seed));
        let differs = first.lines().zip(second.lines()).position(|(a, b)| a != b);
        assert!(
            first == second,
            "seed {seed} differs from line {differs:?}: {:?} / {:?}",
            differs.and_then(|n| first.lines().nth(n)),
            differs.and_then(|n| second.lines().nth(n)),
        );
        assert!(
            first.lines().count() > 100,
            "a story of {} lines",
            first.lines().count()
        );
    }
}
