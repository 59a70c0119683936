//! How soon records reach 200 subscriptions.

use super::http::{Connection, head, request};
use super::load::{CONNECTIONS, all_stored, put_records};
use super::server::{Server, Which};
use crate::Failure;
use crate::choice::Effort;
use crate::process::cpu_of;
use crate::table::Line;
use fastrand::Rng;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

const SUBSCRIPTIONS: u32 = 200;
const SIZE: usize = 1_024;
const ENTRIES: usize = 100;
/// 200 requests a second of 100 x 1 KiB: 20.5 MB/s.
const EVERY: Duration = Duration::from_millis(5);
/// So many bytes at the start of a payload are the time at which it was sent.
const STAMP: usize = 12;
/// The same in base64.
const STAMP_TEXT: usize = 16;
const DATA: &[u8] = br#""Data":""#;
/// Before this nothing is counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// What is on its way when sending ends may take so long.
const LINGER: Duration = Duration::from_millis(500);

pub async fn measure(effort: Effort) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for shards in [200, 20, 8] {
        lines.push(case(shards, effort).await?);
    }
    Ok(lines)
}

/// One stream of so many shards, and as many consumers as make 200 subscriptions.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn case(shards: u32, effort: Effort) -> Result<Line, Failure> {
    let server = Server::start(Which::Ours, &[("bench", shards)]).await?;
    let consumers = SUBSCRIPTIONS / shards;
    let arns = register(&server, consumers).await?;
    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for arn in &arns {
        for shard in 0..shards {
            let body = format!(
                r#"{{"ConsumerARN":"{arn}","ShardId":"shardId-{shard:012}","StartingPosition":{{"Type":"LATEST"}}}}"#
            );
            let mut connection = Connection::open(server.addr).await?;
            connection
                .stream
                .write_all(&request("SubscribeToShard", &body))
                .await?;
            let over = Arc::clone(&over);
            readers.spawn(read(connection, began, over));
        }
    }
    // Until the first frame of each was sent.
    tokio::time::sleep(LINGER).await;
    let time = WARM_UP + effort.run();
    let me = std::process::id();
    let (server_before, mine_before) = (server.cpu()?, cpu_of(me)?);
    let sending = Instant::now();
    let counted_from = began.elapsed() + WARM_UP;
    let sent = send(&server, began, time).await?;
    let wall = sending.elapsed().as_secs_f64();
    let server_cpu = (server.cpu()? - server_before).as_secs_f64() / wall;
    let mine = (cpu_of(me)? - mine_before).as_secs_f64() / wall;
    tokio::time::sleep(LINGER).await;
    over.store(true, Ordering::Relaxed);
    drop(server);
    let (mut waits, mut seen) = (Vec::new(), 0);
    while let Some(reader) = readers.join_next().await {
        let arrivals = reader??;
        seen += arrivals.len();
        let late = arrivals.iter().filter(|a| a.sent >= counted_from);
        waits.extend(late.map(|a| a.wait));
    }
    let expected = sent * usize::try_from(consumers)?;
    waits.sort_unstable();
    let at = |part: f64| -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a length is within it"
        )]
        let index = (waits.len() as f64 * part) as usize;
        waits
            .get(index.min(waits.len().saturating_sub(1)))
            .map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
    };
    let p99 = at(0.99);
    let lost = match expected.saturating_sub(seen) {
        0 => String::new(),
        late => format!(", {late} of {expected} not read in time"),
    };
    let measured = format!(
        "p50 {:.1} ms, p99 {p99:.1} ms, most {:.1} ms; in {:.1} MB/s, out {:.0} MB/s of payload; \
         server {server_cpu:.2} and clients {mine:.2} cores{lost}",
        at(0.5),
        at(1.0),
        (sent * SIZE) as f64 / 1e6 / wall,
        (seen * SIZE) as f64 / 1e6 / wall,
    );
    let row = format!("fan-out: {shards} shards x {consumers}");
    // Whatever did not come has no time.
    let figure = if seen < expected { f64::INFINITY } else { p99 };
    Ok(Line::at_most(row, measured, figure, 20.0))
}

