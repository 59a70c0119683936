//! The agent: all flows of a configuration, from start to drained stop.

use crate::config::{Config, FlowConfig};
use crate::delivery::Destination;
use crate::flow::{Flow, LONG, Parts};
use crate::positions::{Positions, PositionsError, Stored};
use crate::summary::{Report, Stats};
use futures::future::join_all;
use runtime::{Chance, Metrics, SystemClock, TaskScope, WallClock};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Left of the time for draining to save positions and to close the producers.
const RESERVE: Duration = Duration::from_millis(500);

/// Makes the destination of a flow.
pub type Destinations =
    Box<dyn Fn(&FlowConfig) -> Result<Arc<dyn Destination>, AgentError> + Send + Sync>;

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Positions cannot be kept or read.
    #[error(transparent)]
    Positions(#[from] PositionsError),
    /// No region, endpoint or credentials could be made out.
    #[error("the connection to Kinesis cannot be made out")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What one flow is made of.
struct Prepared {
    config: FlowConfig,
    stored: Stored,
    destination: Arc<dyn Destination>,
    stats: Arc<Stats>,
}

/// An agent that is ready to run.
pub struct Agent {
    flows: Vec<Prepared>,
    positions: Positions,
    positions_ttl: Duration,
    memory: Arc<Semaphore>,
    clock: Arc<dyn WallClock>,
    chance: Chance,
    shutdown_timeout: Duration,
    summary_period: Duration,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("flows", &self.flows.len())
            .finish_non_exhaustive()
    }
}

/// Builds an [`Agent`].
pub struct AgentBuilder {
    config: Config,
    destinations: Option<Destinations>,
    transport: Option<Arc<dyn aws::Transport>>,
    clock: Arc<dyn WallClock>,
    chance: Chance,
    metrics: Metrics,
}

impl fmt::Debug for AgentBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl AgentBuilder {
    /// Sends to other places than Kinesis: for tests.
    #[must_use]
    pub fn destinations(mut self, destinations: Destinations) -> Self {
        self.destinations = Some(destinations);
        self
    }

    /// What carries the requests. Default: an HTTP client with connections of its own.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn aws::Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Wall time for what is written down. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        self.clock = clock;
        self
    }

    /// Randomness for partition keys and back-off. Default: from entropy.
    #[must_use]
    pub fn chance(mut self, chance: Chance) -> Self {
        self.chance = chance;
        self
    }

    /// Where counters go. Default: a set of its own.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Opens the positions and makes the producers. A stream that is missing or denied is no error: its
    /// flow waits and says so.
    ///
    /// # Errors
    /// Positions cannot be opened; no region, endpoint or credentials.
    pub async fn build(self) -> Result<Agent, AgentError> {
        let Self {
            config,
            destinations,
            transport,
            clock,
            chance,
            metrics,
        } = self;
        let destinations = match destinations {
            Some(destinations) => destinations,
            None => crate::kinesis::destinations(&config, &chance, transport)?,
        };
        let (path, original) = (config.positions.clone(), config.original_positions.clone());
        let open = move || Positions::open(&path, original.as_deref());
        let positions = match tokio::task::spawn_blocking(open).await {
            Ok(opened) => opened?,
            Err(panicked) => {
                return Err(AgentError::Positions(PositionsError::Unopenable {
                    path: config.positions,
                    source: std::io::Error::other(panicked),
                }));
            }
        };
        let mut flows = Vec::new();
        for flow in config.flows {
            let id = flow.id();
            let stored = positions.load(&id).await?;
            let destination = destinations(&flow)?;
            let stats = Arc::new(Stats::new(&metrics, &id, &flow.stream));
            flows.push(Prepared {
                config: flow,
                stored,
                destination,
                stats,
            });
        }
        let kibibytes = usize::try_from(config.memory / 1024).unwrap_or(usize::MAX);
        let memory = kibibytes.clamp(LONG.div_ceil(1024), Semaphore::MAX_PERMITS);
        Ok(Agent {
            flows,
            positions,
            positions_ttl: config.positions_ttl,
            memory: Arc::new(Semaphore::new(memory)),
            clock,
            chance,
            shutdown_timeout: config.shutdown_timeout,
            summary_period: config.summary_period,
        })
    }
}

