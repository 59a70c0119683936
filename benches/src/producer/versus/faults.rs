//! Both under the same faults of the sink, with the same load, each at its defaults unless a row says
//! otherwise.

use super::official::Official;
use super::player::Player;
use crate::Failure;
use crate::producer::child::{Figures, Sink};
use crate::table::Line;
use std::ops::Range;
use tempfile::TempDir;

const MEBI: f64 = 1_048_576.0;
/// Bytes of a record's data.
const SIZE: u64 = 1_000;
/// `MaxBufferedBytes` of ours, by default, in MiB; and what a process may take besides.
const BOUND: f64 = 64.0;
const BESIDES: f64 = 30.0;

/// Who sends.
#[derive(Debug, Clone, Copy)]
enum Side<'a> {
    Theirs(&'a Official),
    /// With further settings.
    Ours(&'a [&'a str]),
}

/// Numbered records of [`SIZE`], so many a second.
#[derive(Debug, Clone, Copy)]
struct Load {
    from: u64,
    records: u64,
    rate: u64,
    /// Milliseconds after which no more are offered.
    time: u64,
    /// `RecordMaxBufferedTime`, in milliseconds.
    buffered: u64,
}

impl Load {
    fn new(records: u64, rate: u64) -> Self {
        Self {
            from: 0,
            records,
            rate,
            time: 600_000,
            buffered: 100,
        }
    }
}

impl Side<'_> {
    async fn start(self, sink: &Sink, load: Load) -> Result<Player, Failure> {
        let Load {
            from,
            records,
            rate,
            time,
            buffered,
        } = load;
        let mut player = match self {
            Self::Theirs(official) => {
                let arguments = [SIZE, from, records, rate, time, buffered];
                let arguments = arguments.map(|number| number.to_string());
                official.start("Steady", None, sink, &arguments)?
            }
            Self::Ours(more) => {
                let named = [
                    ("--size", SIZE),
                    ("--from", from),
                    ("--records", records),
                    ("--rate", rate),
                    ("--buffered", buffered),
                ];
                let mut command = sink.probing()?;
                command.args(["--time", &time.to_string(), "steady"]);
                for (name, number) in named {
                    command.args([name, &number.to_string()]);
                }
                command.args(more);
                Player::start(command)?
            }
        };
        player.begin().await?;
        Ok(player)
    }

    /// All of a load, until every record has its outcome.
    async fn through(self, trouble: &[&str], load: Load) -> Result<Through, Failure> {
        let sink = Sink::start(4, trouble).await?;
        let mut player = self.start(&sink, load).await?;
        let [admitted, ..]: [f64; 3] = player.said("offered").await?;
        let [delivered, failed, attempts] = player.said("end").await?;
        player.stop().await?;
        if delivered + failed < admitted {
            return Err(format!("{admitted} admitted, {delivered} + {failed} resolved").into());
        }
        let whole = load.from..load.from + load.records;
        Ok(Through {
            admitted,
            failed,
            attempts,
            arrived: sink.finish(std::slice::from_ref(&whole)).await?,
        })
    }
}

/// What became of a load.
#[derive(Debug)]
struct Through {
    admitted: f64,
    failed: f64,
    attempts: f64,
    arrived: Figures,
}

