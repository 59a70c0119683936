//! A log file that is written line by line and rotated twice meanwhile.

use crate::payload::{self, Source};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long the writer rests between the copy and the truncation. A line that is written in between is
/// lost by any tool that rotates this way, whoever reads the file.
const REST: Duration = Duration::from_millis(300);

/// Writes the lines, spread over the time; rotates by renaming at a third, by copying and truncating
/// at two thirds. `written` follows.
pub async fn write(
    directory: PathBuf,
    lines: u64,
    over: Duration,
    written: Arc<AtomicU64>,
) -> io::Result<()> {
    const STEPS: u64 = 100;
    let path = directory.join("app.log");
    let mut file = open(&path)?;
    let mut pace = tokio::time::interval(over / 100);
    for step in 0..STEPS {
        pace.tick().await;
        if step == STEPS / 3 {
            fs::rename(&path, directory.join("app.log.1"))?;
            file = open(&path)?;
        }
        if step == STEPS * 2 / 3 {
            fs::copy(&path, directory.join("app.log.2"))?;
            tokio::time::sleep(REST).await;
            file.set_len(0)?;
        }
        let mut text = String::new();
        let upto = lines * (step + 1) / STEPS;
        for id in written.load(Relaxed)..upto {
            let length = 80 + usize::try_from(id % 170).unwrap_or(0);
            text.push_str(&payload::write(Source::Agent, id, length));
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        written.store(upto, Relaxed);
    }
    file.sync_all()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
