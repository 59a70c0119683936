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

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::future;
    use std::time::{Duration, SystemTime};

    #[derive(Debug)]
    struct Failing;

    impl Provide for Failing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(Cause::provider_error("no such role")))
        }
    }

    #[tokio::test]
    async fn what_the_sdks_providers_give_is_taken_with_its_end() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let keys = aws_credential_types::Credentials::new(
            "AKID",
            "hush",
            Some("token".to_owned()),
            Some(end),
            "test",
        );
        let found = SdkProvider::new(keys).provide().await.unwrap();
        assert_eq!(
            (found.access_key_id(), found.session_token(), found.expiry()),
            ("AKID", Some("token"), Some(end))
        );
        let error = SdkProvider::new(Failing).provide().await.unwrap_err();
        assert!(error.to_string().contains("no such role"), "{error}");
    }
}
