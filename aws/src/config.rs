//! Where, as whom, through what, and how long.

use crate::credentials::{self, Credentials, ProvideCredentials};
use crate::encoding::Encoding;
use crate::endpoint::{Endpoint, Service};
use crate::environment::Environment;
use crate::http_client::{HttpSettings, HttpTransport};
use crate::profile::{Profile, ProfileError};
use crate::sign::Skew;
use crate::tls::CaFileError;
use crate::transport::{Transport, TransportError};
use runtime::{Chance, RetryPolicy, SystemClock, WallClock};
use std::path::PathBuf;
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
    pub(crate) credentials: Arc<dyn ProvideCredentials>,
    pub(crate) kinesis_encoding: Encoding,
    pub(crate) transport: Arc<dyn Transport>,
    /// How `transport` was made; none when it is the caller's own.
    pub(crate) http: Option<HttpSettings>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) chance: Chance,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    pub(crate) skew: Skew,
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

/// Collects what is given; [`ConfigBuilder::load`] looks up the rest.
#[derive(Debug, Default)]
pub struct ConfigBuilder {
    region: Option<String>,
    endpoint: Option<String>,
    kinesis_endpoint: Option<String>,
    dynamodb_endpoint: Option<String>,
    credentials: Option<Arc<dyn ProvideCredentials>>,
    profile: Option<String>,
    transport: Option<Arc<dyn Transport>>,
    clock: Option<Arc<dyn WallClock>>,
    chance: Option<Chance>,
    timeouts: Timeouts,
    retry: RetryPolicy,
    environment: Option<Environment>,
    kinesis_encoding: Encoding,
    http2: bool,
    ca_file: Option<PathBuf>,
    accept_any_certificate: bool,
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

    /// The same configuration over another transport: connections of its own.
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

impl ConfigBuilder {
    /// The region. Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's `region`.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The URL of every service, with scheme and, if it is not the scheme's own, port. Default:
    /// `AWS_ENDPOINT_URL_KINESIS` and `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL`, the
    /// `endpoint_url` of `kinesis` and `dynamodb` in the profile's `services`, the profile's
    /// `endpoint_url`, the region's own endpoints.
    #[must_use]
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// The URL of Kinesis alone; goes before [`ConfigBuilder::endpoint_url`].
    #[must_use]
    pub fn kinesis_endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.kinesis_endpoint = Some(url.into());
        self
    }

    /// The URL of DynamoDB alone; goes before [`ConfigBuilder::endpoint_url`].
    #[must_use]
    pub fn dynamodb_endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.dynamodb_endpoint = Some(url.into());
        self
    }

    /// Credentials that do not change. Default: the chain of [`credentials`].
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(Arc::new(credentials));
        self
    }

    /// A source of credentials.
    #[must_use]
    pub fn credentials_provider(mut self, provider: Arc<dyn ProvideCredentials>) -> Self {
        self.credentials = Some(provider);
        self
    }

    /// The profile in the shared files. Default: `AWS_PROFILE`, then `default`.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// What carries the requests. Default: an HTTP client with connections of its own.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// How requests to Kinesis and its answers are written. Default: CBOR. DynamoDB has JSON alone.
    #[must_use]
    pub fn kinesis_encoding(mut self, encoding: Encoding) -> Self {
        self.kinesis_encoding = encoding;
        self
    }

    /// HTTP/2: over plain `http` at once, over `https` where the server agrees to it, else HTTP/1.1.
    /// Default: off, since HTTP/1.1 moves more bytes per CPU-second. Not used with a transport of the
    /// caller's own.
    #[must_use]
    pub fn http2(mut self, on: bool) -> Self {
        self.http2 = on;
        self
    }

    /// A file of certificates in PEM that are trusted in place of the machine's. Default:
    /// `AWS_CA_BUNDLE`, the profile's `ca_bundle`, the machine's. Read when the configuration is
    /// loaded, and again when [`Config::with_own_connections`] makes further connections. Not used
    /// with a transport of the caller's own.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// False: any certificate is accepted from any server, with a warning each time a client is made
    /// so. For trials alone: who sits on the way reads and changes everything. Default: true. Not used
    /// with a transport of the caller's own.
    #[must_use]
    pub fn verify_certificate(mut self, verify: bool) -> Self {
        self.accept_any_certificate = !verify;
        self
    }

    /// The wall clock to sign by. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The randomness for jitter. Default: from the process' entropy.
    #[must_use]
    pub fn chance(mut self, chance: Chance) -> Self {
        self.chance = Some(chance);
        self
    }

    /// How long to wait.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How a call is tried again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Where variables come from. Default: the process.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Looks up what was not given, in the environment and in the shared files. Calls no service.
    ///
    /// # Errors
    /// When there is no region, an endpoint is no URL, a named profile does not exist, or a file of
    /// certificates cannot be used. Missing credentials show at the first call.
    pub fn load(self) -> Result<Config, ConfigError> {
        let env = self.environment.unwrap_or_else(Environment::process);
        let profile = Profile::load(&env, self.profile.as_deref())?;
        let region = self
            .region
            .or_else(|| env.get("AWS_REGION"))
            .or_else(|| env.get("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region"))
            .ok_or_else(|| ConfigError::NoRegion {
                profile: profile.name().to_owned(),
                file: env
                    .config_file()
                    .map_or_else(|| "~/.aws/config".to_owned(), |f| f.display().to_string()),
            })?;
        if region.is_empty()
            || !region
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(ConfigError::BadRegion { region });
        }
        let endpoint = |own: Option<String>, service| {
            let given = [
                ("endpoint given for the service", own),
                ("endpoint_url", self.endpoint.clone()),
            ];
            Endpoint::find(service, &region, given, &env, &profile)
        };
        let kinesis = endpoint(self.kinesis_endpoint, Service::Kinesis)?;
        let dynamodb = endpoint(self.dynamodb_endpoint, Service::DynamoDb)?;
        let (transport, http) = match self.transport {
            Some(transport) => (transport, None),
            None => {
                let ca_file = [
                    ("ca_file", self.ca_file),
                    ("AWS_CA_BUNDLE", env.get("AWS_CA_BUNDLE").map(PathBuf::from)),
                    (
                        "ca_bundle of the profile",
                        profile.get("ca_bundle").map(PathBuf::from),
                    ),
                ]
                .into_iter()
                .find_map(|(source, path)| Some((source, path?)));
                let (source_name, ca_file) = ca_file.unzip();
                let http = HttpSettings {
                    connect_timeout: self.timeouts.connect,
                    http2: self.http2,
                    ca_file,
                    verify_certificate: !self.accept_any_certificate,
                };
                let transport =
                    HttpTransport::with_settings(http.clone()).map_err(|error| match error {
                        TransportError::CaFile(source) => ConfigError::CaFile {
                            source_name: source_name.unwrap_or("ca_file"),
                            source: *source,
                        },
                        other => ConfigError::Transport(other),
                    })?;
                (Arc::new(transport) as Arc<dyn Transport>, Some(http))
            }
        };
        let credentials = self
            .credentials
            .unwrap_or_else(|| credentials::default_chain(env, &profile));
        Ok(Config {
            region,
            kinesis,
            dynamodb,
            credentials,
            kinesis_encoding: self.kinesis_encoding,
            transport,
            http,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            chance: self.chance.unwrap_or_else(Chance::from_entropy),
            timeouts: self.timeouts,
            retry: self.retry,
            skew: Skew::default(),
        })
    }
}
