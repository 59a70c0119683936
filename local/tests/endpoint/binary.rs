//! The binary: says where it listens, serves, and stops when told to.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-local"));
    command
        .arg("serve")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[cfg(unix)]
#[test]
fn it_serves_the_streams_it_was_given_and_stops_on_sigterm() {
    let arguments = [
        "--port",
        "0",
        "--stream",
        "orders:4",
        "--log-format",
        "json",
    ];
    let mut running = Running(start(&arguments).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let first = next();
    let addr = first.rsplit_once("http://").unwrap().1.to_owned();
    assert!(
        addr.starts_with("127.0.0.1:"),
        "loopback unless told otherwise: {addr}"
    );
    assert_eq!(next(), "stream orders with 4 shards is ACTIVE");
    assert_eq!(next(), format!("export AWS_ENDPOINT_URL=http://{addr}"));
    assert_eq!(next(), "export AWS_REGION=us-east-1");
    assert_eq!(next(), "export AWS_DEFAULT_REGION=us-east-1");
    assert!(next().starts_with("export AWS_ACCESS_KEY_ID="));
    assert!(next().starts_with("export AWS_SECRET_ACCESS_KEY="));
    let answer = call(
        &addr,
        "DescribeStreamSummary",
        &json!({"StreamName": "orders"}),
    );
    let shards = &answer["StreamDescriptionSummary"]["OpenShardCount"];
    assert_eq!(*shards, 4, "{answer}");
    let killed = Command::new("kill")
        .args(["-TERM", &running.0.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let mut log = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(running.0.wait().unwrap().success(), "{log}");
    assert!(
        log.contains("DescribeStreamSummary=1"),
        "a last summary: {log}"
    );
    for line in log.lines() {
        assert!(line.starts_with('{'), "JSON lines: {line}");
    }
}

/// As behind `| head -1`.
#[test]
fn it_serves_on_when_nobody_reads_what_it_prints() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let port = addr.port().to_string();
    let mut running = Running(start(&["--port", &port]).stdout(writer).spawn().unwrap());
    while TcpStream::connect(addr).is_err() {
        let ended = running.0.try_wait().unwrap();
        assert!(ended.is_none(), "it ended: {ended:?}");
        std::thread::yield_now();
    }
    // It has printed, or tried to, before it takes a request.
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(
        socket,
        "GET / HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

/// The status line of an answer to a signed or unsigned request, with more headers.
fn status(addr: &str, headers: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(
        socket,
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\nConnection: close\r\n\
         {headers}\r\n{{}}",
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn faults_and_keys_come_from_the_command_line() {
    let fault = ["--port", "0", "--fault", "op=ListStreams,nth=2,status=503"];
    let mut running = Running(start(&fault).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let addr = first.rsplit_once("http://").unwrap().1.to_owned();
    let statuses = [(); 3].map(|()| status(&addr, "").split(' ').nth(1).unwrap().to_owned());
    assert_eq!(statuses, ["200", "503", "200"]);
    drop(running);
    let key = ["--port", "0", "--verify-signatures", "AKID:hush"];
    let mut running = Running(start(&key).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let addr = first.rsplit_once("http://").unwrap().1.to_owned();
    let answer = status(&addr, "");
    assert!(
        answer.contains("MissingAuthenticationTokenException"),
        "{answer}"
    );
}

#[test]
fn tls_writes_down_whom_to_trust() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let arguments = [
        "--port",
        "0",
        "--tls",
        "--tls-write-ca",
        ca.to_str().unwrap(),
    ];
    let mut running = Running(start(&arguments).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("https://127.0.0.1:"), "{first}");
    let written = std::fs::read_to_string(&ca).unwrap();
    assert!(written.starts_with("-----BEGIN CERTIFICATE-----"));
    let bundle = format!("export AWS_CA_BUNDLE={}", ca.display());
    assert!(lines.any(|line| line.unwrap() == bundle));
}

#[test]
fn what_cannot_be_served_is_named_and_fails() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, named) in [
        (vec!["--port", "0", "--stream", "orders"], "NAME:SHARDS"),
        (vec!["--port", "0", "--stream", "a b:1"], "streamName"),
        (vec!["--port", &port, "--log", "off"], port.as_str()),
        (vec!["--port", "0", "--fault", "nth=0,throttle"], "nth=0"),
        (
            vec!["--port", "0", "--tls-cert", "/none", "--tls-key", "/none"],
            "/none",
        ),
    ] {
        let output = start(&arguments).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(named), "{text}");
    }
}

/// The lines that are printed once it listens, and where that is.
fn introduction(running: &mut Running, count: usize) -> (Vec<String>, String) {
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let lines: Vec<String> = (0..count).map(|_| lines.next().unwrap().unwrap()).collect();
    let addr = lines[0].rsplit_once("://").unwrap().1.to_owned();
    (lines, addr)
}

#[test]
fn what_to_paste_is_printed_for_each_client() {
    let arguments = [
        "--port", "0", "--stream", "orders:4", "--stream", "clicks:1",
    ];
    let arguments = [&arguments[..], &["--region", "eu-west-1"]].concat();
    let mut running = Running(start(&arguments).spawn().unwrap());
    let (lines, addr) = introduction(&mut running, 14);
    let expected = format!(
        "\
kinesis-local is listening on http://{addr}
stream orders with 4 shards is ACTIVE
stream clicks with 1 shards is ACTIVE
export AWS_ENDPOINT_URL=http://{addr}
export AWS_REGION=eu-west-1
export AWS_DEFAULT_REGION=eu-west-1
export AWS_ACCESS_KEY_ID=local
export AWS_SECRET_ACCESS_KEY=local
# AWS CLI
aws --endpoint-url http://{addr} --region eu-west-1 kinesis describe-stream-summary --stream-name orders
# boto3 (Python)
#   boto3.client(\"kinesis\", endpoint_url=\"http://{addr}\", region_name=\"eu-west-1\", \
aws_access_key_id=\"local\", aws_secret_access_key=\"local\")
# AWS SDK for Java 2
#   KinesisAsyncClient.builder().endpointOverride(URI.create(\"http://{addr}\")).region(Region.of(\"eu-west-1\"))\
.credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create(\"local\", \"local\"))).build()"
    );
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn it_leaves_loopback_only_when_it_is_told_to() {
    for (arguments, host) in [
        (vec!["--port", "0"], "127.0.0.1:"),
        (vec!["--port", "0", "--host", "0.0.0.0"], "0.0.0.0:"),
    ] {
        let mut running = Running(start(&arguments).spawn().unwrap());
        let (_, addr) = introduction(&mut running, 12);
        assert!(addr.starts_with(host), "{addr}");
        let port = addr.rsplit(':').next().unwrap();
        assert!(status(&format!("127.0.0.1:{port}"), "").starts_with("HTTP/1.1 200"));
    }
}

/// The body of a good answer.
fn call(addr: &str, operation: &str, body: &Value) -> Value {
    let body = body.to_string();
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(
        socket,
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\
         \r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn the_oldest_records_give_way_when_memory_is_full() {
    let arguments = ["--port", "0", "--stream", "s:1", "--max-bytes", "100KiB"];
    let mut running = Running(start(&arguments).spawn().unwrap());
    let (_, addr) = introduction(&mut running, 13);
    let data = "A".repeat(4_000);
    for n in 0..100 {
        let record = json!({"StreamName": "s", "PartitionKey": n.to_string(), "Data": data});
        call(&addr, "PutRecord", &record);
    }
    let start = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = call(&addr, "GetShardIterator", &start);
    let page = call(
        &addr,
        "GetRecords",
        &json!({"ShardIterator": iterator["ShardIterator"]}),
    );
    let left: Vec<u32> = page["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["PartitionKey"].as_str().unwrap().parse().unwrap())
        .collect();
    // The newest of them, without a hole: 3,000 bytes each, and what it takes to keep them.
    let first = left[0];
    assert_eq!(left, (first..100).collect::<Vec<_>>());
    assert!((20..=33).contains(&left.len()), "{}", left.len());
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_remedy() {
    for (arguments, remedy) in [
        (vec!["--port", "70000"], "0..=65535"),
        (vec!["--host", "nowhere"], "--host"),
        (vec!["--stream", "orders"], "NAME:SHARDS, such as orders:4"),
        (vec!["--max-bytes", "lots"], "such as 512MiB, 2GiB"),
        (
            vec!["--fault", "op=PutRecords"],
            "does not say what happens",
        ),
        (vec!["--fault", "opp=PutRecords,throttle"], "op"),
        (vec!["--verify-signatures", "AKID"], "KEY:SECRET"),
        (vec!["--no-limit"], "--no-limits"),
        (vec!["--without", "shard-write"], "shard-writes"),
        (vec!["--tls-cert", "a.pem"], "--tls-key"),
    ] {
        let output = start(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, b"");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(remedy), "{arguments:?}: {text}");
    }
}
