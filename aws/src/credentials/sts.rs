//! Roles, from the Security Token Service: signed with other credentials, or unsigned with the token
//! of a web identity.

use super::ask::{Failure, Patience, ask};
use super::chain::Access;
use super::time;
use super::{Credentials, CredentialsError};
use crate::sign;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const FORM: &str = "application/x-www-form-urlencoded";
const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(10),
    again: 2,
    silence: true,
};

/// A role and how it is taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    /// Default: made of the time.
    pub(super) session: Option<String>,
    pub(super) external_id: Option<String>,
    /// Seconds. Default: the service's, an hour.
    pub(super) duration: Option<u32>,
}

/// A role that is taken on with the token in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebIdentity {
    pub(super) role: Role,
    pub(super) token_file: PathBuf,
}

/// `AssumeRole`, signed with `by`.
pub(super) async fn assume(
    access: &Access,
    role: &Role,
    by: &Credentials,
) -> Result<Credentials, CredentialsError> {
    let failed = |reason: String| CredentialsError::Provider {
        provider: "STS AssumeRole",
        reason: format!("{}: {reason}", role.arn),
        remedy: format!(
            "let {} take the role on: its own policy and the role's trust policy have to allow \
             sts:AssumeRole",
            by.access_key_id()
        ),
    };
    let mut form = form(access, "AssumeRole", role);
    if let Some(id) = &role.external_id {
        add(&mut form, "ExternalId", id);
    }
    let mut request = request(access, form).map_err(failed)?;
    let at = access.skew.apply(access.clock.now());
    sign::sign(&mut request, "sts", &access.region, by, at).map_err(failed)?;
    answered(access, &request).await.map_err(|reason| {
        // A refused signature is answered with the canonical request, session token included.
        failed(match by.session_token().filter(|token| !token.is_empty()) {
            Some(token) => reason.replace(token, "(session token)"),
            None => reason,
        })
    })
}

/// `AssumeRoleWithWebIdentity`, with the token as the file has it now.
pub(super) async fn assume_with_web_identity(
    access: &Access,
    identity: &WebIdentity,
) -> Result<Credentials, CredentialsError> {
    let failed = |reason: String| CredentialsError::Provider {
        provider: "STS AssumeRoleWithWebIdentity",
        reason: format!("{}: {reason}", identity.role.arn),
        remedy: format!(
            "look at the token in {} and at the role's trust policy, which has to name the token's \
             issuer and subject",
            identity.token_file.display()
        ),
    };
    let token = std::fs::read_to_string(&identity.token_file)
        .map_err(|e| failed(format!("{}: {e}", identity.token_file.display())))?;
    let mut form = form(access, "AssumeRoleWithWebIdentity", &identity.role);
    add(&mut form, "WebIdentityToken", token.trim());
    let request = request(access, form).map_err(failed)?;
    let answer = answered(access, &request).await;
    answer.map_err(|reason| failed(reason.replace(token.trim(), "(token)")))
}

fn form(access: &Access, action: &str, role: &Role) -> String {
    let mut form = format!("Action={action}&Version=2011-06-15");
    add(&mut form, "RoleArn", &role.arn);
    let session = role.session.clone().unwrap_or_else(|| {
        let now = runtime::time::epoch_millis(access.clock.now());
        format!("kinesis-rs-{now}")
    });
    add(&mut form, "RoleSessionName", &session);
    if let Some(seconds) = role.duration {
        add(&mut form, "DurationSeconds", &seconds.to_string());
    }
    form
}

fn add(form: &mut String, name: &str, value: &str) {
    form.push('&');
    form.push_str(name);
    form.push('=');
    encode(form, value);
}

/// Percent encoding of all but the unreserved characters.
pub(super) fn encode(to: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

fn request(access: &Access, form: String) -> Result<http::Request<Bytes>, String> {
    http::Request::post(access.sts.url())
        .header(HOST, access.sts.host())
        .header(CONTENT_TYPE, FORM)
        .body(Bytes::from(form))
        .map_err(|e| e.to_string())
}

async fn answered(access: &Access, request: &http::Request<Bytes>) -> Result<Credentials, String> {
    let asked = ask(&*access.transport, &access.chance, PATIENCE, request).await;
    let answer = asked.map_err(|failure| {
        let place = access.sts.to_string();
        match &failure {
            Failure::Silent(_) => format!("{place}: {}", failure.words(complaint)),
            Failure::Refused(..) => failure.words(complaint),
        }
    })?;
    let xml = std::str::from_utf8(&answer).map_err(|_| "the answer is no text".to_owned())?;
    let needed = |name: &str| element(xml, name).ok_or(format!("the answer has no {name}"));
    let found = Credentials::new(
        needed("AccessKeyId")?,
        needed("SecretAccessKey")?,
        Some(needed("SessionToken")?),
    );
    let end = time::parse(&needed("Expiration")?).ok_or("the answer's Expiration is no time")?;
    Ok(found.with_expiry(end))
}

fn complaint(body: &[u8]) -> Option<String> {
    let xml = std::str::from_utf8(body).ok()?;
    match (element(xml, "Code"), element(xml, "Message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (one, other) => one.or(other),
    }
}

/// The text of the first element of that name which holds nothing but text. The service's answers have
/// each of the names that are asked for once.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    if text.contains('<') || text.is_empty() {
        return None;
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        // The last, so that what it brings forth is not read again.
        ("&amp;", "&"),
    ];
    let replaced = |text: String, (entity, c): &(&str, &str)| text.replace(entity, c);
    Some(entities.iter().fold(text.to_owned(), replaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_unescaped() {
        let xml = "<R xmlns=\"x\"><A> 1 </A><B>a&amp;lt;b &lt;c&gt;</B><C><D>2</D></C><E/></R>";
        for (name, text) in [
            ("A", Some("1")),
            ("B", Some("a&lt;b <c>")),
            ("C", None),
            ("D", Some("2")),
            ("E", None),
            ("F", None),
        ] {
            assert_eq!(element(xml, name).as_deref(), text, "{name}");
        }
    }

    #[test]
    fn forms_are_percent_encoded() {
        let mut text = String::new();
        encode(&mut text, "arn:aws:iam::1:role/a b+é~");
        assert_eq!(text, "arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b%2B%C3%A9~");
    }
}
