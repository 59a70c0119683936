//! The official library, KPL 1.1.1 (Java with its native child process), and ours: the same records, the
//! same sink over TLS, one after the other, in one run.
//!
//! | Row | What is done | Target for ours |
//! | --- | --- | --- |
//! | `speed` | as many records as are taken, of 100 B, 1 KB and 10 KB, both on the same core; both charged all their processes' user and system time, the making of the records included; and their memory | 40, 12 and 6 times the records; a tenth of the memory with 10,000 outstanding |
//! | `paced` | 1,000 records a second | stated |
//! | `slow` | for 20 s more records than an endpoint takes that answers after 5 s | outstanding: the configured bound; memory: the bound and 30 MiB |
//! | `throttled` | for 35 s every entry is throttled: 1,000 records a second of 1 KB, and 1,000 at once | 2 bytes sent for a byte of payload |
//! | `lost` | one request of a hundred is answered 500 after its records were stored; counted by content where they are stored | no more repeats than theirs, for each record of such a request; with identities none that a reader lets through |
//! | `killed` | three lives that end by SIGKILL while the endpoint answers after a second, and one more that puts nothing; ours with a spool | of what was admitted none is missing |
//!
//! The official library has the settings that suit it best (no tracker of the oldest record, no metrics, no
//! health checks); without its rate limit, and with at most 10,000 records outstanding, where speed is
//! measured. It comes from `tests/interop/run kpl`, which installs it; a JDK has to be there.

mod faults;
mod official;
mod player;
mod speed;

use crate::Failure;
use crate::choice::Choice;
use clap::{Args, ValueEnum};
use official::Official;

#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    choice: Choice<Row>,
    /// The core that both sides run on where speed is measured.
    #[arg(long, default_value_t = 0)]
    core: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    Speed,
    Paced,
    Slow,
    Throttled,
    Lost,
    Killed,
}

/// Measures the rows that were asked for, and prints them.
pub async fn run(options: Options) -> Result<(), Failure> {
    let official = Official::prepare().await?;
    let quick = options.choice.effort.quick;
    let run = speed::Run {
        core: options.core,
        time: if quick { 5_000 } else { 20_000 },
    };
    let measure = async |row| match row {
        Row::Speed => speed::speed(&official, run).await,
        Row::Paced => speed::paced(&official, run).await,
        Row::Slow => faults::slow(&official, quick).await,
        Row::Throttled => faults::throttled(&official, quick).await,
        Row::Lost => faults::lost(&official, quick).await,
        Row::Killed => faults::killed(&official, quick).await,
    };
    options.choice.measure(measure).await
}
