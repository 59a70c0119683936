//! A producer in processes of its own that says in words how it goes: a line for each, the word first, then
//! numbers.

use crate::Failure;
use crate::local::cpu_of;
use crate::producer::meter::memory_of;
use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long its processes may take to end.
const ENDING: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Player {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Its process and the children of that.
    family: Vec<u32>,
}

impl Player {
    pub fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{:?}: {error}", command.as_std().get_program()))?;
        let out = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            lines: BufReader::new(out).lines(),
            family: Vec::new(),
        })
    }

    /// Until it says that it has begun.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        self.said::<u64, 0>("begin").await?;
        self.family = family(self.child.id().ok_or("it ended")?)?;
        Ok(())
    }

    /// Until it says this word: the numbers behind it.
    pub async fn said<T: FromStr, const N: usize>(
        &mut self,
        word: &str,
    ) -> Result<[T; N], Failure> {
        while let Some(line) = self.lines.next_line().await? {
            if let Some(numbers) = numbers(&line, word) {
                return Ok(numbers
                    .try_into()
                    .map_err(|_| format!("not understood: {line}"))?);
            }
        }
        Err(format!("a process ended before it said {word}").into())
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        self.family.iter().map(|pid| cpu_of(*pid)).sum()
    }

    /// A field of the processes' status that is in KiB, in bytes.
    pub fn memory(&self, field: &str) -> Result<u64, Failure> {
        let of = |pid: &u32| memory_of(Path::new(&format!("/proc/{pid}/status")), field);
        self.family.iter().map(of).sum()
    }

    /// Ends it: its input is over, and its own child goes with it.
    pub async fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        if timeout(ENDING, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Kills its process, and waits until the children that it had are gone too. Gives the last number that
    /// it said behind this word.
    pub async fn kill(mut self, word: &str) -> Result<Option<u64>, Failure> {
        self.child.kill().await?;
        let mut last = None;
        while let Some(line) = self.lines.next_line().await? {
            last = numbers(&line, word)
                .and_then(|n| n.first().copied())
                .or(last);
        }
        let until = Instant::now() + ENDING;
        while Instant::now() < until && self.family.iter().any(|pid| lives(*pid)) {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(last)
    }
}

fn numbers<T: FromStr>(line: &str, word: &str) -> Option<Vec<T>> {
    let mut words = line.split(' ');
    (words.next() == Some(word)).then(|| words.flat_map(str::parse).collect())
}

fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !matches!(fields(&stat).next(), Some("Z" | "X") | None))
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
        if fields(&stat).nth(1).and_then(|of| of.parse().ok()) == Some(parent) {
            family.push(pid);
        }
    }
    Ok(family)
}

/// What stands behind the name: state, parent and so on.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace()
}
