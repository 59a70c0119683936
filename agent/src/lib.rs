//! A log shipper that reads the Amazon Kinesis Agent's `agent.json`: it tails files and sends each line
//! to a stream, at least once, through restarts and rotations.
//!
//! One [flow](config::FlowConfig) sends the files of one pattern to one stream. Any number of its files
//! may be written at the same time; each has its own position, which never runs ahead of an
//! acknowledgement and is kept in SQLite.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use agent::{Agent, Config, Strictness};
//! let (config, warnings) = Config::from_file("/etc/aws-kinesis/agent.json", Strictness::Lenient)?;
//! for warning in warnings {
//!     eprintln!("{warning}");
//! }
//! let stop = tokio_util::sync::CancellationToken::new();
//! let report = Agent::builder(config).build().await?.run(stop).await?;
//! println!("{report}");
//! # Ok(()) }
//! ```

mod acks;
mod agent;
pub mod config;
pub mod delivery;
mod flow;
pub mod identity;
mod kinesis;
mod limit;
pub mod positions;
pub mod rotation;
pub mod scan;
pub mod split;
mod summary;
mod tail;

pub use acks::Acks;
pub use agent::{Agent, AgentBuilder, AgentError, Destinations};
pub use config::{Config, ConfigError, FlowConfig, Strictness, Warning};
pub use summary::Report;
