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
        let not_built = |keys: &[&'static str]| {
            let key = keys.iter().find(|key| profile.get(key).is_some())?;
            Some(CredentialsError::NotBuilt {
                profile: self.profile.clone(),
                key,
            })
        };
        // Where a role is to be assumed, the profile's own keys are but the way to it.
        if let Some(error) = not_built(&["role_arn"]) {
            return Err(error);
        }
        let place = format!("profile {:?}", self.profile);
        if let Some(found) = take(place, names, |key| profile.get(key))? {
            return Ok(found);
        }
        Err(not_built(&[
            "credential_process",
            "sso_session",
            "sso_start_url",
            "login_session",
        ])
        .unwrap_or_else(|| CredentialsError::None {
            profile: self.profile.clone(),
        }))
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
    /// Held by the one caller who asks the source; the others wait for what it gets.
    asking: tokio::sync::Mutex<()>,
}

impl Cached {
    pub(crate) fn new(source: Arc<dyn ProvideCredentials>) -> Self {
        Self {
            source,
            kept: parking_lot::Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    fn kept(&self) -> Option<Credentials> {
        self.kept.lock().clone()
    }

    pub(crate) async fn get(&self) -> Result<Credentials, CredentialsError> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let _turn = self.asking.lock().await;
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let fresh = self.source.provide().await?;
        *self.kept.lock() = Some(fresh.clone());
        Ok(fresh)
    }

    /// The service refused these: the next request asks the source again, unless another has done so
    /// since these were given out.
    pub(crate) fn refused(&self, these: &Credentials) {
        let mut kept = self.kept.lock();
        if kept.as_ref().is_some_and(|kept| kept.0 == these.0) {
            *kept = None;
        }
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
        let old = cached.get().await.unwrap();
        assert_eq!(old.access_key_id(), "OLD");
        cached.refused(&old);
        assert_eq!(cached.get().await.unwrap().access_key_id(), "NEW");
    }

    /// Gives other keys each time, slowly.
    #[derive(Debug, Default)]
    struct Slow(std::sync::atomic::AtomicUsize);

    impl ProvideCredentials for Slow {
        fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
            Box::pin(async {
                let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Ok(Credentials::new(format!("KEY{n}"), "s", None))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_ask_the_source_once_and_a_late_refusal_of_old_keys_keeps_the_new() {
        let cached = Cached::new(Arc::new(Slow::default()));
        let ids = async || {
            let all = futures::future::join_all((0..9).map(|_| cached.get())).await;
            let ids: std::collections::BTreeSet<String> = all
                .into_iter()
                .map(|c| c.unwrap().access_key_id().to_owned())
                .collect();
            ids.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(ids().await, ["KEY0"]);
        let old = cached.get().await.unwrap();
        cached.refused(&old);
        assert_eq!(ids().await, ["KEY1"]);
        cached.refused(&old);
        assert_eq!(ids().await, ["KEY1"]);
    }

    #[test]
    fn the_environment_counts_before_the_profile_and_what_is_not_built_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let look = |text: &str, vars: &[(&str, &str)]| {
            std::fs::write(&path, text).unwrap();
            let file = path.display().to_string();
            let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let file = [("AWS_SHARED_CREDENTIALS_FILE".to_owned(), file)];
            let env = Environment::fixed(vars.chain(file));
            let profile = "default".to_owned();
            Chain { env, profile }.look()
        };
        let keys = "[default]\naws_access_key_id = P\naws_secret_access_key = p\n";
        let vars = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e")];
        assert_eq!(look(keys, &[]).unwrap().access_key_id(), "P");
        let role = format!("{keys}role_arn = arn:aws:iam::1:role/x\n");
        assert_eq!(look(&role, &vars).unwrap().access_key_id(), "E");
        let error = look(&role, &[]).unwrap_err().to_string();
        assert!(error.contains("role_arn"), "{error}");
        let error = look("[default]\ncredential_process = x\n", &[]).unwrap_err();
        assert!(error.to_string().contains("credential_process"), "{error}");
    }
}
