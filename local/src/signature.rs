//! Checks of signatures, version 4, as the services make them.

use crate::refusal::Refusal;
use crate::service::Service;
use ::http::HeaderMap;
use ::http::request::Parts;
use parking_lot::Mutex;
use ring::{digest, hmac};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How far a request's date may lie from the endpoint's clock, in milliseconds: 15 minutes.
const SKEW: u64 = 15 * 60 * 1_000;
/// How many keys that AssumeRole gave out are known; older ones are forgotten.
const ISSUED: usize = 1_000;

/// An access key that requests may be signed with. Its secret is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    id: String,
    secret: String,
}

impl AccessKey {
    /// A key by its id and its secret.
    #[must_use]
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
        }
    }

    /// The access key id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A text that is no `KEY:SECRET`. It does not repeat the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY:SECRET, an access key id and its secret with a colon between them")]
pub struct NoAccessKey;

impl FromStr for AccessKey {
    type Err = NoAccessKey;

    fn from_str(text: &str) -> Result<Self, NoAccessKey> {
        match text.split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(Self::new(id, secret)),
            _ => Err(NoAccessKey),
        }
    }
}

/// The keys that count. Without any, signatures are not checked.
#[derive(Debug)]
pub(crate) struct Verifier {
    region: String,
    keys: BTreeMap<String, AccessKey>,
    /// Given out by AssumeRole, oldest first.
    issued: Mutex<Vec<AccessKey>>,
}

/// What an `Authorization` header says.
struct Claim<'a> {
    id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: &'a str,
    signature: &'a str,
}

impl Verifier {
    pub(crate) fn new(region: &str, keys: &[AccessKey]) -> Self {
        Self {
            region: region.to_owned(),
            keys: keys.iter().map(|k| (k.id.clone(), k.clone())).collect(),
            issued: Mutex::default(),
        }
    }

    /// Makes a key that AssumeRole gives out one that counts.
    pub(crate) fn issue(&self, key: AccessKey) {
        let mut issued = self.issued.lock();
        if issued.len() == ISSUED {
            issued.remove(0);
        }
        issued.push(key);
    }

    fn secret(&self, id: &str) -> Option<String> {
        if let Some(key) = self.keys.get(id) {
            return Some(key.secret.clone());
        }
        let issued = self.issued.lock();
        let key = issued.iter().find(|key| key.id == id)?;
        Some(key.secret.clone())
    }

    /// Checks a request; `now` is in milliseconds since the epoch. All are good when no key is set.
    pub(crate) fn check(
        &self,
        service: Option<Service>,
        head: &Parts,
        body: &[u8],
        now: u64,
    ) -> Result<(), Refusal> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let authorization = header(&head.headers, "authorization").ok_or_else(|| {
            Refusal::new(
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            )
        })?;
        let claim = Claim::of(authorization)?;
        let at = self.dated(&claim, &head.headers, service, now)?;
        let secret = self.secret(claim.id).ok_or_else(|| {
            Refusal::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        })?;
        let canonical = canonical(head, body, claim.signed)?;
        let text = format!(
            "AWS4-HMAC-SHA256\n{at}\n{}/{}/{}/aws4_request\n{}",
            claim.date,
            claim.region,
            claim.service,
            sha256(canonical.as_bytes())
        );
        let key = signing_key(&secret, claim.date, claim.region, claim.service);
        let signature = unhex(claim.signature).unwrap_or_default();
        // Takes the same time wherever they differ.
        hmac::verify(&key, text.as_bytes(), &signature).map_err(|_| {
            Refusal::new(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. \
                 Check your AWS Secret Access Key and signing method. Consult the service \
                 documentation for details.",
            )
        })
    }

    /// Checks scope and time; gives the date as it was signed.
    fn dated<'h>(
        &self,
        claim: &Claim<'_>,
        headers: &'h HeaderMap,
        service: Option<Service>,
        now: u64,
    ) -> Result<&'h str, Refusal> {
        let invalid = |text: String| Refusal::new("InvalidSignatureException", text);
        let at = header(headers, "x-amz-date").ok_or_else(|| {
            incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        })?;
        let time = epoch_millis(at)
            .ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format'."))?;
        if !at.starts_with(claim.date) {
            return Err(invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{}', from '{at}'.",
                claim.date,
                at.get(..8).unwrap_or_default()
            )));
        }
        if claim.region != self.region {
            return Err(invalid(format!(
                "Credential should be scoped to a valid region, not '{}'.",
                claim.region
            )));
        }
        if let Some(wanted) = service.map(Service::signing_name)
            && claim.service != wanted
        {
            return Err(invalid(format!(
                "Credential should be scoped to correct service: '{wanted}'."
            )));
        }
        let clock = basic_format(now);
        if time.saturating_add(SKEW) < now {
            let earliest = basic_format(now.saturating_sub(SKEW));
            return Err(invalid(format!(
                "Signature expired: {at} is now earlier than {earliest} ({clock} - 15 min.)"
            )));
        }
        if time > now.saturating_add(SKEW) {
            let latest = basic_format(now.saturating_add(SKEW));
            return Err(invalid(format!(
                "Signature not yet current: {at} is still later than {latest} ({clock} + 15 min.)"
            )));
        }
        Ok(at)
    }
}

