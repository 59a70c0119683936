//! The endpoint over sockets: HTTP/1.1 and HTTP/2, plain (HTTP/2 by prior knowledge) or in TLS (by
//! ALPN). What clients can hold is bounded: connections, the length of a body, what bodies and unread
//! answers take together, and the time that a handshake, a request's head, its body and silence may
//! take.

use super::patience::Patience;
use super::room::Room;
use super::tls::Tls;
use crate::body::AnswerBody;
use crate::dynamo::thread::DynamoThread;
use crate::endpoint::{Dynamo, Local};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest body taken: the service's 10 MiB in base64, with room for names.
const MAX_BODY: usize = 20 << 20;
/// Room made for a body before it comes.
const ROOM: usize = 1 << 20;
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 10_000;
/// How long the first bytes of a connection may take, and the handshake of TLS.
const BEGINNING: Duration = Duration::from_secs(30);
/// How long the head of a request may take, and the pause before it.
const HEAD: Duration = Duration::from_secs(120);
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(60);
/// How long a connection may be silent in both directions, whatever it waits for.
const SILENCE: Duration = Duration::from_secs(600);
/// How long open connections may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// The pause after an accept that failed for want of something (file handles).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a request was left without an answer; it closes the connection.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("a scripted fault")]
    Fault(#[from] crate::error::ConnectionLost),
    #[error("the body could not be read: {0}")]
    Body(hyper::Error),
}

