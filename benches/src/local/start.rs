//! From starting the process until it accepts a connection.

use super::server::{command, ours};
use super::shards::median;
use crate::Failure;
use crate::choice::Effort;
use crate::table::Line;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn measure(effort: Effort) -> Result<Vec<Line>, Failure> {
    let path = ours()?;
    let mut times = Vec::new();
    for _ in 0..if effort.quick { 5 } else { 20 } {
        let port = free_port()?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let began = Instant::now();
        let mut child = command(&path)
            .args(["--port", &port.to_string(), "--stream", "bench:8"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        while TcpStream::connect(addr).await.is_err() {
            if began.elapsed() > PATIENCE {
                return Err("the server does not listen".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
        child.kill().await?;
    }
    let slowest = times.iter().copied().fold(0.0, f64::max);
    let runs = times.len();
    let median = median(times);
    let measured = format!("{median:.1} ms (median of {runs}), slowest {slowest:.1} ms");
    Ok(vec![Line::at_most("start", measured, median, 50.0)])
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