/// Ours, theirs, and how many times theirs ours is.
fn both(ours: f64, theirs: f64) -> String {
    let figure = |figure: f64| match figure {
        whole if whole.fract() == 0.0 || whole >= 100.0 => format!("{whole:.0}"),
        figure => format!("{figure:.2}"),
    };
    let (ours_shown, theirs_shown) = (figure(ours), figure(theirs));
    let ratio = match theirs > 0.0 {
        true => format!(" ({:.4} x)", ours / theirs),
        false => String::new(),
    };
    format!("{ours_shown} and {theirs_shown}{ratio}")
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn slow(official: &Official, quick: bool) -> Result<Vec<Line>, Failure> {
    let time = if quick { 8_000 } else { 20_000 };
    let rate = 20_000;
    let load = Load {
        time,
        ..Load::new(rate * time / 1_000, rate)
    };
    let mut found = Vec::new();
    for side in [Side::Ours(&[]), Side::Theirs(official)] {
        let sink = Sink::start(4, &["--think", "5000"]).await?;
        let mut player = side.start(&sink, load).await?;
        let before = player.memory("VmRSS")?;
        let [admitted, records, bytes]: [f64; 3] = player.said("offered").await?;
        let grown = player.memory("VmHWM")?.saturating_sub(before) as f64;
        player.kill("offered").await?;
        found.push((admitted, records, bytes / MEBI, grown / MEBI));
    }
    let [ours, theirs] = found.try_into().map_err(|_| "two sides")?;
    let name = format!("slow, {} s of 20,000 records/s", time / 1_000);
    Ok(vec![
        Line::at_most(
            format!("{name}: MiB outstanding at the most"),
            format!(
                "{}; {:.0} and {:.0} records, of {:.0} and {:.0} admitted",
                both(ours.2, theirs.2),
                ours.1,
                theirs.1,
                ours.0,
                theirs.0
            ),
            ours.2,
            BOUND,
        ),
        Line::at_most(
            format!("{name}: MiB of memory over before"),
            both(ours.3, theirs.3),
            ours.3,
            BOUND + BESIDES,
        ),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn throttled(official: &Official, quick: bool) -> Result<Vec<Line>, Failure> {
    let seconds = if quick { 8 } else { 35 };
    let mut lines = Vec::new();
    for (name, load) in [
        (
            format!("throttled, {seconds} s of 1,000 records/s"),
            Load::new(seconds * 1_000, 1_000),
        ),
        (
            "throttled, 1,000 records at once".to_owned(),
            Load::new(1_000, 1_000_000),
        ),
    ] {
        // Together: neither has much to do.
        let (ours, theirs) = tokio::try_join!(
            Side::Ours(&[]).through(&["--throttle"], load),
            Side::Theirs(official).through(&["--throttle"], load)
        )?;
        let attempts = |side: &Through| side.attempts / side.admitted;
        let bytes = |side: &Through| {
            Ok::<_, Failure>(side.arrived.get("bytes")? / (side.admitted * SIZE as f64))
        };
        lines.push(Line::stated(
            format!("{name}: attempts a record"),
            format!(
                "{}; {:.0} and {:.0} requests",
                both(attempts(&ours), attempts(&theirs)),
                ours.arrived.get("requests")?,
                theirs.arrived.get("requests")?
            ),
        ));
        let (ours, theirs) = (bytes(&ours)?, bytes(&theirs)?);
        lines.push(Line::at_most(
            format!("{name}: bytes sent for a byte of payload"),
            both(ours, theirs),
            ours,
            2.0,
        ));
    }
    Ok(lines)
}

pub async fn lost(official: &Official, quick: bool) -> Result<Vec<Line>, Failure> {
    let load = Load {
        buffered: 10,
        ..Load::new(if quick { 25_000 } else { 150_000 }, 5_000)
    };
    let trouble = ["--lose", "100", "--keep"];
    let identities = Side::Ours(&["--idempotent"]);
    let mut found = Vec::new();
    for side in [Side::Ours(&[]), identities, Side::Theirs(official)] {
        let all = side.through(&trouble, load).await?;
        if all.failed > 0.0 || all.arrived.get("missing")? > 0.0 {
            return Err(format!("records failed or are missing: {side:?}, {all:?}").into());
        }
        found.push(all.arrived);
    }
    let [ours, identities, theirs] = found.try_into().map_err(|_| "three runs")?;
    let again = |side: &Figures| {
        Ok::<_, Failure>(side.get("repeats")? / side.get("records_of_lost")?.max(1.0))
    };
    let (our_share, their_share) = (again(&ours)?, again(&theirs)?);
    Ok(vec![
        Line::at_most(
            "lost answers: repeats for a record of a request that was answered 500",
            format!(
                "{}; {:.0} and {:.0} repeats of {} records, {:.0} and {:.0} such requests of {:.0} and {:.0}",
                both(our_share, their_share),
                ours.get("repeats")?,
                theirs.get("repeats")?,
                load.records,
                ours.get("lost")?,
                theirs.get("lost")?,
                ours.get("requests")?,
                theirs.get("requests")?
            ),
            our_share,
            their_share,
        ),
        Line::at_most(
            "lost answers: repeats that a reader lets through, ours with identities",
            format!(
                "{}; {:.0} were stored of ours",
                both(identities.get("read_again")?, theirs.get("read_again")?),
                identities.get("repeats")?,
            ),
            identities.get("read_again")?,
            0.0,
        ),
    ])
}

pub async fn killed(official: &Official, quick: bool) -> Result<Vec<Line>, Failure> {
    let spool = TempDir::new()?;
    let directory = spool.path().to_str().ok_or("a path that is no text")?;
    let lives = if quick { 1 } else { 3 };
    let mut found = Vec::new();
    for side in [Side::Ours(&["--spool", directory]), Side::Theirs(official)] {
        let sink = Sink::start(4, &["--think", "1000", "--keep"]).await?;
        let mut admitted = Vec::new();
        for life in 0..lives {
            let range = live(side, &sink, life).await?;
            admitted.push(range);
        }
        // One more that puts nothing: what was kept is sent.
        let mut last = side.start(&sink, Load::new(0, 1_000)).await?;
        let _outcomes: [f64; 3] = last.said("end").await?;
        last.stop().await?;
        let promised: u64 = admitted.iter().map(|range| range.end - range.start).sum();
        found.push((promised, sink.finish(&admitted).await?));
    }
    let [(ours_admitted, ours), (theirs_admitted, theirs)] =
        found.try_into().map_err(|_| "two sides")?;
    let missing = ours.get("missing")?;
    Ok(vec![
        Line::at_most(
            format!("killed {lives} times: records admitted and lost, ours with a spool"),
            format!(
                "{}; of {ours_admitted} and {theirs_admitted}",
                both(missing, theirs.get("missing")?)
            ),
            missing,
            0.0,
        ),
        Line::stated(
            format!("killed {lives} times: repeats"),
            both(ours.get("repeats")?, theirs.get("repeats")?),
        ),
    ])
}

/// A life that ends while records are put. Gives the numbers of those that were admitted.
async fn live(side: Side<'_>, sink: &Sink, life: u64) -> Result<Range<u64>, Failure> {
    let from = life * 1_000_000;
    let load = Load {
        from,
        ..Load::new(1_000_000, 2_000)
    };
    let mut player = side.start(sink, load).await?;
    // Each life at another moment between two answers.
    let enough = from + 8_000 + life * 700;
    let mut admitted = from;
    while admitted < enough {
        [admitted] = player.said("admitted").await?;
    }
    if let Some(number) = player.kill("admitted").await? {
        admitted = number;
    }
    Ok(from..admitted)
}
