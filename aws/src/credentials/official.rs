//! The official SDK's own default chain.

use super::{Credentials, CredentialsError, ProvideCredentials, SdkProvider};
use aws_config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

/// The default chain of the official SDK (`aws-config`), which reads the process' own environment and
/// files, and calls through an HTTP client of its own. What it gives is kept and renewed as that of any
/// other source.
#[derive(Debug, Default)]
pub struct OfficialChain {
    profile: Option<String>,
    region: Option<String>,
    made: OnceCell<SdkProvider>,
}

impl OfficialChain {
    /// The chain as it comes. Nothing is read before the first look-up.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The profile in the shared files. Default: as the SDK finds it.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// The region whose STS is asked for roles. Default: as the SDK finds it.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    async fn make(&self) -> Result<SdkProvider, CredentialsError> {
        let client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(client);
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let config = loader.load().await;
        let provider = config.credentials_provider();
        provider
            .map(SdkProvider::new)
            .ok_or_else(|| CredentialsError::Provider {
                provider: "the SDK's chain",
                reason: "it has no provider".to_owned(),
                remedy: "give the environment, a profile or a role".to_owned(),
            })
    }
}

impl ProvideCredentials for OfficialChain {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        Box::pin(async {
            let made = self.made.get_or_try_init(|| self.make()).await?;
            made.provide().await
        })
    }
}
