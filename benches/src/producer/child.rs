//! This program once more, as sink or as probe.

use super::SINK;
use crate::Failure;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A sink that ends when this is dropped.
#[derive(Debug)]
pub struct Sink {
    _child: Child,
    files: TempDir,
    port: u16,
}

impl Sink {
    pub async fn start(shards: u32, more: &[&str]) -> Result<Self, Failure> {
        let files = TempDir::new()?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([SINK, "--shards", &shards.to_string(), "--certificate"])
            .arg(certificate(files.path()))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let port = BufReader::new(out)
            .lines()
            .next_line()
            .await?
            .ok_or("the sink ended before it listened")?
            .parse()?;
        Ok(Self {
            _child: child,
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
        self.run(Command::new(std::env::current_exe()?), common, what)
            .await
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

    async fn run<S: AsRef<str> + Sync>(
        &self,
        mut command: Command,
        common: &[&str],
        what: &[S],
    ) -> Result<Figures, Failure> {
        let output = command
            .args([super::PROBE, "--port", &self.port.to_string()])
            .arg("--certificate")
            .arg(self.certificate())
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
