//! IAM Identity Center (SSO): the token that `aws sso login` left on the disk is turned into a role's
//! credentials.

use super::ask::{Failure, Patience, ask};
use super::chain::Access;
use super::sso_token;
use super::sts::encode;
use super::{Credentials, CredentialsError};
use crate::endpoint::Service;
use bytes::Bytes;
use http::HeaderValue;
use std::time::Duration;

pub(super) const PATIENCE: Patience = Patience {
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
    let token = sso_token::find(access, sso).await.map_err(failed)?;
    let place = access.endpoint(Service::Sso, &sso.region);
    let place = place.map_err(failed)?;
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
