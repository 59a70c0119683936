//! How many records are pending, as the original samples it: every 200 ms; here only while there are any.

use runtime::Gauge;
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_millis(200);

/// Takes the samples.
#[derive(Debug)]
pub(crate) struct Pending {
    gauge: Gauge,
    /// The next sample; none while nothing is pending.
    next: Option<Instant>,
}

impl Pending {
    pub(super) const fn new(gauge: Gauge) -> Self {
        Self { gauge, next: None }
    }

    /// So many records are pending now. Says when to ask again.
    pub(crate) fn sample(&mut self, records: usize, now: Instant) -> Option<Instant> {
        let due = self.next.is_none_or(|next| next <= now);
        match (records, self.next) {
            (0, None) => {}
            (0, Some(_)) => {
                self.gauge.set_at(0.0, now);
                self.next = None;
            }
            (records, _) if due => {
                self.gauge.set_at(super::count(records as u64), now);
                self.next = now.checked_add(EVERY);
            }
            _ => {}
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::Metrics;

    #[test]
    fn a_sample_every_200_ms_while_something_is_pending_and_a_last_one() {
        let metrics = Metrics::new();
        let gauge = metrics.gauge("UserRecordsPending", &[]);
        let mut pending = Pending::new(gauge.clone());
        let mut reader = metrics.reader();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, records, next) in [
            (0, 0, None),
            (10, 5, Some(210)),
            (150, 9, Some(210)),
            (210, 7, Some(410)),
            (300, 0, None),
            (400, 0, None),
            (500, 1, Some(700)),
        ] {
            assert_eq!(pending.sample(records, at(ms)), next.map(at), "{ms}");
        }
        let seen = reader.read()[0].statistics;
        assert_eq!((seen.count, seen.sum, seen.max), (4, 13.0, 7.0));
    }
}
