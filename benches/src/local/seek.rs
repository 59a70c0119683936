//! Finding a record by its sequence number or by a time, in a short shard and in a long one.

use super::http::{Connection, request};
use super::load::put_records;
use super::server::{Server, Which};
use super::shards::median;
use crate::Failure;
use crate::choice::Effort;
use crate::table::Line;
use fastrand::Rng;
use serde_json::Value;

const ENTRIES: usize = 500;
/// Small, so that the shard is long rather than large.
const SIZE: usize = 16;
/// PutRecords requests that are written out before.
const REQUESTS: usize = 64;

/// What was stored: some of the sequence numbers, and between which times (seconds since the epoch).
struct Stored {
    stream: &'static str,
    numbers: Vec<String>,
    from: f64,
    to: f64,
}

pub async fn measure(effort: Effort) -> Result<Vec<Line>, Failure> {
    let long: u64 = if effort.quick { 1_000_000 } else { 10_000_000 };
    let lookups = if effort.quick { 5_000 } else { 20_000 };
    let streams = [("short", 1), ("middle", 1), ("long", 1)];
    let server = Server::start(Which::Ours, &streams).await?;
    let mut stored = Vec::new();
    for ((stream, _), records) in streams.into_iter().zip([10_000, long / 10, long]) {
        stored.push(store(&server, stream, records).await?);
    }
    let mut lines = Vec::new();
    for (name, by_time) in [("by sequence number", false), ("by time", true)] {
        let mut costs = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..effort.turns() {
            for (costs, stored) in costs.iter_mut().zip(&stored) {
                costs.push(cost(&server, stored, by_time, lookups).await?);
            }
        }
        let [short, middle, end] = costs.map(median);
        let ratio = end / short;
        let measured = format!(
            "{short:.1} us CPU with 10,000 records, {middle:.1} with {}, {end:.1} with {long}: \
             ratio {ratio:.2}",
            long / 10
        );
        lines.push(Line::at_most(format!("seek: {name}"), measured, ratio, 2.0));
    }
    Ok(lines)
}

async fn store(server: &Server, stream: &'static str, records: u64) -> Result<Stored, Failure> {
    let mut rng = Rng::with_seed(5);
    let requests: Vec<Vec<u8>> = (0..REQUESTS)
        .map(|_| put_records(stream, ENTRIES, SIZE, &mut rng))
        .collect();
    let mut connection = Connection::open(server.addr).await?;
    let mut numbers = Vec::new();
    let calls = records.div_ceil(u64::try_from(ENTRIES)?);
    for (_, request) in (0..calls).zip(requests.iter().cycle()) {
        let answer = connection.call(request).await?;
        numbers.push(number_in(answer).ok_or("no sequence number")?);
    }
    let first = arrival(&mut connection, stream, numbers.first()).await?;
    let last = arrival(&mut connection, stream, numbers.last()).await?;
    Ok(Stored {
        stream,
        numbers,
        from: first,
        to: last,
    })
}

/// The first sequence number of an answer.
fn number_in(answer: &[u8]) -> Option<String> {
    let name = br#""SequenceNumber":""#;
    let start = memchr::memmem::find(answer, name)? + name.len();
    let rest = answer.get(start..)?;
    let digits = rest.get(..memchr::memchr(b'"', rest)?)?;
    String::from_utf8(digits.to_vec()).ok()
}

/// When a record arrived, as the server shows it.
async fn arrival(
    connection: &mut Connection,
    stream: &str,
    number: Option<&String>,
) -> Result<f64, Failure> {
    let number = number.ok_or("nothing was stored")?;
    let start =
        format!(r#""ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"{number}""#);
    let page = look_up(connection, stream, &start).await?;
    page.pointer("/Records/0/ApproximateArrivalTimestamp")
        .and_then(Value::as_f64)
        .ok_or_else(|| "no arrival".into())
}

async fn look_up(connection: &mut Connection, stream: &str, start: &str) -> Result<Value, Failure> {
    let body = format!(r#"{{"StreamName":"{stream}","ShardId":"shardId-000000000000",{start}}}"#);
    let answer = connection.ask("GetShardIterator", &body).await?;
    let iterator = answer.get("ShardIterator").and_then(Value::as_str);
    let iterator = iterator.ok_or("no iterator")?;
    let read = request(
        "GetRecords",
        &format!(r#"{{"ShardIterator":"{iterator}","Limit":1}}"#),
    );
    Ok(serde_json::from_slice(connection.call(&read).await?)?)
}

/// Microseconds of CPU for each look-up, at random places.
async fn cost(
    server: &Server,
    stored: &Stored,
    by_time: bool,
    lookups: u32,
) -> Result<f64, Failure> {
    let mut rng = Rng::with_seed(9);
    let mut connection = Connection::open(server.addr).await?;
    let before = server.cpu()?;
    for _ in 0..lookups {
        let start = if by_time {
            let at = stored.from + rng.f64() * (stored.to - stored.from);
            format!(r#""ShardIteratorType":"AT_TIMESTAMP","Timestamp":{at:.3}"#)
        } else {
            let number = rng.choice(&stored.numbers).ok_or("nothing was stored")?;
            format!(
                r#""ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"{number}""#
            )
        };
        let page = look_up(&mut connection, stored.stream, &start).await?;
        if page.pointer("/Records/0").is_none() {
            return Err(format!("nothing found at {start}").into());
        }
    }
    let used = server.cpu()? - before;
    Ok(used.as_secs_f64() * 1e6 / f64::from(lookups))
}
