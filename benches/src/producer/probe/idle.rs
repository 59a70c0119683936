//! A producer that has nothing to do.

use super::super::meter::{memory, naps, process_cpu};
use super::super::records::{Keys, Maker};
use super::{Figures, ProbeOptions};
use crate::Failure;
use serde_json::json;
use std::time::Duration;
use tokio::runtime::Runtime;

#[expect(
    clippy::disallowed_methods,
    reason = "the first thread sleeps beside the runtime, whose threads are watched"
)]
pub fn measure(options: &ProbeOptions, runtime: &Runtime) -> Figures {
    // What the runtime makes at its first use belongs to it.
    runtime
        .block_on(async { tokio::spawn(tokio::time::sleep(Duration::from_millis(10))).await })?;
    let bare = memory("VmRSS")?;
    let bare_own = memory("RssAnon")?;
    let producer = runtime.block_on(async {
        let producer = options.builder()?.build().await?;
        let mut maker = Maker::new(Keys::Distinct, 100);
        producer.put_all(maker.slice()).await?.await;
        producer.flush().await;
        Ok::<_, Failure>(producer)
    })?;
    // The maker's buffer is not the producer's.
    let pool = 1 << 20;
    std::thread::sleep(Duration::from_millis(1_500));
    let (resident, own) = (memory("VmRSS")?, memory("RssAnon")?);
    let (napped, cpu) = (naps()?, process_cpu());
    std::thread::sleep(Duration::from_millis(options.time));
    let (napped, cpu) = (naps()? - napped, process_cpu().saturating_sub(cpu));
    drop(producer);
    Ok(json!({
        "bare": bare,
        "resident": resident.saturating_sub(bare + pool),
        "own": own.saturating_sub(bare_own + pool),
        "wakes": napped,
        "cpu": cpu.as_secs_f64(),
    }))
}
