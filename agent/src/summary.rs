//! What a flow counts, and the line that tells it.

use parking_lot::Mutex;
use runtime::{Counter, Gauge, Metrics};
use std::fmt;

use crate::limit::Limit;

/// The counters of one flow. Clones share them.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) flow: String,
    pub(crate) records_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) retries: Counter,
    pub(crate) dropped: Counter,
    pub(crate) records_truncated: Counter,
    pub(crate) files_truncated: Counter,
    pub(crate) bytes_lost: Counter,
    pub(crate) partial_lines: Counter,
    pub(crate) read_errors: Counter,
    pub(crate) save_errors: Counter,
    pub(crate) bytes_behind: Gauge,
    pub(crate) files: Gauge,
    /// Failures to send, told at a pace that a person can read.
    pub(crate) trouble: Mutex<Limit>,
    /// Records that were dropped, likewise.
    pub(crate) drops: Mutex<Limit>,
    /// Records that were cut, likewise.
    pub(crate) cuts: Mutex<Limit>,
}

impl Stats {
    pub(crate) fn new(metrics: &Metrics, flow: &str, stream: &str) -> Self {
        let destination = format!("KinesisStream:{stream}");
        let dimensions = [("Destination", destination.as_str()), ("Flow", flow)];
        let counter = |name| metrics.counter(name, &dimensions);
        Self {
            flow: flow.to_owned(),
            records_sent: counter("RecordsSent"),
            bytes_sent: counter("BytesSent"),
            retries: counter("RecordSendErrors"),
            dropped: counter("RecordsDropped"),
            records_truncated: counter("RecordsTruncated"),
            files_truncated: counter("FilesTruncated"),
            bytes_lost: counter("BytesLost"),
            partial_lines: counter("PartialLines"),
            read_errors: counter("ReadErrors"),
            save_errors: counter("PositionSaveErrors"),
            bytes_behind: metrics.gauge("BytesBehind", &dimensions),
            files: metrics.gauge("FilesTailed", &dimensions),
            trouble: Mutex::new(Limit::new()),
            drops: Mutex::new(Limit::new()),
            cuts: Mutex::new(Limit::new()),
        }
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            records_sent: self.records_sent.value(),
            bytes_sent: self.bytes_sent.value(),
            retries: self.retries.value(),
            dropped: self.dropped.value(),
            records_truncated: self.records_truncated.value(),
            files_truncated: self.files_truncated.value(),
            bytes_lost: self.bytes_lost.value(),
            partial_lines: self.partial_lines.value(),
            read_errors: self.read_errors.value(),
            save_errors: self.save_errors.value(),
            bytes_behind: whole(self.bytes_behind.value()),
            files: whole(self.files.value()),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "gauges of sizes and counts, set from whole numbers"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

/// What was done since the start, for one flow or for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// Records that the stream has acknowledged.
    pub records_sent: u64,
    /// Their data in bytes.
    pub bytes_sent: u64,
    /// Records that failed and were sent again.
    pub retries: u64,
    /// Records that can never be stored, each told in the log.
    pub dropped: u64,
    /// Records that were cut to the limit.
    pub records_truncated: u64,
    /// Files that were truncated or overwritten without a copy.
    pub files_truncated: u64,
    /// Bytes that were seen in a file and were gone before they could be read.
    pub bytes_lost: u64,
    /// Last lines without a newline that were sent because their file was rotated.
    pub partial_lines: u64,
    /// Failures to list, open or read.
    pub read_errors: u64,
    /// Failures to save positions.
    pub save_errors: u64,
    /// Bytes in files that are not acknowledged yet.
    pub bytes_behind: u64,
    /// Files that are tailed.
    pub files: u64,
}

impl Report {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            records_sent: self.records_sent + other.records_sent,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            retries: self.retries + other.retries,
            dropped: self.dropped + other.dropped,
            records_truncated: self.records_truncated + other.records_truncated,
            files_truncated: self.files_truncated + other.files_truncated,
            bytes_lost: self.bytes_lost + other.bytes_lost,
            partial_lines: self.partial_lines + other.partial_lines,
            read_errors: self.read_errors + other.read_errors,
            save_errors: self.save_errors + other.save_errors,
            bytes_behind: self.bytes_behind + other.bytes_behind,
            files: self.files + other.files,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {} records, {} bytes; lag {} bytes in {} files; retries {}; dropped {}; cut {}; \
             truncated files {}; bytes lost {}; partial lines {}; read errors {}; save errors {}",
            self.records_sent,
            self.bytes_sent,
            self.bytes_behind,
            self.files,
            self.retries,
            self.dropped,
            self.records_truncated,
            self.files_truncated,
            self.bytes_lost,
            self.partial_lines,
            self.read_errors,
            self.save_errors,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_the_counters_and_adds_up() {
        let metrics = Metrics::new();
        let stats = Stats::new(&metrics, "f", "s");
        stats.records_sent.add(3);
        stats.bytes_behind.set(7.0);
        let report = stats.report();
        assert_eq!((report.records_sent, report.bytes_behind), (3, 7));
        let both = report.plus(report);
        assert!(
            both.to_string()
                .starts_with("sent 6 records, 0 bytes; lag 14 bytes")
        );
    }
}
