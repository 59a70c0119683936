//! The wire: endpoints, credentials, signing, HTTP, and the typed operations of Kinesis and DynamoDB
//! that the engines of this workspace use.
//!
//! A [`Config`] says where, as whom and through what; [`kinesis::Client`] and [`dynamodb::Client`] make
//! one attempt or a retry loop per call; every failure is an [`Error`] with a [`ErrorKind`] from one
//! table.
//!
//! Kinesis is spoken to in CBOR over HTTP/1.1, and servers are trusted that the machine trusts;
//! [`ConfigBuilder`] has switches for JSON ([`Encoding`]), HTTP/2, another authority's certificates,
//! [proxies](Proxies), and FIPS and dual-stack names. Whom requests are signed as is told in
//! [`credentials`].
//!
//! Features, all off by default: `aws-lc` for TLS by aws-lc-rs in place of ring, `aws-config` for the
//! official SDK's own chain of credentials.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = aws::Config::builder().region("eu-west-1").load()?;
//! let kinesis = aws::kinesis::Client::new(&config);
//! let summary = kinesis.describe_stream_summary("orders").await?;
//! println!("{} open shards", summary.open_shard_count);
//! # Ok(()) }
//! ```

mod cbor;
mod client;
pub mod cloudwatch;
mod config;
pub mod credentials;
pub mod dynamodb;
mod encoding;
mod endpoint;
mod environment;
mod error;
mod http_client;
mod json;
pub mod kinesis;
mod profile;
mod proxy;
mod request_body;
mod sha256;
mod sign;
mod tls;
pub mod transport;

pub use config::{Config, ConfigBuilder, ConfigError, Timeouts};
pub use credentials::Credentials;
pub use encoding::Encoding;
pub use environment::Environment;
pub use error::{Error, ErrorKind, ServiceError};
pub use http_client::{HttpSettings, HttpTransport};
pub use proxy::{BadProxy, Proxies, Proxy};
pub use tls::CaFileError;
pub use transport::{InProcess, Transport, TransportError};
