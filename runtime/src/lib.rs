//! Time, chance, retry, settings, tasks and metrics: what every Kinesis crate of this workspace
//! stands on, and nothing that knows AWS.
//!
//! | Module | Gives |
//! | --- | --- |
//! | [`time`] | [`WallClock`]: wall time that is handed in; durations are `tokio::time`'s |
//! | [`chance`] | [`Chance`]: randomness that is handed in and repeats from a seed |
//! | [`retry`] | [`RetryPolicy`], [`Backoff`], and the history of attempts |
//! | [`properties`] | Java's `.properties` files |
//! | [`settings`] | one registry of settings per crate: typed, by string, checked, documented |
//! | [`tasks`] | [`TaskScope`]: tasks with an owner, stopped in order and by a deadline |
//! | [`metrics`] | counters, gauges and histograms behind [`Metrics`] |

pub mod chance;
pub mod metrics;
pub mod properties;
pub mod retry;
pub mod settings;
pub mod tasks;
pub mod time;

pub use chance::Chance;
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use retry::{Attempt, Attempts, Backoff, RetryPolicy};
pub use settings::{Problem, Registry, Setting, Settings, SettingsError, Source};
pub use tasks::{ShutdownReport, TaskScope};
pub use time::{ManualClock, SystemClock, TokioClock, WallClock};
