//! The seam for metrics: instruments are cheap handles; back ends read them at their own pace and
//! never stand in the way of a record.
//!
//! | | |
//! | --- | --- |
//! | [`Metrics`] | a bounded set of instruments, by name and dimensions |
//! | [`Counter`], [`Gauge`], [`Histogram`] | what is written to |
//! | [`Reader`] | what came since its last reading; as many of them as there are back ends |
//! | [`Metrics::query`] | the last seconds, or all since the start |
//! | [`View`] | which of it is wanted: level, granularity, ancestors, further dimensions |
//!
//! Instruments are leaves: the values of a stream are those of its shards together. What lies above
//! them is summed up when it is read ([`View::with_ancestors`]), not when it is written.
//!
//! With the feature `metrics` an `Exporter` hands all of it to whatever recorder of the `metrics`
//! facade the program has installed.

mod describe;
#[cfg(feature = "metrics")]
mod facade;
mod instruments;
mod reader;
mod registry;
mod statistics;
mod view;

pub use describe::{Granularity, Level, Metric, Unit, UnknownWord};
#[cfg(feature = "metrics")]
pub use facade::Exporter;
pub use instruments::{Counter, Gauge, Histogram};
pub use reader::{Reader, Window, WindowTooLong};
pub use registry::{Key, Limits, Metrics, Reading};
pub use statistics::{Statistics, Summary};
pub use view::{ExtraDimension, Point, View};
