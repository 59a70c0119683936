//! A record each millisecond: how long until its receipt resolves, and what CPU time it takes.

use super::super::meter::process_cpu;
use super::super::records::{Keys, Maker};
use super::{Figures, ProbeOptions, nothing_failed};
use serde_json::json;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

pub async fn measure(options: &ProbeOptions, without: bool) -> Figures {
    let producer = if without {
        None
    } else {
        let builder = options.builder()?;
        let wait = Duration::from_millis(100);
        Some(builder.record_max_buffered_time(wait).build().await?)
    };
    let mut maker = Maker::new(Keys::Distinct, 100);
    let (told, mut taken) = mpsc::unbounded_channel::<Duration>();
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let warm_up = options.time / 8;
    let mut began = process_cpu();
    for number in 0..warm_up + options.time {
        if number == warm_up {
            began = process_cpu();
        }
        tick.tick().await;
        let record = maker.record();
        let Some(producer) = &producer else {
            black_box(record);
            continue;
        };
        let at = Instant::now();
        let receipt = producer.put(record).await?;
        let told = (number >= warm_up).then(|| told.clone());
        tokio::spawn(async move {
            let delivered = receipt.await;
            if let (Some(told), Ok(_)) = (told, delivered) {
                let _gone = told.send(at.elapsed());
            }
        });
    }
    drop(told);
    let mut times = Vec::new();
    while let Some(time) = taken.recv().await {
        times.push(time);
    }
    let cpu = process_cpu().saturating_sub(began);
    if let Some(producer) = &producer {
        nothing_failed(producer)?;
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len().saturating_sub(1) * percent / 100);
        time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Ok(json!({
        "records": options.time,
        "cpu": cpu.as_secs_f64(),
        "p50": at(50),
        "p99": at(99),
    }))
}
