//! The endpoint over sockets: HTTP/1.1 and HTTP/2, plain (HTTP/2 by prior knowledge) or in TLS (by
//! ALPN). What a client can hold is bounded: connections, the length of a body, and the time that a
//! handshake, a request's head, its body and silence may take.

use super::patience::Patience;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
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
                    let connection = connection(
                        self.clone(),
                        dynamo.clone(),
                        stream,
                        tls.clone(),
                        shutdown.clone(),
                    );
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
        drop(dynamo);
        // The queue is empty and closed, so the thread is about to end.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        Ok(())
    }
}

async fn connection(
    local: Local,
    dynamo: DynamoThread,
    stream: TcpStream,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let Some(tls) = tls else {
        return requests(local, dynamo, stream, shutdown).await;
    };
    let handshake = tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        handshake = tokio::time::timeout(BEGINNING, tls.acceptor().accept(stream)) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => requests(local, dynamo, stream, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn requests(
    local: Local,
    dynamo: DynamoThread,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shutdown: CancellationToken,
) {
    let stop = shutdown.clone();
    let service = service_fn(move |request| {
        let local = local.clone();
        let dynamo = dynamo.clone();
        let stop = stop.clone();
        async move { answer(&local, &dynamo, stop, request).await }
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
    local: &Local,
    dynamo: &DynamoThread,
    shutdown: CancellationToken,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY, whole(body)).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Ok(bare(StatusCode::PAYLOAD_TOO_LARGE)),
        Ok(Err(error)) => return Err(Unanswered::Body(error)),
        Err(_) => return Ok(bare(StatusCode::REQUEST_TIMEOUT)),
    };
    let response = local
        .answer(Request::from_parts(head, body), Dynamo::Thread(dynamo))
        .await?;
    Ok(response.map(|body| body.ending_with(shutdown.cancelled_owned())))
}

/// A request's body; none when it is too large. Each part is copied behind those before it while it is
/// still in the processor's cache, and hyper's buffer is free for the next.
async fn whole(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    /// Sends some bytes, and nothing more; gives what came back until the end, and after how long.
    async fn stalled(bytes: &[u8]) -> (String, Duration) {
        let local = Local::new(LocalOptions::default()).unwrap();
        let (dynamo, _thread) = DynamoThread::start(local.store().clone()).unwrap();
        let (mut client, server) = duplex(1 << 16);
        let start = Instant::now();
        let serving = tokio::spawn(requests(local, dynamo, server, CancellationToken::new()));
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        serving.await.unwrap();
        (String::from_utf8(answer).unwrap(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_is_given_up() {
        let head = "POST / HTTP/1.1\r\nHost: local\r\nContent-Length: 100\r\n";
        let whole = format!("{head}Connection: close\r\n\r\nhalf a body");
        let cases = [
            ("", BEGINNING, ""),
            ("P", BEGINNING, ""),
            (head, HEAD, ""),
            (&whole, BODY, "HTTP/1.1 408 Request Timeout"),
        ];
        for (bytes, patience, start) in cases {
            let (answer, after) = stalled(bytes.as_bytes()).await;
            assert!(answer.starts_with(start), "{bytes:?}: {answer}");
            assert_eq!(answer.is_empty(), start.is_empty(), "{answer}");
            assert_eq!(after.as_secs(), patience.as_secs(), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_on_http_2_ends() {
        // The preface, and empty settings.
        let bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let local = Local::new(LocalOptions::default()).unwrap();
        let (dynamo, _thread) = DynamoThread::start(local.store().clone()).unwrap();
        let (mut client, server) = duplex(1 << 16);
        let start = Instant::now();
        let serving = tokio::spawn(requests(local, dynamo, server, CancellationToken::new()));
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        serving.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), SILENCE.as_secs());
    }
}
