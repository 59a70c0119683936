//! The progress line and the final table.

use crate::resources::short;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use tokio::time::{Duration, Instant};

/// Numbers at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Records given to the producer and lines written to the log file.
    pub sent: u64,
    /// Records that the stream took from the producer.
    pub delivered: u64,
    /// Records and lines that a worker processed, each counted once.
    pub consumed: u64,
}

/// A line that moves: rewritten in place on a terminal, repeated every two seconds elsewhere.
pub struct Progress {
    terminal: bool,
    started: Instant,
    shown: Option<(Instant, Counts)>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            started: Instant::now(),
            shown: None,
        }
    }

    /// Shows the numbers, if it is time to.
    pub fn show(&mut self, now: Counts, owners: &BTreeMap<String, Option<String>>) {
        let pause = Duration::from_millis(if self.terminal { 500 } else { 2_000 });
        let (since, before) = self.shown.unwrap_or((self.started, Counts::default()));
        if self.shown.is_some() && since.elapsed() < pause {
            return;
        }
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let line = format!(
            "{:5.1} s  sent {} ({:.0}/s)  delivered {} ({:.0}/s)  consumed {} ({:.0}/s)  {}",
            self.started.elapsed().as_secs_f64(),
            now.sent,
            rate(now.sent, before.sent),
            now.delivered,
            rate(now.delivered, before.delivered),
            now.consumed,
            rate(now.consumed, before.consumed),
            by_owner(owners),
        );
        self.shown = Some((Instant::now(), now));
        if self.terminal {
            print!("\r\x1b[2K{line}");
        } else {
            println!("{line}");
        }
        flush();
    }

    /// Says something that stays.
    pub fn say(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        println!(
            "{clear}{:5.1} s  ** {text}",
            self.started.elapsed().as_secs_f64()
        );
        flush();
    }

    /// Ends the moving line.
    pub fn end(&self) {
        if self.terminal {
            println!();
        }
    }
}

/// A closed terminal is no reason to stop counting.
fn flush() {
    let _ = std::io::stdout().flush();
}

/// `worker-1:[0 4] worker-2:[1]`, shards without an owner last.
fn by_owner(owners: &BTreeMap<String, Option<String>>) -> String {
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (shard, owner) in owners {
        shards
            .entry(owner.as_deref().unwrap_or("~nobody"))
            .or_default()
            .push(short(shard));
    }
    let parts = shards
        .iter()
        .map(|(owner, shards)| format!("{}:[{}]", owner.trim_start_matches('~'), shards.join(" ")));
    parts.collect::<Vec<_>>().join(" ")
}

/// Prints rows under their heads, numbers to the right.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.chars().count());
        cells
            .chain(heads.get(column).map(|h| h.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<w$}", w = width(column)),
            _ => format!("{cell:>w$}", w = width(column)),
        });
        println!("  {}", cells.collect::<Vec<_>>().join("  "));
    };
    line(&mut heads.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}
