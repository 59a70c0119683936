//! The endpoint: requests in, answers out, whichever way they come.

use crate::body::AnswerBody;
use crate::dynamo::store::{Store, StoreCall};
use crate::dynamo::{self, thread::DynamoThread};
use crate::error::{ConnectionLost, LocalError};
use crate::faults::Faults;
use crate::faults::plan::Plan;
use crate::http::control_path;
use crate::journal::{Journal, RequestSeen};
use crate::kinesis::{Kinesis, Operation, Twist};
use crate::options::LocalOptions;
use crate::protocol::{Protocol, Route, caller};
use crate::recorders::{self, Asked, Recorders};
use crate::refusal::Refusal;
use crate::service::Service;
use crate::signature::Verifier;
use crate::visit::{Answer, Visit, refused};
use crate::wire::buffers::Buffers;
use crate::wire::{Encoding, Fields};
use ::http::request::Parts;
use ::http::{HeaderValue, Method, Request, Response, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use runtime::{Chance, TokioClock, WallClock};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

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
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    kinesis: Kinesis,
    dynamo: Store,
    recorders: Recorders,
    verifier: Verifier,
    faults: Faults,
    pub(crate) journal: Journal,
    chance: Chance,
    buffers: Buffers,
    pub(crate) clock: Arc<dyn WallClock>,
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
        let dynamo = Store::open(Arc::clone(&clock))?;
        Ok(Self {
            inner: Arc::new(Inner {
                kinesis: Kinesis::new(&options, Arc::clone(&clock), &chance),
                dynamo,
                recorders: Recorders::new(&options, &chance),
                verifier: Verifier::new(&options.region, &options.verify_signatures),
                faults: Faults::seeded(chance.fork()),
                journal: Journal::new(options.journal),
                chance,
                buffers: Buffers::default(),
                clock,
            }),
        })
    }

    /// Answers a request on the caller's task: no task is spawned, nothing waits for I/O, and
    /// DynamoDB is called inline, so a paused clock cannot jump past an answer. Only a
    /// [`FaultAction::Delay`](crate::FaultAction::Delay) and a
    /// [`FaultAction::Trickle`](crate::FaultAction::Trickle) wait, on tokio's clock.
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

    pub(crate) fn store(&self) -> &Store {
        &self.inner.dynamo
    }

    pub(crate) fn recorders(&self) -> &Recorders {
        &self.inner.recorders
    }

    pub(crate) async fn answer(
        &self,
        request: Request<Bytes>,
        dynamo: Dynamo<'_>,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        let (head, body) = request.into_parts();
        if head.uri.path().starts_with(control_path::PREFIX) {
            return Ok(control_path::answer(self, &head, &body));
        }
        if head.method == Method::GET {
            let mut response =
                Response::new(AnswerBody::whole(&b"kinesis-local is listening\n"[..]));
            let kind = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            return Ok(response);
        }
        let compressed = head.headers.get(header::CONTENT_ENCODING);
        let compressed = compressed.map(|name| name.to_str().unwrap_or("unreadable"));
        let plain = recorders::plain(compressed, &body);
        let (route, spoken) = Route::of(&head, plain.as_deref().unwrap_or_default());
        let mut visit = Visit {
            service: route.service,
            operation: route.operation,
            protocol: route.protocol,
            resource: None,
            shard: None,
            caller: caller(&head),
            began: self.inner.clock.now(),
            request_id: self.inner.chance.uuid(),
        };
        if let Err(refusal) = spoken {
            return Ok(self.refuse(&visit, &refusal));
        }
        match route.service {
            Some(Service::Kinesis) => self.kinesis_request(&mut visit, &head, &body).await,
            Some(Service::DynamoDb) => {
                self.dynamo_request(&mut visit, &head, body.clone(), dynamo)
                    .await
            }
            Some(service) => {
                self.recorded(&mut visit, service, &head, &body, plain)
                    .await
            }
            None => {
                let refusal = unknown_operation(&visit.operation);
                Ok(self.refuse(&visit, &refusal))
            }
        }
    }

    async fn kinesis_request(
        &self,
        visit: &mut Visit,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        let encoding = match visit.protocol {
            Protocol::Aws(encoding) => encoding,
            _ => Encoding::Json,
        };
        let decoded = encoding.decode(body);
        let fields = decoded
            .as_ref()
            .map(|document| Fields::new(document, encoding))
            .map_err(Clone::clone);
        if let Ok(fields) = &fields {
            visit.resource = self.inner.kinesis.resource(*fields);
            visit.shard = self.inner.kinesis.shard(*fields);
        }
        let plan = match self.admit(visit, head, body).await? {
            Admitted::To(plan) => plan,
            Admitted::Answered(response) => return Ok(response),
        };
        let outcome = fields
            .and_then(|fields| self.kinesis_call(&visit.operation, fields, &plan.twist, encoding));
        let answer = outcome.unwrap_or_else(|refusal| refused(visit, &refusal));
        self.deliver(visit, answer, &plan)
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
        // A member of nearly every operation, of which most have no use for more than its type.
        fields.text("StreamId")?;
        let (content_type, body) = if operation == Operation::SubscribeToShard {
            let subscription = kinesis.subscribe(fields, twist, encoding)?;
            (EVENT_STREAM, AnswerBody::events(subscription))
        } else {
            let large = operation == Operation::GetRecords;
            let buffers = &self.inner.buffers;
            let buffer = if large { buffers.take() } else { Vec::new() };
            let mut out = encoding.writer_into(buffer);
            let called = kinesis.call(operation, fields, twist, &mut *out);
            let answer = buffers.lend(out.finish());
            called?;
            (encoding.content_type(), AnswerBody::whole(answer))
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
        visit: &mut Visit,
        head: &Parts,
        body: Bytes,
        dynamo: Dynamo<'_>,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        visit.resource = dynamo::resource(&body);
        let freezes = self.inner.faults.freezes();
        let plan = match self.admit(visit, head, &body).await? {
            Admitted::To(plan) => plan,
            Admitted::Answered(response) => return Ok(response),
        };
        let call = StoreCall {
            operation: visit.operation.clone(),
            body,
            twist: plan.store,
            freezes,
            host: host(head),
        };
        let answer = match dynamo {
            Dynamo::Inline => self.inner.dynamo.call(&call),
            Dynamo::Thread(thread) => thread.call(call).await.unwrap_or_else(|| {
                dynamo::Answer::refusal(Refusal {
                    status: 500,
                    ..Refusal::new("InternalServerError", "The DynamoDB thread is gone.")
                })
            }),
        };
        let answer = Answer {
            status: answer.status,
            content_type: visit.protocol.content_type(),
            body: AnswerBody::whole(answer.body),
            error: answer.error,
        };
        self.deliver(visit, answer, &plan)
    }

    /// Firehose, CloudWatch and STS. `plain` is the body before it was compressed.
    async fn recorded(
        &self,
        visit: &mut Visit,
        service: Service,
        head: &Parts,
        body: &[u8],
        plain: Result<Cow<'_, [u8]>, Refusal>,
    ) -> Result<Response<AnswerBody>, ConnectionLost> {
        let document = plain
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|plain| recorders::decode(visit.protocol, plain));
        visit.resource = document.as_ref().ok().and_then(recorders::resource);
        let plan = match self.admit(visit, head, body).await? {
            Admitted::To(plan) => plan,
            Admitted::Answered(response) => return Ok(response),
        };
        let outcome = document.and_then(|document| {
            let asked = Asked {
                service,
                operation: &visit.operation,
                protocol: visit.protocol,
                document: &document,
                size: body.len(),
                caller: visit.caller.as_deref(),
                twist: &plan.twist,
                now: runtime::time::epoch_millis(self.inner.clock.now()),
                request_id: &visit.request_id,
            };
            self.inner.recorders.call(&asked, &self.inner.verifier)
        });
        let answer = match outcome {
            Ok(body) => Answer {
                status: 200,
                content_type: visit.protocol.content_type(),
                body: AnswerBody::whole(body),
                error: None,
            },
            Err(refusal) => refused(visit, &refusal),
        };
        self.deliver(visit, answer, &plan)
    }

    /// Lets faults strike, waits if one delays, and checks the signature: what is not answered by
    /// that is to be carried out.
    async fn admit(
        &self,
        visit: &Visit,
        head: &Parts,
        body: &[u8],
    ) -> Result<Admitted, ConnectionLost> {
        let call = visit.call();
        let plan = Plan::of(self.inner.faults.strike(&call), &call);
        if let Some(delay) = plan.delay {
            tokio::time::sleep(delay).await;
        }
        if plan.refuse {
            self.note(visit, None);
            return Err(ConnectionLost);
        }
        if let Some(status) = plan.status {
            let answer = Answer {
                status,
                content_type: "text/plain",
                body: AnswerBody::whole(Bytes::new()),
                error: None,
            };
            return Ok(Admitted::Answered(self.deliver(visit, answer, &plan)?));
        }
        let now = runtime::time::epoch_millis(self.inner.clock.now());
        let verdict = match &plan.refusal {
            Some(refusal) => Err(refusal.clone()),
            None => self.inner.verifier.check(visit.service, head, body, now),
        };
        Ok(match verdict {
            Ok(()) => Admitted::To(plan),
            Err(refusal) => Admitted::Answered(self.refuse(visit, &refusal)),
        })
    }
}

/// A request after faults and signature.
enum Admitted {
    /// It is carried out so.
    To(Plan),
    /// It is answered already.
    Answered(Response<AnswerBody>),
}

/// The host that a request was sent to.
fn host(head: &Parts) -> String {
    let header = head.headers.get(header::HOST);
    header
        .and_then(|value| value.to_str().ok())
        .or_else(|| head.uri.authority().map(|a| a.as_str()))
        .unwrap_or("localhost")
        .to_owned()
}

/// The answer to an operation that is not built, or that nobody knows.
pub(crate) fn unknown_operation(name: &str) -> Refusal {
    Refusal::new(
        "UnknownOperationException",
        format!("The operation '{name}' is not known to this endpoint."),
    )
}
