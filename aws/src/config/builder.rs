//! What is given for a configuration, and where the rest is looked up.

use super::{Config, ConfigError, Timeouts};
use crate::credentials::{self, Access, Chain, Credentials, Given, ProvideCredentials};
use crate::encoding::Encoding;
use crate::endpoint::{Endpoint, OwnedHosts, Service, Variant};
use crate::environment::Environment;
use crate::http_client::{HttpSettings, HttpTransport};
use crate::profile::Profile;
use crate::proxy::{Proxies, Proxy};
use crate::sign::Skew;
use crate::transport::{Transport, TransportError};
use runtime::{Chance, RetryPolicy, SystemClock, WallClock};
use std::path::PathBuf;
use std::sync::Arc;

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
    fips: Option<bool>,
    dual_stack: Option<bool>,
    account_hosts: bool,
    proxy: Option<Proxy>,
    proxies: Option<Proxies>,
}

impl ConfigBuilder {
    /// The region. Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's `region`.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The URL of every service, with scheme and, if it is not the scheme's own, port. Default:
    /// `AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL_DYNAMODB` and `AWS_ENDPOINT_URL_CLOUDWATCH`,
    /// `AWS_ENDPOINT_URL`, the `endpoint_url` of `kinesis`, `dynamodb` and `cloudwatch` in the profile's
    /// `services`, the profile's `endpoint_url`, the region's own endpoints.
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

    /// The endpoints that are validated for FIPS 140, also of CloudWatch, STS and SSO. Default:
    /// `AWS_USE_FIPS_ENDPOINT`, the profile's `use_fips_endpoint`, false. Not beside an endpoint that is
    /// given as a URL.
    #[must_use]
    pub fn use_fips(mut self, on: bool) -> Self {
        self.fips = Some(on);
        self
    }

    /// The endpoints that have addresses of IPv4 and IPv6, also of CloudWatch, STS and SSO. Default:
    /// `AWS_USE_DUALSTACK_ENDPOINT`, the profile's `use_dualstack_endpoint`, false. Not beside an
    /// endpoint that is given as a URL.
    #[must_use]
    pub fn use_dual_stack(mut self, on: bool) -> Self {
        self.dual_stack = Some(on);
        self
    }

    /// Requests that name a stream by its ARN go to the host of the stream's account
    /// (`<account>.data-kinesis.<region>.…`), those of a client with a `StreamId` to the stream's, as
    /// with the AWS SDKs. Not beside a URL that is given for Kinesis, nor in the partitions that have
    /// no such hosts. Default: off, everything goes to the region's host, which serves all streams:
    /// its connections are shared.
    #[must_use]
    pub fn account_hosts(mut self, on: bool) -> Self {
        self.account_hosts = on;
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

    /// A proxy for all requests but those that `no_proxy` or `NO_PROXY` excepts, and those that no
    /// proxy is ever asked for ([`Proxies`]). Default: [`Proxies::from_environment`]. Not used with a
    /// transport of the caller's own.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Which requests go through which proxy, whatever the environment says; the default ones go
    /// through none. Goes before [`ConfigBuilder::proxy`].
    #[must_use]
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = Some(proxies);
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
        let env = self.environment.clone();
        let env = env.unwrap_or_else(Environment::process);
        let profile = Profile::load(&env, self.profile.as_deref())?;
        self.build(env, profile)
    }

    /// As [`ConfigBuilder::load`]; where no place names a region, the instance that this runs on is
    /// asked (IMDSv2; a second at most for each of its two answers, and not when
    /// `AWS_EC2_METADATA_DISABLED` is true), as the Kinesis Producer Library does with an empty
    /// `Region`.
    ///
    /// # Errors
    /// As [`ConfigBuilder::load`].
    ///
    /// # Cancellation
    /// Dropping the future gives the question up.
    pub async fn load_asking_instance(mut self) -> Result<Config, ConfigError> {
        let env = self.environment.clone();
        let env = env.unwrap_or_else(Environment::process);
        let profile = Profile::load(&env, self.profile.as_deref())?;
        match self.find_region(&env, &profile) {
            Err(missing @ ConfigError::NoRegion { .. }) => {
                let transport = match &self.transport {
                    Some(transport) => Arc::clone(transport),
                    None => Arc::new(HttpTransport::new(self.timeouts.connect)?),
                };
                let chance = self.chance.get_or_insert_with(Chance::from_entropy);
                let asked =
                    credentials::region_of_instance(&env, &profile, &*transport, chance).await;
                self.region = Some(asked.map_err(|instance| ConfigError::NoRegionAtInstance {
                    instance,
                    source: Box::new(missing),
                })?);
            }
            Err(other) => return Err(other),
            Ok(region) => self.region = Some(region),
        }
        self.build(env, profile)
    }

