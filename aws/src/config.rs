//! Where, as whom, through what, and how long.

mod builder;
mod common;

pub use builder::ConfigBuilder;

use crate::credentials::Given;
use crate::encoding::Encoding;
use crate::endpoint::{Endpoint, OwnedHosts};
use crate::http_client::{HttpSettings, HttpTransport};
use crate::profile::ProfileError;
use crate::proxy::BadProxy;
use crate::sign::Skew;
use crate::tls::CaFileError;
use crate::transport::{Transport, TransportError};
use common::Common;
use runtime::{Chance, RetryPolicy, WallClock};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// Everything that clients share. Clones are cheap and share connections, the source of credentials and
/// the learnt clock skew. What the source gave is kept by each client of its own, so that a client on
/// one runtime never waits for another runtime's look-up.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) region: String,
    pub(crate) kinesis: Endpoint,
    pub(crate) dynamodb: Endpoint,
    pub(crate) cloudwatch: Endpoint,
    /// Kinesis' hosts of accounts and streams, where they are to be used.
    pub(crate) owned_hosts: Option<OwnedHosts>,
    pub(crate) credentials: Arc<Given>,
    pub(crate) kinesis_encoding: Encoding,
    pub(crate) transport: Arc<dyn Transport>,
    /// How `transport` was made; none when it is the caller's own.
    pub(crate) http: Option<HttpSettings>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) chance: Chance,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    pub(crate) skew: Skew,
    common: Common,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For a connection. Default 3 s. Not used with a transport of the caller's own.
    pub connect: Duration,
    /// For one attempt, from sending to the last byte of the answer. Default 30 s.
    pub attempt: Duration,
    /// For a call with all its attempts and delays. Default 120 s.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(30),
            operation: Duration::from_secs(120),
        }
    }
}

impl Timeouts {
    /// Sets the bound for a connection.
    #[must_use]
    pub const fn with_connect(mut self, connect: Duration) -> Self {
        self.connect = connect;
        self
    }

    /// Sets the bound for one attempt.
    #[must_use]
    pub const fn with_attempt(mut self, attempt: Duration) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets the bound for a whole call.
    #[must_use]
    pub const fn with_operation(mut self, operation: Duration) -> Self {
        self.operation = operation;
        self
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No place names a region.
    #[error(
        "no region: looked at the builder, AWS_REGION, AWS_DEFAULT_REGION and `region` of profile \
         {profile:?} in {file}; set one of them"
    )]
    NoRegion {
        /// The profile that was looked at.
        profile: String,
        /// The file that was looked at.
        file: String,
    },
    /// No place names a region, nor does the instance.
    #[error("{source}; the instance's metadata does not say it either: {instance}")]
    NoRegionAtInstance {
        /// Why the instance did not say.
        instance: String,
        /// Where else was looked.
        source: Box<ConfigError>,
    },
    /// The region is not one: its name would become part of a host name.
    #[error("region {region:?} is not valid: letters, digits and hyphens, e.g. eu-west-1")]
    BadRegion {
        /// The name as given.
        region: String,
    },
    /// An endpoint is not a URL that can be called.
    #[error("{source_name}: endpoint {url:?} is not valid: {reason}; e.g. http://127.0.0.1:4567")]
    BadEndpoint {
        /// Where it was given.
        source_name: &'static str,
        /// As given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// FIPS or dual-stack names were asked for beside an endpoint that has one name alone.
    #[error(
        "{source_name} names the endpoint, and {switch} asks for another kind of name: take one of \
         them out"
    )]
    EndpointVariant {
        /// Where the endpoint was given.
        source_name: &'static str,
        /// What was asked for.
        switch: &'static str,
    },
    /// A proxy is none.
    #[error("{source_name}: {source}")]
    BadProxy {
        /// Where it was named.
        source_name: &'static str,
        /// What is wrong.
        source: BadProxy,
    },
    /// A profile file could not be read, or lacks the profile that was named.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The file of certificates to trust cannot be used.
    #[error("{source_name}: {source}")]
    CaFile {
        /// Where it was named.
        source_name: &'static str,
        /// What is wrong.
        source: CaFileError,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Transport(#[from] TransportError),
}

impl Config {
    /// Starts a configuration from nothing.
    #[must_use]
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The wall clock that requests are signed by.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn WallClock> {
        Arc::clone(&self.clock)
    }

    /// The value of this type that all clones of this configuration share, made when it is asked for first:
    /// for libraries that have something to share within a process, without a global.
    #[must_use]
    pub fn common<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.common.get()
    }

    /// The randomness that delays are jittered by.
    #[must_use]
    pub fn chance(&self) -> Chance {
        self.chance.clone()
    }

    /// The URL that Kinesis is called at.
    #[must_use]
    pub fn kinesis_endpoint(&self) -> String {
        self.kinesis.to_string()
    }

    /// The same configuration over another transport: connections of its own. The default source of
    /// credentials goes on asking over the one that the configuration was loaded with.
    #[must_use]
    pub fn with_transport(&self, transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            http: None,
            ..self.clone()
        }
    }

    /// The same configuration over connections of its own, for work that must not wait behind other
    /// requests or that runs on another runtime. A transport without connections is shared.
    ///
    /// # Errors
    /// When the transport cannot be made.
    pub fn with_own_connections(&self) -> Result<Self, ConfigError> {
        Ok(match self.transport.separate()? {
            Some(transport) => Self {
                transport,
                ..self.clone()
            },
            None => self.clone(),
        })
    }

    /// The same configuration over connections of its own, each of which must stand within `bound`;
    /// the other settings of connections stay. A transport of the caller's own stays as it is.
    ///
    /// # Errors
    /// When the transport cannot be made.
    pub fn with_connect_timeout(&self, bound: Duration) -> Result<Self, ConfigError> {
        let mut config = self.with_timeouts(self.timeouts.with_connect(bound));
        if let Some(http) = self.http.clone() {
            let http = http.with_connect_timeout(bound);
            config.transport = Arc::new(HttpTransport::with_settings(http.clone())?);
            config.http = Some(http);
        }
        Ok(config)
    }

    /// The same configuration with another encoding of Kinesis' requests and answers.
    #[must_use]
    pub fn with_kinesis_encoding(&self, encoding: Encoding) -> Self {
        Self {
            kinesis_encoding: encoding,
            ..self.clone()
        }
    }

    /// The same configuration with other time-outs.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            ..self.clone()
        }
    }

    /// The same configuration with another retry policy.
    #[must_use]
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self {
            retry,
            ..self.clone()
        }
    }
}