impl Agent {
    /// An agent for this configuration.
    #[must_use]
    pub fn builder(config: Config) -> AgentBuilder {
        AgentBuilder {
            config,
            destinations: None,
            transport: None,
            clock: Arc::new(SystemClock),
            chance: Chance::from_entropy(),
            metrics: Metrics::new(),
        }
    }

    /// Tails until the token is cancelled; then delivers what was read, saves positions, and reports.
    /// All that takes no longer than `shutdownTimeoutMillis`; what is not acknowledged by then is read
    /// again at the next start.
    ///
    /// # Errors
    /// None once it runs: every trouble is told in the log, counted, and tried again.
    ///
    /// # Cancellation
    /// Dropping the future is like a kill: positions are as last saved, nothing is lost.
    pub async fn run(self, stop: CancellationToken) -> Result<Report, AgentError> {
        let scope = TaskScope::new("agent");
        let abort = CancellationToken::new();
        let stats: Vec<Arc<Stats>> = self.flows.iter().map(|f| Arc::clone(&f.stats)).collect();
        let destinations: Vec<_> = self
            .flows
            .iter()
            .map(|f| Arc::clone(&f.destination))
            .collect();
        for prepared in self.flows {
            let Prepared {
                config,
                stored,
                destination,
                stats,
            } = prepared;
            tracing::info!(flow = stats.flow, "starting");
            let (stopped, connecting) = (scope.token().clone(), destination.connect());
            scope.spawn("connect", async move {
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => {}
                    () = connecting => {}
                }
            });
            let flow = Flow::new(Parts {
                config,
                stored,
                destination,
                positions: self.positions.clone(),
                positions_ttl: self.positions_ttl,
                memory: Arc::clone(&self.memory),
                stats,
                clock: Arc::clone(&self.clock),
                chance: self.chance.fork(),
                stop: scope.token().clone(),
                abort: abort.clone(),
            });
            scope.spawn("flow", flow.run());
        }
        let mut summaries = tokio::time::interval(self.summary_period);
        summaries.tick().await;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = summaries.tick() => { summarise(&stats); }
            }
        }
        let begun = tokio::time::Instant::now();
        let time = self.shutdown_timeout;
        tracing::info!(
            time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            "draining"
        );
        let drain = time.saturating_sub(RESERVE);
        scope.token().cancel();
        let timer = {
            let abort = abort.clone();
            tokio::spawn(async move {
                tokio::time::sleep(drain).await;
                abort.cancel();
            })
        };
        // After the abort a flow only saves its positions; that has the reserve, and never less.
        let left = scope.shutdown(time.max(drain + RESERVE)).await;
        timer.abort();
        let rest = time.saturating_sub(begun.elapsed());
        join_all(destinations.iter().map(|d| d.close(rest))).await;
        let report = summarise(&stats);
        if !left.is_clean() {
            tracing::warn!("positions could not be saved in time; some lines are sent again");
        }
        tracing::info!(unacknowledged_bytes = report.bytes_behind, "stopped");
        Ok(report)
    }
}

/// Writes the summary line, and one for each flow where there are more than one.
fn summarise(stats: &[Arc<Stats>]) -> Report {
    let reports: Vec<(&str, Report)> = stats
        .iter()
        .map(|s| (s.flow.as_str(), s.report()))
        .collect();
    if reports.len() > 1 {
        for (flow, r) in &reports {
            tracing::info!(
                flow,
                sent = r.records_sent,
                sent_bytes = r.bytes_sent,
                lag_bytes = r.bytes_behind,
                retries = r.retries,
                dropped = r.dropped,
                "flow summary"
            );
        }
    }
    let r = reports
        .iter()
        .fold(Report::default(), |sum, (_, report)| sum.plus(*report));
    tracing::info!(
        sent = r.records_sent,
        sent_bytes = r.bytes_sent,
        lag_bytes = r.bytes_behind,
        files = r.files,
        retries = r.retries,
        dropped = r.dropped,
        cut = r.records_truncated,
        truncated_files = r.files_truncated,
        bytes_lost = r.bytes_lost,
        read_errors = r.read_errors,
        save_errors = r.save_errors,
        "summary"
    );
    r
}
