//! What waits to be sent: bounded, the oldest dropped first, and nothing dropped in silence.

use super::Datum;
use super::encode::Body;
use parking_lot::Mutex;
use runtime::Counter;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What an uploader did so far. `read` = `sent` + `refused` + `dropped` + what waits, in data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadStats {
    /// Data that were read from the instruments to be sent.
    pub read: u64,
    /// Data that CloudWatch took.
    pub sent: u64,
    /// Requests that CloudWatch took.
    pub requests: u64,
    /// Calls that failed after all their attempts.
    pub failures: u64,
    /// Data that were given up because CloudWatch refuses them as wrong.
    pub refused: u64,
    /// Data that were given up because too much waited, or because the uploader ended.
    pub dropped: u64,
    /// Data that wait.
    pub waiting: u64,
    /// What their requests take, in bytes.
    pub waiting_bytes: u64,
}

/// Requests that wait to be sent. When it is dropped, what is in it is counted and logged.
#[derive(Debug)]
pub(super) struct Kept {
    namespace: String,
    most: usize,
    /// Not in requests yet.
    fresh: VecDeque<Datum>,
    waiting: VecDeque<Body>,
    /// Being sent; counts among what waits.
    in_flight: Option<Body>,
    stats: Arc<Mutex<UploadStats>>,
    /// Counts what is given up.
    given_up: Counter,
    /// Given up and not logged yet, and when that was done last.
    unlogged: (u64, Option<Instant>),
}

