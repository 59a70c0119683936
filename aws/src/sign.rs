//! SigV4 signatures, by wall time corrected with the skew that answers show.

use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, Service};
use crate::sha256;
use crate::transport::RequestBody;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// How far the service's clock is ahead of ours, in milliseconds, as learnt from its answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Signatures are good for 15 minutes; a smaller difference than this need not be mended.
    const TOLERATED: Duration = Duration::from_secs(240);

    /// Learns from an answer's `Date`, read at our time `now`. True when signing again may help.
    pub(crate) fn learn(&self, date: SystemTime, now: SystemTime) -> bool {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let difference = match date.duration_since(now) {
            Ok(ahead) => millis(ahead),
            Err(behind) => -millis(behind.duration()),
        };
        let change = difference.abs_diff(self.0.load(Relaxed));
        let matters = u128::from(change) > Self::TOLERATED.as_millis();
        if matters {
            self.0.store(difference, Relaxed);
            tracing::warn!(
                difference_ms = difference,
                "this machine's clock is wrong; signing by the service's"
            );
        }
        matters
    }

    pub(crate) fn apply(&self, now: SystemTime) -> SystemTime {
        let millis = self.0.load(Relaxed);
        let by = Duration::from_millis(millis.unsigned_abs());
        if millis >= 0 { now + by } else { now - by }
    }
}

/// A request's body, hashed once for all of its attempts.
#[derive(Debug)]
pub(crate) struct Payload {
    body: RequestBody,
    hash: String,
    /// What `Content-Encoding` says, where the body is not sent as it was written.
    encoding: Option<&'static str>,
}

impl Payload {
    pub(crate) fn new(body: RequestBody, encoding: Option<&'static str>) -> Self {
        Self {
            hash: hex(&sha256::of_one(body.pieces())),
            body,
            encoding,
        }
    }

    /// Two, hashed together.
    pub(crate) fn two(bodies: [RequestBody; 2]) -> [Self; 2] {
        let hashes = sha256::of_two(bodies.each_ref().map(RequestBody::pieces));
        let [one, other] = hashes.map(|hash| hex(&hash));
        let of = |body, hash| Self {
            body,
            hash,
            encoding: None,
        };
        let [first, second] = bodies;
        [of(first, one), of(second, other)]
    }
}

impl From<RequestBody> for Payload {
    fn from(body: RequestBody) -> Self {
        Self::new(body, None)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(whole: Vec<u8>) -> Self {
        Self::new(Bytes::from(whole).into(), None)
    }
}

/// Makes signed requests to one service at one place.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) service: Service,
    pub(crate) endpoint: Endpoint,
    pub(crate) region: String,
    pub(crate) content_type: &'static str,
}

impl Signer {
    /// The same for another host of the service.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            region: self.region.clone(),
            ..*self
        }
    }

    /// The request of one attempt: headers and signature.
    pub(crate) fn request(
        &self,
        operation: &str,
        payload: &Payload,
        credentials: &Credentials,
        at: SystemTime,
    ) -> Result<http::Request<RequestBody>, String> {
        let target = format!("{}.{operation}", self.service.target_prefix());
        let url = self.endpoint.url();
        let headers = [
            ("host", self.endpoint.host()),
            ("content-type", self.content_type),
            ("x-amz-target", &target),
        ];
        let mut request = http::Request::builder()
            .method(http::Method::POST)
            .uri(&url);
        let encoding = payload.encoding.map(|value| ("content-encoding", value));
        for (name, value) in headers.into_iter().chain(encoding) {
            request = request.header(name, value);
        }
        let mut request = request
            .body(payload.body.clone())
            .map_err(|e| e.to_string())?;
        let name = self.service.signing_name();
        sign_hashed(
            &mut request,
            &payload.hash,
            name,
            &self.region,
            credentials,
            at,
        )?;
        Ok(request)
    }
}

/// Signs a request with all of its headers; its body is hashed here.
pub(crate) fn sign(
    request: &mut http::Request<Bytes>,
    service: &str,
    region: &str,
    credentials: &Credentials,
    at: SystemTime,
) -> Result<(), String> {
    let hash = hex(&sha256::of_one(std::slice::from_ref(request.body())));
    sign_hashed(request, &hash, service, region, credentials, at)
}

fn sign_hashed<B>(
    request: &mut http::Request<B>,
    payload_hash: &str,
    service: &str,
    region: &str,
    credentials: &Credentials,
    at: SystemTime,
) -> Result<(), String> {
    let identity = credentials.for_signing().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| e.to_string())?
        .into();
    let body = SignableBody::Precomputed(payload_hash.to_owned());
    let url = request.uri().to_string();
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(request.method().as_str(), url, headers, body)
        .map_err(|e| e.to_string())?;
    let (instructions, _) = aws_sigv4::http_request::sign(signable, &params)
        .map_err(|e| e.to_string())?
        .into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// In hexadecimal, small letters.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::time::from_epoch_millis;

    #[test]
    fn small_differences_are_tolerated_and_large_ones_learnt() {
        let skew = Skew::default();
        let now = from_epoch_millis(1_700_000_000_000);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert!(!skew.learn(now + minutes(3), now));
        assert_eq!(skew.apply(now), now);
        assert!(skew.learn(now + minutes(60), now));
        assert_eq!(skew.apply(now), now + minutes(60));
        assert!(!skew.learn(now + minutes(61), now), "already corrected");
        assert!(skew.learn(now - minutes(30), now));
        assert_eq!(skew.apply(now), now - minutes(30));
    }

    #[test]
    fn the_encoding_of_a_body_is_said_and_signed() {
        let signer = Signer {
            service: Service::CloudWatch,
            endpoint: Endpoint::given("a test", "http://h").unwrap(),
            region: "eu-west-1".to_owned(),
            content_type: "application/x-amz-json-1.0",
        };
        let keys = Credentials::new("AKID", "hush", None);
        let at = from_epoch_millis(1_700_000_000_000);
        for (encoding, signed) in [
            (None, "content-type;host;x-amz-date;x-amz-target"),
            (
                Some("gzip"),
                "content-encoding;content-type;host;x-amz-date;x-amz-target",
            ),
        ] {
            let payload = Payload::new(Bytes::from_static(b"body").into(), encoding);
            let request = signer.request("PutMetricData", &payload, &keys, at);
            let headers = request.unwrap().headers().clone();
            let text = |name| headers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!(text("content-encoding"), encoding);
            let authorization = text("authorization").unwrap();
            let scope = "Credential=AKID/20231114/eu-west-1/monitoring/aws4_request";
            assert!(authorization.contains(scope), "{authorization}");
            let signed = format!("SignedHeaders={signed},");
            assert!(authorization.contains(&signed), "{authorization}");
        }
    }
}
