//! As whom requests are signed.
//!
//! The chain, when nothing is given: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
//! `AWS_SESSION_TOKEN`; then the same keys of the profile in the shared files, which are read again
//! once they have been refused, so that rotated keys are picked up.

use crate::environment::Environment;
use crate::profile::Profile;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;

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

    /// The access key's id, which is no secret.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        self.0.access_key_id()
    }

    pub(crate) fn for_signing(&self) -> aws_credential_types::Credentials {
        self.0.clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id())
            .finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// No place has any.
    #[error(
        "no credentials: looked at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and at profile \
         {profile:?} in the shared files; the embedded endpoint takes any"
    )]
    None {
        /// The profile that was looked at.
        profile: String,
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
}

/// A source of credentials.
///
/// # Cancellation
/// Dropping the future gives the look-up up; a later one starts anew.
pub trait ProvideCredentials: Send + Sync + fmt::Debug {
    /// The credentials to sign with now. Asked for the first request, and again after the service has
    /// refused what was given.
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>>;
}

impl ProvideCredentials for Credentials {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        Box::pin(async { Ok(self.clone()) })
    }
}

/// The environment, then the profile.
#[derive(Debug)]
struct Chain {
    env: Environment,
    profile: String,
}

impl Chain {
    fn look(&self) -> Result<Credentials, CredentialsError> {
        let env = |key: &str| self.env.get(key);
        let names = [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ];
        if let Some(found) = take("the environment".to_owned(), names, env)? {
            return Ok(found);
        }
        // A default profile that is missing is no error, a named one is.
        let named = (self.profile != "default").then_some(self.profile.as_str());
        let profile =
            Profile::load(&self.env, named).map_err(|e| CredentialsError::File(e.to_string()))?;
        let names = [
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
        ];
        take(format!("profile {:?}", self.profile), names, |key| {
            profile.get(key)
        })?
        .ok_or_else(|| CredentialsError::None {
            profile: self.profile.clone(),
        })
    }
}

fn take(
    place: String,
    [id, secret, token]: [&'static str; 3],
    get: impl Fn(&str) -> Option<String>,
) -> Result<Option<Credentials>, CredentialsError> {
    match (get(id), get(secret)) {
        (Some(key), Some(word)) => Ok(Some(Credentials::new(key, word, get(token)))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(CredentialsError::Half {
            place,
            has: id,
            lacks: secret,
        }),
        (None, Some(_)) => Err(CredentialsError::Half {
            place,
            has: secret,
            lacks: id,
        }),
    }
}

impl ProvideCredentials for Chain {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        Box::pin(async { self.look() })
    }
}

/// Keeps what a source gave until the service refuses it.
#[derive(Debug)]
pub(crate) struct Cached {
    source: Arc<dyn ProvideCredentials>,
    kept: parking_lot::Mutex<Option<Credentials>>,
}

impl Cached {
    pub(crate) fn new(source: Arc<dyn ProvideCredentials>) -> Self {
        Self {
            source,
            kept: parking_lot::Mutex::new(None),
        }
    }

    pub(crate) async fn get(&self) -> Result<Credentials, CredentialsError> {
        if let Some(kept) = self.kept.lock().clone() {
            return Ok(kept);
        }
        let fresh = self.source.provide().await?;
        *self.kept.lock() = Some(fresh.clone());
        Ok(fresh)
    }

    /// The service refused these: the next request asks the source again.
    pub(crate) fn refused(&self) {
        *self.kept.lock() = None;
    }
}

pub(crate) fn default_chain(env: Environment, profile: &Profile) -> Arc<dyn ProvideCredentials> {
    let profile = match profile.name() {
        "" => "default",
        name => name,
    };
    Arc::new(Chain {
        env,
        profile: profile.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(vars: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        let env = Environment::fixed(vars.iter().copied());
        Chain {
            env,
            profile: "default".to_owned(),
        }
        .look()
    }

    #[test]
    fn the_environment_gives_both_halves_or_says_which_is_missing() {
        let found = look(&[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "word"),
        ])
        .unwrap();
        assert_eq!(found.access_key_id(), "AKID");
        let half = look(&[("AWS_ACCESS_KEY_ID", "AKID")])
            .unwrap_err()
            .to_string();
        assert!(half.contains("AWS_SECRET_ACCESS_KEY"), "{half}");
        let none = look(&[]).unwrap_err();
        assert_eq!(
            none,
            CredentialsError::None {
                profile: "default".to_owned()
            }
        );
    }

    #[test]
    fn the_secret_stays_out_of_debug() {
        let shown = format!(
            "{:?}",
            Credentials::new("AKID", "hush", Some("hushed".to_owned()))
        );
        assert!(shown.contains("AKID") && !shown.contains("hush"), "{shown}");
    }

    #[tokio::test]
    async fn rotated_keys_are_picked_up_once_the_old_ones_were_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let write = |key: &str| {
            let text = format!("[default]\naws_access_key_id={key}\naws_secret_access_key=s\n");
            std::fs::write(&path, text).unwrap();
        };
        write("OLD");
        let env = Environment::fixed([(
            "AWS_SHARED_CREDENTIALS_FILE".to_owned(),
            path.display().to_string(),
        )]);
        let cached = Cached::new(default_chain(env, &Profile::default()));
        assert_eq!(cached.get().await.unwrap().access_key_id(), "OLD");
        write("NEW");
        assert_eq!(cached.get().await.unwrap().access_key_id(), "OLD");
        cached.refused();
        assert_eq!(cached.get().await.unwrap().access_key_id(), "NEW");
    }
}
