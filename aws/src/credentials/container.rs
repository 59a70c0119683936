//! Credentials of a container: ECS, Greengrass, EKS pod identity.
//!
//! A full URI is asked only where the answer cannot be that of a stranger on the network: over
//! `https`, at the machine itself, or at the addresses that ECS and EKS answer on. Of names only
//! `localhost` is taken, so that nothing has to be resolved (as botocore does).

use super::ask::{Patience, ask};
use super::chain::Access;
use super::json;
use super::{Credentials, CredentialsError};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Uri};
use std::net::IpAddr;
use std::time::Duration;

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
/// Where a relative URI is asked: the ECS agent.
const ECS: &str = "http://169.254.170.2";
/// Addresses that full URIs may have over plain http, beside the machine's own.
const ALLOWED: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(2),
    again: 2,
    silence: true,
};

/// What the container's endpoint gives; nothing when no variable names one.
pub(super) async fn look(access: &Access) -> Result<Option<Credentials>, CredentialsError> {
    let failed = |reason: String| CredentialsError::Provider {
        provider: "the container's endpoint",
        reason,
        remedy: format!(
            "look whether the task or pod has a role, and at {RELATIVE}, {FULL}, {TOKEN_FILE}, {TOKEN}"
        ),
    };
    let url = match (access.env.get(RELATIVE), access.env.get(FULL)) {
        (Some(path), _) => format!("{ECS}{path}"),
        (None, Some(url)) => url,
        (None, None) => return Ok(None),
    };
    let uri = allowed(&url).map_err(failed)?;
    let mut request = http::Request::get(uri)
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|e| failed(e.to_string()))?;
    // The file is read each time: EKS puts another token into it every few hours.
    let token = match access.env.get(TOKEN_FILE) {
        Some(path) => Some(
            std::fs::read_to_string(&path)
                .map_err(|e| failed(format!("{TOKEN_FILE} {path}: {e}")))?,
        ),
        None => access.env.get(TOKEN),
    };
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(token.trim_end())
            .map_err(|_| failed("the authorization token is no header's value".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let answer = ask(&*access.transport, &access.chance, PATIENCE, &request)
        .await
        .map_err(|failure| failed(failure.words(json::complaint)))?;
    let value =
        serde_json::from_slice(&answer).map_err(|_| failed("the answer is no JSON".to_owned()))?;
    json::credentials(&value, "Token").map(Some).map_err(failed)
}

/// The URI, if it may be asked.
fn allowed(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url:?}: {e}"))?;
    let host = uri.host().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let near = match address {
        Some(address) => {
            address.is_loopback() || ALLOWED.iter().any(|one| one.parse() == Ok(address))
        }
        None => host.eq_ignore_ascii_case("localhost"),
    };
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(uri),
        Some("http") if near => Ok(uri),
        Some("http") => Err(format!(
            "host {host:?} may not be asked over plain http: https, this machine, or one of {}",
            ALLOWED.join(", ")
        )),
        _ => Err(format!("{url:?} is neither http nor https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_that_no_stranger_answers_on_are_asked() {
        for url in [
            "https://anything.example/x",
            "http://127.0.0.1:80/x",
            "http://127.9.9.9/x",
            "http://[::1]:1/x",
            "http://localhost:8080/x?y",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(allowed(url).is_ok(), "{url}");
        }
        for url in [
            "http://example.com/x",
            "http://localhost.example.com/x",
            "http://127.0.0.1@example.com/x",
            "http://169.254.169.254/x",
            "http://[fd00:ec2::24]/x",
            "http://10.0.0.1/x",
            "ftp://127.0.0.1/x",
            "/x",
            "",
        ] {
            assert!(allowed(url).is_err(), "{url}");
        }
    }
}
