//! The endpoint: requests in, answers out, whichever way they come.

use crate::body::AnswerBody;
use crate::dynamo::{self, thread::DynamoThread};
use crate::error::{ConnectionLost, LocalError};
use crate::faults::{FaultAction, Faults};
use crate::http::date;
use crate::journal::{Journal, RequestSeen};
use crate::kinesis::{Kinesis, Operation, Twist};
use crate::options::LocalOptions;
use crate::refusal::Refusal;
use crate::wire::{Encoding, Fields};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use dynoxide::Database;
use http_body_util::BodyExt;
use runtime::{Chance, TokioClock, WallClock};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

const KINESIS: &str = "Kinesis_20131202";
/// The content type of a SubscribeToShard's answer.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
const DYNAMODB: &str = "DynamoDB_20120810";

/// An endpoint that answers as Kinesis Data Streams and DynamoDB do, with everything in memory.
/// Clones are handles on the same endpoint.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use local::{Local, LocalOptions};
/// let local = Local::new(LocalOptions::default())?;
/// local.create_stream("orders", 4)?;
/// let request = http::Request::post("/")
///     .header("x-amz-target", "Kinesis_20131202.PutRecord")
///     .header("content-type", "application/x-amz-json-1.1")
///     .body(r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}"#.into())?;
/// assert_eq!(local.handle(request).await?.status(), 200);
/// assert_eq!(&local.records("orders")[0].data[..], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

