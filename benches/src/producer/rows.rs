//! The rows: what is run, and what of it is shown against which target.

use super::child::{Figures, Sink};
use super::limit::{self, Parts, Work};
use super::records::Keys;
use crate::Failure;
use crate::choice::Effort;
use crate::table::Line;
use std::fmt::Write;

/// `AggregationMaxSize` by default.
const AGGREGATE: usize = 51_200;
const MEBI: f64 = 1_048_576.0;

/// A load, as the probe is told of it.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    shards: u32,
    keys: Keys,
    size: usize,
    single: bool,
    callers: u32,
    workers: u32,
    /// `AggregationMaxSize` and `MaxBufferedBytes`, unless the defaults; records may then wait for others of
    /// their shard for a second.
    bounds: Option<(usize, u64)>,
}

impl Case {
    fn new(name: impl Into<String>, keys: Keys, size: usize) -> Self {
        Self {
            name: name.into(),
            shards: 4,
            keys,
            size,
            single: false,
            callers: 1,
            workers: 1,
            bounds: None,
        }
    }

    fn arguments(&self, effort: Effort) -> (Vec<String>, Vec<String>) {
        // Enough of them that aggregates of many shards fill several times.
        let longer = if self.shards > 1_000 { 2 } else { 1 };
        let time = effort.run().as_millis() * longer / TURNS as u128;
        let common = [
            "--time",
            &time.to_string(),
            "--workers",
            &self.workers.to_string(),
        ]
        .map(str::to_owned);
        let keys = match self.keys {
            Keys::Distinct => "distinct",
            Keys::One => "one",
        };
        let mut what = [
            "throughput",
            "--size",
            &self.size.to_string(),
            "--keys",
            keys,
        ]
        .map(str::to_owned)
        .to_vec();
        what.extend(["--callers".to_owned(), self.callers.to_string()]);
        if self.single {
            what.push("--single".to_owned());
        }
        if let Some((aggregate, bound)) = self.bounds {
            what.extend(["--aggregate".to_owned(), aggregate.to_string()]);
            what.extend(["--bound".to_owned(), bound.to_string()]);
            // Else aggregates of many shards are closed by time before they have these bytes.
            what.extend(["--buffered".to_owned(), "1000".to_owned()]);
        }
        (common.to_vec(), what)
    }

    fn work(&self) -> Work {
        Work {
            keys: self.keys,
            size: self.size,
            aggregate: self.bounds.map_or(AGGREGATE, |(aggregate, _)| aggregate),
            one_by_one: self.single,
        }
    }

    async fn sink(&self) -> Result<Sink, Failure> {
        Sink::start(self.shards, &[]).await
    }

    async fn run(&self, sink: &Sink, effort: Effort) -> Result<Run, Failure> {
        let (common, what) = self.arguments(effort);
        let common: Vec<&str> = common.iter().map(String::as_str).collect();
        Run::from(&sink.probe(&common, &what).await?)
    }

    /// The producer, and the limit right before and after it.
    async fn measure(&self, effort: Effort) -> Result<Measured<Parts>, Failure> {
        let sink = self.sink().await?;
        let mut turns = Vec::new();
        for _ in 0..TURNS * effort.turns() {
            let mut parts = Parts::default();
            limit::measure(self.work(), effort.run() / 8, &mut parts)?;
            let run = self.run(&sink, effort).await?;
            limit::measure(self.work(), effort.run() / 8, &mut parts)?;
            turns.push((run, parts));
        }
        Measured::of(self, turns, Parts::rate)
    }

    /// The producer under this load and under another in turns.
    async fn measure_beside(&self, other: &Self, effort: Effort) -> Result<Measured<Run>, Failure> {
        let (sink, sink_of_other) = (self.sink().await?, other.sink().await?);
        let mut turns = Vec::new();
        for _ in 0..TURNS * effort.turns() {
            let run = self.run(&sink, effort).await?;
            turns.push((run, other.run(&sink_of_other, effort).await?));
        }
        Measured::of(self, turns, |run| run.rate)
    }
}

/// Turns in place of one: the shorter, the less the machine changes meanwhile.
const TURNS: usize = 2;

/// What a probe found of a load.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Records in a CPU-second.
    rate: f64,
    allocations: f64,
    resident: f64,
    /// Kinesis records in a request, and user records in a Kinesis record.
    packed: (f64, f64),
    /// CPU-seconds in a second.
    cores: f64,
}

impl Run {
    fn from(figures: &Figures) -> Result<Self, Failure> {
        let records = figures.get("records")?;
        let cpu = figures.get("cpu")?;
        let kinesis = figures.get("kinesis_records")?.max(1.0);
        Ok(Self {
            rate: records / cpu,
            allocations: figures.get("allocations")? / records,
            resident: figures.get("resident")?,
            packed: (
                kinesis / figures.get("requests")?.max(1.0),
                records / kinesis,
            ),
            cores: (cpu + figures.get("making")?) / figures.get("wall")?,
        })
    }
}

/// The run whose part of what it is held against is the median.
#[derive(Debug, Clone)]
struct Measured<T> {
    name: String,
    run: Run,
    beside: T,
    percent: f64,
}

