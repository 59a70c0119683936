//! HTTP over sockets, by reqwest and rustls.

use crate::transport::{Body, Transport, TransportError};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::sync::Arc;
use std::time::Duration;

/// Connections over HTTP/1.1 with TLS 1.2 or 1.3 where the URL says `https`. Clones share them.
///
/// HTTP/1.1 with several connections moves more bytes per CPU-second than HTTP/2 at the sizes of
/// `PutRecords` and `GetRecords`.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    connect_timeout: Duration,
}

impl HttpTransport {
    /// Idle connections are closed before the service closes them (it does after a minute).
    const IDLE: Duration = Duration::from_secs(20);

    /// A client with no connections yet; each new one must stand within `connect_timeout`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(connect_timeout: Duration) -> Result<Self, TransportError> {
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(Self::IDLE)
            .tcp_nodelay(true)
            .user_agent(concat!("kinesis-rs/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(|client| Self {
                client,
                connect_timeout,
            })
            .map_err(|e| TransportError::Connect(Box::new(e)))
    }
}

/// ring's provider, handed in and not installed: a library sets no global. Where the platform has no
/// root certificates plain HTTP still works, and HTTPS fails with the verifier's reason.
fn tls() -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TransportError::Connect(Box::new(e)))?;
    match builder.clone().with_platform_verifier() {
        Ok(verified) => Ok(verified.with_no_client_auth()),
        Err(error) => {
            tracing::warn!(%error, "no root certificates on this machine: https cannot be used");
            Ok(builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth())
        }
    }
}

impl Transport for HttpTransport {
    fn call(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request.map(reqwest::Body::from))
                .map_err(|e| TransportError::Connect(Box::new(e)))?;
            let response = self.client.execute(request).await.map_err(failed)?;
            let mut head = http::Response::new(());
            *head.status_mut() = response.status();
            *head.headers_mut() = response.headers().clone();
            let length = response.content_length().unwrap_or(0);
            let parts = response.bytes_stream().map(|part| part.map_err(failed));
            Ok(head.map(|()| Body::from_stream(parts).with_length(length)))
        })
    }

    fn separate(&self) -> Result<Option<Arc<dyn Transport>>, TransportError> {
        Ok(Some(Arc::new(Self::new(self.connect_timeout)?)))
    }
}

fn failed(error: reqwest::Error) -> TransportError {
    let connect = error.is_connect() || error.is_builder();
    // The URL stands in the caller's error already.
    let error = Box::new(error.without_url());
    if connect {
        TransportError::Connect(error)
    } else {
        TransportError::Lost(error)
    }
}
