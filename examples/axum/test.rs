//! The service under many clients at once, in process; and as a process that gets SIGTERM among them:
//! what was answered with success is in the stream, at the place that the answer names. The program is
//! both the test and that process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's program may stop, and says what it saw"
)]

mod service;

use aggregation::{Deaggregated, deaggregate};
use aws::{Config, Credentials};
use futures::future::join_all;
use kpl::Producer;
use local::{Limits, Local, LocalOptions};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::oneshot;

const SERVES: &str = "AXUM_TEST_SERVES";
const CLIENTS: usize = 200;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::var_os(SERVES).is_some() {
        let report = service::run("orders", "127.0.0.1:0").await.unwrap();
        return ExitCode::from(u8::from(report.failed + report.abandoned > 0));
    }
    in_process().await;
    terminated().await;
    ExitCode::SUCCESS
}

/// What an answer says of a stored record.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    shard_id: String,
    sequence_number: String,
    sub_sequence_number: u64,
}

/// Status and body; an error where the connection was refused or broken off.
async fn post(to: SocketAddr, key: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(to).await?;
    let head = format!(
        "POST /records/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(broken)?, body.to_owned()))
}

async fn endpoint() -> (Local, local::Server) {
    let local = Local::new(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("orders", 3).unwrap();
    let server = local.start_on(([127, 0, 0, 1], 0).into()).await.unwrap();
    (local, server)
}

/// Key and data of each user record, by its place.
fn read(local: &Local) -> BTreeMap<Place, (String, String)> {
    let mut all = BTreeMap::new();
    for stored in local.records("orders") {
        let mut add = |sub_sequence_number, key: String, data: &[u8]| {
            let place = Place {
                shard_id: stored.shard_id.clone(),
                sequence_number: stored.sequence_number.clone(),
                sub_sequence_number,
            };
            let data = String::from_utf8(data.to_vec()).unwrap();
            all.insert(place, (key, data));
        };
        match deaggregate(&stored.data, None) {
            Deaggregated::Records(records) => records.for_each(|record| {
                let key = record.partition_key.to_string();
                add(record.sub_sequence_number, key, &record.data);
            }),
            Deaggregated::PassThrough => {
                add(0, stored.partition_key.clone().unwrap(), &stored.data);
            }
        }
    }
    all
}

async fn in_process() {
    let (local, server) = endpoint().await;
    let config = Config::builder()
        .region("us-east-1")
        .endpoint_url(server.url())
        .credentials(Credentials::new("test", "test", None))
        .load()
        .unwrap();
    let producer = Producer::builder("orders")
        .aws(config)
        .build()
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(service::serve(listener, producer.clone(), async {
        let _ = ended.await;
    }));
    let answers = join_all((0..CLIENTS).map(|n| async move {
        let data = format!("order {n}");
        let answer = post(address, &format!("customer-{n}"), data.as_bytes()).await;
        (n, answer.unwrap())
    }));
    let answers = answers.await;
    let stored = read(&local);
    for (n, (status, body)) in answers {
        assert_eq!(status, 200, "{body}");
        let place: Place = serde_json::from_str(&body).unwrap();
        let expected = (format!("customer-{n}"), format!("order {n}"));
        assert_eq!(stored.get(&place), Some(&expected));
    }
    assert_eq!(stored.len(), CLIENTS);
    assert!(
        local.records("orders").len() < CLIENTS,
        "they share Kinesis records"
    );
    let (status, body) = post(address, &"k".repeat(257), b"x").await.unwrap();
    assert!(status == 400 && body.contains("257"), "{status} {body}");
    let (status, body) = post(address, "k", &vec![b'x'; 1 << 20]).await.unwrap();
    assert!(status == 413 && body.contains("1048576"), "{status} {body}");
    end.send(()).unwrap();
    let report = serving.await.unwrap().unwrap();
    assert_eq!((report.delivered, report.failed), (CLIENTS as u64, 0));
    assert_eq!(producer.running_tasks(), 0);
}

async fn terminated() {
    let (local, server) = endpoint().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(SERVES, "1")
        .env("AWS_ENDPOINT_URL", server.url())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    let address: SocketAddr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
    let pid = child.id().unwrap().to_string();
    // Each client puts one record after another, until nobody answers any more.
    let clients = (0..CLIENTS).map(|client| async move {
        let mut answered = Vec::new();
        for n in 0.. {
            let data = format!("{client}/{n}");
            match post(address, &format!("customer-{client}"), data.as_bytes()).await {
                Ok((200, place)) => answered.push((data, place)),
                Ok((status, body)) => panic!("{status} {body}"),
                Err(_) => break,
            }
        }
        answered
    });
    let clients = tokio::spawn(join_all(clients));
    let watched = local.clone();
    tokio::time::timeout(Duration::from_secs(60), async move {
        while read(&watched).len() < 3 * CLIENTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(killed.unwrap().success());
    let status = child.wait().await.unwrap();
    assert!(status.success(), "{status}: something was not delivered");
    let stored = read(&local);
    let mut answered = 0;
    for (data, place) in clients.await.unwrap().into_iter().flatten() {
        let place: Place = serde_json::from_str(&place).unwrap();
        let found = stored.get(&place).map(|(_, data)| data);
        assert_eq!(found, Some(&data), "answered, and not in the stream");
        answered += 1;
    }
    println!(
        "axum: {answered} requests of {CLIENTS} clients answered around SIGTERM, each in the stream; {} stored",
        stored.len()
    );
    assert!(answered >= 2 * CLIENTS);
}
