//! One call: attempts, their time-outs, and what each answer means for the next.

use crate::config::{Config, Timeouts};
use crate::credentials::{Cached, Credentials};
use crate::endpoint::{Endpoint, OwnedHosts, Plane, Service};
use crate::error::{Error, ErrorKind, ServiceError};
use crate::sign::{Payload, Signer, Skew};
use crate::transport::{Transport, TransportError};
use bytes::Bytes;
use http::HeaderMap;
use runtime::{Backoff, Chance, RetryPolicy, WallClock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The largest answer that any operation gives is a 10 MiB page of records with its framing (base64
/// in JSON adds a third).
const LARGEST_ANSWER: usize = 32 << 20;

/// The encoding of the services that have one alone.
const JSON: &str = "application/x-amz-json-1.0";

/// An answer that could not be understood, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undecodable(pub(crate) String);

/// Makes the calls of one service.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    signer: Arc<Signer>,
    /// For the hosts of one stream's owner.
    owner: Option<Arc<Owner>>,
    /// Where such hosts are to be used.
    owned_hosts: Option<OwnedHosts>,
    credentials: Arc<Cached>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn WallClock>,
    chance: Chance,
    timeouts: Timeouts,
    retry: RetryPolicy,
    skew: Skew,
}

/// Makes requests to the hosts of one stream's owner.
#[derive(Debug)]
struct Owner {
    data: Signer,
    control: Signer,
}

/// An attempt that failed.
struct Failed {
    error: Error,
    /// The answer's `Date`.
    date: Option<SystemTime>,
    /// What it was signed with.
    credentials: Option<Credentials>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            date: None,
            credentials: None,
        }
    }
}

/// What an attempt that failed leaves to do.
enum Next {
    /// Sign again at once: the keys or the clock were wrong, and there is something new to try.
    SignAgain,
    /// Wait, then try again.
    Wait,
    /// Nothing helps.
    Stop,
}

impl Caller {
    pub(crate) fn new(config: &Config, service: Service) -> Self {
        let (endpoint, content_type) = match service {
            Service::Kinesis => (&config.kinesis, config.kinesis_encoding.content_type()),
            Service::CloudWatch => (&config.cloudwatch, JSON),
            _ => (&config.dynamodb, JSON),
        };
        Self {
            signer: Arc::new(Signer {
                service,
                endpoint: endpoint.clone(),
                region: config.region.clone(),
                content_type,
            }),
            owner: None,
            owned_hosts: config.owned_hosts.clone(),
            credentials: Arc::new(Cached::new(Arc::clone(&config.credentials))),
            transport: Arc::clone(&config.transport),
            clock: Arc::clone(&config.clock),
            chance: config.chance.clone(),
            timeouts: config.timeouts,
            retry: config.retry.clone(),
            skew: config.skew.clone(),
        }
    }

