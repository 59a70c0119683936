//! The knobs.

use clap::Parser;

/// Sends records through an agent and a producer, reads them by three workers, kills one, reshards, and
/// accounts for every record.
///
/// Without --endpoint or --aws everything runs on this machine: no account, no container, no cost.
#[derive(Debug, Parser)]
#[command(name = "pipeline")]
pub struct Args {
    /// Records that the producer sends
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    pub records: u64,
    /// Lines that are written to the log file; default: a twentieth of the records
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=5_000_000))]
    pub lines: Option<u64>,
    /// Shards of the stream at the start
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub shards: u32,
    /// Seconds over which records and lines are spread
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub seconds: u64,
    /// Use this endpoint for Kinesis and DynamoDB in place of an embedded one
    #[arg(long, value_name = "URL", conflicts_with = "aws")]
    pub endpoint: Option<String>,
    /// Use your AWS account, with the credentials of your environment. It costs money
    #[arg(long)]
    pub aws: bool,
    /// The region; default: your environment's, or us-east-1 on the embedded endpoint
    #[arg(long)]
    pub region: Option<String>,
    /// Go on without the account's owner being asked
    #[arg(long)]
    pub yes: bool,
    /// What this process does: set by the example itself
    #[arg(long, hide = true)]
    pub role: Option<String>,
}

impl Args {
    /// Lines that are written to the log file.
    pub fn lines(&self) -> u64 {
        self.lines.unwrap_or(self.records / 20).max(100)
    }

    /// True when everything runs on this machine.
    pub fn embedded(&self) -> bool {
        self.endpoint.is_none() && !self.aws
    }
}
