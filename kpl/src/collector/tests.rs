use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Parcel {
    name: u32,
    size: usize,
    due: Instant,
    oldest: Instant,
    probe: bool,
}

impl Item for Parcel {
    fn size(&self) -> usize {
        self.size
    }
    fn due(&self) -> Instant {
        self.due
    }
    fn oldest(&self) -> Instant {
        self.oldest
    }
    fn is_probe(&self) -> bool {
        self.probe
    }
    fn is_divisible(&self) -> bool {
        self.size >= 40_000
    }
}

struct Bench {
    collector: Collector<Parcel>,
    begin: Instant,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn shard(n: u32) -> Arc<str> {
    format!("shardId-{n:012}").into()
}

impl Bench {
    fn new(count: usize, size: usize, percent: u64) -> Self {
        let limits = Limits {
            count,
            size,
            ttl: ms(1_000),
            rate: Rate::Fixed(percent),
        };
        Self {
            collector: Collector::new(limits, Chance::seeded(1)),
            begin: Instant::now(),
        }
    }

    /// Adds a parcel of so many bytes that was admitted at `at` and is due 100 ms later.
    fn add(&mut self, n: u32, name: u32, size: usize, at: u64) {
        let oldest = self.begin + ms(at);
        let parcel = Parcel {
            name,
            size,
            due: oldest + ms(100),
            oldest,
            probe: false,
        };
        self.collector.add(&shard(n), parcel, oldest);
    }

    /// Cuts a probe of ten bytes, named ten times higher, off what a shard has first. Gives its name.
    fn cut(&mut self, n: u32, at: u64) -> Option<u32> {
        let now = self.begin + ms(at);
        let whole = self.collector.take_uncut(now)?;
        let size = whole.size - 10;
        let rest = Parcel { size, ..whole };
        let probe = Parcel {
            name: whole.name * 10,
            size: 10,
            probe: true,
            ..whole
        };
        self.collector.add(&shard(n), rest, now);
        self.collector.add(&shard(n), probe, now);
        Some(probe.name)
    }

    fn refuse(&mut self, n: u32, started: u64, at: u64) {
        let (started, now) = (self.begin + ms(started), self.begin + ms(at));
        self.collector.refused(&shard(n), true, started, now);
    }

    fn batch(&mut self, at: u64) -> Vec<u32> {
        match self.collector.next(self.begin + ms(at)) {
            Next::Batch(batch) => batch.into_iter().map(|parcel| parcel.name).collect(),
            _ => Vec::new(),
        }
    }

    fn wait(&mut self, at: u64) -> Option<Duration> {
        match self.collector.next(self.begin + ms(at)) {
            Next::Wait(until) => Some(until - self.begin),
            _ => None,
        }
    }
}

fn assert_within_limits(batch: &[Parcel], count: usize, size: usize) {
    let total: usize = batch.iter().map(|parcel| parcel.size).sum();
    assert!(!batch.is_empty() && batch.len() <= count);
    assert!(total <= size || batch.len() == 1, "{total}");
    for n in 0..4 {
        let of_shard = batch.iter().filter(|parcel| parcel.name % 4 == n);
        let (parcels, share) = of_shard.fold((0, 0), |(count, sum), parcel| {
            (count + 1, sum + parcel.size)
        });
        assert!(share <= SHARD_SHARE || parcels == 1, "{share}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_goes_once_and_within_the_limits(
        parcels in vec((0u32..4, 0usize..300_000, 0u64..40, any::<bool>()), 0..60),
        count in 1usize..20,
        size in 1_000usize..1_000_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let mut bench = Bench::new(count, size, 100);
        let (mut at, mut seen) = (0, Vec::new());
        let total = parcels.len();
        for (name, (shard_id, size_of_it, wait, refuse)) in (0..).zip(parcels) {
            at += wait;
            let now = bench.begin + ms(at);
            bench.add(shard_id, name * 4 + shard_id, size_of_it, at);
            if refuse {
                bench.collector.refused(&shard(shard_id), true, now, now);
            }
            while let Next::Batch(batch) = bench.collector.next(now) {
                assert_within_limits(&batch, count, size);
                seen.extend(batch.into_iter().map(|parcel| parcel.name));
            }
        }
        let mut now = bench.begin + ms(at);
        // What was asked is answered, in one way or another.
        bench.collector.all_unanswered(now);
        loop {
            match bench.collector.next(now) {
                Next::Batch(batch) => {
                    assert_within_limits(&batch, count, size);
                    for (n, parcel) in (0..).zip(&batch) {
                        let of = shard(parcel.name % 4);
                        match n % 2 {
                            0 => bench.collector.accepted(&of, now, now),
                            _ => bench.collector.unanswered(&of, now, now),
                        }
                    }
                    seen.extend(batch.into_iter().map(|parcel| parcel.name));
                }
                Next::Wait(until) => {
                    assert!(until > now, "a wait leads on");
                    now = until;
                }
                Next::Idle => break,
            }
        }
        prop_assert_eq!((bench.collector.count, bench.collector.size), (0, 0));
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), total);
    }
}