/// A server that runs on tasks of its own. Dropped without [`Server::stop`], it stops in the
/// background.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    scheme: &'static str,
    shutdown: CancellationToken,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The endpoint's URL, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Stops listening, lets requests that are being answered finish (at most 5 seconds), and
    /// returns when all is closed. Cancelled, it stops all the same.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            // An error of the accept loop was logged there.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Local {
    /// Listens on an address (port 0 for any) and serves on a task of its own.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_on(&self, addr: SocketAddr) -> std::io::Result<Server> {
        self.start(addr, None).await
    }

    /// The same in TLS.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_tls_on(&self, addr: SocketAddr, tls: &Tls) -> std::io::Result<Server> {
        self.start(addr, Some(tls.clone())).await
    }

    async fn start(&self, addr: SocketAddr, tls: Option<Tls>) -> std::io::Result<Server> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let local = self.clone();
        let token = shutdown.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(async move { local.accept(listener, tls, token).await });
        Ok(Server {
            addr,
            scheme,
            shutdown,
            task: Some(task),
        })
    }

    /// Serves connections until `shutdown` is cancelled, then lets requests that are being answered
    /// finish (at most 5 seconds). DynamoDB's operations are carried out on a thread of its own.
    ///
    /// Dropped instead, connections that are open go on until their clients close them.
    ///
    /// # Errors
    /// When the DynamoDB thread cannot be started.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        self.accept(listener, None, shutdown).await
    }

    /// The same in TLS. A connection that begins otherwise is closed, and no other is touched.
    ///
    /// # Errors
    /// When the DynamoDB thread cannot be started.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: &Tls,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        self.accept(listener, Some(tls.clone()), shutdown).await
    }

    async fn accept(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let (dynamo, thread) = DynamoThread::start(self.store().clone())?;
        let serving = Serving {
            local: self.clone(),
            dynamo,
            room: Room::new(),
        };
        let connections = TaskTracker::new();
        // Cancelled when the drain is over.
        let abort = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = async {
                    // Never closed.
                    let permit = Arc::clone(&room).acquire_owned().await.ok();
                    listener.accept().await.map(|accepted| (permit, accepted))
                } => accepted,
            };
            match accepted {
                Ok((permit, (stream, peer))) => {
                    tracing::trace!(%peer, "connection");
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    let connection =
                        connection(serving.clone(), stream, tls.clone(), shutdown.clone());
                    let abort = abort.clone();
                    connections.spawn(async move {
                        tokio::select! {
                            biased;
                            () = abort.cancelled() => {}
                            () = connection => {}
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "connections were cut: they did not finish in time"
            );
            abort.cancel();
            connections.wait().await;
        }
        drop(serving);
        // The queue is empty and closed, so the thread is about to end.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        Ok(())
    }
}

/// What the connections of a server share.
#[derive(Debug, Clone)]
struct Serving {
    local: Local,
    dynamo: DynamoThread,
    room: Room,
}

async fn connection(
    serving: Serving,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) {
    let Some(tls) = tls else {
        return requests(serving, stream, shutdown).await;
    };
    let handshake = tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        handshake = tokio::time::timeout(BEGINNING, tls.acceptor().accept(stream)) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => requests(serving, stream, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn requests(
    serving: Serving,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shutdown: CancellationToken,
) {
    let stop = shutdown.clone();
    let service = service_fn(move |request| {
        let serving = serving.clone();
        let stop = stop.clone();
        async move { answer(&serving, stop, request).await }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new());
    let stream = TokioIo::new(Patience::new(stream, BEGINNING, SILENCE));
    let connection = builder.serve_connection(stream, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

async fn answer(
    serving: &Serving,
    shutdown: CancellationToken,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let (head, body) = request.into_parts();
    let end = Instant::now() + BODY;
    let held = serving.room.for_body(&body, MAX_BODY);
    let Ok(held) = tokio::time::timeout_at(end, held).await else {
        return Ok(bare(StatusCode::SERVICE_UNAVAILABLE));
    };
    let body = match tokio::time::timeout_at(end, whole(body)).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Ok(bare(StatusCode::PAYLOAD_TOO_LARGE)),
        Ok(Err(error)) => return Err(Unanswered::Body(error)),
        Err(_) => return Ok(bare(StatusCode::REQUEST_TIMEOUT)),
    };
    let request = Request::from_parts(head, body);
    let dynamo = Dynamo::Thread(&serving.dynamo);
    let response = serving.local.answer(request, dynamo).await?;
    drop(held);
    let (head, body) = response.into_parts();
    let Some(body) = body.kept_in(|bytes| serving.room.for_answer(bytes)) else {
        // Only reads have answers so large, and they can be asked again.
        tracing::warn!("an answer was dropped: too much of others is unread");
        return Ok(bare(StatusCode::SERVICE_UNAVAILABLE));
    };
    let body = body.ending_with(shutdown.cancelled_owned());
    Ok(Response::from_parts(head, body))
}

/// A request's body; none when it is too large. Each part is copied behind those before it while it is
/// still in the processor's cache, and hyper's buffer is free for the next.
async fn whole(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_BODY {
        return Ok(None);
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame?.into_data() else {
            continue;
        };
        if whole.len() + part.len() > MAX_BODY {
            return Ok(None);
        }
        if whole.is_empty() {
            if body.is_end_stream() {
                return Ok(Some(part));
            }
            // What is announced need not come.
            whole.reserve(announced.min(ROOM).max(part.len()));
        }
        whole.extend_from_slice(&part);
    }
    Ok(Some(whole.into()))
}

fn bare(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LocalOptions;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A connection to a server of its own.
    fn connected(tls: Option<Tls>) -> (Local, DuplexStream, JoinHandle<()>) {
        let local = Local::new(LocalOptions {
            limits: crate::options::Limits::Off,
            ..LocalOptions::default()
        })
        .unwrap();
        let (dynamo, _thread) = DynamoThread::start(local.store().clone()).unwrap();
        let serving = Serving {
            local: local.clone(),
            dynamo,
            room: Room::new(),
        };
        let (client, server) = duplex(1 << 16);
        let serving = connection(serving, server, tls, CancellationToken::new());
        (local, client, tokio::spawn(serving))
    }

    /// Sends some bytes, the last of them one by one at this pace; gives what came back until the end,
    /// and after how long.
    async fn stalled(bytes: &[u8], slowly: usize, pace: Duration) -> (String, Duration) {
        stalled_in(None, bytes, slowly, pace).await
    }

    async fn stalled_in(
        tls: Option<Tls>,
        bytes: &[u8],
        slowly: usize,
        pace: Duration,
    ) -> (String, Duration) {
        let (_, client, serving) = connected(tls);
        let start = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(client);
        let (fast, slow) = bytes.split_at(bytes.len() - slowly);
        writer.write_all(fast).await.unwrap();
        let mut answer = Vec::new();
        let drip = async {
            for byte in slow {
                tokio::time::sleep(pace).await;
                // The server may have given up.
                let _ = writer.write_all(&[*byte]).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            read = reader.read_to_end(&mut answer) => { read.unwrap(); }
            () = drip => {}
        }
        let after = start.elapsed();
        serving.await.unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), after)
    }

    const HEADERS: &str = "POST / HTTP/1.1\r\nHost: local\r\nContent-Length: 1000\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_is_given_up() {
        let whole = format!("{HEADERS}Connection: close\r\n\r\nhalf a body");
        let cases = [
            ("", BEGINNING, ""),
            ("P", BEGINNING, ""),
            (HEADERS, HEAD, ""),
            (&whole, BODY, "HTTP/1.1 408 Request Timeout"),
        ];
        for (bytes, patience, start) in cases {
            let (answer, after) = stalled(bytes.as_bytes(), 0, Duration::ZERO).await;
            assert!(answer.starts_with(start), "{bytes:?}: {answer}");
            assert_eq!(answer.is_empty(), start.is_empty(), "{answer}");
            assert_eq!(after.as_secs(), patience.as_secs(), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_buys_no_time() {
        let second = Duration::from_secs(1);
        let headers = format!("{HEADERS}X-Long: {}\r\n", "x".repeat(500));
        let (answer, after) = stalled(headers.as_bytes(), 500, second).await;
        assert_eq!((answer.as_str(), after.as_secs()), ("", HEAD.as_secs()));
        let body = format!("{HEADERS}Connection: close\r\n\r\n{}", " ".repeat(500));
        let (answer, after) = stalled(body.as_bytes(), 500, second).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_eq!(after.as_secs(), BODY.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tls_handshake_that_never_ends_is_given_up() {
        // The start of a ClientHello.
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        for slowly in [0, 8] {
            let tls = Tls::own(["localhost"]).unwrap();
            let pace = Duration::from_secs(10);
            let (answer, after) = stalled_in(Some(tls), hello, slowly, pace).await;
            assert_eq!(answer, "");
            assert_eq!(after.as_secs(), BEGINNING.as_secs(), "{slowly}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_on_http_2_ends() {
        // The preface, and empty settings.
        let bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let (_, after) = stalled(bytes, 0, Duration::ZERO).await;
        assert_eq!(after.as_secs(), SILENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_is_given_up() {
        let (local, mut client, serving) = connected(None);
        local.create_stream("s", 1).unwrap();
        let iterator = r#"{"StreamName":"s","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}"#;
        let record = format!(
            r#"{{"StreamName":"s","PartitionKey":"k","Data":"{}"}}"#,
            "A".repeat(1 << 20)
        );
        let ask = async |operation: &str, body: String| {
            let request = Request::post("/")
                .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
                .header("content-type", "application/x-amz-json-1.1")
                .body(Bytes::from(body));
            let answer = local.handle(request.unwrap()).await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body()
        };
        ask("PutRecord", record).await;
        let page = ask("GetShardIterator", iterator.to_owned()).await;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.GetRecords\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
            page.len()
        );
        let start = Instant::now();
        client.write_all(request.as_bytes()).await.unwrap();
        client.write_all(&page).await.unwrap();
        serving.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), SILENCE.as_secs());
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        assert!(answer.len() < 1 << 20, "what the connection holds, no more");
    }
}
