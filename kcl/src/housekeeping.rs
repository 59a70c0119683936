//! What keeps the table whole and small: audits that find missing leases, and the deletion of leases
//! that are of no use any more.

use crate::lease::Lease;
use crate::lease::table_check::Refusal;
use crate::shard_sync::{disposable, hole};
use crate::stream_shards::{Setup, SetupError};
use aggregation::HashKey;
use runtime::Chance;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Runs until the table has to be refused.
pub(crate) async fn run(
    setup: Setup,
    view: watch::Receiver<Arc<Vec<Lease>>>,
    chance: Chance,
) -> Refusal {
    let options = setup.options.clone();
    // Every worker does this: not all at the same moment.
    let spread = |interval: std::time::Duration| interval.mul_f64(0.9 + 0.2 * chance.unit());
    let now = Instant::now();
    let mut audit = now + spread(options.first_audit);
    let mut cleanup = now + spread(options.cleanup_interval);
    let mut holes = Holes::default();
    loop {
        sleep_until(audit.min(cleanup)).await;
        let now = Instant::now();
        let leases = Arc::clone(&view.borrow());
        if now >= cleanup {
            cleanup = now + spread(options.cleanup_interval);
            if options.cleanup {
                clean(&setup, &leases).await;
            }
        }
        if now >= audit {
            audit = now + spread(options.audit_interval);
            if holes.seen(hole(&leases), options.audit_confidence) {
                tracing::warn!("leases do not cover all hash keys; making those that are missing");
                match setup.sync().await {
                    Ok(()) => {}
                    Err(SetupError::Refused(refusal)) => return refusal,
                    Err(error) => tracing::warn!(%error, "leases not completed; trying again"),
                }
            }
        }
    }
}

async fn clean(setup: &Setup, leases: &[Lease]) {
    for lease in disposable(leases) {
        match setup.store.delete_finished(&lease.key).await {
            Ok(()) => tracing::info!(shard = lease.key, "lease of a finished shard deleted"),
            Err(error) => {
                tracing::warn!(shard = lease.key, %error, "lease not deleted; trying again")
            }
        }
    }
}

/// Counts how often the same hole was seen in a row: while a shard ends, holes come and go.
#[derive(Debug, Default)]
struct Holes {
    last: Option<(HashKey, HashKey)>,
    times: u64,
}

impl Holes {
    /// True when the hole was seen often enough; the count then starts anew.
    fn seen(&mut self, hole: Option<(HashKey, HashKey)>, confidence: u64) -> bool {
        self.times = match (hole, self.last) {
            (None, _) => 0,
            (now, before) if now == before => self.times + 1,
            _ => 1,
        };
        self.last = hole;
        if self.times >= confidence.max(1) {
            *self = Self::default();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_counts_when_it_stays() {
        let hole = |n: u128| Some((HashKey::new(n), HashKey::new(n + 1)));
        let mut holes = Holes::default();
        let seen: Vec<bool> = [
            hole(1),
            hole(1),
            hole(2),
            hole(2),
            None,
            hole(2),
            hole(2),
            hole(2),
            hole(2),
        ]
        .into_iter()
        .map(|h| holes.seen(h, 3))
        .collect();
        assert_eq!(
            seen,
            [false, false, false, false, false, false, false, true, false]
        );
    }
}
