//! A directory, a flow over it, and a stream that is told how to behave.

use super::{Flow, Parts};
use crate::config::{Config, FlowConfig, Strictness};
use crate::delivery::{Destination, Outcome, Outcomes, Outgoing};
use crate::positions::{Positions, Row};
use crate::summary::{Report, Stats};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::{Chance, Metrics, TokioClock};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How the stream behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// A put may take this long to be admitted, and as long again to have an outcome.
    pub(super) delay_ms: u64,
    /// This part of the records fails and is not stored.
    pub(super) failing: f64,
    /// Nothing has an outcome.
    pub(super) stuck: bool,
    /// Records that contain this can never be stored.
    pub(super) refused: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) manner: Mutex<Manner>,
    /// Data in the order in which it was first put by one life of the flow.
    pub(super) put: Mutex<Vec<String>>,
    pub(super) stored: Mutex<Vec<String>>,
    pub(super) keys: Mutex<Vec<String>>,
    /// Bytes put and without an outcome.
    pub(super) outstanding: Mutex<usize>,
}

#[derive(Debug)]
struct Fake {
    stream: Arc<Stream>,
    chance: Chance,
}

impl Destination for Fake {
    fn connect(&self) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }

    #[expect(
        clippy::async_yields_async,
        reason = "first the admission, then the outcomes"
    )]
    fn put_all(&self, records: Vec<Outgoing>) -> BoxFuture<'static, Outcomes> {
        let (stream, chance) = (Arc::clone(&self.stream), self.chance.clone());
        let manner = *stream.manner.lock();
        async move {
            let delay =
                move |chance: &Chance| Duration::from_millis(chance.below(manner.delay_ms + 1));
            tokio::time::sleep(delay(&chance)).await;
            let text = |r: &Outgoing| String::from_utf8_lossy(&r.data).into_owned();
            stream.put.lock().extend(records.iter().map(text));
            stream
                .keys
                .lock()
                .extend(records.iter().map(|r| r.key.clone()));
            let bytes: usize = records.iter().map(|r| r.data.len()).sum();
            *stream.outstanding.lock() += bytes;
            async move {
                if manner.stuck {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(delay(&chance)).await;
                *stream.outstanding.lock() -= bytes;
                let one = |record: &Outgoing| {
                    let data = text(record);
                    if manner.refused.is_some_and(|bad| data.contains(bad)) {
                        let reason = "refused by the test".to_owned();
                        return Outcome::Refused { reason };
                    }
                    if chance.happens(manner.failing) {
                        let reason = "failed by the test".to_owned();
                        return Outcome::Failed { reason };
                    }
                    stream.stored.lock().push(data);
                    Outcome::Delivered
                };
                records.iter().map(one).collect()
            }
            .boxed()
        }
        .boxed()
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }

    fn close(&self, _deadline: Duration) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }
}

/// A flow in a directory of its own.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) root: tempfile::TempDir,
    pub(super) config: FlowConfig,
    pub(super) stream: Arc<Stream>,
    pub(super) positions: Positions,
    pub(super) chance: Chance,
    pub(super) memory: usize,
    stats: Arc<Stats>,
    stop: CancellationToken,
    abort: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Bench {
    /// A flow of this file pattern, with further keys as JSON (`,"key":value`).
    pub(super) fn new(pattern: &str, keys: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let text = format!(
            r#"{{"flows":[{{"filePattern":"{}/{pattern}","kinesisStream":"s"{keys}}}]}}"#,
            logs.display()
        );
        let main = root.path().join("agent.json");
        std::fs::write(&main, text).unwrap();
        let (config, _) = Config::from_file(&main, Strictness::Strict).unwrap();
        let positions = Positions::open(&root.path().join("positions"), None).unwrap();
        let config = config.flows[0].clone();
        Self {
            stats: Arc::new(Stats::new(&Metrics::new(), &config.id(), "s")),
            root,
            config,
            stream: Arc::default(),
            positions,
            chance: Chance::seeded(1),
            memory: 64 * 1024,
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            running: None,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("logs").join(name)
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    pub(super) async fn start(&mut self) {
        self.stop = CancellationToken::new();
        self.abort = CancellationToken::new();
        let id = self.config.id();
        let flow = Flow::new(Parts {
            config: self.config.clone(),
            stored: self.positions.load(&id).await.unwrap(),
            destination: Arc::new(Fake {
                stream: Arc::clone(&self.stream),
                chance: self.chance.fork(),
            }),
            positions: self.positions.clone(),
            positions_ttl: Duration::from_secs(7 * 86_400),
            memory: Arc::new(Semaphore::new(self.memory)),
            stats: Arc::clone(&self.stats),
            clock: Arc::new(TokioClock::new()),
            chance: self.chance.fork(),
            stop: self.stop.clone(),
            abort: self.abort.clone(),
        });
        self.running = Some(tokio::spawn(flow.run()));
    }

    /// Ends the flow where it stands, as a kill does.
    pub(super) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
        // A save that had begun ends before the next life reads.
        self.rows().await;
    }

    /// Stops the flow and lets it drain for ten seconds.
    pub(super) async fn stop(&mut self) -> Report {
        self.stop.cancel();
        let abort = self.abort.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            abort.cancel();
        });
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        timer.abort();
        self.stats.report()
    }

    pub(super) fn report(&self) -> Report {
        self.stats.report()
    }

    pub(super) async fn rows(&self) -> Vec<Row> {
        self.positions.load(&self.config.id()).await.unwrap().rows
    }

    pub(super) fn stored(&self) -> Vec<String> {
        self.stream.stored.lock().clone()
    }

    /// Lets time pass.
    pub(super) async fn run_for(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits until so many records are stored, for no longer than ten minutes.
    pub(super) async fn stored_are(&self, expected: &[&str]) {
        for _ in 0..6000 {
            if self.stream.stored.lock().len() >= expected.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.stored(), expected);
    }
}

pub(super) fn append(path: &Path, text: &str) {
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
