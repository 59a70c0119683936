//! Log lines that cannot flood.

use std::time::Duration;
use tokio::time::Instant;

/// One line and this long of quiet, then the next.
const QUIET: Duration = Duration::from_secs(5);

/// Lets one line through, then counts what it holds back until the next may pass.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    last: Option<Instant>,
    held: u64,
}

impl Quiet {
    /// Something worth a line happened to `n` things. `Some`: write the line, for so many things.
    pub(crate) fn pass(&mut self, n: u64, now: Instant) -> Option<u64> {
        self.held += n;
        if self.last.is_some_and(|last| now < last + QUIET) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_then_quiet_then_one_for_all_in_between() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.pass(3, now), Some(3));
        assert_eq!(quiet.pass(4, now), None);
        assert_eq!(quiet.pass(5, now + QUIET), Some(9));
    }
}
