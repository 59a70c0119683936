//! What a call costs on 10,000 shards, over what it costs on 10.

use super::http::request;
use super::load::{Until, all_stored, drive, puts};
use super::server::{Server, Which};
use crate::Failure;
use crate::choice::Effort;
use crate::table::Line;
use fastrand::Rng;
use std::sync::Arc;
use std::time::Duration;

const FEW: (&str, u32) = ("few", 10);
const MANY: (&str, u32) = ("many", 10_000);
const ENTRIES: usize = 100;
/// As many requests as shards, so that all are reached.
const REQUESTS: usize = 4_000;

pub async fn measure(effort: Effort) -> Result<Vec<Line>, Failure> {
    let server = Server::start(Which::Ours, &[FEW, MANY]).await?;
    let run = effort.run() / 2;
    let mut lines = Vec::new();
    for (name, target) in [
        ("PutRecord of 1 KiB", Some(1.25)),
        ("PutRecords of 100 x 1 KiB", None),
        ("ListShards, first ten", Some(1.25)),
        ("ListShards, last ten", Some(1.25)),
    ] {
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..effort.turns() {
            for (costs, (stream, shards)) in costs.iter_mut().zip([FEW, MANY]) {
                let requests = requests(name, stream, shards);
                costs.push(cost(&server, requests, run).await?);
            }
        }
        let [few, many] = costs.map(median);
        let ratio = many / few;
        let measured = format!("{few:.1} us CPU with 10, {many:.1} with 10,000: ratio {ratio:.2}");
        let row = format!("shards: {name}");
        lines.push(match target {
            Some(target) => Line::at_most(row, measured, ratio, target),
            None => Line::stated(row, measured),
        });
    }
    Ok(lines)
}

fn requests(name: &str, stream: &str, shards: u32) -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(3);
    match name {
        "PutRecord of 1 KiB" => (0..REQUESTS)
            .map(|_| {
                let mut data = vec![0; 1_024];
                rng.fill(&mut data);
                let data = base64_simd::STANDARD.encode_to_string(&data);
                let key = rng.u64(..);
                let body = format!(
                    r#"{{"StreamName":"{stream}","Data":"{data}","PartitionKey":"{key:016x}"}}"#
                );
                request("PutRecord", &body)
            })
            .collect(),
        "PutRecords of 100 x 1 KiB" => puts(stream, ENTRIES, 1_024, 100, &mut rng),
        "ListShards, first ten" => {
            let body = format!(r#"{{"StreamName":"{stream}","MaxResults":10}}"#);
            vec![request("ListShards", &body)]
        }
        _ => {
            // The last ten of many; with ten shards, the nine after the first.
            let start = shards.saturating_sub(11);
            let body = format!(
                r#"{{"StreamName":"{stream}","MaxResults":10,"ExclusiveStartShardId":"shardId-{start:012}"}}"#
            );
            vec![request("ListShards", &body)]
        }
    }
}

/// Microseconds of CPU for each call.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn cost(server: &Server, requests: Vec<Vec<u8>>, run: Duration) -> Result<f64, Failure> {
    let requests = Arc::new(requests);
    let requests = vec![requests; 2];
    let check = |answer: &[u8]| {
        all_stored(answer) || memchr::memmem::find(answer, b"SequenceNumber").is_some()
    };
    // What a run sends first meets shards that hold nothing yet.
    drive(server.addr, &requests, Until::Elapsed(run / 4), check).await?;
    let before = server.cpu()?;
    let (calls, _) = drive(server.addr, &requests, Until::Elapsed(run), check).await?;
    let used = server.cpu()? - before;
    Ok(used.as_secs_f64() * 1e6 / calls as f64)
}

/// The one in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
