//! The instance's metadata, version 2 of its protocol alone: a token first, then what is asked.
//!
//! An attempt is given one second, for outside of EC2 nobody answers.

use super::ask::{Failure, Patience, ask};
use super::chain::Access;
use super::json;
use super::{Credentials, CredentialsError};
use crate::environment::Environment;
use crate::profile::Profile;
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use runtime::Chance;
use std::time::Duration;

const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const TOKEN_SECONDS: &str = "21600";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(1),
    again: 2,
    silence: false,
};
/// How long credentials that have ended are used on when the instance has no newer ones, and at most
/// this much longer.
const EXTENSION: Duration = Duration::from_secs(900);

/// Where the metadata is asked for; an error when that is switched off or no URL.
fn endpoint(env: &Environment, profile: &Profile) -> Result<String, String> {
    let set = |variable: &str, key: &str| env.get(variable).or_else(|| profile.get(key));
    let is =
        |value: Option<String>, word: &str| value.is_some_and(|v| v.eq_ignore_ascii_case(word));
    if is(env.get(DISABLED), "true") {
        return Err(format!("switched off by {DISABLED}"));
    }
    let given = set(ENDPOINT, "ec2_metadata_service_endpoint");
    let mode = set(MODE, "ec2_metadata_service_endpoint_mode");
    let url = match given {
        Some(url) => url,
        None if is(mode, "ipv6") => "http://[fd00:ec2::254]".to_owned(),
        None => "http://169.254.169.254".to_owned(),
    };
    let valid = url.parse::<http::Uri>().is_ok_and(|uri| {
        uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    if valid {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err(format!(
            "{ENDPOINT} {url:?} is no URL, e.g. http://169.254.169.254"
        ))
    }
}

/// One conversation with the metadata service.
struct Metadata<'a> {
    base: String,
    token: HeaderValue,
    transport: &'a dyn crate::Transport,
    chance: &'a Chance,
}

impl<'a> Metadata<'a> {
    async fn open(
        env: &Environment,
        profile: &Profile,
        transport: &'a dyn crate::Transport,
        chance: &'a Chance,
    ) -> Result<Self, String> {
        let base = endpoint(env, profile)?;
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{base}/latest/api/token"))
            .header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)
            .header(http::header::CONTENT_LENGTH, "0")
            .body(Bytes::new())
            .map_err(|e| e.to_string())?;
        let token = ask(transport, chance, PATIENCE, &request)
            .await
            .map_err(|f| format!("{base}: {}", f.words(|_| None)))?;
        let mut token = HeaderValue::from_bytes(&token)
            .map_err(|_| format!("{base}: the token is no header's value"))?;
        token.set_sensitive(true);
        Ok(Self {
            base,
            token,
            transport,
            chance,
        })
    }

    async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        let request = Request::get(format!("{}{path}", self.base))
            .header("x-aws-ec2-metadata-token", self.token.clone())
            .body(Bytes::new())
            .map_err(|e| Failure::Silent(e.to_string()))?;
        ask(self.transport, self.chance, PATIENCE, &request).await
    }

    /// A path's text, one word.
    async fn word(&self, path: &str) -> Result<String, String> {
        let answer = self.get(path).await.map_err(|f| match &f {
            Failure::Refused(status, _) if status.as_u16() == 404 => "nothing is there".to_owned(),
            _ => f.words(|_| None),
        })?;
        let text = String::from_utf8_lossy(&answer);
        let word = text.lines().next().unwrap_or_default().trim();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
        if word.is_empty() || !word.bytes().all(plain) {
            return Err(format!("{path}: the answer is not understood"));
        }
        Ok(word.to_owned())
    }
}

/// The credentials of the instance's role, or why there are none.
pub(super) async fn look(access: &Access) -> Result<Credentials, String> {
    let profile = access.profile.as_ref();
    let metadata = Metadata::open(&access.env, profile, &*access.transport, &access.chance).await?;
    let role = metadata
        .word(ROLES)
        .await
        .map_err(|e| format!("the instance's role: {e}"))?;
    let answer = metadata
        .get(&format!("{ROLES}{role}"))
        .await
        .map_err(|f| format!("role {role}: {}", f.words(json::complaint)))?;
    let value: serde_json::Value = serde_json::from_slice(&answer)
        .map_err(|_| format!("role {role}: the answer is no JSON"))?;
    // An answer of status 200 may be a refusal.
    let found = json::credentials(&value, "Token").map_err(|reason| {
        let said = json::complaint(&answer).filter(|_| value.get("AccessKeyId").is_none());
        format!("role {role}: {}", said.unwrap_or(reason))
    })?;
    Ok(extended(access, found))
}

/// When the metadata service cannot get new credentials it goes on giving old ones, and the services
/// go on taking them: they are used for 15 to 25 minutes more, as all AWS SDKs do.
fn extended(access: &Access, found: Credentials) -> Credentials {
    let now = access.clock.now();
    match found.expiry() {
        Some(end) if end <= now => {
            tracing::warn!(
                access_key_id = found.access_key_id(),
                "the instance gives credentials that have expired; they are used on for a while"
            );
            let more = EXTENSION.mul_f64(1.0 + access.chance.unit() * 2.0 / 3.0);
            found.with_expiry(now + more)
        }
        _ => found,
    }
}

/// As a provider of its own, where a profile names it.
pub(super) fn failed(reason: String) -> CredentialsError {
    CredentialsError::Provider {
        provider: "the instance's metadata",
        reason,
        remedy: "give the instance a role, and a hop limit of 2 where this runs in a container"
            .to_owned(),
    }
}

/// The region that the instance is in, or why it is not known.
pub(crate) async fn region(
    env: &Environment,
    profile: &Profile,
    transport: &dyn crate::Transport,
    chance: &Chance,
) -> Result<String, String> {
    let metadata = Metadata::open(env, profile, transport, chance).await?;
    metadata.word("/latest/meta-data/placement/region").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_metadata_is_asked_for() {
        let at = |vars: &[(&str, &str)]| {
            let env = Environment::fixed(vars.iter().copied());
            endpoint(&env, &Profile::default())
        };
        assert_eq!(at(&[]).unwrap(), "http://169.254.169.254");
        assert_eq!(at(&[(MODE, "IPv6")]).unwrap(), "http://[fd00:ec2::254]");
        let own = [(ENDPOINT, "http://127.0.0.1:9/"), (MODE, "IPv6")];
        assert_eq!(at(&own).unwrap(), "http://127.0.0.1:9");
        assert!(at(&[(DISABLED, "True")]).unwrap_err().contains(DISABLED));
        assert!(at(&[(DISABLED, "false")]).is_ok());
        assert!(
            at(&[(ENDPOINT, "127.0.0.1")])
                .unwrap_err()
                .contains(ENDPOINT)
        );
    }
}
