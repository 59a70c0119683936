//! What a role is told, and what it tells: JSON, one object a line.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the services are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// `None` = as the environment says.
    pub region: Option<String>,
    /// `None` = the region's own.
    pub endpoint: Option<String>,
    /// True on the embedded endpoint, which takes any credentials.
    pub embedded: bool,
}

/// What a process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Role {
    /// Serves Kinesis and DynamoDB on loopback.
    Endpoint,
    /// Ships a log file.
    Agent {
        /// Its `agent.json`.
        configuration: PathBuf,
    },
    /// Sends records.
    Producer {
        /// Where.
        place: Place,
        /// To which stream.
        stream: String,
        /// How many.
        records: u64,
        /// Over how long.
        seconds: u64,
    },
    /// Reads records.
    Worker {
        /// Where.
        place: Place,
        /// Of which application.
        application: String,
        /// Of which stream.
        stream: String,
        /// Its name in the lease table.
        worker: String,
    },
}

/// What a role tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Message {
    /// The endpoint can be called.
    Listening {
        /// Where.
        url: String,
    },
    /// How far the producer is.
    Sent {
        /// Records it was given.
        sent: u64,
        /// Records that the stream holds.
        delivered: u64,
        /// Records that were given up.
        failed: u64,
    },
    /// What a worker has processed, told before it is checkpointed.
    Arrived {
        /// Ids of the producer's records.
        producer: Vec<u64>,
        /// Ids of the log file's lines.
        agent: Vec<u64>,
        /// Records of neither.
        foreign: u64,
    },
    /// The role has ended as it should.
    Done {
        /// Requests made, by operation.
        requests: BTreeMap<String, u64>,
        /// A line for the reader, if there is something to say.
        note: Option<String>,
    },
}
