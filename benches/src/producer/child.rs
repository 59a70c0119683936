//! This program once more, as sink or as probe.

use super::SINK;
use crate::Failure;
use crate::process::Process;
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A sink that ends when this is dropped.
#[derive(Debug)]
pub struct Sink {
    process: Process,
    files: TempDir,
    port: u16,
}

impl Sink {
    pub async fn start(shards: u32, more: &[&str]) -> Result<Self, Failure> {
        let files = TempDir::new()?;
        let mut process = Process::start(
            Command::new(std::env::current_exe()?)
                .args([SINK, "--shards", &shards.to_string(), "--certificate"])
                .arg(certificate(files.path()))
                .args(more),
        )?;
        let port = process.first_line().await?.parse()?;
        Ok(Self {
            process,
            files,
            port,
        })
    }

    /// Runs a probe against it, and gives its figures.
    pub async fn probe<S: AsRef<str> + Sync>(
        &self,
        common: &[&str],
        what: &[S],
    ) -> Result<Figures, Failure> {
        let command = Command::new(std::env::current_exe()?);
        self.run(command, common, what).await
    }

    /// Ends it. Gives what arrived of the records that were admitted, these numbers.
    pub async fn finish(mut self, admitted: &[Range<u64>]) -> Result<Figures, Failure> {
        let mut input = self.process.input()?;
        for Range { start, end } in admitted {
            input
                .write_all(format!("{start} {end}\n").as_bytes())
                .await?;
        }
        drop(input);
        let line = self.process.line().await?;
        let line = line.ok_or("the sink ended without a report")?;
        Ok(Figures(serde_json::from_str(&line)?))
    }

    /// The same on one core.
    pub async fn probe_on<S: AsRef<str> + Sync>(
        &self,
        core: u32,
        common: &[&str],
        what: &[S],
    ) -> Result<Figures, Failure> {
        let mut command = Command::new("taskset");
        command
            .args(["-c", &core.to_string()])
            .arg(std::env::current_exe()?);
        self.run(command, common, what).await
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn certificate(&self) -> PathBuf {
        certificate(self.files.path())
    }

    /// A probe against it, without what it is to do.
    pub fn probing(&self) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        self.probes(&mut command);
        Ok(command)
    }

    fn probes(&self, command: &mut Command) {
        command
            .args([super::PROBE, "--port", &self.port.to_string()])
            .arg("--certificate")
            .arg(self.certificate());
    }

    async fn run<S: AsRef<str> + Sync>(
        &self,
        mut command: Command,
        common: &[&str],
        what: &[S],
    ) -> Result<Figures, Failure> {
        self.probes(&mut command);
        let output = command
            .args(common)
            .args(what.iter().map(AsRef::as_ref))
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            return Err(format!("a probe failed: {}", output.status).into());
        }
        Ok(Figures(serde_json::from_slice(&output.stdout)?))
    }
}

fn certificate(files: &Path) -> PathBuf {
    files.join("certificate.pem")
}

/// What a probe found.
#[derive(Debug, Clone)]
pub struct Figures(Value);

impl Figures {
    pub fn get(&self, name: &str) -> Result<f64, Failure> {
        self.0
            .get(name)
            .and_then(Value::as_f64)
            .ok_or_else(|| format!("a probe says nothing of {name}").into())
    }
}
