//! The servers under test, each a child process.

use crate::Failure;
use crate::process::{Process, cpu_of, memory_of};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Bytes of payload that our server may keep: more than any row stores.
const KEEP: &str = "16GiB";

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
        let mut process = Process::start(&mut command)?;
        let line = process.first_line().await?;
        let addr = line
            .rsplit([' ', '/'])
            .next()
            .and_then(|addr| addr.parse().ok())
            .ok_or_else(|| format!("no address in '{line}'"))?;
        let server = Self {
            child: process.unheard(),
            addr,
        };
        if which == Which::Peer {
            for (name, shards) in streams {
                super::load::create_stream(addr, name, *shards).await?;
            }
        }
        Ok(server)
    }

    fn id(&self) -> Result<u32, Failure> {
        Ok(self.child.id().ok_or("the server ended")?)
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.id()?)
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<u64, Failure> {
        memory_of(self.id()?, "VmRSS")
    }
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
