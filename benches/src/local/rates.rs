//! Records per CPU-second, beside the peer.

use super::http::{Connection, request};
use super::load::{CONNECTIONS, Until, all_stored, drive, fill, puts};
use super::server::{Server, Which};
use crate::Failure;
use crate::choice::Effort;
use crate::table::Line;
use fastrand::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const STREAM: &str = "bench";
const SHARDS: u32 = 8;
const SIZE: usize = 1_024;
const ENTRIES: usize = 500;
/// PutRecords requests that are written out before.
const REQUESTS: usize = 64;
/// Requests of each connection that count, and before them.
const EACH: u64 = 125;
const WARM_EACH: u64 = 10;
const WARM_UP: Duration = Duration::from_millis(500);
/// Records in each shard, at least 10,000 with keys at random.
const STORED: u64 = 11_000;

/// What one run gave.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    per_cpu_second: f64,
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(records: u64, wall: Duration, cpu: Duration) -> Self {
        Self {
            per_second: records as f64 / wall.as_secs_f64(),
            per_cpu_second: records as f64 / cpu.as_secs_f64(),
        }
    }

    fn median(mut rates: Vec<Self>) -> Result<Self, Failure> {
        rates.sort_by(|a, b| a.per_cpu_second.total_cmp(&b.per_cpu_second));
        let middle = rates.get(rates.len() / 2);
        Ok(*middle.ok_or("nothing was measured")?)
    }

    fn shown(self) -> String {
        format!(
            "{:>9.0} rec/s {:>5.0} MB/s {:>9.0} rec/CPU-s",
            self.per_second,
            self.per_second * 1_024.0 / 1e6,
            self.per_cpu_second
        )
    }
}

fn sides(alone: bool) -> &'static [Which] {
    match alone {
        true => &[Which::Ours],
        false => &[Which::Ours, Which::Peer],
    }
}

fn line(row: &str, ours: Vec<Rate>, peer: Vec<Rate>, target: f64) -> Result<Line, Failure> {
    let ours = Rate::median(ours)?;
    if peer.is_empty() {
        return Ok(Line::stated(row, ours.shown()));
    }
    let peer = Rate::median(peer)?;
    let ratio = ours.per_cpu_second / peer.per_cpu_second;
    let measured = format!(
        "{} | peer {} | ratio {ratio:.2}",
        ours.shown(),
        peer.shown()
    );
    Ok(Line::at_least(row, measured, ratio, target))
}

/// PutRecords. Each run has a server of its own, which keeps all that the run stores. All runs store the
/// same: what a page of memory costs that was never used before differs between the first gigabyte and the
/// next, above all in a virtual machine, and the faster server should not meet the dearer ones.
pub async fn put(effort: Effort, alone: bool) -> Result<Vec<Line>, Failure> {
    let mut rng = Rng::with_seed(1);
    let requests = Arc::new(puts(STREAM, ENTRIES, SIZE, REQUESTS, &mut rng));
    let requests = vec![requests; CONNECTIONS];
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..effort.turns() {
        for which in sides(alone) {
            let server = Server::start(*which, &[(STREAM, SHARDS)]).await?;
            let warm = Until::Calls(WARM_EACH);
            drive(server.addr, &requests, warm, all_stored).await?;
            let before = server.cpu()?;
            let until = Until::Calls(if effort.quick { EACH / 5 } else { EACH });
            let (calls, wall) = drive(server.addr, &requests, until, all_stored).await?;
            let records = calls * u64::try_from(ENTRIES)?;
            let rate = Rate::of(records, wall, server.cpu()? - before);
            eprintln!("  {which:?}: {}", rate.shown());
            match which {
                Which::Ours => ours.push(rate),
                Which::Peer => peer.push(rate),
            }
        }
    }
    Ok(vec![line("put 500 x 1 KiB", ours, peer, 4.0)?])
}

/// GetRecords, from servers that were filled before.
pub async fn get(effort: Effort, alone: bool) -> Result<Vec<Line>, Failure> {
    let mut servers = Vec::new();
    for which in sides(alone) {
        let server = Server::start(*which, &[(STREAM, SHARDS)]).await?;
        fill(
            server.addr,
            STREAM,
            STORED * u64::from(SHARDS),
            SIZE,
            ENTRIES,
        )
        .await?;
        servers.push((*which, server));
    }
    let mut lines = Vec::new();
    for limit in [1_000_u64, 10_000] {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..effort.turns() {
            for (which, server) in &servers {
                let rate = read_again(server, limit, effort).await?;
                eprintln!("  {which:?} {limit}: {}", rate.shown());
                match which {
                    Which::Ours => ours.push(rate),
                    Which::Peer => peer.push(rate),
                }
            }
        }
        lines.push(line(&format!("get pages of {limit}"), ours, peer, 2.0)?);
    }
    Ok(lines)
}

/// Each connection reads the first page of one shard again and again.
async fn read_again(server: &Server, limit: u64, effort: Effort) -> Result<Rate, Failure> {
    let mut requests = Vec::new();
    for shard in 0..CONNECTIONS {
        let read = page_request(server.addr, shard, limit).await?;
        requests.push(Arc::new(vec![read]));
    }
    // Megabytes are no error message, and as many as records must have.
    let check: fn(&[u8]) -> bool = match limit {
        1_000 => |answer| answer.len() > 1_000 * SIZE,
        _ => |answer| answer.len() > 10_000 * SIZE,
    };
    drive(server.addr, &requests, Until::Elapsed(WARM_UP), check).await?;
    let before = server.cpu()?;
    let until = Until::Elapsed(effort.run());
    let (calls, wall) = drive(server.addr, &requests, until, check).await?;
    Ok(Rate::of(calls * limit, wall, server.cpu()? - before))
}

/// A GetRecords request for a shard's first page, which holds as many records as it may.
async fn page_request(addr: SocketAddr, shard: usize, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut connection = Connection::open(addr).await?;
    let body = format!(
        r#"{{"StreamName":"{STREAM}","ShardId":"shardId-{shard:012}","ShardIteratorType":"TRIM_HORIZON"}}"#
    );
    let answer = connection.ask("GetShardIterator", &body).await?;
    let iterator = answer.get("ShardIterator").and_then(|i| i.as_str());
    let iterator = iterator.ok_or("no iterator")?;
    let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":{limit}}}"#);
    let page = connection.ask("GetRecords", &body).await?;
    let records = page.get("Records").and_then(|r| r.as_array());
    if records.map(Vec::len) != Some(usize::try_from(limit)?) {
        return Err(format!("shard {shard} does not hold a page of {limit}").into());
    }
    Ok(request("GetRecords", &body))
}