    pub(crate) fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self {
            retry,
            ..self.clone()
        }
    }

    pub(crate) fn with_attempt_timeout(&self, bound: Duration) -> Self {
        Self {
            timeouts: self.timeouts.with_attempt(bound),
            ..self.clone()
        }
    }

    /// The same caller at another place.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Self {
        Self {
            signer: Arc::new(self.signer.at(endpoint)),
            ..self.clone()
        }
    }

    /// The same caller for one stream, by its ARN or its `StreamId`.
    pub(crate) fn for_stream(&self, stream: &str) -> Self {
        let signer = |plane| {
            let endpoint = self.owned_hosts.as_ref()?.find(plane, stream)?;
            Some(self.signer.at(endpoint))
        };
        let owner = signer(Plane::Data).zip(signer(Plane::Control));
        Self {
            owner: owner.map(|(data, control)| Arc::new(Owner { data, control })),
            ..self.clone()
        }
    }

    /// Who signs an operation: for the host that it goes to.
    fn signer(&self, operation: &str) -> &Signer {
        match (&self.owner, Plane::of(operation)) {
            (Some(owner), Some(Plane::Data)) => &owner.data,
            (Some(owner), Some(Plane::Control)) => &owner.control,
            (None, _) | (_, None) => &self.signer,
        }
    }

    /// Makes attempts until one succeeds, the policy allows no more, or the call's time is over.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        payload: impl Into<Payload>,
        decode: impl Fn(&Bytes) -> Result<T, Undecodable> + Send + Sync,
    ) -> Result<T, Error> {
        let payload = payload.into();
        let bound = self.timeouts.operation;
        let began = Instant::now();
        let attempts = async {
            let mut backoff: Option<Backoff> = None;
            let mut signed_again = 0;
            loop {
                let error = match self.attempt(operation, &payload).await {
                    Ok(answer) => match decode(&answer) {
                        Ok(output) => return Ok(output),
                        Err(Undecodable(reason)) => Error::Answer {
                            operation,
                            endpoint: self.signer(operation).endpoint.to_string(),
                            reason,
                        },
                    },
                    Err(failed) => match self.next(&failed, signed_again) {
                        Next::SignAgain => {
                            signed_again += 1;
                            continue;
                        }
                        Next::Wait => failed.error,
                        Next::Stop => return Err(failed.error),
                    },
                };
                let backoff = backoff.get_or_insert_with(|| self.retry.start(&self.chance));
                let Some(delay) = backoff.next_delay() else {
                    return Err(error);
                };
                // What is known is better than a time-out that comes for certain.
                if began.elapsed().saturating_add(delay) >= bound {
                    return Err(error);
                }
                tracing::debug!(operation, %error, ?delay, "trying again");
                tokio::time::sleep(delay).await;
            }
        };
        tokio::time::timeout(bound, attempts)
            .await
            .unwrap_or_else(|_| Err(self.timed_out(operation, bound)))
    }

    fn timed_out(&self, operation: &'static str, after: Duration) -> Error {
        Error::Timeout {
            operation,
            endpoint: self.signer(operation).endpoint.to_string(),
            after,
        }
    }

    /// New keys are tried once, and a newly learnt clock once more: an answerer whose keys or clock
    /// are never right is not asked for ever.
    fn next(&self, failed: &Failed, signed_again: u32) -> Next {
        if let Error::Service(e) = &failed.error
            && e.kind() == ErrorKind::Credential
        {
            let learnt = e.may_be_skew()
                && failed
                    .date
                    .is_some_and(|date| self.skew.learn(date, self.clock.now()));
            if let Some(credentials) = &failed.credentials {
                self.credentials.refused(credentials);
            }
            return match signed_again {
                0 => Next::SignAgain,
                1 if learnt => Next::SignAgain,
                _ => Next::Stop,
            };
        }
        if failed.error.is_retryable() {
            Next::Wait
        } else {
            Next::Stop
        }
    }

    /// One attempt: the body of a good answer, or the error with what the next attempt needs to know.
    async fn attempt(&self, operation: &'static str, payload: &Payload) -> Result<Bytes, Failed> {
        let credentials = self
            .credentials
            .get()
            .await
            .map_err(|source| Error::Credentials { operation, source })?;
        let at = self.skew.apply(self.clock.now());
        let request = self
            .signer(operation)
            .request(operation, payload, &credentials, at)
            .map_err(|reason| Error::Request { operation, reason })?;
        let exchange = async {
            let (head, body) = self.transport.call(request).await?.into_parts();
            Ok::<_, TransportError>((head, body.collect(LARGEST_ANSWER).await?))
        };
        let lost = |source| Error::Transport {
            operation,
            endpoint: self.signer(operation).endpoint.to_string(),
            source,
        };
        let bound = self.timeouts.attempt;
        let (head, body) = tokio::time::timeout(bound, exchange)
            .await
            .map_err(|_| self.timed_out(operation, bound))?
            .map_err(lost)?;
        if head.status.is_success() {
            return Ok(body);
        }
        let date = head
            .headers
            .get(http::header::DATE)
            .and_then(|v| httpdate::parse_http_date(v.to_str().ok()?).ok());
        let status = head.status.as_u16();
        let mut error = self.service_error(operation, status, &head.headers, body);
        // A refused signature is answered with the canonical request, session token included.
        if let Some(token) = credentials.session_token().filter(|t| !t.is_empty()) {
            error.message = error.message.replace(token, "(session token)");
        }
        Err(Failed {
            error: Error::Service(Box::new(error)),
            date,
            credentials: Some(credentials),
        })
    }

    fn service_error(
        &self,
        operation: &'static str,
        status: u16,
        headers: &HeaderMap,
        body: Bytes,
    ) -> ServiceError {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let (code, message) = match self.signer.service {
            Service::Kinesis => crate::cbor::error(&body),
            _ => None,
        }
        .unwrap_or_else(|| json_error(&body));
        // A proxy or load balancer answers without a body; the header may still name the error.
        let code = if code.is_empty() {
            text("x-amzn-errortype").unwrap_or_default()
        } else {
            code
        };
        ServiceError {
            operation,
            endpoint: self.signer(operation).endpoint.to_string(),
            status,
            code: bare(&code).to_owned(),
            message,
            request_id: text("x-amzn-requestid"),
            body,
        }
    }
}

/// Name and text of an error in JSON; empty where the body has none.
fn json_error(body: &[u8]) -> (String, String) {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |keys: [&str; 2]| {
        keys.iter()
            .find_map(|k| value.get(k)?.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (text(["__type", "code"]), text(["message", "Message"]))
}

/// `com.amazonaws.kinesis.v20131202#SomeException:http://…` → `SomeException`.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_are_stripped_of_their_name_space() {
        assert_eq!(
            bare("com.amazonaws.dynamodb.v20120810#ValidationException"),
            "ValidationException"
        );
        assert_eq!(
            bare("ThrottlingException:http://internal"),
            "ThrottlingException"
        );
        assert_eq!(bare("Plain"), "Plain");
        assert_eq!(bare(""), "");
    }

    #[test]
    fn garbled_error_bodies_give_no_name() {
        assert_eq!(json_error(b"<html>"), (String::new(), String::new()));
        let body = br#"{"__type":"x#Y","Message":"why"}"#;
        assert_eq!(json_error(body), ("x#Y".to_owned(), "why".to_owned()));
    }
}
