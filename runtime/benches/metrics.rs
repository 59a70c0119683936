//! What a metric costs where it is written: nanoseconds each, on one thread and on two that share it.
//! `cargo bench -p runtime`.

#![expect(clippy::print_stdout, reason = "a benchmark's result")]

use runtime::Metrics;
use std::hint::black_box;
use tokio::time::Instant;

/// As a test it only has to run.
fn times() -> u32 {
    if std::env::args().any(|arg| arg == "--bench") {
        5_000_000
    } else {
        1_000
    }
}

fn nanoseconds(name: &str, work: impl Fn() + Sync) {
    let times = times();
    for threads in [1_u32, 2] {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..times).for_each(|_| work()));
            }
        });
        let each = began.elapsed().as_secs_f64() * 1e9 / f64::from(times);
        println!("{name:32} {threads} threads: {each:6.1} ns");
    }
}

fn main() {
    let metrics = Metrics::new();
    let shard = [
        ("StreamName", "orders"),
        ("ShardId", "shardId-000000000000"),
    ];
    let counter = metrics.counter("C", &shard);
    let gauge = metrics.gauge("G", &shard);
    let histogram = metrics.histogram("H", &shard);
    let mut reader = metrics.reader();
    drop(reader.read());
    let now = Instant::now();
    nanoseconds("reading the clock", || {
        black_box(Instant::now());
    });
    nanoseconds("Counter::add", || counter.add(black_box(1)));
    nanoseconds("Counter::add_at", || counter.add_at(black_box(1), now));
    nanoseconds("Gauge::set", || gauge.set(black_box(1.5)));
    nanoseconds("Histogram::observe", || histogram.observe(black_box(17.0)));
    nanoseconds("Histogram::observe_at", || {
        histogram.observe_at(black_box(17.0), 1, now);
    });
    for n in 0..9_990 {
        metrics.counter("C", &[("ShardId", &format!("{n}"))]).add(1);
    }
    let began = Instant::now();
    let points = reader.read().len();
    println!("reading {points} instruments: {:?}", began.elapsed());
    let began = Instant::now();
    let points = reader.read().len();
    println!(
        "reading them again ({points} with news): {:?}",
        began.elapsed()
    );
}
