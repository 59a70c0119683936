//! A producer in processes of its own that says in words how it goes: a line for each, the word first, then
//! numbers.

use crate::Failure;
use crate::process::{Process, cpu_of, family, lives, memory_of};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// How long its processes may take to end.
const ENDING: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Player {
    process: Process,
    /// Its process and the children of that.
    family: Vec<u32>,
}

impl Player {
    pub fn start(mut command: Command) -> Result<Self, Failure> {
        Ok(Self {
            process: Process::start(command.stderr(Stdio::null()))?,
            family: Vec::new(),
        })
    }

    /// Until it says that it has begun.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        self.said::<u64, 0>("begin").await?;
        self.family = family(self.process.id()?)?;
        Ok(())
    }

    /// Until it says this word: the numbers behind it.
    pub async fn said<T: FromStr, const N: usize>(
        &mut self,
        word: &str,
    ) -> Result<[T; N], Failure> {
        while let Some(line) = self.process.line().await? {
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

    /// A field of the processes' status, in bytes.
    pub fn memory(&self, field: &str) -> Result<u64, Failure> {
        self.family.iter().map(|pid| memory_of(*pid, field)).sum()
    }

    /// Ends it: its input is over, and its own child goes with it.
    pub async fn stop(mut self) -> Result<(), Failure> {
        drop(self.process.input()?);
        match timeout(ENDING, self.process.ended()).await {
            Ok(ended) => ended,
            Err(_) => self.process.kill().await,
        }
    }

    /// Kills its process, and waits until the children that it had are gone too. Gives the last number that
    /// it said behind this word.
    pub async fn kill(mut self, word: &str) -> Result<Option<u64>, Failure> {
        self.process.kill().await?;
        let mut last = None;
        while let Some(line) = self.process.line().await? {
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
