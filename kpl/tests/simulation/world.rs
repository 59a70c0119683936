//! One seed: the endpoint, the producers, their callers, what goes wrong, and the end.

use crate::callers::{self, Caller, Record};
use crate::chaos::{self, Damage};
use crate::check;
use crate::support::{THROTTLED, config_watched, endpoint_changing};
use aws::kinesis::{Client, NewStream};
use kpl::Producer;
use local::{Fault, FaultAction, Limits, Local, RequestSeen};
use parking_lot::Mutex;
use runtime::Chance;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const STREAM: &str = "orders";
pub(crate) const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

/// How a producer is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) ttl: Duration,
    pub(crate) linger: Duration,
    pub(crate) aggregation: bool,
    pub(crate) strict: bool,
    /// Records carry identities.
    pub(crate) idempotent: bool,
    /// The stream may distribute its records itself.
    pub(crate) on_demand: bool,
    /// The share of records without a partition key.
    pub(crate) keyless: f64,
    pub(crate) fail_if_throttled: bool,
    /// Permanent errors are waited out.
    pub(crate) wait_on_permanent: bool,
    /// Some records make the service refuse the whole request.
    pub(crate) poison: bool,
    pub(crate) max_records: u64,
    pub(crate) max_bytes: u64,
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// How a producer ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Close(Duration),
    Drop,
}

/// What a seed did, for the totals and for comparing two runs of it.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) admitted: u64,
    pub(crate) delivered: u64,
    pub(crate) expired: u64,
    pub(crate) throttled: u64,
    pub(crate) rejected: u64,
    pub(crate) poisonous: u64,
    pub(crate) closed: u64,
    pub(crate) cancelled: u64,
    pub(crate) retried: u64,
    pub(crate) duplicates: u64,
    pub(crate) reshards: u64,
    /// Of these, by UpdateShardCount.
    pub(crate) scalings: u64,
    pub(crate) wrong_shard: u64,
    pub(crate) waited: u64,
    pub(crate) refused_full: u64,
    pub(crate) flushes: u64,
    pub(crate) switches: u64,
    /// Without a partition key: not admitted, failed, delivered.
    pub(crate) refused: u64,
    pub(crate) keyless_failed: u64,
    pub(crate) keyless_delivered: u64,
    /// Pairs of records of one caller and key whose order was kept.
    pub(crate) ordered: u64,
    /// Records that were stored again and that a reader of identities did not see again.
    pub(crate) dropped: u64,
    pub(crate) requests: u64,
    /// Names of errors: of attempts, and of answers.
    pub(crate) errors: BTreeSet<String>,
    /// Each record's outcome, in the order of the callers.
    pub(crate) outcomes: Vec<String>,
    pub(crate) journal: Vec<RequestSeen>,
}

impl Run {
    pub(crate) fn add(&mut self, other: &Self) {
        self.admitted += other.admitted;
        self.delivered += other.delivered;
        self.expired += other.expired;
        self.throttled += other.throttled;
        self.rejected += other.rejected;
        self.poisonous += other.poisonous;
        self.closed += other.closed;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
        self.duplicates += other.duplicates;
        self.reshards += other.reshards;
        self.scalings += other.scalings;
        self.wrong_shard += other.wrong_shard;
        self.waited += other.waited;
        self.refused_full += other.refused_full;
        self.flushes += other.flushes;
        self.switches += other.switches;
        self.refused += other.refused;
        self.keyless_failed += other.keyless_failed;
        self.keyless_delivered += other.keyless_delivered;
        self.ordered += other.ordered;
        self.dropped += other.dropped;
        self.requests += other.requests;
        self.errors.extend(other.errors.iter().cloned());
    }

    /// The seeds together have met everything that they are about.
    pub(crate) fn assert_covers(&self) {
        let met = [
            self.delivered,
            self.expired,
            self.throttled,
            self.rejected,
            self.poisonous,
            self.closed,
            self.cancelled,
            self.retried,
            self.duplicates,
            self.reshards,
            self.scalings,
            self.wrong_shard,
            self.waited,
            self.refused_full,
            self.flushes,
            self.switches,
            self.refused,
            self.keyless_failed,
            self.keyless_delivered,
            self.ordered,
            self.dropped,
        ];
        assert!(met.iter().all(|n| *n > 0), "not everything was met: {self}");
        let errors = [
            "ExpiredTokenException",
            "InternalFailure",
            "KMSDisabledException",
            "ServiceUnavailable",
            "Timeout",
            "Transport",
            THROTTLED,
            "ValidationException",
            "Wrong Shard",
        ];
        for error in errors {
            assert!(self.errors.contains(error), "{error} was not met: {self}");
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} admitted: {} delivered, {} expired, {} throttled, {} rejected, {} poisonous, {} closed; {} puts \
             cancelled, {} retries, {} duplicates, {} reshards ({} by UpdateShardCount), {} in a wrong shard, {} waited, {} \
             refused for want of room, {} flushes, {} switches of strategy, {} keyless not admitted, \
             {} failed, {} delivered, {} in order, {} repeats told by their identities, {} requests; errors: {:?}",
            self.admitted,
            self.delivered,
            self.expired,
            self.throttled,
            self.rejected,
            self.poisonous,
            self.closed,
            self.cancelled,
            self.retried,
            self.duplicates,
            self.reshards,
            self.scalings,
            self.wrong_shard,
            self.waited,
            self.refused_full,
            self.flushes,
            self.switches,
            self.refused,
            self.keyless_failed,
            self.keyless_delivered,
            self.ordered,
            self.dropped,
            self.requests,
            self.errors,
        )
    }
}

