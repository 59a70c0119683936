//! Requests, and whoever sends them.

use super::http::{Connection, request};
use crate::Failure;
use fastrand::Rng;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub const CONNECTIONS: usize = 8;

pub async fn create_stream(addr: SocketAddr, name: &str, shards: u32) -> Result<(), Failure> {
    let mut connection = Connection::open(addr).await?;
    let body = format!(r#"{{"StreamName":"{name}","ShardCount":{shards}}}"#);
    connection.ask("CreateStream", &body).await?;
    let body = format!(r#"{{"StreamName":"{name}"}}"#);
    loop {
        let answer = connection.ask("DescribeStreamSummary", &body).await?;
        let status = answer.pointer("/StreamDescriptionSummary/StreamStatus");
        if status.and_then(|s| s.as_str()) == Some("ACTIVE") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One PutRecords request of random bytes under random keys.
pub fn put_records(stream: &str, records: usize, size: usize, rng: &mut Rng) -> Vec<u8> {
    let mut body = format!(r#"{{"StreamName":"{stream}","Records":["#);
    let mut data = vec![0; size];
    for n in 0..records {
        rng.fill(&mut data);
        let comma = if n > 0 { "," } else { "" };
        let key = rng.u64(..);
        let data = base64_simd::STANDARD.encode_to_string(&data);
        // Writing into a String cannot fail.
        let _ = write!(
            body,
            r#"{comma}{{"Data":"{data}","PartitionKey":"{key:016x}"}}"#
        );
    }
    body.push_str("]}");
    request("PutRecords", &body)
}

/// So many of them.
pub fn puts(
    stream: &str,
    records: usize,
    size: usize,
    count: usize,
    rng: &mut Rng,
) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| put_records(stream, records, size, rng))
        .collect()
}

/// Sends requests in turn over several connections, each starting at another, until the time is over
/// or so many are answered. Gives how many were, and how long it took.
pub async fn drive(
    addr: SocketAddr,
    requests: &[Arc<Vec<Vec<u8>>>],
    until: Until,
    check: fn(&[u8]) -> bool,
) -> Result<(u64, Duration), Failure> {
    let mut connections = Vec::new();
    for requests in requests {
        connections.push((Connection::open(addr).await?, Arc::clone(requests)));
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let senders = connections.len();
    for (number, (mut connection, requests)) in connections.into_iter().enumerate() {
        tasks.spawn(async move {
            let start = requests.len() * number / senders;
            let mut calls = 0_u64;
            for request in requests.iter().cycle().skip(start) {
                let over = match until {
                    Until::Elapsed(time) => began.elapsed() >= time,
                    Until::Calls(each) => calls >= each,
                };
                if over {
                    break;
                }
                let answer = connection.call(request).await?;
                if !check(answer) {
                    let start = answer.get(..answer.len().min(300)).unwrap_or_default();
                    let start = String::from_utf8_lossy(start);
                    return Err(Failure::from(format!("not the answer expected: {start}")));
                }
                calls += 1;
            }
            Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(task) = tasks.join_next().await {
        calls += task??;
    }
    Ok((calls, began.elapsed()))
}

/// When sending ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    /// So many calls for each connection.
    Calls(u64),
}

/// Whether no entry of a PutRecords failed.
pub fn all_stored(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, br#""FailedRecordCount":0"#).is_some()
}

/// Stores at least so many records of a size, in requests of so many; gives how many were stored.
pub async fn fill(
    addr: SocketAddr,
    stream: &str,
    records: u64,
    size: usize,
    per_request: usize,
) -> Result<u64, Failure> {
    let mut rng = Rng::with_seed(7);
    let requests = Arc::new(puts(stream, per_request, size, 64, &mut rng));
    let senders = u64::try_from(CONNECTIONS)?;
    let each = records
        .div_ceil(u64::try_from(per_request)?)
        .div_ceil(senders);
    let requests = vec![requests; CONNECTIONS];
    let (calls, _) = drive(addr, &requests, Until::Calls(each), all_stored).await?;
    Ok(calls * u64::try_from(per_request)?)
}
