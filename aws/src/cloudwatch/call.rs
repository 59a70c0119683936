//! One call of `PutMetricData`: like those of the other services, but that its body may be compressed,
//! which the signed headers say.

use super::encode::Body;
use crate::config::{Config, ConfigError, Timeouts};
use crate::credentials::{Cached, Credentials};
use crate::endpoint::{Endpoint, Service};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, ServiceError};
use crate::profile::Profile;
use crate::sign::{Skew, payload_hash};
use crate::transport::{Transport, TransportError};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use runtime::{Chance, RetryPolicy, WallClock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const OPERATION: &str = "PutMetricData";
const TARGET: &str = "GraniteServiceVersion20100801.PutMetricData";
/// The name that requests are signed for, and the first label of the service's host names.
const SERVICE: &str = "monitoring";
/// A good answer is empty.
const LARGEST_ANSWER: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(super) struct Caller {
    endpoint: Endpoint,
    region: String,
    credentials: Arc<Cached>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn WallClock>,
    chance: Chance,
    timeouts: Timeouts,
    retry: RetryPolicy,
    skew: Skew,
}

/// An attempt that failed, with what it was signed with and the answer's `Date`.
struct Failed(Error, Option<Credentials>, Option<SystemTime>);

impl Caller {
    pub(super) fn new(config: &Config, url: Option<&str>) -> Result<Self, ConfigError> {
        Ok(Self {
            endpoint: endpoint(config, url)?,
            region: config.region.clone(),
            credentials: Arc::new(Cached::new(Arc::clone(&config.credentials))),
            transport: Arc::clone(&config.transport),
            clock: Arc::clone(&config.clock),
            chance: config.chance.clone(),
            timeouts: config.timeouts,
            retry: config.retry.clone(),
            skew: config.skew.clone(),
        })
    }

    /// Makes attempts until one succeeds, the policy allows no more, or the call's time is over.
    pub(super) async fn put_metric_data(&self, body: &Body) -> Result<(), Error> {
        let hash = payload_hash(&body.bytes);
        let attempts = async {
            let mut backoff = self.retry.start(&self.chance);
            let mut signed_again = false;
            loop {
                let Failed(error, credentials, date) = match self.attempt(body, &hash).await {
                    Ok(()) => return Ok(()),
                    Err(failed) => failed,
                };
                if error.kind() == ErrorKind::Credential {
                    let Some(refused) = credentials else {
                        return Err(error);
                    };
                    if let Some(date) = date {
                        self.skew.learn(date, self.clock.now());
                    }
                    self.credentials.refused(&refused);
                    if std::mem::replace(&mut signed_again, true) {
                        return Err(error);
                    }
                } else if !error.is_retryable() || !backoff.wait().await {
                    return Err(error);
                }
            }
        };
        let bound = self.timeouts.operation;
        tokio::time::timeout(bound, attempts)
            .await
            .unwrap_or_else(|_| Err(self.timed_out(bound)))
    }

    fn timed_out(&self, after: Duration) -> Error {
        Error::Timeout {
            operation: OPERATION,
            endpoint: self.endpoint.to_string(),
            after,
        }
    }

    async fn attempt(&self, body: &Body, hash: &str) -> Result<(), Failed> {
        let bare = |error| Failed(error, None, None);
        let credentials = self.credentials.get().await.map_err(|source| {
            bare(Error::Credentials {
                operation: OPERATION,
                source,
            })
        })?;
        let at = self.skew.apply(self.clock.now());
        let request = self
            .request(body, hash, &credentials, at)
            .map_err(|reason| {
                bare(Error::Request {
                    operation: OPERATION,
                    reason,
                })
            })?;
        let exchange = async {
            let (head, body) = self.transport.call(request).await?.into_parts();
            Ok::<_, TransportError>((head, body.collect(LARGEST_ANSWER).await?))
        };
        let bound = self.timeouts.attempt;
        let (head, answer) = tokio::time::timeout(bound, exchange)
            .await
            .map_err(|_| bare(self.timed_out(bound)))?
            .map_err(|source| {
                bare(Error::Transport {
                    operation: OPERATION,
                    endpoint: self.endpoint.to_string(),
                    source,
                })
            })?;
        if head.status.is_success() {
            return Ok(());
        }
        let text = |name: &str| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let (code, mut message) = error_of(&answer);
        // A refused signature is answered with the canonical request, session token included.
        if let Some(token) = credentials.session_token().filter(|t| !t.is_empty()) {
            message = message.replace(token, "(session token)");
        }
        let error = ServiceError {
            operation: OPERATION,
            endpoint: self.endpoint.to_string(),
            status: head.status.as_u16(),
            code: code
                .or(text("x-amzn-errortype"))
                .map_or_else(String::new, |c| bare_name(&c).to_owned()),
            message,
            request_id: text("x-amzn-requestid"),
            body: answer,
        };
        let date = text("date").and_then(|date| httpdate::parse_http_date(&date).ok());
        Err(Failed(
            Error::Service(Box::new(error)),
            Some(credentials),
            date,
        ))
    }

    fn request(
        &self,
        body: &Body,
        payload_hash: &str,
        credentials: &Credentials,
        at: SystemTime,
    ) -> Result<http::Request<Bytes>, String> {
        let url = self.endpoint.url();
        let mut headers = vec![
            ("host", self.endpoint.host()),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", TARGET),
        ];
        if body.compressed {
            headers.push(("content-encoding", "gzip"));
        }
        let mut request = http::Request::builder()
            .method(http::Method::POST)
            .uri(&url);
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(body.bytes.clone())
            .map_err(|e| e.to_string())?;
        let identity = credentials.for_signing().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| e.to_string())?
            .into();
        let payload = SignableBody::Precomputed(payload_hash.to_owned());
        let signable = SignableRequest::new("POST", url.as_str(), headers.into_iter(), payload)
            .map_err(|e| e.to_string())?;
        let (instructions, _) = sign(signable, &params)
            .map_err(|e| e.to_string())?
            .into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// What was given; else the URL that all services are called at; else the region's own, of the same
/// variant (FIPS, dual-stack) as that of Kinesis.
fn endpoint(config: &Config, url: Option<&str>) -> Result<Endpoint, ConfigError> {
    let find = |url: Option<String>| {
        let given = [("the endpoint of CloudWatch", url), ("", None)];
        let nothing = Environment::fixed([("", ""); 0]);
        let profile = Profile::default();
        Endpoint::find(Service::Kinesis, &config.region, given, &nothing, &profile)
    };
    if let Some(url) = url {
        return find(Some(url.to_owned()));
    }
    if config.kinesis == config.dynamodb {
        return Ok(config.kinesis.clone());
    }
    let kinesis = Service::Kinesis.signing_name();
    let known = config.kinesis.to_string();
    let regional = ["", "-fips"]
        .map(|variant| format!("https://{kinesis}{variant}.{}.", config.region))
        .iter()
        .any(|start| known.starts_with(start));
    let url = if regional {
        known
    } else {
        find(None)?.to_string()
    };
    find(Some(url.replacen(kinesis, SERVICE, 1)))
}

/// Name and text of an error in JSON.
fn error_of(body: &[u8]) -> (Option<String>, String) {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |keys: [&str; 2]| {
        let found = keys.iter().find_map(|key| value.get(key)?.as_str());
        found.map(str::to_owned)
    };
    (
        text(["__type", "code"]),
        text(["message", "Message"]).unwrap_or_default(),
    )
}

/// `com.amazonaws.cloudwatch#SomeException:http://…` → `SomeException`.
fn bare_name(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(region: &str, one: Option<&str>, all: Option<&str>) -> String {
        let mut builder = Config::builder()
            .region(region)
            .environment(Environment::fixed([("HOME", "/nonexistent")]));
        if let Some(url) = all {
            builder = builder.endpoint_url(url);
        }
        if let Some(url) = one {
            builder = builder.kinesis_endpoint_url(url);
        }
        let config = builder.load().unwrap();
        endpoint(&config, None).unwrap().to_string()
    }

    #[test]
    fn the_url_of_all_services_is_its_own_too_else_the_regions() {
        for (region, one, all, url) in [
            (
                "eu-west-1",
                None,
                None,
                "https://monitoring.eu-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                None,
                None,
                "https://monitoring.cn-north-1.amazonaws.com.cn",
            ),
            ("eu-west-1", None, Some("http://h:1"), "http://h:1"),
            (
                "us-east-1",
                Some("https://kinesis-fips.us-east-1.amazonaws.com"),
                None,
                "https://monitoring-fips.us-east-1.amazonaws.com",
            ),
            (
                "eu-west-1",
                Some("https://kinesis.eu-west-1.api.aws"),
                None,
                "https://monitoring.eu-west-1.api.aws",
            ),
            (
                "eu-west-1",
                Some("http://k"),
                None,
                "https://monitoring.eu-west-1.amazonaws.com",
            ),
        ] {
            assert_eq!(found(region, one, all), url);
        }
    }

    #[test]
    fn errors_are_read() {
        let body = br#"{"__type":"com.amazonaws.cloudwatch#InvalidParameterValue","message":"m"}"#;
        let (code, message) = error_of(body);
        assert_eq!(bare_name(&code.unwrap()), "InvalidParameterValue");
        assert_eq!(message, "m");
        assert_eq!(error_of(b"<html>"), (None, String::new()));
    }
}
