//! The endpoint of all rows, in a process of its own: TLS, HTTP/1.1, and of Kinesis as much as a
//! producer needs. It reads each body to its end and looks at the keys of a request's entries, because
//! the answer has to name their shards. It keeps nothing, unless it is to count what it stored.

use super::distance;
use super::service::{Service, Trouble};
use crate::Failure;
use bytes::BufMut;
use clap::Args;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Bytes taken from a connection at a time.
const READ: usize = 128 << 10;

#[derive(Debug, Clone, Args)]
pub struct SinkOptions {
    /// Shards of its streams.
    #[arg(long)]
    pub shards: u32,
    /// Where to write its certificate, in PEM.
    #[arg(long)]
    pub certificate: PathBuf,
    /// How far away it is: the round trip, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub round_trip: u64,
    /// Never answers PutRecords.
    #[arg(long)]
    pub stall: bool,
    /// What befalls PutRecords, but for the first request.
    #[command(flatten)]
    pub trouble: Trouble,
}

/// Serves until the standard input ends; says its port in one line. The input has a line for each range of
/// numbers that were admitted, its start and its end; then it says in a line of JSON what arrived of them.
pub async fn run(options: SinkOptions) -> Result<(), Failure> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    std::fs::write(&options.certificate, made.cert.pem())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());

    let service = Arc::new(Service::new(options.shards, options.trouble));
    let (serving, stall) = (Arc::clone(&service), options.stall);
    let one_way = Duration::from_millis(options.round_trip) / 2;
    let accept = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (acceptor, service) = (acceptor.clone(), Arc::clone(&serving));
            tokio::spawn(async move {
                // Connections end as their clients do: nothing to tell.
                let _ended = if one_way.is_zero() {
                    let stream = BufReader::with_capacity(READ, stream);
                    match acceptor.accept(stream).await {
                        Ok(stream) => serve(stream, &service, stall).await,
                        Err(error) => Err(error),
                    }
                } else {
                    match acceptor.accept(distance::away(stream, one_way)).await {
                        Ok(stream) => serve(stream, &service, stall).await,
                        Err(error) => Err(error),
                    }
                };
            });
        }
    };
    let mut input = tokio::io::stdin();
    let mut admitted = String::new();
    tokio::select! {
        biased;
        read = input.read_to_string(&mut admitted) => {
            read?;
            println!("{}", service.report(&ranges(&admitted)?));
            Ok(())
        }
        failed = accept => failed,
    }
}

fn ranges(text: &str) -> Result<Vec<Range<u64>>, Failure> {
    let range = |line: &str| {
        let (start, end) = line.split_once(' ').ok_or("a range has two ends")?;
        Ok(start.parse()?..end.parse()?)
    };
    text.lines().map(range).collect()
}

/// What matters of a request's head.
#[derive(Debug, Default)]
struct Head {
    length: usize,
    operation: String,
    cbor: bool,
    waits: bool,
}

impl Head {
    fn read(head: &[u8]) -> Self {
        let mut this = Self::default();
        for line in String::from_utf8_lossy(head).lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => this.length = value.parse().unwrap_or_default(),
                "content-type" => this.cbor = value.contains("cbor"),
                "x-amz-target" => {
                    this.operation = value.rsplit('.').next().unwrap_or_default().to_owned();
                }
                "expect" => this.waits = true,
                _ => {}
            }
        }
        this
    }
}

async fn serve<S>(mut stream: S, service: &Service, stall: bool) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer: Vec<u8> = Vec::with_capacity(READ);
    loop {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut (&mut buffer).limit(READ)).await? == 0 {
                return Ok(());
            }
        };
        let head = Head::read(buffer.get(..end).unwrap_or_default());
        if head.waits {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            stream.flush().await?;
        }
        let whole = end + head.length;
        buffer.reserve(whole.saturating_sub(buffer.len()));
        while buffer.len() < whole {
            // A bound, because the room for each read is cleared before it.
            if stream.read_buf(&mut (&mut buffer).limit(READ)).await? == 0 {
                return Ok(());
            }
        }
        if stall && head.operation == "PutRecords" {
            buffer = Vec::new();
            // Until the client goes.
            while stream.read_buf(&mut (&mut buffer).limit(READ)).await? > 0 {
                buffer.clear();
            }
            return Ok(());
        }
        let body = buffer.get(end..whole).unwrap_or_default();
        let answer = service.answer(&head.operation, head.cbor, body).await;
        let (status, kind, body) = (answer.status, answer.kind, answer.body);
        let length = body.len();
        let mut out = format!(
            "HTTP/1.1 {status}\r\nx-amzn-RequestId: 0\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        out.extend_from_slice(&body);
        stream.write_all(&out).await?;
        stream.flush().await?;
        buffer.drain(..whole);
    }
}
