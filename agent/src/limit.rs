//! Log lines at a pace that a person can read.

use std::time::Duration;
use tokio::time::Instant;

/// Lets one line through per period and counts what it held back.
#[derive(Debug)]
pub(crate) struct Limit {
    period: Duration,
    last: Option<Instant>,
    held: u64,
}

impl Limit {
    /// One line each 30 s.
    pub(crate) fn new() -> Self {
        Self {
            period: Duration::from_secs(30),
            last: None,
            held: 0,
        }
    }

    /// `Some(n)` when a line may be written; n lines like it were held back since the last.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < self.period)
        {
            self.held += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }

    /// The trouble is over: the next line passes at once. True when there was trouble.
    pub(crate) fn clear(&mut self) -> bool {
        self.held = 0;
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_per_period_and_the_rest_counted() {
        let mut limit = Limit::new();
        assert_eq!(
            (limit.pass(), limit.pass(), limit.pass()),
            (Some(0), None, None)
        );
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!((limit.pass(), limit.pass()), (Some(2), None));
        assert!(limit.clear());
        assert!(!limit.clear());
        assert_eq!(limit.pass(), Some(0));
    }
}
