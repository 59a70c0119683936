//! A request on its way through the endpoint, and how it ends: noted in the journal, and answered.

use crate::body::AnswerBody;
use crate::endpoint::Local;
use crate::error::ConnectionLost;
use crate::faults::Call;
use crate::faults::plan::Plan;
use crate::http::date;
use crate::journal::RequestSeen;
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::service::Service;
use ::http::{HeaderValue, Response, StatusCode, header};
use std::borrow::Cow;
use std::time::SystemTime;

/// An answer before it is HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: AnswerBody,
    pub(crate) error: Option<Cow<'static, str>>,
}

/// A request on its way through: what the journal and the faults are told.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) service: Option<Service>,
    pub(crate) operation: String,
    pub(crate) protocol: Protocol,
    pub(crate) resource: Option<String>,
    pub(crate) shard: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) began: SystemTime,
    pub(crate) request_id: String,
}

impl Visit {
    /// What the faults are told.
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            service: self.service,
            operation: &self.operation,
            resource: self.resource.as_deref(),
            shard: self.shard.as_deref(),
            caller: self.caller.as_deref(),
        }
    }
}

impl Local {
    pub(crate) fn refuse(&self, visit: &Visit, refusal: &Refusal) -> Response<AnswerBody> {
        let answer = refused(visit, refusal);
        self.note(visit, Some(&answer));
        self.respond(visit, answer, 0)
    }

    pub(crate) fn deliver(
        &self,
        visit: &Visit,
        mut answer: Answer,
        plan: &Plan,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        if plan.lose {
            self.note(visit, None);
            return Err(ConnectionLost);
        }
        self.note(visit, Some(&answer));
        answer.body = answer.body.cut(plan.cut).breaking_with(|| {
            let (local, visit) = (self.clone(), visit.clone());
            Box::pin(async move {
                local.faults().severed(&visit.call()).await;
                tracing::debug!(
                    operation = visit.operation,
                    "a partition broke an answer off"
                );
            })
        });
        Ok(self.respond(visit, answer, plan.skew))
    }

    pub(crate) fn note(&self, visit: &Visit, answer: Option<&Answer>) {
        let status = answer.map_or(0, |a| a.status);
        let error = answer.and_then(|a| a.error.as_deref());
        let at = self.inner.clock.now();
        let operation = visit.operation.as_str();
        tracing::debug!(
            operation,
            resource = visit.resource,
            caller = visit.caller,
            status,
            error,
            "request"
        );
        self.inner.journal.note(RequestSeen {
            operation: operation.to_owned(),
            service: visit.service,
            caller: visit.caller.clone(),
            resource: visit.resource.clone(),
            status,
            error: error.map(str::to_owned),
            at,
            took: at.duration_since(visit.began).unwrap_or_default(),
        });
    }

    /// `skew`: seconds by which the date is late.
    pub(crate) fn respond(&self, visit: &Visit, answer: Answer, skew: i64) -> Response<AnswerBody> {
        let mut response = Response::new(answer.body);
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(answer.content_type),
        );
        if visit.protocol == Protocol::RpcCbor {
            headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        }
        if let Ok(id) = HeaderValue::from_str(&visit.request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        let now = runtime::time::epoch_millis(self.inner.clock.now());
        let shown = now.saturating_add_signed(skew.saturating_mul(1_000));
        if let Ok(date) = HeaderValue::from_str(&date::of_header(shown)) {
            headers.insert(header::DATE, date);
        }
        response
    }
}

/// An error as an answer.
pub(crate) fn refused(visit: &Visit, refusal: &Refusal) -> Answer {
    let (status, body, code) = visit.protocol.refusal(refusal, &visit.request_id);
    Answer {
        status,
        content_type: visit.protocol.content_type(),
        body: AnswerBody::whole(body),
        error: Some(code),
    }
}
