//! A role in a process of its own.

use crate::Failure;
use crate::messages::{Message, Role};
use crate::usage::{self, Usage};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

/// A running role. It is killed when this is dropped.
pub struct Process {
    /// Where its log goes.
    pub log: PathBuf,
    child: Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    usage: Usage,
}

/// What a role told, or `None` when it has ended.
pub type Told = (String, Option<Message>);

impl Process {
    /// Starts this program again in a role. Credentials are inherited, or set to the given dummies.
    pub fn start(
        name: &str,
        role: &Role,
        directory: &Path,
        environment: &[(&str, &str)],
        told: mpsc::Sender<Told>,
    ) -> Result<Self, Failure> {
        let log = directory.join(format!("{name}.log"));
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--role")
            .arg(serde_json::to_string(role)?)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            // A Ctrl-C in the terminal is for the parent, which then stops the roles in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe from the role")?;
        let (stdin, pid) = (
            child.stdin.take(),
            child.id().ok_or("the role has no process")?,
        );
        let reader = name.to_owned();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(message) => {
                        if told.send((reader.clone(), Some(message))).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => eprintln!("{reader} said what is no message ({error}): {line}"),
                }
            }
            // The receiver may be gone at the very end.
            let _ = told.send((reader, None)).await;
        });

        Ok(Self {
            log,
            child,
            pid,
            stdin,
            usage: Usage::default(),
        })
    }

    /// Looks at what the process has used; the last look at a process that ended stays.
    pub fn usage(&mut self) -> Usage {
        if let Some(usage) = usage::of(self.pid) {
            // A zombie's memory reads as nothing.
            self.usage.cpu = self.usage.cpu.max(usage.cpu);
            self.usage.peak_memory = self.usage.peak_memory.max(usage.peak_memory);
        }
        self.usage
    }

    /// Asks the role to end: its standard input closes.
    pub fn ask_to_stop(&mut self) {
        self.usage();
        self.stdin = None;
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.usage();
        Ok(self.child.kill().await?)
    }

    /// Waits until the role has ended; true when it ended well. Past the bound it is killed.
    pub async fn ended(&mut self, bound: Duration) -> Result<bool, Failure> {
        match tokio::time::timeout(bound, self.child.wait()).await {
            Ok(status) => Ok(status?.success()),
            Err(_) => {
                self.kill().await?;
                Ok(false)
            }
        }
    }

    /// The end of the role's log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n")
    }
}
