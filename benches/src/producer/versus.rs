//! The official library, KPL 1.1.1 (Java with its native child process), and ours: the same records, the
//! same sink over TLS, on the same core, one after the other. Both are charged all their processes' user
//! and system time, the making of the records included.
//!
//! The library comes from `tests/interop/run kpl`, which installs it; a JDK has to be there.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use super::child::Sink;
use crate::Failure;
use crate::local::cpu_of;
use crate::table::Line;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Shorter runs, to try things.
    #[arg(long)]
    quick: bool,
    /// The core that both sides run on.
    #[arg(long, default_value_t = 0)]
    core: u32,
}

/// Size of a record, and how many times ours has to be better.
const SIZES: [(u32, f64); 3] = [(100, 40.0), (1_000, 12.0), (10_000, 6.0)];

/// What the official library may have outstanding; it has no bound of bytes.
const OUTSTANDING: &str = "10000";

/// What one side needed.
#[derive(Debug, Clone, Copy)]
struct Needed {
    /// Records in a CPU-second.
    rate: f64,
    memory: f64,
    p50: f64,
    p99: f64,
}

pub async fn run(options: Options) -> Result<(), Failure> {
    let official = Official::prepare().await?;
    let time = if options.quick { 5_000 } else { 20_000 };
    let mut lines = Vec::new();
    for (size, target) in SIZES {
        eprintln!("measuring records of {size} B ...");
        let sink = Sink::start(4, &[]).await?;
        let theirs = official.measure(&sink, options.core, size, time, 0).await?;
        let alike = ours(&sink, options.core, size, time, &["--records", OUTSTANDING]).await?;
        let ours = ours(&sink, options.core, size, time, &[]).await?;
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
    eprintln!("measuring 1,000 records a second ...");
    let sink = Sink::start(4, &[]).await?;
    let theirs = official
        .measure(&sink, options.core, 100, time, 1_000)
        .await?;
    let ours = paced(&sink, options.core, time).await?;
    lines.push(Line::stated(
        "1,000 records/s of 100 B, p50 and p99 in ms, ours and theirs",
        format!(
            "{:.0} and {:.0}, {:.0} and {:.0}",
            ours.p50, ours.p99, theirs.p50, theirs.p99
        ),
    ));
    lines.push(Line::stated(
        "1,000 records/s of 100 B, µs of CPU a record, ours and theirs",
        format!("{:.0} and {:.0}", 1e6 / ours.rate, 1e6 / theirs.rate),
    ));
    crate::table::print(&lines);
    Ok(())
}

async fn ours(
    sink: &Sink,
    core: u32,
    size: u32,
    time: u64,
    more: &[&str],
) -> Result<Needed, Failure> {
    let (time, size) = (time.to_string(), size.to_string());
    let common = ["--time", &time, "--workers", "1"];
    let what = ["throughput", "--keys", "distinct", "--size", &size];
    let what: Vec<&str> = what.iter().chain(more).copied().collect();
    let figures = sink.probe_on(core, &common, &what).await?;
    Ok(Needed {
        rate: figures.get("records")? / (figures.get("cpu")? + figures.get("making")?),
        memory: figures.get("resident")?,
        p50: 0.0,
        p99: 0.0,
    })
}

async fn paced(sink: &Sink, core: u32, time: u64) -> Result<Needed, Failure> {
    let common = ["--time", &time.to_string(), "--workers", "1"];
    let figures = sink.probe_on(core, &common, &["paced"]).await?;
    Ok(Needed {
        rate: figures.get("records")? / figures.get("cpu")?,
        memory: 0.0,
        p50: figures.get("p50")?,
        p99: figures.get("p99")?,
    })
}

/// The official library, installed, and what drives it, compiled.
#[derive(Debug)]
struct Official {
    classes: TempDir,
    files: TempDir,
    class_path: String,
}

impl Official {
    async fn prepare() -> Result<Self, Failure> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = package.join("../tests/interop/.tools/kpl.classpath");
        let libraries = std::fs::read_to_string(&list).map_err(|error| {
            format!(
                "{}: {error}; tests/interop/run kpl installs the official library",
                list.display()
            )
        })?;
        let classes = TempDir::new()?;
        let status = Command::new("javac")
            .args(["-cp", libraries.trim(), "-d"])
            .arg(classes.path())
            .arg(package.join("kpl-java/Drive.java"))
            .status()
            .await
            .map_err(|error| format!("javac: {error}"))?;
        if !status.success() {
            return Err(format!("Drive.java could not be compiled: {status}").into());
        }
        let class_path = format!("{}:{}", classes.path().display(), libraries.trim());
        Ok(Self {
            classes,
            files: TempDir::new()?,
            class_path,
        })
    }

    async fn measure(
        &self,
        sink: &Sink,
        core: u32,
        size: u32,
        time: u64,
        rate: u32,
    ) -> Result<Needed, Failure> {
        let mut child = Command::new("taskset")
            .args(["-c", &core.to_string(), "java", "-cp", &self.class_path])
            .args(["Drive", &sink.port().to_string()])
            .args([&sink.certificate(), self.files.path()])
            // The JVM's compiler has done its work when it counts.
            .args([size.to_string(), time.to_string(), time.to_string()])
            .arg(rate.to_string())
            .current_dir(self.classes.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("taskset and java: {error}"))?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        line(&mut lines, "begin").await?;
        let family = family(child.id().ok_or("it ended")?)?;
        let before = cpu(&family)?;
        let end = line(&mut lines, "end").await?;
        let spent = cpu(&family)?.saturating_sub(before);
        let memory: u64 = family
            .iter()
            .map(|pid| highest(*pid))
            .sum::<Result<_, _>>()?;
        stop(&mut child).await?;
        let words: Vec<f64> = end.split(' ').skip(1).flat_map(str::parse).collect();
        let &[delivered, failed, p50, p99] = words.as_slice() else {
            return Err(format!("not understood: {end}").into());
        };
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
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<String, Failure> {
    while let Some(line) = lines.next_line().await? {
        if line.split(' ').next() == Some(word) {
            return Ok(line);
        }
    }
    Err("the official library's process ended".into())
}

/// Ends it: its input is over, and its own child goes with it.
async fn stop(child: &mut Child) -> Result<(), Failure> {
    drop(child.stdin.take());
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    if ended.is_err() {
        child.kill().await?;
    }
    Ok(())
}

/// A process and its children.
fn family(parent: u32) -> Result<Vec<u32>, Failure> {
    let mut family = vec![parent];
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let of = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if of == Some(parent) {
            family.push(pid);
        }
    }
    Ok(family)
}

fn cpu(family: &[u32]) -> Result<Duration, Failure> {
    family.iter().map(|pid| cpu_of(*pid)).sum()
}

/// The most memory that a process had resident, in bytes.
fn highest(pid: u32) -> Result<u64, Failure> {
    super::meter::memory_of(&PathBuf::from(format!("/proc/{pid}/status")), "VmHWM")
}
