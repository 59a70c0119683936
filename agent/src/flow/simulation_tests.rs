//! Random writes, rotations and crashes: every line at least once, whole, in the order of its file; and
//! none twice without a crash.

use super::harness::{Bench, Manner};
use runtime::Chance;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// A log that is written by one writer, who keeps its descriptor through renames.
struct Writer {
    name: String,
    file: File,
    /// Contents so far: one file each, by whatever names.
    content: u32,
    lines: Vec<String>,
    /// What is left of a line that was begun.
    rest: Option<String>,
    rotations: u32,
    /// Set while a copy is made: nothing is written until it is truncated.
    truncate_in: Option<u32>,
}

impl Writer {
    fn open(bench: &Bench, name: &str) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(bench.path(name))
            .unwrap()
    }

    fn new(bench: &Bench, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            file: Self::open(bench, name),
            content: 0,
            lines: Vec::new(),
            rest: None,
            rotations: 0,
            truncate_in: None,
        }
    }

    /// The next line of the present content.
    fn line(&mut self) -> String {
        let n = self.lines.len();
        let line = format!(
            "{}#{} {n:06} {}\n",
            self.name,
            self.content,
            "x".repeat(n % 7 * 40)
        );
        self.lines.push(line.clone());
        line
    }

    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn step(&mut self, bench: &Bench, chance: &Chance) {
        if let Some(left) = self.truncate_in {
            self.truncate_in = left.checked_sub(1);
            if left == 0 {
                self.file.set_len(0).unwrap();
                self.content += 1;
            }
            return;
        }
        if let Some(rest) = self.rest.take() {
            self.write(&rest);
            return;
        }
        match chance.below(100) {
            0..60 => {
                for _ in 0..=chance.below(20) {
                    let line = self.line();
                    self.write(&line);
                }
            }
            60..70 => {
                let line = self.line();
                let (begun, rest) = line.split_at(chance.index(line.len()));
                self.write(begun);
                self.rest = Some(rest.to_owned());
            }
            70..74 => {
                self.shift(bench);
                std::fs::rename(bench.path(&self.name), bench.path(&self.rotated(1))).unwrap();
                // Graceful: the old descriptor is written once more, after the rename.
                let line = self.line();
                self.write(&line);
                self.file = Self::open(bench, &self.name);
                self.content += 1;
            }
            74..78 => {
                self.shift(bench);
                std::fs::copy(bench.path(&self.name), bench.path(&self.rotated(1))).unwrap();
                self.truncate_in = Some(u32::try_from(chance.below(40)).unwrap());
            }
            _ => {}
        }
    }

    fn rotated(&self, n: u32) -> String {
        format!("{}.{n}", self.name)
    }

    fn shift(&mut self, bench: &Bench) {
        for n in (1..=self.rotations).rev() {
            std::fs::rename(
                bench.path(&self.rotated(n)),
                bench.path(&self.rotated(n + 1)),
            )
            .unwrap();
        }
        self.rotations += 1;
    }

    fn finish(&mut self) {
        if self.truncate_in.take().is_some() {
            self.file.set_len(0).unwrap();
        }
        if let Some(rest) = self.rest.take() {
            self.write(&rest);
        }
    }
}

async fn run(seed: u64, crashes: bool) {
    let chance = Chance::seeded(seed);
    let mut bench = Bench::new("*.log*", r#","initialPosition":"START_OF_FILE""#);
    bench.chance = chance.fork();
    *bench.stream.manner.lock() = Manner {
        delay_ms: chance.below(2000),
        failing: if chance.happens(0.5) { 0.1 } else { 0.0 },
        ..Manner::default()
    };
    bench.start().await;
    bench.run_for(1).await;
    let mut writers: Vec<Writer> = ["a.log", "b.log", "c.log"]
        .iter()
        .map(|name| Writer::new(&bench, name))
        .collect();
    for _ in 0..300 {
        for writer in &mut writers {
            writer.step(&bench, &chance);
        }
        if crashes && chance.happens(0.02) {
            bench.kill().await;
            if chance.happens(0.3) {
                for writer in &mut writers {
                    writer.step(&bench, &chance);
                }
            }
            bench.start().await;
        }
        tokio::time::sleep(Duration::from_millis(chance.below(200))).await;
    }
    writers.iter_mut().for_each(Writer::finish);
    let expected: BTreeSet<String> = writers
        .iter()
        .flat_map(|w| w.lines.iter().cloned())
        .collect();
    for _ in 0..3000 {
        let stored: BTreeSet<String> = bench.stored().into_iter().collect();
        if stored.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Longer than a copy is held back: nothing is sent late.
    bench.run_for(90).await;
    let report = bench.stop().await;

    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in bench.stored() {
        *times.entry(line).or_default() += 1;
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|l| !times.contains_key(*l))
        .collect();
    assert!(
        missing.is_empty(),
        "seed {seed}: {} lost, {:?}",
        missing.len(),
        &missing[..missing.len().min(3)]
    );
    let foreign: Vec<_> = times.keys().filter(|l| !expected.contains(*l)).collect();
    assert!(
        foreign.is_empty(),
        "seed {seed}: not lines: {:?}",
        &foreign[..foreign.len().min(3)]
    );
    assert_eq!(report.bytes_behind, 0, "seed {seed}");
    if !crashes {
        let twice: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
        assert!(
            twice.is_empty(),
            "seed {seed}: {} twice, {:?}",
            twice.len(),
            &twice[..twice.len().min(3)]
        );
        assert_eq!(
            (report.files_truncated, report.bytes_lost),
            (0, 0),
            "seed {seed}"
        );
        in_order(seed, &bench.stream.put.lock());
    }
}

/// First puts of a file's lines are in its order. A line that was put again is a retry.
fn in_order(seed: u64, put: &[String]) {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in put {
        if !seen.insert(line) {
            continue;
        }
        let name = line.split(' ').next().unwrap();
        let number = line.split(' ').nth(1).unwrap();
        if let Some(before) = last.insert(name, number) {
            assert!(
                before < number,
                "seed {seed}: {name} {number} after {before}"
            );
        }
    }
}

/// Runs so many seeds, or the one or the range that the variable names: `AGENT_SEEDS=7`,
/// `AGENT_SEEDS=0..500`.
fn simulate(test: &str, crashes: bool) {
    let seeds = match std::env::var("AGENT_SEEDS") {
        Ok(text) => match text.split_once("..") {
            Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
            None => text.parse().unwrap()..text.parse::<u64>().unwrap() + 1,
        },
        Err(_) => 0..30,
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let again = Again { seed, test };
        runtime.block_on(run(seed, crashes));
        drop(again);
    }
}

/// Tells how to repeat a seed that failed. What a file system does is not seeded: a race may need
/// several tries.
struct Again<'a> {
    seed: u64,
    test: &'a str,
}

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "repeat: AGENT_SEEDS={} cargo test -p agent --lib {}",
                self.seed, self.test
            );
        }
    }
}

#[test]
fn without_crashes_every_line_is_sent_once_and_in_order() {
    simulate("without_crashes", false);
}

#[test]
fn with_crashes_every_line_is_sent_at_least_once() {
    simulate("with_crashes", true);
}