fn incomplete(text: impl Into<String>) -> Refusal {
    Refusal::new("IncompleteSignatureException", text)
}

impl<'a> Claim<'a> {
    fn of(authorization: &'a str) -> Result<Self, Refusal> {
        let Some(rest) = authorization.strip_prefix("AWS4-HMAC-SHA256") else {
            return Err(incomplete("Unsupported AWS 'algorithm'."));
        };
        let part = |name: &str| {
            rest.split(',')
                .map(str::trim)
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| {
                    incomplete(format!("Authorization header requires '{name}' parameter."))
                })
        };
        let credential = part("Credential")?;
        // An id may not hold a slash; a scope has four parts.
        let mut parts = credential.split('/');
        let scope = [(); 5].map(|()| parts.next());
        let [
            Some(id),
            Some(date),
            Some(region),
            Some(service),
            Some("aws4_request"),
        ] = scope
        else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term.",
            ));
        };
        Ok(Self {
            id,
            date,
            region,
            service,
            signed: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }
}

/// What HTTP/2 has in place of a host header.
const AUTHORITY: &str = ":authority";

/// The request in the one form that is signed.
fn canonical(head: &Parts, body: &[u8], signed: &str) -> Result<String, Refusal> {
    let names: Vec<&str> = signed.split(';').collect();
    for required in ["host", "x-amz-date"] {
        // The SDK for JavaScript signs HTTP/2's own name of the host.
        let as_authority = required == "host" && names.contains(&AUTHORITY);
        if !names.contains(&required) && !as_authority {
            return Err(Refusal::new(
                "InvalidSignatureException",
                format!("'{required}' must be a 'SignedHeader' in the AWS Authorization."),
            ));
        }
    }
    let mut headers = String::new();
    for name in names {
        headers.push_str(name);
        headers.push(':');
        let values: Vec<String> = head
            .headers
            .get_all(name)
            .iter()
            .map(|value| trim(&String::from_utf8_lossy(value.as_bytes())))
            .collect();
        if values.is_empty() && ["host", AUTHORITY].contains(&name) {
            // HTTP/2 has an authority in its place.
            headers.push_str(head.uri.authority().map_or("", |a| a.as_str()));
        } else {
            headers.push_str(&values.join(","));
        }
        headers.push('\n');
    }
    let path = match head.uri.path() {
        "" => "/",
        path => path,
    };
    Ok(format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{}",
        head.method,
        encode_path(path),
        sorted_query(head.uri.query().unwrap_or_default()),
        sha256(body)
    ))
}

