//! One question over HTTP to whoever gives out credentials.

use crate::transport::Transport;
use bytes::Bytes;
use http::{Request, StatusCode};
use runtime::{Chance, RetryPolicy};
use std::time::Duration;

/// No source's answer is larger.
const LARGEST_ANSWER: usize = 256 << 10;

/// How long is waited, and how often it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For one attempt, from sending to the last byte of the answer.
    pub(super) attempt: Duration,
    /// How often it is asked again after no answer, an answer that says 429, or 5xx.
    pub(super) again: usize,
    /// Whether it is asked again where there was no answer at all.
    pub(super) silence: bool,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody answered.
    Silent(String),
    /// The answer was another than 200.
    Refused(StatusCode, Bytes),
}

impl Failure {
    /// In words; `said` finds what the body says.
    pub(super) fn words(&self, said: impl Fn(&[u8]) -> Option<String>) -> String {
        match self {
            Self::Silent(why) => why.clone(),
            Self::Refused(status, body) => match said(body) {
                Some(said) => format!("HTTP status {}: {said}", status.as_u16()),
                None => format!("HTTP status {}", status.as_u16()),
            },
        }
    }
}

/// Asks until there is an answer of status 200 or patience ends.
pub(super) async fn ask(
    transport: &dyn Transport,
    chance: &Chance,
    patience: Patience,
    request: &Request<Bytes>,
) -> Result<Bytes, Failure> {
    let policy = RetryPolicy::default()
        .with_delays(Duration::from_millis(100), Duration::from_secs(1))
        .with_max_retries(patience.again);
    let mut backoff = policy.start(chance);
    loop {
        let failure = match once(transport, patience.attempt, request.clone()).await {
            Ok((StatusCode::OK, body)) => return Ok(body),
            Ok((status, body)) => Failure::Refused(status, body),
            Err(why) => Failure::Silent(why),
        };
        let passing = match &failure {
            Failure::Silent(_) => patience.silence,
            Failure::Refused(status, _) => status.is_server_error() || status.as_u16() == 429,
        };
        let delay = backoff.next_delay().filter(|_| passing);
        let Some(delay) = delay else {
            return Err(failure);
        };
        tokio::time::sleep(delay).await;
    }
}

async fn once(
    transport: &dyn Transport,
    bound: Duration,
    request: Request<Bytes>,
) -> Result<(StatusCode, Bytes), String> {
    let exchange = async {
        let (head, body) = transport.call(request.map(Into::into)).await?.into_parts();
        Ok((head.status, body.collect(LARGEST_ANSWER).await?))
    };
    match tokio::time::timeout(bound, exchange).await {
        Ok(answer) => answer.map_err(|e: crate::TransportError| e.to_string()),
        Err(_) => Err(format!("no answer within {bound:?}")),
    }
}