struct Inner {
    kinesis: Kinesis,
    dynamo: Database,
    faults: Faults,
    journal: Journal,
    chance: Chance,
    clock: Arc<dyn WallClock>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Where DynamoDB's operations are carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dynamo<'a> {
    /// On the caller's task.
    Inline,
    /// On a thread of its own.
    Thread(&'a DynamoThread),
}

/// An answer before it is HTTP.
struct Answer {
    status: u16,
    content_type: &'static str,
    body: AnswerBody,
    error: Option<Cow<'static, str>>,
}

impl Local {
    /// An endpoint without streams and tables.
    ///
    /// # Errors
    /// [`LocalError::Store`] when the in-memory DynamoDB store cannot be opened.
    pub fn new(options: LocalOptions) -> Result<Self, LocalError> {
        let chance = Chance::seeded(options.seed);
        let clock: Arc<dyn WallClock> = match &options.clock {
            Some(clock) => Arc::clone(clock),
            None => Arc::new(TokioClock::new()),
        };
        let dynamo = dynamo::open(Arc::clone(&clock))?;
        Ok(Self {
            inner: Arc::new(Inner {
                kinesis: Kinesis::new(&options, Arc::clone(&clock), &chance),
                dynamo,
                faults: Faults::default(),
                journal: Journal::new(options.journal),
                chance,
                clock,
            }),
        })
    }

    /// Answers a request on the caller's task: no task is spawned, nothing waits for I/O, and
    /// DynamoDB is called inline, so a paused clock cannot jump past an answer. Only a
    /// [`FaultAction::Delay`] waits, on tokio's clock.
    ///
    /// Cancelled during such a delay, the request has no effect; otherwise it completes at its first
    /// poll. The answer to a SubscribeToShard is whole when the subscription is over, which takes five
    /// minutes unless the shard ends: see [`Local::handle_streaming`].
    ///
    /// # Errors
    /// [`ConnectionLost`] when a fault leaves the request without an answer.
    pub async fn handle(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ConnectionLost> {
        let (head, body) = self.handle_streaming(request).await?.into_parts();
        let body = match body.as_whole() {
            Some(whole) => whole.clone(),
            None => body.collect().await?.to_bytes(),
        };
        Ok(Response::from_parts(head, body))
    }

    /// The same, but the events of a SubscribeToShard come as they happen: each is made when the body
    /// is polled for it, in the caller's task. Until the next one the body waits for the shard, and on
    /// tokio's clock. A clock that is moved by hand is looked at whenever the body is polled, and once
    /// a second.
    ///
    /// Cancelled, or the body dropped, the subscription ends.
    ///
    /// # Errors
    /// [`ConnectionLost`] when a fault leaves the request without an answer.
    pub async fn handle_streaming(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        self.answer(request, Dynamo::Inline).await
    }

    /// The faults that wait to strike.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// The last requests, oldest first, as many as [`LocalOptions::journal`] keeps.
    #[must_use]
    pub fn journal(&self) -> Vec<RequestSeen> {
        self.inner.journal.seen()
    }

    /// How many requests the journal no longer holds.
    #[must_use]
    pub fn journal_dropped(&self) -> u64 {
        self.inner.journal.dropped()
    }

    /// How often each operation was asked for since the start.
    #[must_use]
    pub fn request_counts(&self) -> BTreeMap<String, u64> {
        self.inner.journal.counts()
    }

    /// How many requests since the start were answered with an error, or left without an answer.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.inner.journal.errors()
    }

    pub(crate) fn kinesis(&self) -> &Kinesis {
        &self.inner.kinesis
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.dynamo
    }

    pub(crate) async fn answer(
        &self,
        request: Request<Bytes>,
        dynamo: Dynamo<'_>,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        let (head, body) = request.into_parts();
        if head.method == Method::GET {
            return Ok(self.respond(Answer {
                status: 200,
                content_type: "text/plain",
                body: AnswerBody::whole(&b"kinesis-local is listening\n"[..]),
                error: None,
            }));
        }
        let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
        let target = text("x-amz-target").unwrap_or_default();
        let content_type = text("content-type").unwrap_or_default();
        let (service, operation) = target.split_once('.').unwrap_or(("", target));
        match service {
            KINESIS => self.kinesis_request(operation, content_type, &body).await,
            DYNAMODB => self.dynamo_request(operation, body, dynamo).await,
            _ => {
                let encoding = Encoding::of_content_type(content_type).unwrap_or(Encoding::Json);
                let refusal = unknown_operation(target);
                let answer = Answer::refusal(encoding, &refusal);
                self.note(target, None, Some(&answer));
                Ok(self.respond(answer))
            }
        }
    }

    async fn kinesis_request(
        &self,
        name: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        let Some(encoding) = Encoding::of_content_type(content_type) else {
            let refusal = Refusal::serialization(format!(
                "Content-Type '{content_type}' is neither application/x-amz-json-1.1 nor \
                 application/x-amz-cbor-1.1"
            ));
            let answer = Answer::refusal(Encoding::Json, &refusal);
            self.note(name, None, Some(&answer));
            return Ok(self.respond(answer));
        };
        let decoded = encoding.decode(body);
        let fields = decoded
            .as_ref()
            .map(|document| Fields::new(document, encoding))
            .map_err(Clone::clone);
        let resource = fields
            .as_ref()
            .ok()
            .and_then(|fields| self.inner.kinesis.resource(*fields));
        let action = self.inner.faults.strike(name, resource.as_deref());
        let plan = self.plan(name, resource.as_deref(), action).await?;
        let outcome = match plan.refusal {
            Some(refusal) => Err(refusal),
            None => {
                fields.and_then(|fields| self.kinesis_call(name, fields, &plan.twist, encoding))
            }
        };
        let answer = outcome.unwrap_or_else(|refusal| Answer::refusal(encoding, &refusal));
        self.deliver(name, resource.as_deref(), answer, plan.lose)
    }

    fn kinesis_call(
        &self,
        name: &str,
        fields: Fields<'_, '_>,
        twist: &Twist,
        encoding: Encoding,
    ) -> Result<Answer, Refusal> {
        let kinesis = &self.inner.kinesis;
        let operation = Operation::named(name).ok_or_else(|| unknown_operation(name))?;
        let (content_type, body) = if operation == Operation::SubscribeToShard {
            let subscription = kinesis.subscribe(fields, twist, encoding)?;
            (EVENT_STREAM, AnswerBody::events(subscription))
        } else {
            let mut out = encoding.writer();
            kinesis.call(operation, fields, twist, &mut *out)?;
            (encoding.content_type(), AnswerBody::whole(out.finish()))
        };
        Ok(Answer {
            status: 200,
            content_type,
            body,
            error: None,
        })
    }

    async fn dynamo_request(
        &self,
        operation: &str,
        body: Bytes,
        dynamo: Dynamo<'_>,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        let resource = dynamo::resource(&body);
        let action = self.inner.faults.strike(operation, resource.as_deref());
        let plan = self.plan(operation, resource.as_deref(), action).await?;
        let answer = match (plan.refusal, dynamo) {
            (Some(refusal), _) => dynamo::Answer::refusal(refusal),
            (None, Dynamo::Inline) => dynamo::call(&self.inner.dynamo, operation, &body),
            (None, Dynamo::Thread(thread)) => {
                thread.call(operation, body).await.unwrap_or_else(|| {
                    dynamo::Answer::refusal(Refusal {
                        status: 500,
                        ..Refusal::new("InternalServerError", "The DynamoDB thread is gone.")
                    })
                })
            }
        };
        let answer = Answer {
            status: answer.status,
            content_type: "application/x-amz-json-1.0",
            body: AnswerBody::whole(answer.body),
            error: answer.error,
        };
        self.deliver(operation, resource.as_deref(), answer, plan.lose)
    }

    /// Turns a fault into what is to be done; waits if it is a delay.
    async fn plan(
        &self,
        operation: &str,
        resource: Option<&str>,
        action: Option<FaultAction>,
    ) -> Result<Plan, ConnectionLost> {
        let mut plan = Plan::default();
        match action {
            None => {}
            Some(FaultAction::Error {
                status,
                code,
                message,
            }) => {
                plan.refusal = Some(Refusal {
                    status,
                    code: Cow::Owned(code),
                    message,
                });
            }
            Some(FaultAction::LoseAnswer) => plan.lose = true,
            Some(FaultAction::Refuse) => {
                self.note(operation, resource, None);
                return Err(ConnectionLost);
            }
            Some(FaultAction::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(FaultAction::SplitEntries { every, code }) => {
                plan.twist = Twist::SplitEntries { every, code };
            }
            Some(FaultAction::ExpireIterator) => plan.twist = Twist::ExpireIterator,
        }
        Ok(plan)
    }

    fn deliver(
        &self,
        operation: &str,
        resource: Option<&str>,
        answer: Answer,
        lose: bool,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        if lose {
            self.note(operation, resource, None);
            return Err(ConnectionLost);
        }
        self.note(operation, resource, Some(&answer));
        Ok(self.respond(answer))
    }

    fn note(&self, operation: &str, resource: Option<&str>, answer: Option<&Answer>) {
        let status = answer.map_or(0, |a| a.status);
        let error = answer.and_then(|a| a.error.as_deref());
        tracing::debug!(operation, resource, status, error, "request");
        self.inner.journal.note(RequestSeen {
            operation: operation.to_owned(),
            resource: resource.map(str::to_owned),
            status,
            error: error.map(str::to_owned),
            at: self.inner.clock.now(),
        });
    }

    fn respond(&self, answer: Answer) -> Response<AnswerBody> {
        let mut response = Response::new(answer.body);
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(answer.content_type),
        );
        if let Ok(id) = HeaderValue::from_str(&self.inner.chance.uuid()) {
            headers.insert("x-amzn-requestid", id);
        }
        let now = runtime::time::epoch_millis(self.inner.clock.now());
        if let Ok(date) = HeaderValue::from_str(&date::of_header(now)) {
            headers.insert(header::DATE, date);
        }
        response
    }
}

/// What a fault makes of a request.
#[derive(Default)]
struct Plan {
    refusal: Option<Refusal>,
    twist: Twist,
    lose: bool,
}

impl Answer {
    fn refusal(encoding: Encoding, refusal: &Refusal) -> Self {
        Self {
            status: refusal.status,
            content_type: encoding.content_type(),
            body: AnswerBody::whole(encoding.refusal(refusal)),
            error: Some(refusal.code.clone()),
        }
    }
}

/// The answer to an operation that is not built, or that nobody knows.
pub(crate) fn unknown_operation(name: &str) -> Refusal {
    Refusal::new(
        "UnknownOperationException",
        format!("The operation '{name}' is not known to this endpoint."),
    )
}