/// Outer blanks gone, inner ones made one.
fn trim(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each segment encoded once more than it came, as all services but S3 have it.
fn encode_path(path: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

fn sorted_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    for part in [date, region, service, "aws4_request"] {
        let tag = hmac::sign(&key, part.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    }
    key
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Bytes in hexadecimal, small letters.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |d: &u8| {
        char::from(*d)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [a, b] => Some(digit(a)? << 4 | digit(b)?),
            _ => None,
        })
        .collect()
}

/// `20130524T000000Z` as milliseconds since the epoch.
fn epoch_millis(at: &str) -> Option<u64> {
    let shape = at.len() == 16 && at.get(8..9) == Some("T") && at.ends_with('Z');
    if !shape {
        return None;
    }
    let digits = |range: std::ops::Range<usize>| -> Option<u64> {
        let text = at.get(range)?;
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    crate::http::date::to_millis(
        [digits(0..4)?, digits(4..6)?, digits(6..8)?],
        [digits(9..11)?, digits(11..13)?, digits(13..15)?],
    )
}

fn basic_format(millis: u64) -> String {
    crate::http::date::basic_format(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    /// The key of the examples in the service's documentation.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const ID: &str = "AKIDEXAMPLE";
    /// 2015-08-30 12:36:00 UTC, the time of the published test suite.
    const NOW: u64 = 1_440_938_160_000;

    fn verifier() -> Verifier {
        Verifier::new("us-east-1", &[AccessKey::new(ID, SECRET)])
    }

    /// Requests of the published test suite for signature version 4, with its signatures.
    #[test]
    fn the_published_vectors_are_good() {
        let vectors = [
            (
                "get-vanilla",
                "GET",
                "/",
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/?Param2=value2&Param1=value1",
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-vanilla",
                "POST",
                "/",
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ];
        for (name, method, path, body, signature) in vectors {
            let check = |signature: &str| {
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("host", "example.amazonaws.com")
                    .header("x-amz-date", "20150830T123600Z")
                    .header(
                        "authorization",
                        format!(
                            "AWS4-HMAC-SHA256 Credential={ID}/20150830/us-east-1/service/\
                             aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
                        ),
                    )
                    .body(())
                    .unwrap();
                let (head, ()) = request.into_parts();
                verifier().check(None, &head, body.as_bytes(), NOW)
            };
            assert_eq!(check(signature), Ok(()), "{name}");
            let tampered = signature.replace('5', "6");
            let refused = check(&tampered).unwrap_err();
            assert_eq!(refused.code, "InvalidSignatureException");
        }
    }

    fn signed(
        id: &str,
        secret: &str,
        at: &str,
        scope: (&str, &str),
        body: &[u8],
    ) -> Result<(), Refusal> {
        let request = Request::post("/").header("host", "localhost:4567");
        signed_as(request, "host", (id, secret), at, scope, body)
    }

    fn signed_as(
        request: ::http::request::Builder,
        host: &str,
        (id, secret): (&str, &str),
        at: &str,
        scope: (&str, &str),
        body: &[u8],
    ) -> Result<(), Refusal> {
        let date = at.get(..8).unwrap_or_default();
        let mut request = request
            .header("x-amz-date", at)
            .header("x-amz-target", "Kinesis_20131202.PutRecord")
            .body(())
            .unwrap();
        let names = &format!("{host};x-amz-date;x-amz-target");
        let (head, ()) = request.clone().into_parts();
        let whole = canonical(&head, b"body", names).unwrap();
        let (region, service) = scope;
        let text = format!(
            "AWS4-HMAC-SHA256\n{at}\n{date}/{region}/{service}/aws4_request\n{}",
            sha256(whole.as_bytes())
        );
        let key = signing_key(secret, date, region, service);
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{date}/{region}/{service}/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        request
            .headers_mut()
            .insert("authorization", authorization.parse().unwrap());
        let (head, ()) = request.into_parts();
        verifier().check(Some(Service::Kinesis), &head, body, NOW)
    }

    #[test]
    fn the_authority_of_http2_may_be_signed_by_either_name() {
        let now = "20150830T123600Z";
        let good = ("us-east-1", "kinesis");
        let sign = |uri: &str, name| {
            let request = Request::post(uri);
            signed_as(request, name, (ID, SECRET), now, good, b"body")
        };
        for name in ["host", ":authority"] {
            assert_eq!(sign("http://localhost:4567/", name), Ok(()), "{name}");
        }
        let request = Request::post("http://localhost:4567/").body(()).unwrap();
        let (head, ()) = request.into_parts();
        let refused = canonical(&head, b"", "x-amz-date").unwrap_err();
        assert_eq!(refused.code, "InvalidSignatureException");
        assert!(
            refused.message.contains("'host' must be"),
            "{}",
            refused.message
        );
    }

    #[test]
    fn what_is_wrong_has_the_services_names() {
        let good = ("us-east-1", "kinesis");
        let now = "20150830T123600Z";
        assert_eq!(signed(ID, SECRET, now, good, b"body"), Ok(()));
        // Fifteen minutes either way are fine, a second more is not.
        for at in ["20150830T122100Z", "20150830T125100Z"] {
            assert_eq!(signed(ID, SECRET, at, good, b"body"), Ok(()), "{at}");
        }
        let invalid = "InvalidSignatureException";
        let unknown = "UnrecognizedClientException";
        let cases = [
            (
                signed(ID, "wrong", now, good, b"body"),
                invalid,
                "does not match",
            ),
            (
                signed(ID, SECRET, now, good, b"other"),
                invalid,
                "does not match",
            ),
            (
                signed("NOBODY", SECRET, now, good, b"body"),
                unknown,
                "security token",
            ),
            (
                signed(ID, SECRET, "20150830T122059Z", good, b"body"),
                invalid,
                "Signature expired: 20150830T122059Z is now earlier than 20150830T122100Z \
                 (20150830T123600Z - 15 min.)",
            ),
            (
                signed(ID, SECRET, "20150830T125101Z", good, b"body"),
                invalid,
                "Signature not yet current",
            ),
            (
                signed(ID, SECRET, now, ("us-east-1", "dynamodb"), b"body"),
                invalid,
                "correct service: 'kinesis'",
            ),
            (
                signed(ID, SECRET, now, ("eu-west-1", "kinesis"), b"body"),
                invalid,
                "not 'eu-west-1'",
            ),
        ];
        for (found, code, text) in cases {
            let refusal = found.unwrap_err();
            assert_eq!(refusal.code, code, "{text}");
            assert!(refusal.message.contains(text), "{}", refusal.message);
            assert_eq!(refusal.status, 400);
        }
    }

    #[test]
    fn what_is_missing_has_the_services_names() {
        let check = |authorization: Option<&str>, date: Option<&str>| {
            let mut request = Request::post("/").header("host", "h");
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            if let Some(value) = date {
                request = request.header("x-amz-date", value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let refused = verifier().check(Some(Service::Kinesis), &head, b"", NOW);
            refused.unwrap_err().code.into_owned()
        };
        let now = Some("20150830T123600Z");
        let scope = "Credential=A/20150830/us-east-1/kinesis/aws4_request";
        let incomplete = "IncompleteSignatureException";
        assert_eq!(check(None, now), "MissingAuthenticationTokenException");
        for value in [
            "Basic abc",
            "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders=host, Signature=00",
            &format!("AWS4-HMAC-SHA256 {scope}, Signature=00"),
            &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host"),
        ] {
            assert_eq!(check(Some(value), now), incomplete, "{value}");
        }
        let whole = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=00");
        for date in [
            None,
            Some("yesterday"),
            Some("20150830T1236xxZ"),
            Some("20151330T123600Z"),
        ] {
            assert_eq!(check(Some(&whole), date), incomplete, "{date:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let key: AccessKey = "AKID:hush:hush".parse().unwrap();
        assert_eq!(key, AccessKey::new("AKID", "hush:hush"));
        assert!(
            !format!(
                "{key:?} {:?}",
                Verifier::new("r", std::slice::from_ref(&key))
            )
            .contains("hush")
        );
        for text in ["", "hush", ":hush", "hush:"] {
            let error = text.parse::<AccessKey>().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
