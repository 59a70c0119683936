//! The client: as little of HTTP/1.1 as the servers need, so that the load costs little.

use crate::Failure;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request, head and body.
pub fn request(operation: &str, body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=local/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature=00\r\nX-Amz-Date: 20260101T000000Z\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub ok: bool,
    /// Where the body starts.
    pub length: usize,
    /// None when the body is chunked.
    pub content: Option<usize>,
}

/// Reads a head; none when it is not whole.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let content = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())
            .flatten()
    });
    Some(Head {
        ok: text.starts_with("HTTP/1.1 200"),
        length: end + 4,
        content,
    })
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(256 << 10),
        })
    }

    /// Sends a request and gives the answer's body, which has to be a success.
    pub async fn call(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut found = None;
        let head = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            found = found.or_else(|| head(&self.buffer));
            if let Some(head) = found {
                let content = head.content.ok_or("an answer without a length")?;
                if self.buffer.len() >= head.length + content {
                    break head;
                }
                self.buffer
                    .reserve(head.length + content - self.buffer.len());
            }
        };
        let body = self.buffer.get(head.length..).unwrap_or_default();
        match head.ok {
            true => Ok(body),
            false => Err(format!("refused: {}", String::from_utf8_lossy(body)).into()),
        }
    }

    /// Sends a request of an operation, and reads the answer as JSON.
    pub async fn ask(&mut self, operation: &str, body: &str) -> Result<serde_json::Value, Failure> {
        let answer = self.call(&request(operation, body)).await?;
        match answer {
            [] => Ok(serde_json::Value::Null),
            answer => Ok(serde_json::from_slice(answer)?),
        }
    }
}
