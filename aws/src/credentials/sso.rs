//! IAM Identity Center (SSO): the token that `aws sso login` left on the disk is turned into a role's
//! credentials. An expired token is not renewed here: that needs a person, or a client registration
//! that belongs to the command line.

use super::ask::{Failure, Patience, ask};
use super::chain::Access;
use super::sts::encode;
use super::time;
use super::{Credentials, CredentialsError};
use bytes::Bytes;
use http::HeaderValue;
use std::time::Duration;

const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(10),
    again: 2,
    silence: true,
};

/// What a profile says of SSO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sso {
    pub(super) profile: String,
    /// The session's name, or in profiles of the older kind the start URL: the token's file is named by
    /// its SHA-1.
    pub(super) token_of: String,
    pub(super) region: String,
    pub(super) account: String,
    pub(super) role: String,
}

/// `GetRoleCredentials` with the token on the disk.
pub(super) async fn look(access: &Access, sso: &Sso) -> Result<Credentials, CredentialsError> {
    let failed = |reason: String| CredentialsError::Provider {
        provider: "SSO",
        reason,
        remedy: format!("run `aws sso login --profile {}`", sso.profile),
    };
    let token = token(access, sso).map_err(failed)?;
    let place = access.portal(&sso.region).map_err(failed)?;
    let mut url = format!("{}federation/credentials?role_name=", place.url());
    encode(&mut url, &sso.role);
    url.push_str("&account_id=");
    encode(&mut url, &sso.account);
    let mut value = HeaderValue::from_str(&token)
        .map_err(|_| failed("the cached token is no header's value".to_owned()))?;
    value.set_sensitive(true);
    let request = http::Request::get(url)
        .header("x-amz-sso_bearer_token", value)
        .body(Bytes::new())
        .map_err(|e| failed(e.to_string()))?;
    let asked = ask(&*access.transport, &access.chance, PATIENCE, &request).await;
    let answer = asked.map_err(|failure| {
        let words = failure.words(super::json::complaint);
        match failure {
            Failure::Refused(status, _) if status.as_u16() == 401 => {
                failed(format!("the cached token is not taken any more ({words})"))
            }
            _ => failed(format!(
                "role {} of account {}: {words}",
                sso.role, sso.account
            )),
        }
    })?;
    read(&answer).map_err(failed)
}

/// The cached access token, if it is good still.
fn token(access: &Access, sso: &Sso) -> Result<String, String> {
    let home = access.env.home().ok_or("there is no home directory")?;
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        sso.token_of.as_bytes(),
    );
    let file = format!("{}.json", crate::sign::hex(digest.as_ref()));
    let path = home.join(".aws").join("sso").join("cache").join(file);
    let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|_| format!("{} is no JSON", path.display()))?;
    let field = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let (Some(token), Some(end)) = (field("accessToken"), field("expiresAt")) else {
        return Err(format!(
            "{} has no accessToken or expiresAt",
            path.display()
        ));
    };
    match time::parse(end) {
        Some(at) if at > access.clock.now() => Ok(token.to_owned()),
        Some(_) => Err(format!("the cached token has expired at {end}")),
        None => Err(format!("{}: expiresAt {end:?} is no time", path.display())),
    }
}

fn read(answer: &[u8]) -> Result<Credentials, String> {
    let value: serde_json::Value =
        serde_json::from_slice(answer).map_err(|_| "the answer is no JSON".to_owned())?;
    let of = |name: &str| value.get("roleCredentials")?.get(name);
    let text = |name: &str| {
        of(name)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| format!("the answer has no {name}"))
    };
    let end = of("expiration").and_then(serde_json::Value::as_u64);
    let end = end.ok_or("the answer has no expiration")?;
    let found = Credentials::new(
        text("accessKeyId")?,
        text("secretAccessKey")?,
        Some(text("sessionToken")?),
    );
    Ok(found.with_expiry(runtime::time::from_epoch_millis(end)))
}
