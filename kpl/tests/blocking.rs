//! The producer without async, in real time: over a socket, on threads.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use kpl::{InRuntime, Producer, ProducerBuilder, PutAllReason, PutError, Record, WaitError};
use local::{Fault, FaultAction, Limits, Local, Server};
use std::sync::Arc;
use std::time::Duration;
use support::{clock, credentials, orders, readable};
use tokio::runtime::Runtime;

const LONG: Duration = Duration::from_secs(30);

struct Bench {
    local: Local,
    server: Server,
    /// Where the endpoint runs.
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (local, server) = runtime.block_on(async {
            let local = orders(Limits::Off, 2);
            let server = local.start_on(([127, 0, 0, 1], 0).into()).await.unwrap();
            (local, server)
        });
        Self {
            local,
            server,
            runtime,
        }
    }

    fn producer(&self) -> ProducerBuilder {
        let config = aws::Config::builder()
            .region("us-east-1")
            .endpoint_url(self.server.url())
            .credentials(credentials())
            .clock(Arc::new(clock()))
            .environment(aws::Environment::fixed([("HOME", "/nonexistent")]))
            .load()
            .unwrap();
        Producer::builder("orders")
            .aws(config)
            .record_max_buffered_time(Duration::from_millis(5))
    }
}

fn record(n: u32) -> Record {
    Record::new(format!("key-{n}"), format!("record {n}"))
}

#[test]
fn threads_put_wait_flush_and_close() {
    let bench = Bench::new();
    let producer = bench
        .producer()
        .max_buffered_records(20)
        .build_blocking()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let producer = producer.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    let receipt = producer.put(record(thread * 1_000 + n)).unwrap();
                    if n % 10 == 0 {
                        assert_eq!(receipt.wait().unwrap().attempts.count(), 1);
                    }
                }
                let batch = (50..100).map(|n| record(thread * 1_000 + n));
                assert!(
                    producer
                        .put_all(batch)
                        .unwrap()
                        .wait()
                        .unwrap()
                        .all_delivered()
                );
                producer.flush().unwrap();
            });
        }
    });
    assert_eq!(producer.outstanding().records, 0);
    assert_eq!(readable(&bench.local, "orders").len(), 400);
    let report = producer.close(LONG).unwrap();
    assert_eq!((report.delivered, report.abandoned), (400, 0));
    assert_eq!(producer.close(LONG), Ok(report));
    assert!(matches!(
        producer.put(record(0)),
        Err(PutError::Closed { .. })
    ));
}

#[test]
fn a_dropped_one_delivers_what_it_took() {
    let bench = Bench::new();
    let producer = bench.producer().build_blocking().unwrap();
    let receipt = producer.put(record(1)).unwrap();
    drop(producer);
    assert!(receipt.wait().is_ok());
}

#[test]
fn a_receipt_times_out_on_a_thread() {
    let bench = Bench::new();
    let producer = bench
        .producer()
        .user_record_timeout(Duration::from_millis(50))
        .build_blocking()
        .unwrap();
    let away = Fault::every("PutRecords", FaultAction::Refuse);
    bench.local.faults().add(away);
    let error = producer.put(record(1)).unwrap().wait().unwrap_err();
    assert!(matches!(
        error,
        WaitError::Failed(kpl::DeliveryError::TimedOut { .. })
    ));
    let report = producer.close(Duration::ZERO).unwrap();
    assert_eq!(report.abandoned, 1);
}

#[test]
fn on_a_runtimes_thread_nothing_blocks_and_nothing_is_lost() {
    let bench = Bench::new();
    let producer = bench.runtime.block_on(bench.producer().build()).unwrap();
    let blocking = producer.blocking();
    let refused = bench.runtime.block_on(async {
        let put = blocking.put(record(1)).unwrap_err();
        assert!(matches!(&put, PutError::InRuntime { .. }), "{put}");
        let all = blocking.put_all([record(2), record(3)]).unwrap_err();
        assert_eq!(all.reason, PutAllReason::InRuntime);
        assert_eq!(blocking.flush(), Err(InRuntime));
        assert_eq!(blocking.close(LONG), Err(InRuntime));
        assert!(bench.producer().build_blocking().is_err());
        let receipt = blocking.try_put(record(4)).unwrap();
        let told = receipt.wait().unwrap_err();
        assert!(matches!(told, WaitError::InRuntime(_)), "{told}");
        let receipt = blocking.try_put(record(5)).unwrap();
        assert!(receipt.into_async().await.is_ok());
        [vec![put.into_record()], all.records].concat()
    });
    assert_eq!(refused, [record(1), record(2), record(3)]);
    for record in refused {
        blocking.put(record).unwrap().forget();
    }
    blocking.flush().unwrap();
    assert_eq!(readable(&bench.local, "orders").len(), 5);
    // Also after the runtime has ended.
    let Bench { runtime, .. } = bench;
    drop(runtime);
    assert!(matches!(
        blocking.put(record(6)),
        Err(PutError::Closed { .. })
    ));
    blocking.flush().unwrap();
    assert_eq!(blocking.close(LONG).unwrap().delivered, 5);
}

#[test]
fn a_stream_that_is_not_there_is_told() {
    let bench = Bench::new();
    let client = aws::kinesis::Client::new(&support::config(&bench.local));
    bench
        .runtime
        .block_on(client.delete_stream("orders"))
        .unwrap();
    let built = bench.producer().build_blocking();
    assert!(matches!(built, Err(kpl::BuildError::StreamNotFound { .. })));
}
