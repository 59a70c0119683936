//! What clients can make the server's process hold.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CLIENTS: usize = 64;
/// 10 MiB in base64, and the names around it.
const BODY: usize = 14 << 20;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has in memory, in MiB; none where the platform does not tell.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib >> 10)
}

fn connect(addr: &str) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn head(length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
}

#[test]
fn half_a_body_of_ten_mebibytes_from_64_clients_leaves_memory_bounded() {
    let mut running = Running(
        Command::new(env!("CARGO_BIN_EXE_kinesis-local"))
            .args([
                "serve",
                "--port",
                "0",
                "--stream",
                "s:1",
                "--no-limits",
                "--log",
                "off",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let addr = first.rsplit_once("http://").unwrap().1.to_owned();
    let before = resident(running.0.id());
    let half = vec![b' '; BODY / 2];
    let senders: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (addr, half) = (addr.clone(), half.clone());
            std::thread::spawn(move || {
                let mut socket = connect(&addr);
                socket.write_all(head(BODY).as_bytes()).unwrap();
                // Some are not read at all, for want of room; the kernel holds what it likes.
                socket
                    .set_write_timeout(Some(Duration::from_secs(2)))
                    .unwrap();
                let _ = socket.write_all(&half);
                socket
            })
        })
        .collect();
    let held: Vec<TcpStream> = senders.into_iter().map(|s| s.join().unwrap()).collect();
    // Another one is served meanwhile, with a body of an everyday size.
    let everyday = format!(
        r#"{{"StreamName":"s","PartitionKey":"k","Data":"{}"}}"#,
        "A".repeat(500_000)
    );
    for _ in 0..5 {
        let mut socket = connect(&addr);
        socket.write_all(head(everyday.len()).as_bytes()).unwrap();
        socket.write_all(everyday.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    match (before, resident(running.0.id())) {
        (Some(before), Some(now)) => {
            let grown = now.saturating_sub(before);
            println!("{grown} MiB for {CLIENTS} halves of {BODY} bytes");
            assert!(grown < 320, "{grown} MiB");
        }
        _ => println!("this platform does not tell what a process has in memory"),
    }
    // Who goes away leaves room: the others' turn comes, and then that of a large body.
    drop(held);
    let large = format!("{}{everyday}", " ".repeat(BODY - everyday.len()));
    let mut socket = connect(&addr);
    socket.write_all(head(large.len()).as_bytes()).unwrap();
    socket.write_all(large.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
