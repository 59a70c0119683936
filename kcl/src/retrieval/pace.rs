//! When a shard may be read next, so that this reader stays within the service's limits for a shard:
//! 5 calls and 2 MiB a second.

use std::time::Duration;
use tokio::time::Instant;

const CALL_SPACING: Duration = Duration::from_millis(200);
const BYTES_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;

/// The pace of one shard's reader.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next_call: Option<Instant>,
}

impl Pace {
    /// When the next call may begin.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next_call
    }

    /// Takes in a call that began at `begun` and was answered at `answered` with that many bytes.
    /// Calls are spaced by their beginnings; bytes are paid for from the answer on, since that is the
    /// latest moment at which the service may have counted them.
    pub(crate) fn called(&mut self, begun: Instant, answered: Instant, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let paid = answered + Duration::from_secs_f64(f64::from(bytes) / BYTES_PER_SECOND);
        self.next_call = Some(paid.max(begun + CALL_SPACING));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_calls_and_two_mebibytes_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.next(), None);
        pace.called(at(0), at(10), 0);
        assert_eq!(pace.next(), Some(at(200)));
        pace.called(at(200), at(900), 100);
        assert!(pace.next().unwrap() >= at(900) && pace.next().unwrap() < at(901));
        pace.called(at(1000), at(1100), 10 * 1024 * 1024);
        assert_eq!(pace.next(), Some(at(6100)), "10 MiB are paid for in 5 s");
    }
}