/// Losses are logged so often at most.
const LOG_EVERY: Duration = Duration::from_secs(60);

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl Kept {
    pub(super) fn new(
        namespace: String,
        most: usize,
        stats: Arc<Mutex<UploadStats>>,
        given_up: Counter,
    ) -> Self {
        Self {
            namespace,
            most,
            fresh: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: None,
            stats,
            given_up,
            unlogged: (0, None),
        }
    }

    /// Takes the data of an interval. [`Kept::encode`] makes requests of them.
    pub(super) fn take(&mut self, data: impl IntoIterator<Item = Datum>) {
        let before = self.fresh.len();
        self.fresh.extend(data);
        let came = number(self.fresh.len() - before);
        let mut stats = self.stats.lock();
        stats.read += came;
        stats.waiting += came;
    }

    /// Makes one request of what is fresh; true when more is left.
    pub(super) fn encode(&mut self) -> bool {
        if let Some(body) = Body::of_first(&self.namespace, &mut self.fresh) {
            self.waiting.push_back(body);
            self.bound();
        }
        !self.fresh.is_empty()
    }

    fn requests(&self) -> usize {
        self.waiting.len() + usize::from(self.in_flight.is_some())
    }

    fn bound(&mut self) {
        let size = |body: &Body| body.bytes.len();
        let in_flight = self.in_flight.as_ref().map_or(0, size);
        let mut bytes = in_flight + self.waiting.iter().map(size).sum::<usize>();
        let mut dropped = 0;
        // One stays, or a bound below the size of a request would send nothing at all.
        while bytes > self.most
            && self.requests() > 1
            && let Some(oldest) = self.waiting.pop_front()
        {
            bytes -= oldest.bytes.len();
            dropped += oldest.data;
        }
        {
            let mut stats = self.stats.lock();
            stats.dropped += number(dropped);
            stats.waiting = stats.waiting.saturating_sub(number(dropped));
            stats.waiting_bytes = number(bytes);
        }
        self.given_up(
            dropped,
            "too much waits for CloudWatch: the oldest metrics are dropped",
        );
    }

    fn given_up(&mut self, data: usize, why: &str) {
        if data == 0 {
            return;
        }
        self.given_up.add(number(data));
        let (unlogged, logged) = &mut self.unlogged;
        *unlogged += number(data);
        if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            tracing::warn!(data = *unlogged, namespace = self.namespace, "{why}");
            self.unlogged = (0, Some(Instant::now()));
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The oldest request, which is then in flight until one of the following says how it went.
    pub(super) fn next(&mut self) -> Option<Body> {
        self.in_flight = self.waiting.pop_front();
        self.in_flight.clone()
    }

    /// CloudWatch took it.
    pub(super) fn sent(&mut self) {
        if let Some(body) = self.in_flight.take() {
            let mut stats = self.stats.lock();
            stats.requests += 1;
            stats.sent += number(body.data);
            stats.waiting = stats.waiting.saturating_sub(number(body.data));
            stats.waiting_bytes = stats.waiting_bytes.saturating_sub(number(body.bytes.len()));
        }
    }

    /// CloudWatch will never take it.
    pub(super) fn refused(&mut self, why: &dyn fmt::Display) {
        if let Some(body) = self.in_flight.take() {
            {
                let mut stats = self.stats.lock();
                stats.failures += 1;
                stats.refused += number(body.data);
                stats.waiting = stats.waiting.saturating_sub(number(body.data));
                stats.waiting_bytes = stats.waiting_bytes.saturating_sub(number(body.bytes.len()));
            }
            self.given_up(body.data, &format!("CloudWatch refuses metrics: {why}"));
        }
    }

    /// It is to be sent again.
    pub(super) fn failed(&mut self) {
        if let Some(body) = self.in_flight.take() {
            self.stats.lock().failures += 1;
            self.waiting.push_front(body);
            self.bound();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let bodies = self.waiting.iter().chain(&self.in_flight);
        let left = self.fresh.len() + bodies.map(|body| body.data).sum::<usize>();
        let unlogged = self.unlogged.0 + number(left);
        if unlogged > 0 {
            tracing::warn!(
                data = unlogged,
                namespace = self.namespace,
                "metrics were not sent to CloudWatch before the end"
            );
        }
        self.given_up.add(number(left));
        let mut stats = self.stats.lock();
        stats.dropped += number(left);
        stats.waiting = 0;
        stats.waiting_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::metrics::{Statistics, Unit};
    use runtime::time::from_epoch_millis;

    fn datum() -> Datum {
        Datum {
            name: "m".to_owned(),
            dimensions: Vec::new(),
            unit: Unit::Count,
            timestamp: from_epoch_millis(0),
            statistics: Statistics::of(1.0, 1),
        }
    }

    #[test]
    fn a_request_above_the_bound_waits_alone() {
        let stats = Arc::new(Mutex::new(UploadStats::default()));
        let lost = Counter::default();
        let mut kept = Kept::new("App".to_owned(), 0, Arc::clone(&stats), lost.clone());
        for _ in 0..3 {
            kept.take([datum()]);
            assert!(!kept.encode());
        }
        assert_eq!((lost.value(), kept.requests()), (2, 1));
        assert!(kept.next().is_some());
        kept.failed();
        assert!(kept.next().is_some());
        kept.sent();
        let s = *stats.lock();
        assert_eq!((s.sent, s.waiting_bytes), (1, 0));
    }

    proptest::proptest! {
        /// Whatever happens, each datum is somewhere, and what waits is within the bound.
        #[test]
        fn every_datum_is_accounted_for(steps in proptest::collection::vec((0..6_u8, 1..40_usize), 1..60)) {
            const MOST: usize = 4_000;
            let stats = Arc::new(Mutex::new(UploadStats::default()));
            let lost = Counter::default();
            let mut kept = Kept::new("App".to_owned(), MOST, Arc::clone(&stats), lost.clone());
            for (step, data) in steps {
                match step {
                    0 => kept.take((0..data).map(|_| datum())),
                    1 => while kept.encode() {},
                    2 if kept.in_flight.is_none() => drop(kept.next()),
                    3 => kept.sent(),
                    4 => kept.refused(&"scripted"),
                    _ => kept.failed(),
                }
                let s = *stats.lock();
                assert_eq!(s.read, s.sent + s.refused + s.dropped + s.waiting);
                assert_eq!(lost.value(), s.refused + s.dropped);
                assert!(s.waiting_bytes <= number(MOST) || kept.requests() == 1);
            }
            drop(kept);
            let s = *stats.lock();
            assert_eq!((s.read, s.waiting), (s.sent + s.refused + s.dropped, 0));
        }
    }
}