async fn register(server: &Server, consumers: u32) -> Result<Vec<String>, Failure> {
    let mut connection = Connection::open(server.addr).await?;
    let summary = connection
        .ask("DescribeStreamSummary", r#"{"StreamName":"bench"}"#)
        .await?;
    let arn = summary
        .pointer("/StreamDescriptionSummary/StreamARN")
        .and_then(Value::as_str)
        .ok_or("no ARN")?;
    let mut arns = Vec::new();
    for number in 0..consumers {
        let body = format!(r#"{{"StreamARN":"{arn}","ConsumerName":"c{number}"}}"#);
        let answer = connection.ask("RegisterStreamConsumer", &body).await?;
        let arn = answer.pointer("/Consumer/ConsumerARN");
        arns.push(arn.and_then(Value::as_str).ok_or("no ARN")?.to_owned());
    }
    Ok(arns)
}

/// Sends 20 MB/s over several connections; gives how many records.
async fn send(server: &Server, began: Instant, time: Duration) -> Result<usize, Failure> {
    let mut senders = JoinSet::new();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(server.addr).await?;
        let mut rng = Rng::with_seed(u64::try_from(number)?);
        let mut requests: Vec<Vec<u8>> = (0..8)
            .map(|_| put_records("bench", ENTRIES, SIZE, &mut rng))
            .collect();
        senders.spawn(async move {
            let every = EVERY * u32::try_from(CONNECTIONS)?;
            let start = Instant::now() + EVERY * u32::try_from(number)?;
            let mut ticks = tokio::time::interval_at(start, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = 0;
            while start.elapsed() < time {
                ticks.tick().await;
                let turn = sent / ENTRIES % requests.len();
                let request = requests.get_mut(turn).ok_or("no request")?;
                stamp(request, began.elapsed());
                if !all_stored(connection.call(request).await?) {
                    return Err(Failure::from("an entry was refused"));
                }
                sent += ENTRIES;
            }
            Ok(sent)
        });
    }
    let mut sent = 0;
    while let Some(sender) = senders.join_next().await {
        sent += sender??;
    }
    Ok(sent)
}

/// Writes the time into each payload of a request.
fn stamp(request: &mut [u8], now: Duration) {
    let mut bytes = [0; STAMP];
    let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    for (to, from) in bytes.iter_mut().zip(micros.to_be_bytes()) {
        *to = from;
    }
    let text = base64_simd::STANDARD.encode_to_string(bytes);
    let places: Vec<usize> = memchr::memmem::find_iter(request, DATA).collect();
    for place in places {
        let start = place + DATA.len();
        if let Some(to) = request.get_mut(start..start + STAMP_TEXT) {
            to.copy_from_slice(text.as_bytes());
        }
    }
}

struct Arrival {
    sent: Duration,
    wait: Duration,
}

/// Reads one subscription until it is over. Frames and chunks are not taken apart: a record's time
/// follows its `Data`, wherever that stands.
async fn read(
    mut connection: Connection,
    began: Instant,
    over: Arc<AtomicBool>,
) -> Result<Vec<Arrival>, Failure> {
    let mut arrivals = Vec::new();
    let mut buffer: Vec<u8> = Vec::with_capacity(256 << 10);
    let mut whole = None;
    loop {
        let read = connection.stream.read_buf(&mut buffer).await;
        if over.load(Ordering::Relaxed) || matches!(read, Ok(0) | Err(_)) {
            return match over.load(Ordering::Relaxed) {
                true => Ok(arrivals),
                false => Err("a subscription ended early".into()),
            };
        }
        if whole.is_none() {
            whole = head(&buffer);
            if whole.is_some_and(|head| !head.ok) {
                return Err(String::from_utf8_lossy(&buffer).into());
            }
        }
        let now = began.elapsed();
        let mut done = 0;
        for place in memchr::memmem::find_iter(&buffer, DATA) {
            let start = place + DATA.len();
            let Some(text) = buffer.get(start..start + STAMP_TEXT) else {
                break;
            };
            done = start + STAMP_TEXT;
            arrivals.push(arrival(text, now)?);
        }
        // The start of a record that is not whole yet stays.
        let keep = buffer
            .len()
            .saturating_sub(DATA.len() + STAMP_TEXT)
            .max(done);
        buffer.drain(..keep);
    }
}

fn arrival(text: &[u8], now: Duration) -> Result<Arrival, Failure> {
    let mut bytes = [0; STAMP];
    base64_simd::STANDARD.decode(text, base64_simd::Out::from_slice(&mut bytes))?;
    let micros = bytes.first_chunk::<8>().ok_or("no time")?;
    let sent = Duration::from_micros(u64::from_be_bytes(*micros));
    Ok(Arrival {
        sent,
        wait: now.saturating_sub(sent),
    })
}