    fn find_region(&self, env: &Environment, profile: &Profile) -> Result<String, ConfigError> {
        let region = self
            .region
            .clone()
            .or_else(|| env.get("AWS_REGION"))
            .or_else(|| env.get("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region"))
            .ok_or_else(|| ConfigError::NoRegion {
                profile: profile.name().to_owned(),
                file: env
                    .config_file()
                    .map_or_else(|| "~/.aws/config".to_owned(), |f| f.display().to_string()),
            })?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(ConfigError::BadRegion { region });
        }
        Ok(region)
    }

    /// FIPS and dual stack, as set, from the environment, or from the profile.
    fn variant(&self, env: &Environment, profile: &Profile) -> Variant {
        let on = |set: Option<bool>, variable: &str, key: &str| {
            let configured = || env.get(variable).or_else(|| profile.get(key));
            set.unwrap_or_else(|| configured().is_some_and(|v| v.eq_ignore_ascii_case("true")))
        };
        Variant {
            fips: on(self.fips, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dual_stack: on(
                self.dual_stack,
                "AWS_USE_DUALSTACK_ENDPOINT",
                "use_dualstack_endpoint",
            ),
        }
    }

    fn build(self, env: Environment, profile: Profile) -> Result<Config, ConfigError> {
        let region = self.find_region(&env, &profile)?;
        let variant = self.variant(&env, &profile);
        let endpoint = |own: Option<String>, service| {
            let given = [
                ("endpoint given for the service", own),
                ("endpoint_url", self.endpoint.clone()),
            ];
            Endpoint::find(service, &region, variant, given, &env, &profile)
        };
        let kinesis = endpoint(self.kinesis_endpoint.clone(), Service::Kinesis)?;
        let owned_hosts = OwnedHosts::of(&region, variant).filter(|_| {
            let own = Endpoint::of_region(Service::Kinesis, &region, variant);
            self.account_hosts && own.is_ok_and(|own| own == kinesis)
        });
        let dynamodb = endpoint(self.dynamodb_endpoint.clone(), Service::DynamoDb)?;
        let cloudwatch = endpoint(None, Service::CloudWatch)?;
        let sts = endpoint(None, Service::Sts)?;
        let (transport, http) = match &self.transport {
            Some(transport) => (Arc::clone(transport), None),
            None => {
                let (transport, http) = self.http(&env, &profile)?;
                (Arc::new(transport) as Arc<dyn Transport>, Some(http))
            }
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let chance = self.chance.unwrap_or_else(Chance::from_entropy);
        let skew = Skew::default();
        let provider = self.credentials.unwrap_or_else(|| {
            Arc::new(Chain::new(Access {
                env,
                profile: Arc::new(profile),
                transport: Arc::clone(&transport),
                clock: Arc::clone(&clock),
                skew: skew.clone(),
                chance: chance.fork(),
                region: region.clone(),
                sts,
                given: self.endpoint,
                variant,
            }))
        });
        let credentials = Arc::new(Given {
            provider,
            clock: Arc::clone(&clock),
            skew: skew.clone(),
            chance: chance.fork(),
        });
        Ok(Config {
            region,
            kinesis,
            dynamodb,
            cloudwatch,
            owned_hosts,
            credentials,
            kinesis_encoding: self.kinesis_encoding,
            transport,
            http,
            clock,
            chance,
            timeouts: self.timeouts,
            retry: self.retry,
            skew,
            common: super::common::Common::default(),
        })
    }

    /// An HTTP client by what was given, set and configured.
    fn http(
        &self,
        env: &Environment,
        profile: &Profile,
    ) -> Result<(HttpTransport, HttpSettings), ConfigError> {
        let ca_file = [
            ("ca_file", self.ca_file.clone()),
            ("AWS_CA_BUNDLE", env.get("AWS_CA_BUNDLE").map(PathBuf::from)),
            (
                "ca_bundle of the profile",
                profile.get("ca_bundle").map(PathBuf::from),
            ),
        ]
        .into_iter()
        .find_map(|(source, path)| Some((source, path?)));
        let (source_name, ca_file) = ca_file.unzip();
        let proxies = match (&self.proxies, &self.proxy) {
            (Some(proxies), _) => proxies.clone(),
            (None, Some(proxy)) => Proxies {
                except: Proxies::exceptions(env),
                ..Proxies::all(proxy.clone())
            },
            (None, None) => Proxies::from_environment(env)?,
        };
        let http = HttpSettings {
            connect_timeout: self.timeouts.connect,
            http2: self.http2,
            ca_file,
            verify_certificate: !self.accept_any_certificate,
            proxies,
        };
        let transport =
            HttpTransport::with_settings(http.clone()).map_err(|error| match error {
                TransportError::CaFile(source) => ConfigError::CaFile {
                    source_name: source_name.unwrap_or("ca_file"),
                    source: *source,
                },
                other => ConfigError::Transport(other),
            })?;
        Ok((transport, http))
    }
}