fn pick<T: Clone>(chance: &Chance, choices: &[T]) -> T {
    choices[chance.index(choices.len())].clone()
}

fn setup(chance: &Chance, on_demand: bool) -> Setup {
    let ms = Duration::from_millis;
    let ttl = pick(chance, &[ms(1_500), ms(5_000), ms(30_000), ms(120_000)]);
    let text = |name, value: u64| (name, value.to_string());
    Setup {
        ttl,
        linger: pick(chance, &[ms(0), ms(10), ms(100), ms(100), ms(1_000)]),
        aggregation: !chance.happens(0.15),
        strict: chance.happens(0.3),
        idempotent: chance.happens(0.4),
        on_demand,
        keyless: if on_demand { 0.2 } else { 0.01 },
        fail_if_throttled: chance.happens(0.1),
        wait_on_permanent: chance.happens(0.5),
        poison: chance.happens(0.1),
        max_records: pick(chance, &[1, 3, 20, 500]),
        max_bytes: 2_097_152,
        settings: vec![
            text(
                "AggregationMaxSize",
                pick(chance, &[64, 300, 2_000, 51_200]),
            ),
            text("AggregationMaxCount", pick(chance, &[2, 10, 1_000])),
            text("MaxBufferedPerShard", pick(chance, &[1, 25, 25, 100])),
            text("CollectionMaxCount", pick(chance, &[1, 5, 500])),
            text("MaxConnections", pick(chance, &[1, 2, 24])),
            text("RequestTimeout", pick(chance, &[500, 2_000])),
            pick(
                chance,
                &[
                    text("RateLimit", 10),
                    text("RateLimit", 150),
                    text("RateLimit", 1_000),
                    // Adaptive.
                    text("MinConnections", 1),
                    text("MinConnections", 1),
                ],
            ),
            text(
                "DescribeStreamSummaryIntervalMs",
                pick(chance, &[1_000, 10_000, 300_000]),
            ),
            text(
                "RecordDistributionStrategyWait",
                pick(chance, &[0, 100, 5_000]),
            ),
            (
                "RecordDistributionStrategyDefault",
                // On another stream AUTO would be wrong while it cannot be asked for.
                pick(
                    chance,
                    if on_demand {
                        &["UNSET", "AUTO", "USER_PARTITION_KEY"]
                    } else {
                        &["UNSET", "UNSET", "USER_PARTITION_KEY"]
                    },
                )
                .to_owned(),
            ),
        ],
    }
}

async fn build(setup: &Setup, config: aws::Config, chance: &Chance) -> Option<Producer> {
    let mut builder = Producer::builder(STREAM)
        .aws(config)
        .chance(chance.fork())
        .record_ttl(setup.ttl)
        .record_max_buffered_time(setup.linger)
        .aggregation(setup.aggregation)
        .strict_ordering(setup.strict)
        .idempotent(setup.idempotent)
        .fail_if_throttled(setup.fail_if_throttled)
        .wait_on_permanent_error(setup.wait_on_permanent)
        .max_buffered_records(setup.max_records)
        .max_buffered_bytes(setup.max_bytes);
    for (name, value) in &setup.settings {
        builder = builder.set(name, value);
    }
    builder.build().await.ok()
}

/// Runs a seed from its beginning to its end and checks it.
pub(crate) fn run(seed: u64) -> Run {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(live(seed))
}

/// The producers whose bounds are looked at after each answer.
type Watched = Arc<Mutex<Vec<(Producer, Setup)>>>;

fn assert_bounded(watched: &Watched) {
    for (producer, setup) in watched.lock().iter() {
        assert_within(producer, setup);
    }
}

/// What is outstanding never passes the bounds.
pub(crate) fn assert_within(producer: &Producer, setup: &Setup) {
    let stats = producer.stats();
    let records = stats.outstanding_records as u64;
    let bytes = stats.outstanding_bytes as u64;
    assert!(records <= setup.max_records, "{stats:?}");
    assert!(bytes <= setup.max_bytes, "{stats:?}");
}

