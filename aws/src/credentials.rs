//! As whom requests are signed.
//!
//! The chain, when nothing is given; the first place that has something to say counts, as in the AWS
//! SDK for Java:
//!
//! | Place | What it reads |
//! | --- | --- |
//! | environment | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | web identity | `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`, `AWS_ROLE_SESSION_NAME` |
//! | profile | `role_arn` with `web_identity_token_file`, `source_profile` (also chained) or `credential_source`, and `external_id`, `role_session_name`, `duration_seconds`; `sso_account_id` and `sso_role_name` with `sso_session` or `sso_start_url` (the token that `aws sso login` left, renewed where it can be); `aws_access_key_id` …; `credential_process` |
//! | container | `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `…_FULL_URI`, `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or `…_TOKEN` |
//! | instance | IMDSv2, unless `AWS_EC2_METADATA_DISABLED`; `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `…_ENDPOINT_MODE` |
//!
//! Within a profile the order is that of the AWS command line: role, SSO, keys, process. A place that
//! says something which cannot be carried out is an error: signing with other keys than those that
//! are meant would be worse than not signing.
//!
//! What a source gave is kept. Credentials that end are renewed before they do, by one look-up at a
//! time, while requests go on with the old ones; a source that fails stops nothing while these are
//! valid. Credentials that the service refuses are asked for again, so that rotated keys in the shared
//! files are picked up.
//!
//! [`SdkProvider`] takes any provider of the official SDK instead; with the feature `aws-config` there is
//! `OfficialChain`, the SDK's own default chain.

mod ask;
mod cache;
mod chain;
mod container;
mod instance;
mod json;
#[cfg(feature = "aws-config")]
mod official;
mod plan;
mod process;
mod sdk;
mod sso;
mod sso_token;
mod sts;
mod time;

#[cfg(feature = "aws-config")]
pub use official::OfficialChain;
pub use sdk::SdkProvider;

pub(crate) use cache::{Cached, Given};
pub(crate) use chain::{Access, Chain};
pub(crate) use instance::region as region_of_instance;

use futures::future::BoxFuture;
use std::fmt;
use std::time::SystemTime;

/// An access key with its secret. Neither `Debug` nor any error shows the secret.
#[derive(Clone)]
pub struct Credentials(aws_credential_types::Credentials);

impl Credentials {
    /// Credentials that do not expire here.
    pub fn new(
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
        session_token: Option<String>,
    ) -> Self {
        Self(aws_credential_types::Credentials::new(
            access_key_id,
            secret_access_key,
            session_token,
            None,
            "static",
        ))
    }

    /// The same credentials, good until `end` by the service's clock. They are renewed before.
    #[must_use]
    pub fn with_expiry(mut self, end: SystemTime) -> Self {
        *self.0.expiry_mut() = Some(end);
        self
    }

    /// The access key's id, which is no secret.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        self.0.access_key_id()
    }

    /// When they end; `None` where nobody said so.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.expiry()
    }

    pub(crate) fn session_token(&self) -> Option<&str> {
        self.0.session_token()
    }

    pub(crate) fn for_signing(&self) -> aws_credential_types::Credentials {
        self.0.clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id())
            .field("expiry", &self.expiry())
            .finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// No place has any.
    #[error(
        "no credentials: looked at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, at \
         AWS_WEB_IDENTITY_TOKEN_FILE, at profile {profile:?} in the shared files, at \
         AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI, and at the \
         instance's metadata ({instance}); the embedded endpoint takes any"
    )]
    None {
        /// The profile that was looked at.
        profile: String,
        /// Why the instance gave none.
        instance: String,
    },
    /// A place has one half.
    #[error("{place} has {has} but not {lacks}")]
    Half {
        /// The environment or a profile.
        place: String,
        /// The half that is there.
        has: &'static str,
        /// The half that is not.
        lacks: &'static str,
    },
    /// A shared file could not be read.
    #[error("{0}")]
    File(String),
    /// A profile says something that cannot be carried out.
    #[error("profile {profile:?}: {reason}")]
    Profile {
        /// The profile.
        profile: String,
        /// What is wrong with it, and what mends it.
        reason: String,
    },
    /// The profile says to get credentials in a way that is not built yet. Signing with other keys
    /// than those that are meant would be worse than not signing.
    #[error(
        "profile {profile:?} has {key}, which is not supported yet: set AWS_ACCESS_KEY_ID, \
         AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, e.g. by `aws configure export-credentials`"
    )]
    NotBuilt {
        /// The profile.
        profile: String,
        /// The key that says so.
        key: &'static str,
    },
    /// A provider was asked and gave none.
    #[error("no credentials from {provider}: {reason}; {remedy}")]
    Provider {
        /// Who was asked.
        provider: &'static str,
        /// What went wrong.
        reason: String,
        /// What a person can do.
        remedy: String,
    },
    /// The credentials that were in use have ended, and the source gave no new ones.
    #[error("the credentials {access_key_id} have expired and could not be renewed: {source}")]
    Expired {
        /// The access key that ended.
        access_key_id: String,
        /// Why there are no new ones.
        source: Box<CredentialsError>,
    },
    /// The source gave credentials that had ended already.
    #[error(
        "the source of credentials gave {access_key_id}, which has expired already: renew what it \
         reads, and compare this machine's clock"
    )]
    Stale {
        /// The access key that was given.
        access_key_id: String,
    },
}

/// A source of credentials.
///
/// # Cancellation
/// Dropping the future gives the look-up up; a later one starts anew.
pub trait ProvideCredentials: Send + Sync + fmt::Debug {
    /// The credentials to sign with now. Asked for the first request, before they end
    /// ([`Credentials::expiry`]), and again after the service has refused what was given. A renewal
    /// runs in a task of its own on the runtime of a request; it is given up after two minutes.
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>>;
}

impl ProvideCredentials for Credentials {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        Box::pin(async { Ok(self.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_stays_out_of_debug() {
        let shown = format!(
            "{:?}",
            Credentials::new("AKID", "hush", Some("hushed".to_owned()))
        );
        assert!(shown.contains("AKID") && !shown.contains("hush"), "{shown}");
    }
}