#[tokio::test(start_paused = true)]
async fn goes_when_the_first_is_due_and_takes_the_others_along() {
    let mut bench = Bench::new(500, 1 << 20, 1_000);
    assert!(matches!(bench.collector.next(bench.begin), Next::Idle));
    bench.add(1, 10, 100, 0);
    bench.add(2, 20, 100, 50);
    assert_eq!(bench.wait(60), Some(ms(100)));
    assert_eq!(bench.batch(100), [10, 20]);
    assert!(matches!(bench.collector.next(bench.begin), Next::Idle));
}

#[tokio::test(start_paused = true)]
async fn goes_at_once_when_a_request_is_full() {
    let mut bench = Bench::new(3, 1_000, 1_000);
    (0..4).for_each(|name| bench.add(name, name, 10, 0));
    assert_eq!(bench.batch(0), [0, 1, 2]);
    assert_eq!(bench.wait(0), Some(ms(100)));
    let mut bench = Bench::new(500, 1_000, 1_000);
    bench.add(1, 1, 600, 0);
    bench.add(2, 2, 600, 0);
    assert_eq!(bench.batch(0), [1]);
    assert_eq!(bench.batch(100), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_takes_no_more_than_its_share_of_a_request() {
    let mut bench = Bench::new(500, 5 << 20, 500);
    (0..4).for_each(|name| bench.add(1, name, 100_000, 0));
    bench.add(2, 9, 10, 0);
    assert_eq!(bench.batch(0), [0, 1, 9]);
    assert_eq!(bench.batch(0), [2, 3], "what was left behind is due");
    bench.add(1, 5, 600_000, 0);
    assert_eq!(bench.batch(0), [5], "too large for a share, it goes alone");
}

#[tokio::test(start_paused = true)]
async fn the_share_grows_with_a_rate_far_above_what_a_shard_takes() {
    let mut bench = Bench::new(500, 5 << 20, 2_000);
    (0..11).for_each(|name| bench.add(1, name, 100_000, 0));
    assert_eq!(bench.batch(0), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn shards_take_turns() {
    let mut bench = Bench::new(2, 1 << 20, 1_000);
    (0..2).for_each(|name| (1..4).for_each(|n| bench.add(n, n * 10 + name, 10, 0)));
    let mut seen = BTreeSet::new();
    let first = bench.batch(0);
    seen.extend(first.iter().map(|name| name / 10));
    let second = bench.batch(0);
    seen.extend(second.iter().map(|name| name / 10));
    assert_eq!((first, second), (vec![10, 11], vec![20, 21]));
    assert_eq!(bench.batch(200), [30, 31]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first_so_what_is_tried_again_is_at_the_head() {
    let mut bench = Bench::new(500, 1 << 20, 1_000);
    bench.add(1, 2, 10, 50);
    bench.add(1, 1, 10, 10);
    assert_eq!(bench.batch(110), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refusing_shard_rests_and_the_others_go_on() {
    let mut bench = Bench::new(500, 1 << 20, 1_000);
    bench.add(1, 1, 10, 0);
    bench.add(2, 2, 10, 0);
    assert_eq!(bench.batch(100), [1, 2]);
    let (started, now) = (bench.begin + ms(100), bench.begin + ms(110));
    bench.collector.refused(&shard(1), false, started, now);
    bench.add(1, 1, 10, 0);
    bench.add(2, 2, 10, 0);
    assert_eq!(bench.batch(110), [2]);
    let until = bench.wait(110).unwrap();
    assert!(until >= ms(160) && until <= ms(210), "{until:?}");
    // An older request's answer says nothing new.
    bench
        .collector
        .refused(&shard(1), false, started, now + ms(5));
    assert_eq!(bench.wait(120), Some(until));
    let resumed = u64::try_from(until.as_millis()).unwrap() + 1;
    assert_eq!(bench.batch(resumed), [1]);
    bench
        .collector
        .refused(&shard(1), false, bench.begin + until, bench.begin + until);
    bench.add(1, 1, 10, 0);
    let longer = bench.wait(resumed).unwrap() - until;
    assert!(longer >= ms(99) && longer <= ms(201), "{longer:?}");
    bench.collector.accepted(&shard(1), started, now);
    assert_eq!(bench.batch(resumed), [] as [u32; 0], "that was before");
    bench
        .collector
        .accepted(&shard(1), bench.begin + until, bench.begin + until);
    assert_eq!(bench.batch(resumed), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_pace_of_a_shard_is_kept() {
    let mut bench = Bench::new(500, 5 << 20, 100);
    (0..1_500).for_each(|name| bench.add(1, name, 1, 0));
    let mut sent = 0;
    while let Next::Batch(batch) = bench.collector.next(bench.begin) {
        sent += batch.len();
    }
    assert_eq!(sent, 1_000);
    assert_eq!(bench.wait(0), Some(ms(1)), "the rest is due, and paced");
    bench
        .collector
        .refused(&shard(1), true, bench.begin, bench.begin);
    bench
        .collector
        .accepted(&shard(1), bench.begin, bench.begin);
    assert_eq!(bench.batch(250).len(), 250);
}

#[tokio::test(start_paused = true)]
async fn the_expired_are_taken_out_resting_or_not() {
    let mut bench = Bench::new(500, 1 << 20, 100);
    bench.add(1, 1, 10, 0);
    bench.add(1, 2, 10, 300);
    bench
        .collector
        .refused(&shard(1), false, bench.begin, bench.begin);
    assert_eq!(bench.collector.next_expiry(), Some(bench.begin + ms(1_000)));
    let begin = bench.begin;
    let mut expired = |at| {
        let expired = bench.collector.take_expired(begin + ms(at));
        expired
            .into_iter()
            .map(|parcel| parcel.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(expired(999), [] as [u32; 0]);
    assert_eq!(expired(1_000), [1]);
    assert_eq!(expired(1_300), [2]);
    assert!(matches!(bench.collector.next(begin), Next::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_flush_makes_everything_due_and_a_closed_shard_gives_its_queue_back() {
    let mut bench = Bench::new(500, 1 << 20, 100);
    bench.add(1, 1, 10, 0);
    bench.add(2, 2, 10, 0);
    assert_eq!(bench.collector.remove(&shard(1)).len(), 1);
    assert!(bench.collector.remove(&shard(1)).is_empty());
    bench.collector.hurry(bench.begin);
    assert_eq!(bench.batch(0), [2]);
}

/// A turn costs by what it sends, not by how many shards there are.
#[tokio::test(start_paused = true)]
async fn ten_thousand_shards_cost_as_much_as_four() {
    let cost = |shards: u32| {
        let mut bench = Bench::new(500, 5 << 20, 1_000);
        for round in 0..20u32 {
            for n in 0..shards {
                bench.add(n, round, 100, u64::from(round));
            }
        }
        // Half of them rest, and are not looked at.
        for n in 0..shards / 2 {
            let now = bench.begin + ms(100);
            bench.collector.refused(&shard(n), false, now, now);
        }
        let (mut sent, mut batches) = (0, 0);
        bench.collector.looks = 0;
        while let Next::Batch(batch) = bench.collector.next(bench.begin + ms(120)) {
            assert!(batch.len() <= 500);
            sent += batch.len();
            batches += 1;
        }
        let _ = bench.collector.next_expiry();
        assert_eq!(sent, usize::try_from(shards).unwrap() / 2 * 20);
        (bench.collector.looks, sent, batches)
    };
    for shards in [4, 1_000, 10_000] {
        let (looks, sent, batches) = cost(shards);
        assert!(
            looks <= sent / 10 + batches,
            "{shards} shards: {looks} looks, {sent} sent"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_served_goes_behind_the_others() {
    let mut bench = Bench::new(1, 1 << 20, 1_000);
    for n in 1..4 {
        (0..3).for_each(|round| bench.add(n, n * 10 + round, 10, 0));
    }
    let turns: Vec<u32> = (0..9).flat_map(|n| bench.batch(100 + n)).collect();
    assert_eq!(turns, [10, 20, 30, 11, 21, 31, 12, 22, 32]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_shard_is_asked_with_one_probe_at_a_time() {
    let mut bench = Bench::new(500, 5 << 20, 1_000);
    (1..4).for_each(|name| bench.add(1, name, 50_000, 0));
    assert_eq!(bench.cut(1, 0), None, "nothing is cut as long as all goes");
    bench.refuse(1, 0, 5);
    assert_eq!(bench.cut(1, 5), Some(10));
    assert_eq!(bench.cut(1, 5), None, "there is a probe");
    assert_eq!(bench.batch(5), [] as [u32; 0], "it rests");
    let mut at = 5;
    for _ in 0..5 {
        at = u64::try_from(bench.wait(at).unwrap().as_millis()).unwrap() + 1;
        assert_eq!(bench.batch(at), [10]);
        assert_eq!(bench.cut(1, at), None, "a probe is on its way");
        assert!(matches!(
            bench.collector.next(bench.begin + ms(at)),
            Next::Idle
        ));
        // Of what was sent before the throttle.
        bench.refuse(1, 0, at);
        bench
            .collector
            .accepted(&shard(1), bench.begin - ms(1), bench.begin);
        let before = bench.collector.next(bench.begin + ms(at + 500));
        assert!(matches!(before, Next::Idle));
        bench.refuse(1, at, at + 20);
        let probe = Parcel {
            name: 10,
            size: 10,
            due: bench.begin,
            oldest: bench.begin,
            probe: true,
        };
        bench.collector.add(&shard(1), probe, bench.begin + ms(at));
        assert_eq!(bench.cut(1, at + 20), None);
        at += 20;
    }
    let at = u64::try_from(bench.wait(at).unwrap().as_millis()).unwrap() + 1;
    assert_eq!(bench.batch(at), [10]);
    let now = bench.begin + ms(at);
    bench.collector.accepted(&shard(1), now, now);
    assert_eq!(bench.cut(1, at), None);
    assert_eq!(bench.batch(at), [2, 3, 1], "all goes on");
    assert_eq!((bench.collector.count, bench.collector.size), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_worth_cutting_is_a_probe_as_it_is() {
    let mut bench = Bench::new(500, 5 << 20, 1_000);
    (1..4).for_each(|name| bench.add(1, name, 1_000, 0));
    bench.refuse(1, 0, 0);
    assert_eq!(bench.cut(1, 0), None);
    assert_eq!(bench.batch(200), [1]);
    assert!(matches!(
        bench.collector.next(bench.begin + ms(900)),
        Next::Idle
    ));
    // Put and flushed while there is no answer.
    bench.add(1, 4, 1_000, 210);
    bench.collector.hurry(bench.begin + ms(210));
    let now = bench.begin + ms(220);
    bench.collector.accepted(&shard(1), now, now);
    assert_eq!(bench.batch(220), [2, 3, 4], "not only when the last is due");
}

#[tokio::test(start_paused = true)]
async fn other_failures_of_a_shard_ask_for_no_probe() {
    let mut bench = Bench::new(500, 5 << 20, 1_000);
    (1..4).for_each(|name| bench.add(1, name, 50_000, 0));
    let begin = bench.begin;
    bench.collector.refused(&shard(1), false, begin, begin);
    assert_eq!(bench.cut(1, 0), None);
    assert_eq!(bench.batch(200), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_an_answer_holds_nothing_up_and_is_followed_by_the_next() {
    let mut bench = Bench::new(500, 5 << 20, 1_000);
    (1..3).for_each(|name| bench.add(1, name, 50_000, 0));
    bench.refuse(1, 0, 0);
    assert_eq!(bench.cut(1, 0), Some(10));
    assert_eq!(bench.batch(200), [10]);
    let (started, now) = (bench.begin + ms(200), bench.begin + ms(300));
    bench.collector.unanswered("another", started, now);
    bench.collector.unanswered(&shard(1), started, now);
    assert_eq!(bench.cut(1, 300), Some(20));
    assert_eq!(bench.batch(300), [20]);
    bench.collector.all_unanswered(now);
    // A probe and what stands behind it expire by age.
    assert_eq!(bench.cut(1, 300), Some(10));
    bench.add(1, 5, 10, 301);
    let expired = bench.collector.take_expired(bench.begin + ms(1_000));
    let names: Vec<u32> = expired.iter().map(|parcel| parcel.name).collect();
    assert_eq!(names, [10, 2, 1]);
    assert_eq!(bench.collector.remove(&shard(1)).len(), 1);
    assert!(bench.collector.uncut.is_empty() && bench.collector.expiring.is_empty());
    assert_eq!((bench.collector.count, bench.collector.size), (0, 0));
}

/// Where the service chooses among several shards, each is asked.
#[tokio::test(start_paused = true)]
async fn a_queue_of_several_shards_sends_as_many_probes() {
    let mut bench = Bench::new(500, 5 << 20, 1_000);
    bench.collector.widen(4, bench.begin);
    let any: Arc<str> = ANY_SHARD.into();
    for name in 0..10 {
        let parcel = Parcel {
            name,
            size: 10,
            due: bench.begin,
            oldest: bench.begin,
            probe: false,
        };
        bench.collector.add(&any, parcel, bench.begin);
    }
    let begin = bench.begin;
    bench.collector.refused(&any, true, begin, begin);
    assert_eq!(bench.batch(200), [0, 1, 2, 3]);
    let now = bench.begin + ms(220);
    bench.collector.accepted(&any, now, now);
    assert_eq!(bench.batch(220).len(), 6);
}
