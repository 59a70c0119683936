//! An embedded endpoint that answers as Amazon Kinesis Data Streams and DynamoDB do, for development
//! and for tests: no AWS account, no container, everything in memory. Beside them Firehose, CloudWatch
//! metrics and STS, which check what they get against the services' limits and give it back:
//! [`Local::delivered`], [`Local::metrics`], [`Local::assumed_roles`].
//!
//! The Kinesis core is this crate's own; DynamoDB is [dynoxide](https://docs.rs/dynoxide-rs). All
//! answer on one port, told apart as the services' clients write their requests, and there are two
//! ways in:
//!
//! - [`Local::handle`] answers in process, on the caller's task, so that simulations on a paused
//!   clock see every answer at the instant of its request; [`Local::handle_streaming`] gives the
//!   events of a SubscribeToShard as they happen;
//! - [`Local::serve`] and [`Local::start_on`] answer over sockets, HTTP/1.1 and HTTP/2 with prior
//!   knowledge; [`Local::serve_tls`] and [`Local::start_tls_on`] the same in TLS, with ALPN.
//!
//! [`Faults`] make calls fail, be lost, wait, or read the past: by operation, stream, shard, caller,
//! turn and chance. [`Local::journal`] tells what was asked, by whom, and how long it took. Other
//! languages reach both under `/_local/faults` and `/_local/journal`, as JSON. The binary
//! `kinesis-local` serves the same endpoint from a shell.
//!
//! Its codecs are its own, so that an error on the wire cannot hide on both sides. Signatures are
//! verified when [`LocalOptions::verify_signatures`] names keys; the control path under `/_local/` is
//! never signed.

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
mod visit;
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