async fn live(seed: u64) -> Run {
    let chance = Chance::seeded(seed);
    let limits = if chance.happens(0.5) {
        Limits::On
    } else {
        Limits::Off
    };
    let changing = pick(&chance, &[0, 0, 300, 3_000]);
    let changing = Duration::from_millis(changing);
    let local = endpoint_changing(limits, seed, changing);
    let shards = u32::try_from(1 + chance.below(4)).unwrap();
    let admin = Client::new(&config_watched(&local, 1, || ()));
    let on_demand = chance.happens(0.4);
    let new = if on_demand {
        let strategy = pick(&chance, &["AUTO", "USER_PARTITION_KEY"]);
        NewStream::on_demand(STREAM).record_distribution_strategy(strategy)
    } else {
        NewStream::provisioned(STREAM, shards)
    };
    admin.create(&new).await.unwrap();
    tokio::time::sleep(changing).await;
    let admin = chaos::Admin {
        client: admin,
        on_demand,
    };
    if chance.happens(0.2) {
        let late = FaultAction::Delay(Duration::from_millis(chance.below(8_000)));
        local
            .faults()
            .add(Fault::nth("DescribeStreamSummary", 1, late));
    }
    let watched: Watched = Arc::default();
    let mut ends = Vec::new();
    let mut callers = Vec::new();
    for producer_id in 0..=chance.below(3) {
        let setup = setup(&chance, on_demand);
        let watch = {
            let watched = Arc::clone(&watched);
            move || assert_bounded(&watched)
        };
        let config = config_watched(&local, chance.next_u64(), watch);
        let Some(producer) = build(&setup, config, &chance).await else {
            panic!("nothing stands in the way of building")
        };
        let ending = match chance.below(4) {
            0 => Ending::Drop,
            1 => Ending::Close(Duration::from_millis(chance.below(3_000))),
            _ => Ending::Close(Duration::from_secs(200)),
        };
        // A watched producer has a handle more: one that is to be dropped is not watched.
        if ending != Ending::Drop {
            watched.lock().push((producer.clone(), setup.clone()));
        }
        for caller in 0..=chance.below(3) {
            let caller = Caller {
                name: format!("{producer_id}-{caller}"),
                producer: producer.clone(),
                setup: setup.clone(),
                chance: chance.fork(),
            };
            callers.push(tokio::spawn(callers::live(caller)));
        }
        ends.push((producer, ending, chance.below(30_000)));
    }
    let damage = tokio::spawn(chaos::live(local.clone(), chance.fork(), admin));
    let mut run = Run::default();
    let ends: Vec<_> = ends
        .into_iter()
        .map(|end| tokio::spawn(finish(end, Arc::clone(&watched))))
        .collect();
    let mut records: Vec<Record> = Vec::new();
    for caller in callers {
        let done = caller.await.unwrap();
        run.cancelled += done.cancelled;
        run.flushes += done.flushes;
        run.waited += done.waited;
        run.refused += done.refused;
        run.refused_full += done.refused_full;
        records.extend(done.records);
    }
    let mut admitted = Some(0);
    for end in ends {
        let stats = end.await.unwrap();
        admitted = admitted.zip(stats).map(|(sum, stats)| sum + stats.admitted);
        run.retried += stats.map_or(0, |stats| stats.retried);
    }
    let damage: Damage = damage.await.unwrap();
    run.reshards = damage.reshards;
    run.scalings = damage.scalings;
    run.switches = damage.switches;
    // Of dropped producers nobody can ask the numbers.
    if let Some(admitted) = admitted {
        assert_eq!(
            admitted,
            records.len() as u64,
            "as many receipts as admissions"
        );
    }
    check::records(&local, &records, &damage, &mut run);
    run.requests = local.request_counts().values().sum();
    run.journal = local.journal();
    let answered = run.journal.iter().filter_map(|seen| seen.error.clone());
    run.errors.extend(answered);
    settled(&local).await;
    run
}

/// Ends a producer after a while.
async fn finish(
    (producer, ending, after): (Producer, Ending, u64),
    watched: Watched,
) -> Option<kpl::Stats> {
    tokio::time::sleep(Duration::from_millis(after)).await;
    match ending {
        Ending::Drop => {
            drop(producer);
            None
        }
        Ending::Close(deadline) => {
            let begin = Instant::now();
            let report = producer.close(deadline).await;
            assert!(
                begin.elapsed() <= deadline + Duration::from_millis(1),
                "the deadline holds"
            );
            assert_eq!(producer.running_tasks(), 0, "no task outlives the close");
            let stats = producer.stats();
            assert_eq!(
                report.delivered + report.failed + report.abandoned,
                stats.admitted,
                "the report accounts for every record"
            );
            assert_eq!((stats.outstanding_records, stats.waiting), (0, 0));
            watched
                .lock()
                .retain(|(other, _)| other.stats() != stats || !other.is_closed());
            Some(stats)
        }
    }
}

/// Once every receipt has resolved and every producer has ended, nothing runs any more.
async fn settled(local: &Local) {
    let requests = local.request_counts();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        local.request_counts(),
        requests,
        "nothing is sent after the end"
    );
    let alive = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(alive, 0, "no task outlives its producer");
}
