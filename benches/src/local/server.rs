//! The servers under test, each a child process.

use crate::Failure;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Bytes of payload that our server may keep: more than any row stores.
const KEEP: &str = "16GiB";
/// The kernel books CPU time in hundredths of a second, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);

/// A server that ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Ours,
    Peer,
}

impl Server {
    pub async fn start(which: Which, streams: &[(&str, u32)]) -> Result<Self, Failure> {
        let mut command = match which {
            Which::Ours => {
                let mut command = command(&ours()?);
                command.args(["--port", "0", "--max-bytes", KEEP]);
                for (name, shards) in streams {
                    command.args(["--stream", &format!("{name}:{shards}")]);
                }
                command
            }
            Which::Peer => Command::new(peer_binary()),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(out).lines();
        let line = lines
            .next_line()
            .await?
            .ok_or("the server ended before it listened")?;
        let addr = line
            .rsplit([' ', '/'])
            .next()
            .and_then(|addr| addr.parse().ok())
            .ok_or_else(|| format!("no address in '{line}'"))?;
        // What else it prints has to go somewhere.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let server = Self { child, addr };
        if which == Which::Peer {
            for (name, shards) in streams {
                super::load::create_stream(addr, name, *shards).await?;
            }
        }
        Ok(server)
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.child.id().ok_or("the server ended")?)
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<u64, Failure> {
        let pid = self.child.id().ok_or("the server ended")?;
        let status = proc(&format!("/proc/{pid}/status"))?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.parse().ok())
            .ok_or("no VmRSS")?;
        Ok(kib << 10)
    }
}

/// User and system time of a process so far.
pub fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let stat = proc(&format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything; after it come the state and fields 4 on.
    let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => Err("no times in stat".into()),
    }
}

fn proc(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        format!("{path}: {error} (CPU and memory are read from Linux' /proc)").into()
    })
}

/// Our server with everything but its port and its streams.
pub fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.args(["serve", "--no-limits", "--log", "error"]);
    command
}

/// Our binary, from the same build.
pub fn ours() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?
        .with_file_name(format!("kinesis-local{}", std::env::consts::EXE_SUFFIX));
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing: cargo build --profile dist -p local --bin kinesis-local",
        path.display()
    )
    .into())
}

fn peer_package() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peer"))
}

fn peer_binary() -> PathBuf {
    let name = format!("peer{}", std::env::consts::EXE_SUFFIX);
    peer_package().join("target/release").join(name)
}

/// Builds the peer, into a directory of its own, unless it is there.
pub fn build_peer() -> Result<(), Failure> {
    if peer_binary().exists() {
        return Ok(());
    }
    eprintln!("building the peer, which takes minutes the first time ...");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args(["build", "--release", "--locked"])
        .env("CARGO_TARGET_DIR", peer_package().join("target"))
        .current_dir(peer_package())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the peer could not be built: {status}").into()),
    }
}
