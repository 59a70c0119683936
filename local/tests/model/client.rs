//! A caller that waits for each answer, on a thread of its own: of the core, or over a socket.

use bytes::Bytes;
use http::Request;
use local::{Limits, Local, LocalOptions, Server};
use runtime::ManualClock;
use runtime::time::from_epoch_millis;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Where the clocks start, in milliseconds since the epoch.
pub(crate) const T0: u64 = 1_700_000_000_000;

/// No answer came.
#[derive(Debug)]
pub(crate) struct Lost;

/// How requests reach the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Core,
    Sockets,
}

/// An endpoint without limits, on a clock that stands until it is moved.
pub(crate) struct Endpoint {
    pub(crate) local: Local,
    pub(crate) clock: Arc<ManualClock>,
    served: Option<(Server, Runtime)>,
}

impl Endpoint {
    pub(crate) fn new(way: Way, options: LocalOptions) -> Self {
        let clock = Arc::new(ManualClock::new(from_epoch_millis(T0)));
        let local = Local::new(LocalOptions {
            clock: Some(Arc::<ManualClock>::clone(&clock) as _),
            limits: Limits::Off,
            journal: 100,
            ..options
        })
        .unwrap();
        let served = (way == Way::Sockets).then(|| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let server = runtime
                .block_on(local.start_on("127.0.0.1:0".parse().unwrap()))
                .unwrap();
            (server, runtime)
        });
        Self {
            local,
            clock,
            served,
        }
    }

    pub(crate) fn client(&self) -> Client {
        match &self.served {
            Some((server, _)) => Client::Socket(Socket {
                addr: server.addr(),
                stream: None,
                buffer: Vec::new(),
            }),
            None => {
                let runtime = Builder::new_current_thread().build().unwrap();
                Client::Core(self.local.clone(), runtime)
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some((server, runtime)) = self.served.take() {
            runtime.block_on(server.stop());
        }
    }
}

pub(crate) enum Client {
    Core(Local, Runtime),
    Socket(Socket),
}

impl Client {
    /// The status and the body of an answer.
    pub(crate) fn send(
        &mut self,
        caller: &str,
        operation: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), Lost> {
        match self {
            Self::Core(local, runtime) => {
                let request = Request::post("/")
                    .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
                    .header("content-type", "application/x-amz-json-1.1")
                    .header("authorization", authorization(caller))
                    .body(Bytes::from(body))
                    .unwrap();
                let answer = runtime.block_on(local.handle(request));
                let answer = answer.map_err(|_| Lost)?;
                Ok((answer.status().as_u16(), answer.into_body().into()))
            }
            Self::Socket(socket) => {
                let head = format!(
                    "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
                     Content-Type: application/x-amz-json-1.1\r\nAuthorization: {}\r\n\
                     Content-Length: {}\r\n\r\n",
                    authorization(caller),
                    body.len()
                );
                let answer = socket.exchange(head.as_bytes(), &body);
                if answer.is_none() {
                    socket.stream = None;
                }
                answer.ok_or(Lost)
            }
        }
    }

    /// An answer that comes.
    pub(crate) fn ask(&mut self, operation: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = self
            .send("model", operation, body.to_string().into_bytes())
            .unwrap();
        let tree = match &answer[..] {
            b"" => Value::Null,
            bytes => serde_json::from_slice(bytes).unwrap(),
        };
        (status, tree)
    }

    /// A good answer.
    pub(crate) fn good(&mut self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(operation, body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }
}

/// Tells the endpoint who calls; nothing is verified.
fn authorization(caller: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={caller}/20231114/us-east-1/kinesis/aws4_request, \
         SignedHeaders=host, Signature=00"
    )
}

/// HTTP/1.1 with a connection that is kept.
pub(crate) struct Socket {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Socket {
    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.addr).unwrap();
                stream.set_nodelay(true).unwrap();
                stream
            }
        };
        stream.write_all(&[head, body].concat()).ok()?;
        self.buffer.clear();
        let mut part = [0; 1 << 16];
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            let count = stream.read(&mut part).ok().filter(|n| *n > 0)?;
            self.buffer.extend_from_slice(&part[..count]);
        };
        let mut answer = self.buffer.split_off(head + 4);
        let text = std::str::from_utf8(&self.buffer)
            .unwrap()
            .to_ascii_lowercase();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        let got = answer.len();
        answer.resize(length, 0);
        stream.read_exact(&mut answer[got..]).ok()?;
        self.stream = Some(stream);
        Some((status, answer))
    }
}
