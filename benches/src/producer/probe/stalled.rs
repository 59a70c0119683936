//! Records offered to an endpoint that answers nothing.

use super::super::meter::memory;
use super::super::records::{Keys, Maker};
use super::{Figures, ProbeOptions};
use crate::Failure;
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Records that are offered.
const OFFERED: usize = 1_000_000;
/// Tasks that offer them.
const CALLERS: usize = 8;

pub async fn measure(options: &ProbeOptions, size: usize) -> Figures {
    let producer = options.builder()?.build().await?;
    let before = memory("VmRSS")?;
    let until = Instant::now() + Duration::from_millis(options.time);
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let producer = producer.clone();
        let mut maker = Maker::new(Keys::Distinct, size).numbered(u64::try_from(number)?);
        callers.spawn(async move {
            let mut receipts = Vec::new();
            for _ in 0..OFFERED / CALLERS {
                // Whoever waits when the time is over goes without.
                let Ok(put) = timeout_at(until, producer.put(maker.record())).await else {
                    break;
                };
                receipts.push(put?);
            }
            Ok::<_, Failure>(receipts)
        });
    }
    let mut highest = 0;
    let mut most = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
        highest = highest.max(memory("VmRSS")?);
        most = most.max(producer.outstanding().bytes);
    }
    let mut admitted = 0;
    while let Some(caller) = callers.join_next().await {
        admitted += caller??.len();
    }
    let stats = producer.stats();
    // The makers' buffers are not the producer's.
    let pools = u64::try_from(CALLERS)? << 20;
    Ok(json!({
        "grown": highest.saturating_sub(before + pools),
        "charged": most,
        "admitted": admitted,
        "requests": stats.requests,
        "failed": stats.failed,
    }))
}