impl<T> Measured<T> {
    fn of(case: &Case, turns: Vec<(Run, T)>, rate: impl Fn(&T) -> f64) -> Result<Self, Failure> {
        let measured = |(run, beside): (Run, T)| Self {
            name: case.name.clone(),
            run,
            percent: 100.0 * run.rate / rate(&beside),
            beside,
        };
        let mut all: Vec<Self> = turns.into_iter().map(measured).collect();
        all.sort_by(|a, b| a.percent.total_cmp(&b.percent));
        let middle = all.len() / 2;
        all.into_iter()
            .nth(middle)
            .ok_or_else(|| "nothing was measured".into())
    }

    fn about(&self) -> String {
        let Run {
            rate,
            allocations,
            resident,
            packed: (entries, users),
            cores,
        } = self.run;
        format!(
            "{} records/CPU-s ({:.0} ns each), {allocations:.3} allocations each, {:.0} MiB at most, \
             {users:.0} in a Kinesis record, {entries:.0} of these in a request, {cores:.1} cores busy",
            thousands(rate),
            1e9 / rate,
            resident / MEBI,
        )
    }
}

impl Measured<Parts> {
    /// The figure as a part of the limit, and the allocations; KPL's figure was measured elsewhere.
    fn against_limit(&self, target: f64, allocations: Option<f64>, kpl: Option<f64>) -> [Line; 2] {
        let part = self.percent;
        let [keys, copies, md5, sha256, tls] = self.beside.each();
        let mut measured = format!(
            "{part:.0} % of {}: {}; limit in ns: keys {keys:.0}, copies {copies:.0}, MD5 {md5:.0}, \
             SHA-256 {sha256:.0}, AES-GCM {tls:.0}",
            thousands(self.beside.rate()),
            self.about()
        );
        if let Some(kpl) = kpl {
            // Writing into a String cannot fail.
            let _ = write!(measured, "; KPL 1.1.1 elsewhere: {}", thousands(kpl));
        }
        let each = self.run.allocations;
        let row = format!("{}, allocations", self.name);
        let text = format!("{each:.3} a record");
        [
            Line::at_least(format!("{}, % of limit", self.name), measured, part, target),
            match allocations {
                Some(allocations) => Line::at_most(row, text, each, allocations),
                None => Line::stated(row, text),
            },
        ]
    }
}

impl Measured<Run> {
    /// The figure as a part of another.
    fn against(&self, other: &Case, target: f64, kpl: Option<f64>) -> Line {
        let part = self.percent;
        let mut measured = format!(
            "{part:.0} % of {}: {}",
            thousands(self.beside.rate),
            self.about()
        );
        if let Some(kpl) = kpl {
            let _ = write!(measured, "; KPL 1.1.1 elsewhere: {}", thousands(kpl));
        }
        let name = format!("{}, % of {}", self.name, other.name);
        Line::at_least(name, measured, part, target)
    }
}

fn thousands(figure: f64) -> String {
    if figure >= 1e6 {
        format!("{:.2} M", figure / 1e6)
    } else {
        format!("{:.0} k", figure / 1e3)
    }
}

fn four_shards() -> Case {
    Case::new("100 B, distinct keys", Keys::Distinct, 100)
}

pub async fn distinct(effort: Effort) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for (case, target, kpl) in [
        (four_shards(), 60.0, 67_000.0),
        (
            Case::new("1 KB, distinct keys", Keys::Distinct, 1_000),
            60.0,
            44_000.0,
        ),
        (
            Case::new("10 KB, distinct keys", Keys::Distinct, 10_000),
            70.0,
            9_600.0,
        ),
    ] {
        // Of records that fill an aggregate by fives, what an aggregate needs weighs more.
        let allocations = (case.size <= 1_000).then_some(0.1);
        let measured = case.measure(effort).await?;
        lines.extend(measured.against_limit(target, allocations, Some(kpl)));
    }
    Ok(lines)
}

pub async fn one_key(effort: Effort) -> Result<Vec<Line>, Failure> {
    let case = Case::new("100 B, one key", Keys::One, 100);
    let measured = case.measure(effort).await?;
    Ok(measured
        .against_limit(60.0, Some(0.1), Some(59_000.0))
        .into())
}

pub async fn single(effort: Effort) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for (name, keys) in [("distinct keys", Keys::Distinct), ("one key", Keys::One)] {
        let mut case = Case::new(format!("single put, 100 B, {name}"), keys, 100);
        case.single = true;
        let measured = case.measure(effort).await?;
        lines.extend(measured.against_limit(60.0, Some(1.0), None));
    }
    Ok(lines)
}

pub async fn shards(effort: Effort) -> Result<Vec<Line>, Failure> {
    let few = four_shards();
    let mut lines = Vec::new();
    for (shards, target, kpl) in [(1_000, 80.0, Some(44_000.0)), (10_000, 70.0, None)] {
        let mut case = four_shards();
        case.name = format!("{shards} shards");
        case.shards = shards;
        case.bounds = Some((4_096, 1 << 30));
        let many = case.measure_beside(&few, effort).await?;
        lines.push(many.against(&few, target, kpl));
    }
    Ok(lines)
}

