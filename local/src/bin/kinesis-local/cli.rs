//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use local::{AccessKey, Fault, Limits};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

#[derive(Debug, Parser)]
#[command(
    name = "kinesis-local",
    version,
    about = "Kinesis Data Streams, DynamoDB, Firehose, CloudWatch metrics and STS on this machine, in \
             memory, for development"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answers requests until it is stopped (Ctrl-C or SIGTERM).
    Serve(Box<Serve>),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The port to listen on; 0 takes a free one, which is printed.
    #[arg(long, default_value_t = 4567)]
    pub(crate) port: u16,
    /// The address to listen on. Without --verify-signatures nothing is authenticated, and the
    /// control path never is: think before leaving loopback.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) host: IpAddr,
    /// A stream to create at the start; may be given several times.
    #[arg(long = "stream", value_name = "NAME:SHARDS", value_parser = stream_of)]
    pub(crate) streams: Vec<(String, u32)>,
    /// A delivery stream of Firehose; may be given several times. Without any, every name exists.
    #[arg(long = "delivery-stream", value_name = "NAME")]
    pub(crate) delivery_streams: Vec<String>,
    /// The region that ARNs name, and that signatures are for.
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// The account that ARNs name.
    #[arg(long, default_value = "000000000000")]
    pub(crate) account: String,
    /// Leaves all of the service's rates, counts and quotas out.
    #[arg(long)]
    pub(crate) no_limits: bool,
    /// Leaves one of the service's limits out; may be given several times, or with commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIMIT")]
    pub(crate) without: Vec<Limit>,
    /// How long a stream stays CREATING, UPDATING or DELETING, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) state_delay: u64,
    /// The most memory that records may take, such as 512MiB or 2GiB: the oldest are trimmed then, as
    /// at the end of their retention.
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = size_of)]
    pub(crate) max_bytes: u64,
    /// A fault, such as 'op=PutRecords,nth=3,error=InternalFailure:500'; may be given several times.
    #[arg(long = "fault", value_name = "FAULT", long_help = FAULT_HELP)]
    pub(crate) faults: Vec<Fault>,
    /// Refuses what is not signed with this key; may be given several times.
    #[arg(long = "verify-signatures", value_name = "KEY:SECRET")]
    pub(crate) keys: Vec<AccessKey>,
    /// Serves TLS with a certificate made at the start.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Serves TLS with this certificate (PEM, with its chain).
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        conflicts_with = "tls"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Writes the authority that clients have to trust to this file (PEM).
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) tls_write_ca: Option<PathBuf>,
    /// How many requests the journal under /_local/journal keeps.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) journal: usize,
    /// What is logged to stderr: off, error, warn, info, debug, trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub(crate) log: LevelFilter,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

const FAULT_HELP: &str = "\
A fault; may be given several times. Items KEY=VALUE separated by commas.

Which calls: op (an operation; all without it), service (kinesis, dynamodb, firehose, cloudwatch, \
sts), on (a stream or table), shard, caller (an access key id); nth=3 (the third matching call, once), \
times=5 (at most so often), probability=0.1.

What happens, one of: delay=250ms, error=CODE[:STATUS[:MESSAGE]], status=503, throttle, drop=before, \
drop=after (the effect), truncate=BYTES, trickle=BYTES:PAUSE, split=EVERY[:CODE], expire-iterator, \
fail-subscription=AFTER:CODE[:MESSAGE], silence-subscription=AFTER, skew-date=-20m, conflict, stale, \
index-creating=POLLS, partition=ACCESS_KEY_ID.

The same as JSON, while it runs: curl -H 'content-type: application/json' -d '{\"op\": \"PutRecords\", \
\"nth\": 3, \"drop\": \"after\"}' http://127.0.0.1:4567/_local/faults";

/// One of the service's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Limit {
    /// 1 MiB and 1,000 records written per shard and second.
    ShardWrites,
    /// 2 MiB and five calls read per shard and second.
    ShardReads,
    /// 2 MiB per second and consumer and shard.
    FanOut,
    /// Calls of the control plane per second.
    Calls,
    /// 500 entries and 10 MiB per PutRecords.
    RequestSize,
    /// The record size that a stream is set to.
    RecordSize,
    /// 20 consumers per stream.
    Consumers,
    /// What an account may have and change.
    Quotas,
}

