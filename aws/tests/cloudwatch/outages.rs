//! What becomes of intervals that CloudWatch does not take.

use crate::*;
use runtime::time::epoch_millis;
use std::collections::BTreeSet;

#[tokio::test(start_paused = true)]
async fn an_hour_without_cloudwatch_loses_nothing() {
    let sent = start(settings());
    let outage = sent.local.faults().add(every(FaultAction::Refuse));
    let counter = sent.metrics.counter("Put", &[("StreamName", "s")]);
    for minute in 1..=60_u64 {
        counter.add(minute);
        seconds(60).await;
    }
    let waiting = sent.uploader.stats();
    assert_eq!((waiting.waiting, waiting.sent), (120, 0));
    assert!(waiting.failures > 20, "{waiting:?}");
    assert!(waiting.waiting_bytes < 64 << 10, "{waiting:?}");
    assert!(sent.local.faults().remove(outage));
    seconds(120).await;
    assert_eq!(sum(&sent.local, "Put"), 1_830.0);
    let times: BTreeSet<u64> = sent
        .local
        .metrics()
        .iter()
        .map(|d| epoch_millis(d.timestamp))
        .collect();
    assert_eq!(times.len(), 60, "each interval has its own time");
    let times: Vec<_> = times.into_iter().collect();
    assert!(times.windows(2).all(|two| two[1] - two[0] == 60_000));
    let stats = sent.uploader.stats();
    assert_eq!((stats.sent, stats.waiting, stats.dropped), (120, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_the_oldest_are_dropped_and_counted() {
    const BOUND: usize = 3_000;
    let sent = start(settings().with_kept_bytes(BOUND));
    sent.local
        .faults()
        .add(every(error(503, "ServiceUnavailable")));
    let counter = sent.metrics.counter("Put", &[]);
    for minute in 1..=120_u64 {
        counter.add(1_000 + minute);
        seconds(60).await;
        let stats = sent.uploader.stats();
        assert!(stats.waiting_bytes <= 3_000, "{stats:?}");
    }
    sent.local.faults().clear();
    seconds(180).await;
    let stats = sent.uploader.stats();
    assert!(stats.dropped > 50 && stats.sent > 5, "{stats:?}");
    assert_eq!(stats.read, stats.sent + stats.dropped);
    // What is left is the newest, and the loss is itself a metric.
    let puts: Vec<_> = sent
        .local
        .metrics()
        .iter()
        .filter(|d| d.name == "Put")
        .map(|d| statistics(d).1)
        .collect();
    let first = puts[0];
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let in_a_row = puts
        .iter()
        .enumerate()
        .all(|(n, sum)| *sum == first + n as f64);
    assert!(in_a_row && puts[puts.len() - 1] == 1_120.0, "{puts:?}");
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let dropped = stats.dropped as f64;
    // Some of the data that were dropped said how many were dropped before.
    let told = sum(&sent.local, "MetricDataDropped");
    assert!(told > 0.0 && told <= dropped, "{told} of {dropped}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_as_wrong_does_not_stop_what_comes_after() {
    let sent = start(settings());
    let wrong = error(400, "InvalidParameterValue");
    sent.local
        .faults()
        .add(Fault::nth("PutMetricData", 1, wrong));
    let counter = sent.metrics.counter("Put", &[]);
    counter.add(1);
    seconds(60).await;
    counter.add(2);
    seconds(60).await;
    let stats = sent.uploader.stats();
    assert_eq!((stats.refused, stats.failures), (1, 1));
    assert_eq!(sum(&sent.local, "Put"), 2.0);
    assert_eq!(sum(&sent.local, "MetricDataDropped"), 1.0);
    // What may be mended waits.
    let denied = error(403, "AccessDeniedException");
    let id = sent.local.faults().add(every(denied));
    counter.add(4);
    seconds(300).await;
    assert_eq!(sum(&sent.local, "Put"), 2.0);
    assert!(sent.local.faults().remove(id));
    seconds(120).await;
    assert_eq!(sum(&sent.local, "Put"), 6.0);
}

/// What one seed does: the journal of requests, and the sums.
async fn world(seed: u64) -> Vec<String> {
    let chance = Chance::seeded(seed);
    let sent = start(settings().with_upload_delay(Duration::from_secs(10)));
    let faults = [
        FaultAction::Refuse,
        FaultAction::Throttle,
        error(500, "InternalFailure"),
        FaultAction::Delay(Duration::from_secs(25)),
        FaultAction::Status(502),
    ];
    for fault in faults {
        sent.local.faults().add(every(fault).with_probability(0.15));
    }
    let (mut counted, mut observed) = (0, 0.0);
    for _ in 0..200 {
        let shard = format!("shardId-{}", chance.below(4));
        let place = [("StreamName", "s"), ("ShardId", shard.as_str())];
        let n = chance.below(9);
        sent.metrics.counter("Put", &place).add(n);
        counted += n;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let time = chance.below(1_000) as f64;
        sent.metrics.histogram(TIME, &place).observe(time);
        observed += time;
        if chance.happens(0.05) {
            sent.metrics.retire(&place);
        }
        tokio::time::sleep(Duration::from_millis(chance.below(9_000))).await;
    }
    sent.local.faults().clear();
    seconds(180).await;
    assert!(sent.scope.shutdown(Duration::from_secs(9)).await.is_clean());
    let stats = sent.uploader.stats();
    assert_eq!((stats.read, stats.dropped), (stats.sent, 0), "seed {seed}");
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let counted = counted as f64;
    let (put, time) = (sum(&sent.local, "Put"), sum(&sent.local, "RequestTime"));
    assert_eq!((put, time), (counted, observed), "seed {seed}");
    for name in ["Put", "RequestTime"] {
        let by_shard: f64 = sent
            .local
            .metrics()
            .iter()
            .filter(|d| d.name == name && d.dimensions.len() == 2)
            .map(|d| statistics(d).1)
            .sum();
        assert_eq!(by_shard, sum(&sent.local, name), "seed {seed}");
    }
    let journal = sent.local.journal();
    let mut lines: Vec<_> = journal
        .iter()
        .map(|seen| format!("{:?} {}", seen.at, seen.status))
        .collect();
    lines.extend(sent.local.metrics().iter().map(shown));
    lines
}

#[tokio::test(start_paused = true)]
async fn intervals_add_up_to_the_total_whatever_fails_and_a_seed_repeats() {
    for seed in 0..8 {
        let first = world(seed).await;
        let again = world(seed).await;
        assert!(first == again, "seed {seed} does not repeat");
        assert!(first.len() > 200);
    }
}
