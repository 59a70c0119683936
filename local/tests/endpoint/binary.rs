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
