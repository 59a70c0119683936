//! HTTP over sockets, by reqwest and rustls.

use crate::proxy::Proxies;
use crate::tls;
use crate::transport::{Body, RequestBody, Transport, TransportError};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::uri::Scheme;
use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// How long a connection may take to stand. Default 3 s.
    pub connect_timeout: Duration,
    /// HTTP/2: over plain `http` at once (with prior knowledge: a server that does not speak it
    /// answers nothing of use), over `https` where the server agrees to it (ALPN), else HTTP/1.1.
    /// Default: off.
    ///
    /// HTTP/1.1 with several connections moves more bytes per CPU-second than HTTP/2 at the sizes of
    /// `PutRecords` and `GetRecords`.
    pub http2: bool,
    /// A file of certificates in PEM, trusted in place of the machine's. Default: the machine's.
    pub ca_file: Option<PathBuf>,
    /// False: any certificate is accepted from any server, with a warning for each client that is made
    /// so. For trials alone: who sits on the way reads and changes everything. Default true.
    pub verify_certificate: bool,
    /// Which requests go through which proxy. Default: none, whatever the environment says.
    pub proxies: Proxies,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            http2: false,
            ca_file: None,
            verify_certificate: true,
            proxies: Proxies::default(),
        }
    }
}

impl HttpSettings {
    /// Sets the bound for a connection.
    #[must_use]
    pub fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ..self
        }
    }

    /// Turns HTTP/2 on or off.
    #[must_use]
    pub fn with_http2(self, http2: bool) -> Self {
        Self { http2, ..self }
    }

    /// Sets the file of certificates to trust.
    #[must_use]
    pub fn with_ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self {
            ca_file: Some(path.into()),
            ..self
        }
    }

    /// Turns the verification of servers' certificates on or off.
    #[must_use]
    pub fn with_verify_certificate(self, verify_certificate: bool) -> Self {
        Self {
            verify_certificate,
            ..self
        }
    }

    /// Sets which requests go through which proxy.
    #[must_use]
    pub fn with_proxies(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }
}

/// Connections over HTTP/1.1, or HTTP/2 where the settings say so, with TLS 1.2 or 1.3 where the URL
/// says `https`. Clones share them.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    plain: reqwest::Client,
    /// For `https`. With HTTP/2 another client than for `http`: there the version is known before,
    /// here it is agreed on.
    secure: reqwest::Client,
    settings: HttpSettings,
}

impl HttpTransport {
    /// Idle connections are closed before the service closes them (it does after a minute).
    const IDLE: Duration = Duration::from_secs(20);
    /// How often a connection of HTTP/2 is asked whether it lives while requests wait. They share it, and
    /// a dead one would not be given up when an attempt's time is over.
    const PING: Duration = Duration::from_secs(5);
    /// It is given up when no answer comes within this time.
    const PONG: Duration = Duration::from_secs(5);

    /// A client with no connections yet; each new one must stand within `connect_timeout`. The other
    /// settings have their defaults.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(connect_timeout: Duration) -> Result<Self, TransportError> {
        Self::with_settings(HttpSettings::default().with_connect_timeout(connect_timeout))
    }

    /// A client with no connections yet.
    ///
    /// # Errors
    /// [`TransportError::CaFile`] when the file of certificates cannot be used; and when the HTTP
    /// client cannot be made.
    pub fn with_settings(settings: HttpSettings) -> Result<Self, TransportError> {
        let tls = tls::client_config(settings.ca_file.as_deref(), settings.verify_certificate)?;
        let (plain, secure) = if settings.http2 {
            let mut agreed = tls.clone();
            agreed.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let plain = builder(&settings, tls)?.http2_prior_knowledge();
            (built(plain)?, built(builder(&settings, agreed)?)?)
        } else {
            let client = built(builder(&settings, tls)?.http1_only())?;
            (client.clone(), client)
        };
        Ok(Self {
            plain,
            secure,
            settings,
        })
    }
}

fn builder(
    settings: &HttpSettings,
    tls: rustls::ClientConfig,
) -> Result<reqwest::ClientBuilder, TransportError> {
    // The environment's proxies are in the settings or not meant.
    let builder = reqwest::Client::builder().no_proxy();
    let proxies = settings.proxies.of_client()?;
    let builder = proxies
        .into_iter()
        .fold(builder, reqwest::ClientBuilder::proxy);
    Ok(builder
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(HttpTransport::IDLE)
        .http2_keep_alive_interval(HttpTransport::PING)
        .http2_keep_alive_timeout(HttpTransport::PONG)
        .tcp_nodelay(true)
        .user_agent(concat!("kinesis-rs/", env!("CARGO_PKG_VERSION"))))
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, TransportError> {
    builder
        .build()
        .map_err(|e| TransportError::Connect(Box::new(e)))
}

impl Transport for HttpTransport {
    /// The answer has the version of HTTP that it came by.
    fn call(
        &self,
        mut request: http::Request<RequestBody>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        let client = match request.uri().scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => &self.secure,
            _ => &self.plain,
        };
        if self.settings.http2 {
            // HTTP/2 has the host in the URI's place alone; for HTTP/1.1 the client adds it again.
            request.headers_mut().remove(http::header::HOST);
        }
        Box::pin(async move {
            let request = reqwest::Request::try_from(request.map(RequestBody::sent))
                .map_err(|e| TransportError::Connect(Box::new(e)))?;
            let response = client.execute(request).await.map_err(failed)?;
            let mut head = http::Response::new(());
            *head.status_mut() = response.status();
            *head.version_mut() = response.version();
            *head.headers_mut() = response.headers().clone();
            let length = response.content_length().unwrap_or(0);
            let parts = response.bytes_stream().map(|part| part.map_err(failed));
            Ok(head.map(|()| Body::from_stream(parts).with_length(length)))
        })
    }

    fn separate(&self) -> Result<Option<Arc<dyn Transport>>, TransportError> {
        Ok(Some(Arc::new(Self::with_settings(self.settings.clone())?)))
    }
}

fn failed(error: reqwest::Error) -> TransportError {
    if let Some(reason) = refused_certificate(&error) {
        return TransportError::Certificate(Box::new(reason));
    }
    let connect = error.is_connect() || error.is_builder();
    // The URL stands in the caller's error already.
    let error = Box::new(error.without_url());
    if connect {
        TransportError::Connect(error)
    } else {
        TransportError::Lost(error)
    }
}

/// Why we did not accept the server's certificate, if that is what the error comes from.
fn refused_certificate(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(reason @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return Some(reason.clone());
        }
        // An I/O error passes over the one that it was made of.
        let inside = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}
