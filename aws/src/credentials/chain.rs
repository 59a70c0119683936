//! The default chain: which place is asked, and asking it.

use super::plan::{self, Source};
use super::{Credentials, CredentialsError, ProvideCredentials};
use super::{container, instance, process, sso, sts};
use crate::config::ConfigError;
use crate::endpoint::{Endpoint, Service, Variant};
use crate::environment::Environment;
use crate::profile::Profile;
use crate::sign::Skew;
use crate::transport::Transport;
use futures::future::BoxFuture;
use runtime::{Chance, WallClock};
use std::sync::Arc;

/// What sources need to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) env: Environment,
    pub(crate) profile: Arc<Profile>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) skew: Skew,
    pub(crate) chance: Chance,
    /// The region whose STS is asked.
    pub(crate) region: String,
    pub(crate) sts: Endpoint,
    /// The URL of all services, if one was given.
    pub(crate) given: Option<String>,
    pub(crate) variant: Variant,
}

impl Access {
    /// The same over connections of its own: a look-up may run on another runtime than the last, and
    /// must not wait for one that is blocked. Where they cannot be made, over the shared ones.
    fn apart(&self) -> Self {
        let transport = match self.transport.separate() {
            Ok(Some(transport)) => transport,
            Ok(None) => Arc::clone(&self.transport),
            Err(error) => {
                tracing::debug!(%error, "no connections of its own for credentials");
                Arc::clone(&self.transport)
            }
        };
        Self {
            transport,
            ..self.clone()
        }
    }

    /// Where a service of SSO is, in its own region.
    pub(super) fn endpoint(&self, service: Service, region: &str) -> Result<Endpoint, String> {
        let given = [("endpoint_url", self.given.clone()), ("", None)];
        let (env, profile) = (&self.env, &self.profile);
        Endpoint::find(service, region, self.variant, given, env, profile)
            .map_err(|e: ConfigError| e.to_string())
    }
}

/// Asks one place after the other for each look-up, so that what has changed on disk is seen.
#[derive(Debug)]
pub(crate) struct Chain {
    access: Access,
}

impl Chain {
    pub(crate) fn new(access: Access) -> Self {
        Self { access }
    }

    async fn look(&self) -> Result<Credentials, CredentialsError> {
        let env = &self.access.env;
        if let Some(keys) = plan::of_environment(env)? {
            return Ok(keys);
        }
        let profile = match self.access.profile.name() {
            "" => "default",
            name => name,
        };
        let source = match plan::web_identity(env)? {
            Some(identity) => Some(Source::WebIdentity(identity)),
            None => plan::of_profile(env, profile)?,
        };
        // What needs no connection makes none.
        match &source {
            Some(Source::Keys(keys)) => return Ok(keys.clone()),
            Some(source @ Source::Process { .. }) => return fetch(&self.access, source).await,
            _ => {}
        }
        let access = self.access.apart();
        if let Some(source) = source {
            return fetch(&access, &source).await;
        }
        if let Some(found) = container::look(&access).await? {
            return Ok(found);
        }
        let found = instance::look(&access).await;
        found.map_err(|instance| CredentialsError::None {
            profile: profile.to_owned(),
            instance,
        })
    }
}

/// Asks a source, and before it those that its question is signed with.
fn fetch<'a>(
    access: &'a Access,
    source: &'a Source,
) -> BoxFuture<'a, Result<Credentials, CredentialsError>> {
    let nothing = |variable: &'static str| CredentialsError::Provider {
        provider: "credential_source",
        reason: format!("{variable} is not set"),
        remedy: "set it, or name another credential_source".to_owned(),
    };
    Box::pin(async move {
        match source {
            Source::Keys(keys) => Ok(keys.clone()),
            Source::Process { profile, command } => {
                process::run(profile, command, process::PATIENCE).await
            }
            Source::Sso(sso) => sso::look(access, sso).await,
            Source::WebIdentity(identity) => sts::assume_with_web_identity(access, identity).await,
            Source::Environment => {
                plan::of_environment(&access.env)?.ok_or_else(|| nothing("AWS_ACCESS_KEY_ID"))
            }
            Source::Container => container::look(access)
                .await?
                .ok_or_else(|| nothing("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")),
            Source::Instance => instance::look(access).await.map_err(instance::failed),
            Source::Role(role, from) => {
                let by = fetch(access, from).await?;
                sts::assume(access, role, &by).await
            }
        }
    })
}

impl ProvideCredentials for Chain {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        Box::pin(self.look())
    }
}
