//! Both on one core: records in a CPU-second, memory, and how long a record takes.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use super::official::Official;
use crate::Failure;
use crate::producer::child::Sink;
use crate::table::Line;

/// Size of a record, and how many times ours has to be better.
const SIZES: [(u32, f64); 3] = [(100, 40.0), (1_000, 12.0), (10_000, 6.0)];

/// What the official library may have outstanding; it has no bound of bytes.
const OUTSTANDING: &str = "10000";

/// Where, and for how many milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub core: u32,
    pub time: u64,
}

/// What one side needed.
#[derive(Debug, Clone, Copy)]
struct Needed {
    /// Records in a CPU-second.
    rate: f64,
    memory: f64,
    p50: f64,
    p99: f64,
}

pub async fn speed(official: &Official, run: Run) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for (size, target) in SIZES {
        let sink = Sink::start(4, &[]).await?;
        let theirs = theirs(official, &sink, run, size, 0).await?;
        let alike = ours(&sink, run, size, &["--records", OUTSTANDING]).await?;
        let ours = ours(&sink, run, size, &[]).await?;
        let ratio = ours.rate / theirs.rate;
        lines.push(Line::at_least(
            format!("{size} B, records per CPU-second, ours over theirs"),
            format!("{ratio:.0} x: {:.0} and {:.0}", ours.rate, theirs.rate),
            ratio,
            target,
        ));
        let memory = alike.memory / theirs.memory;
        lines.push(Line::at_most(
            format!("{size} B, memory at {OUTSTANDING} records outstanding, ours over theirs"),
            format!(
                "{memory:.2} x: {:.0} and {:.0} MB, with {:.0} records per CPU-second of ours; {:.0} MB at our \
                 default bound of 64 MiB",
                alike.memory / 1e6,
                theirs.memory / 1e6,
                alike.rate,
                ours.memory / 1e6
            ),
            memory,
            0.1,
        ));
    }
    Ok(lines)
}

pub async fn paced(official: &Official, run: Run) -> Result<Vec<Line>, Failure> {
    let sink = Sink::start(4, &[]).await?;
    let theirs = theirs(official, &sink, run, 100, 1_000).await?;
    let common = ["--time", &run.time.to_string(), "--workers", "1"];
    let ours = sink.probe_on(run.core, &common, &["paced"]).await?;
    Ok(vec![
        Line::stated(
            "1,000 records/s of 100 B, p50 and p99 in ms, ours and theirs",
            format!(
                "{:.0} and {:.0}, {:.0} and {:.0}",
                ours.get("p50")?,
                ours.get("p99")?,
                theirs.p50,
                theirs.p99
            ),
        ),
        Line::stated(
            "1,000 records/s of 100 B, µs of CPU a record, ours and theirs",
            format!(
                "{:.0} and {:.0}",
                1e6 * ours.get("cpu")? / ours.get("records")?,
                1e6 / theirs.rate
            ),
        ),
    ])
}

async fn ours(sink: &Sink, run: Run, size: u32, more: &[&str]) -> Result<Needed, Failure> {
    let (time, size) = (run.time.to_string(), size.to_string());
    let common = ["--time", &time, "--workers", "1"];
    let what = ["throughput", "--keys", "distinct", "--size", &size];
    let what: Vec<&str> = what.iter().chain(more).copied().collect();
    let figures = sink.probe_on(run.core, &common, &what).await?;
    Ok(Needed {
        rate: figures.get("records")? / (figures.get("cpu")? + figures.get("making")?),
        memory: figures.get("resident")?,
        p50: 0.0,
        p99: 0.0,
    })
}

/// At so many records a second; 0: as many as it takes.
async fn theirs(
    official: &Official,
    sink: &Sink,
    run: Run,
    size: u32,
    rate: u32,
) -> Result<Needed, Failure> {
    // Twice: the JVM's compiler has done its work when it counts.
    let arguments = [u64::from(size), run.time, run.time, u64::from(rate)].map(|n| n.to_string());
    let mut player = official.start("Drive", Some(run.core), sink, &arguments)?;
    player.begin().await?;
    let before = player.cpu()?;
    let [delivered, failed, p50, p99] = player.said("end").await?;
    let spent = player.cpu()?.saturating_sub(before);
    let memory = player.memory("VmHWM")?;
    player.stop().await?;
    if failed > 0.0 {
        return Err(format!("the official library failed {failed} records").into());
    }
    Ok(Needed {
        rate: delivered / spent.as_secs_f64(),
        memory: memory as f64,
        p50,
        p99,
    })
}