impl Serve {
    /// The limits that are left.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = if self.no_limits {
            Limits::Off
        } else {
            Limits::On
        };
        for limit in &self.without {
            let switch = match limit {
                Limit::ShardWrites => &mut limits.shard_writes,
                Limit::ShardReads => &mut limits.shard_reads,
                Limit::FanOut => &mut limits.fan_out,
                Limit::Calls => &mut limits.calls,
                Limit::RequestSize => &mut limits.request_size,
                Limit::RecordSize => &mut limits.record_size,
                Limit::Consumers => &mut limits.consumers,
                Limit::Quotas => &mut limits.quotas,
            };
            *switch = false;
        }
        limits
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

fn stream_of(text: &str) -> Result<(String, u32), String> {
    let (name, shards) = text
        .rsplit_once(':')
        .ok_or("expected NAME:SHARDS, such as orders:4")?;
    let shards = shards
        .parse()
        .map_err(|e| format!("'{shards}' is no number of shards: {e}"))?;
    Ok((name.to_owned(), shards))
}

/// Reads `1048576`, `1024KiB`, `1MiB`, `2GiB`.
fn size_of(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let shift = match unit.trim() {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    match (number, shift) {
        (Some(number), Some(shift)) if number > 0 => number
            .checked_mul(1 << shift)
            .ok_or_else(|| format!("'{text}' is beyond all memory")),
        _ => Err(format!(
            "'{text}' is no size: expected bytes, or such as 512MiB, 2GiB"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Serve, String> {
        let whole = ["kinesis-local", "serve"].iter().chain(arguments);
        let cli = Cli::try_parse_from(whole).map_err(|e| e.to_string())?;
        let Command::Serve(options) = cli.command;
        Ok(*options)
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let options = parse(&["--port", "0", "--stream", "orders:4"]).unwrap();
        assert_eq!(options.streams, [("orders".to_owned(), 4)]);
        assert!(options.host.is_loopback());
        assert_eq!(options.limits(), Limits::On);
        assert_eq!(options.max_bytes, 1 << 30);
    }

    #[test]
    fn each_limit_has_its_switch() {
        assert_eq!(parse(&["--no-limits"]).unwrap().limits(), Limits::Off);
        let some = ["--without", "shard-writes,calls", "--without", "consumers"];
        let expected = Limits {
            shard_writes: false,
            calls: false,
            consumers: false,
            ..Limits::On
        };
        assert_eq!(parse(&some).unwrap().limits(), expected);
        let all =
            "shard-writes,shard-reads,fan-out,calls,request-size,record-size,consumers,quotas";
        let none = parse(&["--without", all]).unwrap().limits();
        let Limits {
            shard_writes,
            shard_reads,
            fan_out,
            calls,
            request_size,
            record_size,
            consumers,
            quotas,
            ..
        } = none;
        let left = [
            shard_writes,
            shard_reads,
            fan_out,
            calls,
            request_size,
            record_size,
            consumers,
            quotas,
        ];
        assert_eq!(left, [false; 8]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (arguments, named) in [
            (vec!["--stream", "orders"], "NAME:SHARDS"),
            (vec!["--stream", "orders:"], "'' is no number"),
            (vec!["--stream", "orders:x"], "'x' is no number"),
            (vec!["--stream", "orders:-1"], "'-1' is no number"),
            (vec!["--max-bytes", "lots"], "'lots' is no size"),
            (vec!["--max-bytes", "0"], "'0' is no size"),
            (vec!["--fault", "opp=X,throttle"], "'opp' is no key"),
            (vec!["--fault", "op=X"], "does not say what happens"),
            (vec!["--verify-signatures", "AKID"], "KEY:SECRET"),
            (vec!["--tls-cert", "a.pem"], "--tls-key"),
            (vec!["--tls-write-ca", "a.pem"], "--tls"),
            (vec!["--tls", "--tls-cert", "a", "--tls-key", "b"], "--tls"),
            (vec!["--without", "everything"], "everything"),
        ] {
            let error = parse(&arguments).unwrap_err();
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("1", 1),
            ("64KiB", 64 << 10),
            ("512MiB", 512 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(size_of(text), Ok(bytes));
        }
        assert!(size_of("99999999999999GiB").is_err());
    }
}
