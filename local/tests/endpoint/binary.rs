//! The binary: says where it listens, serves, and stops when told to.

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
    assert!(next().starts_with("export AWS_ACCESS_KEY_ID="));
    assert!(next().starts_with("export AWS_SECRET_ACCESS_KEY="));
    let mut socket = TcpStream::connect(&addr).unwrap();
    let body = r#"{"StreamName":"orders"}"#;
    write!(
        socket,
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.DescribeStreamSummary\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\
         \r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""OpenShardCount":4"#), "{answer}");
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

#[test]
fn what_cannot_be_served_is_named_and_fails() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, named) in [
        (vec!["--port", "0", "--stream", "orders"], "NAME:SHARDS"),
        (vec!["--port", "0", "--stream", "a b:1"], "streamName"),
        (vec!["--port", &port, "--log", "off"], port.as_str()),
    ] {
        let output = start(&arguments).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(named), "{text}");
    }
}