pub async fn threads(effort: Effort) -> Result<Vec<Line>, Failure> {
    let mut one = four_shards();
    one.name = "one thread".to_owned();
    let mut four = one.clone();
    four.name = "4 threads".to_owned();
    (four.callers, four.workers) = (4, 4);
    let measured = four.measure_beside(&one, effort).await?;
    Ok(vec![measured.against(&one, 90.0, None)])
}

pub async fn paced(effort: Effort) -> Result<Vec<Line>, Failure> {
    let sink = Sink::start(4, &[]).await?;
    let time = effort.run().as_millis() * 2;
    let common = ["--time", &time.to_string()];
    let each =
        |figures: &Figures| Ok::<_, Failure>(1e6 * figures.get("cpu")? / figures.get("records")?);
    let mut runs = Vec::new();
    for _ in 0..effort.turns() {
        let bare = each(&sink.probe(&common, &["paced", "--without"]).await?)?;
        let with = sink.probe(&common, &["paced"]).await?;
        runs.push((each(&with)? - bare, bare, with));
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (cpu, bare, with) = runs.get(runs.len() / 2).ok_or("nothing was measured")?;
    let (p50, p99) = (with.get("p50")?, with.get("p99")?);
    let sent = with.get("records")? * 9.0 / 8.0;
    Ok(vec![
        Line::at_most(
            "1,000 records/s, p99 in ms",
            format!("{p99:.1} (p50 {p50:.1}), the round trip in it; KPL 1.1.1 elsewhere: 124 (71)"),
            p99,
            // A round trip over loopback is below a millisecond.
            116.0,
        ),
        Line::at_most(
            "1,000 records/s, µs of CPU a record",
            format!(
                "{cpu:.1} beyond {bare:.1} of the bare loop, {:.0} records in a request; KPL 1.1.1 elsewhere: 100",
                sent / with.get("requests")?
            ),
            *cpu,
            10.0,
        ),
    ])
}

pub async fn first(effort: Effort) -> Result<Vec<Line>, Failure> {
    const ROUND_TRIP: u32 = 20;
    let away = ROUND_TRIP.to_string();
    let sink = Sink::start(4, &["--round-trip", &away]).await?;
    let mut times = Vec::new();
    for _ in 0..if effort.quick { 3 } else { 9 } {
        let figures = sink.probe(&[], &["first"]).await?;
        times.push((figures.get("took")?, figures.get("built")?));
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (took, built) = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(vec![Line::at_most(
        "first acknowledgement, 20 ms away, in ms",
        format!(
            "{took:.0}, of these {built:.0} to build: {:.1} round trips; KPL 1.1.1 elsewhere, 0 ms away: 2700",
            took / f64::from(ROUND_TRIP)
        ),
        took,
        f64::from(5 * ROUND_TRIP + 20),
    )])
}

pub async fn idle(effort: Effort) -> Result<Vec<Line>, Failure> {
    let sink = Sink::start(4, &[]).await?;
    let time = (effort.run() * 2).as_millis().to_string();
    let figures = sink.probe(&["--time", &time], &["idle"]).await?;
    let mb = |name: &str| Ok::<_, Failure>(figures.get(name)? / 1e6);
    let (resident, own, bare) = (mb("resident")?, mb("own")?, mb("bare")?);
    let wakes = figures.get("wakes")?;
    Ok(vec![
        Line::at_most(
            "idle, MB over the bare runtime",
            format!(
                "{resident:.1} over {bare:.1}, {own:.1} of it not the program's own file; KPL 1.1.1 elsewhere: 203 + 17"
            ),
            resident,
            8.0,
        ),
        Line::at_most(
            "idle, wakes of any thread",
            format!(
                "{wakes} in {time} ms, {:.1} ms of CPU",
                figures.get("cpu")? * 1e3
            ),
            wakes,
            0.0,
        ),
    ])
}

pub async fn stalled(effort: Effort) -> Result<Vec<Line>, Failure> {
    /// `MaxBufferedBytes` by default.
    const BOUND: f64 = 64.0;
    let sink = Sink::start(4, &["--stall"]).await?;
    let time = if effort.quick { "8000" } else { "20000" };
    let mut lines = Vec::new();
    for size in ["1000", "100"] {
        let what = ["stalled", "--size", size];
        let figures = sink.probe(&["--time", time], &what).await?;
        let grown = figures.get("grown")? / MEBI;
        let mut measured = format!(
            "{grown:.0} with a bound of {BOUND:.0}, {:.0} charged, {} admitted in {time} ms",
            figures.get("charged")? / MEBI,
            figures.get("admitted")?,
        );
        if size == "1000" {
            measured.push_str("; KPL 1.1.1 elsewhere: 2400 + 1300");
        }
        let name = format!("stalled, 1,000,000 of {size} B offered, MiB at most over before");
        lines.push(Line::at_most(name, measured, grown, BOUND + 30.0));
    }
    Ok(lines)
}
