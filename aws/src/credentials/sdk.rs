//! Credentials from a provider of the official SDK.

use super::{Credentials, CredentialsError, ProvideCredentials};
use aws_credential_types::provider::{
    ProvideCredentials as Provide, SharedCredentialsProvider, error::CredentialsError as Cause,
};
use futures::future::BoxFuture;
use std::error::Error as StdError;

/// Any provider of the official SDK (`aws_credential_types::provider::ProvideCredentials`), e.g. the one
/// of an `aws_config::SdkConfig`.
#[derive(Debug, Clone)]
pub struct SdkProvider(SharedCredentialsProvider);

impl SdkProvider {
    /// Takes credentials from `provider`.
    pub fn new(provider: impl Provide + 'static) -> Self {
        Self(SharedCredentialsProvider::new(provider))
    }
}

impl ProvideCredentials for SdkProvider {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        Box::pin(async {
            let found = self.0.provide_credentials().await.map_err(failed)?;
            Ok(Credentials(found))
        })
    }
}

fn failed(error: Cause) -> CredentialsError {
    let cause = error.source().map(|cause| format!(": {cause}"));
    CredentialsError::Provider {
        provider: "the SDK's provider",
        reason: format!("{error}{}", cause.unwrap_or_default()),
        remedy: "look at what it reads: environment, profile, role".to_owned(),
    }
}
