//! Processes: started and listened to line by line, and what they used, which is read from Linux' /proc.

use crate::Failure;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The kernel books CPU time in hundredths of a second, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);

/// A process that ends when this is dropped; its input is held open.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{:?}: {error}", command.as_std().get_program()))?;
        let out = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            lines: BufReader::new(out).lines(),
        })
    }

    pub fn id(&self) -> Result<u32, Failure> {
        Ok(self.child.id().ok_or("the process ended")?)
    }

    /// Its next line; none once it has ended.
    pub async fn line(&mut self) -> Result<Option<String>, Failure> {
        Ok(self.lines.next_line().await?)
    }

    /// What it says first, which it says once it can be talked to.
    pub async fn first_line(&mut self) -> Result<String, Failure> {
        let line = self.line().await?;
        Ok(line.ok_or("a process ended before it said anything")?)
    }

    /// What else it says is of no interest, but has to go somewhere.
    pub fn unheard(self) -> Child {
        let Self { child, mut lines } = self;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        child
    }

    /// Its input, which ends when this is dropped.
    pub fn input(&mut self) -> Result<ChildStdin, Failure> {
        Ok(self.child.stdin.take().ok_or("its input was taken")?)
    }

    /// Kills it, if need be, and waits until it is over.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    /// Until it has ended by itself.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        self.child.wait().await?;
        Ok(())
    }
}

/// User and system time of a process so far.
pub fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = fields(&stat).collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => Err("no times in stat".into()),
    }
}

/// A field of a process' status that is in KiB, in bytes: `VmRSS` (resident), `VmHWM` (its highest).
pub fn memory_of(pid: u32, field: &str) -> Result<u64, Failure> {
    let status = read(format!("/proc/{pid}/status"))?;
    let kib: u64 = field_of(&status, field)
        .and_then(|rest| rest.strip_suffix(" kB"))
        .and_then(|kib| kib.parse().ok())
        .ok_or_else(|| format!("no {field}"))?;
    Ok(kib << 10)
}

/// A field of a status, which has one in each line.
pub fn field_of<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(str::trim)
}

/// A process and its children.
pub fn family(parent: u32) -> Result<Vec<u32>, Failure> {
    let mut family = vec![parent];
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let stat = read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if fields(&stat).nth(1).and_then(|of| of.parse().ok()) == Some(parent) {
            family.push(pid);
        }
    }
    Ok(family)
}

/// Whether it runs, or could.
pub fn lives(pid: u32) -> bool {
    read(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !matches!(fields(&stat).next(), Some("Z" | "X") | None))
}

pub fn read(path: impl AsRef<Path>) -> Result<String, Failure> {
    let path = path.as_ref();
    std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error} (read from Linux' /proc)", path.display()).into())
}

/// What stands behind the name of a process, which is in brackets and may hold anything: its state, its
/// parent, and so on.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace()
}
