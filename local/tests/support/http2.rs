//! A client of HTTP/2 that knows beforehand that it is spoken.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// What sends requests, and what ends with the connection.
pub(crate) type Client = (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>);

pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    (client, tokio::spawn(connection))
}
