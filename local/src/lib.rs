//! An embedded endpoint that answers as Amazon Kinesis Data Streams and DynamoDB do, for development
//! and for tests: no AWS account, no container, everything in memory.
//!
//! The Kinesis core is this crate's own; DynamoDB is [dynoxide](https://docs.rs/dynoxide-rs). Both
//! answer on one port, told apart by `X-Amz-Target`, and there are two ways in:
//!
//! - [`Local::handle`] answers in process, on the caller's task, so that simulations on a paused
//!   clock see every answer at the instant of its request; [`Local::handle_streaming`] does so for
//!   SubscribeToShard, whose answer takes five minutes;
//! - [`Local::serve`] and [`Local::start_on`] answer over sockets, HTTP/1.1 and HTTP/2 with prior
//!   knowledge.
//!
//! [`Faults`] make the nth call of an operation fail, be lost, or wait. [`Local::journal`] tells what
//! was asked. The binary `kinesis-local` serves the same endpoint from a shell.
//!
//! Its codecs are its own, so that an error on the wire cannot hide on both sides. Signatures are not
//! verified.

mod body;
mod dynamo;
mod endpoint;
mod error;
mod faults;
mod http;
mod inspect;
mod journal;
mod kinesis;
mod limits;
mod options;
mod protocol;
mod recorders;
mod refusal;
mod service;
mod signature;
mod wire;

pub use crate::http::server::Server;
pub use crate::http::tls::{Tls, TlsError};
pub use body::AnswerBody;
pub use endpoint::Local;
pub use error::{ConnectionLost, LocalError};
pub use faults::text::FaultSyntax;
pub use faults::{Fault, FaultAction, FaultId, FaultStatus, Faults, Nth};
pub use inspect::{ShardInfo, StoredRecord};
pub use journal::RequestSeen;
pub use kinesis::hash::HashRange;
pub use options::{Limits, LocalOptions};
pub use recorders::datum::{MetricDatum, MetricValue};
pub use recorders::firehose::DeliveredRecord;
pub use recorders::sts::AssumedRole;
pub use service::Service;
pub use signature::{AccessKey, NoAccessKey};
