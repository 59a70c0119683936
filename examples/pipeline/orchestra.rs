//! The story: starts the roles, lets things happen to them, and accounts for every record.

use crate::Failure;
use crate::args::Args;
use crate::display::{Counts, Progress, table};
use crate::ledger::Ledger;
use crate::logfile;
use crate::messages::{Message, Place, Role};
use crate::process::{Process, Told};
use crate::resources::{Resources, config, short};
use crate::roles::{FAILOVER, KEY};
use runtime::Chance;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// No record for so long, although some are missing: they are lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a role may take to end once it was asked.
const DRAIN: Duration = Duration::from_secs(70);

/// The worker that is killed.
const VICTIM: &str = "worker-2";

/// What the roles sign with on the embedded endpoint.
const EMBEDDED_KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", KEY.0),
    ("AWS_SECRET_ACCESS_KEY", KEY.1),
];

/// Runs the story; true when nothing was lost.
pub async fn run(args: &Args) -> Result<bool, Failure> {
    let directory = tempfile::Builder::new()
        .prefix("kinesis-pipeline-")
        .tempdir()?;
    let id = format!(
        "pipeline-{:08x}",
        Chance::from_entropy().next_u64() & 0xffff_ffff
    );
    let (told, messages) = mpsc::channel(64);
    let mut story = Story {
        args,
        directory: directory.path(),
        environment: if args.embedded() {
            EMBEDDED_KEYS.to_vec()
        } else {
            Vec::new()
        },
        told,
        messages,
        processes: BTreeMap::new(),
        progress: Progress::new(),
        producer: Ledger::default(),
        agent: Ledger::default(),
        written: Arc::new(AtomicU64::new(0)),
        delivered: 0,
        failed: 0,
        foreign: 0,
        owners: BTreeMap::new(),
        requests: BTreeMap::new(),
        ended: BTreeSet::new(),
        killed: None,
        takeover: None,
        last_arrival: Instant::now(),
    };
    let place = story.place().await?;
    if !args.embedded() && !consent(args, &place, &id)? {
        return Ok(false);
    }
    let mut resources = Resources::new(&place, id.clone(), format!("{id}-app"))?;
    let outcome = tokio::select! {
        biased;
        stopped = tokio::signal::ctrl_c() => {
            stopped?;
            story.progress.say("stopped");
            Err("stopped by Ctrl-C".into())
        }
        outcome = story.tell(&mut resources, &place) => outcome,
    };
    // Whatever happened: no process and no bill stays behind.
    story.stop_all().await;
    if !args.embedded() {
        resources.delete().await?;
        println!(
            "deleted stream {} and table {}",
            resources.stream, resources.application
        );
    }
    story.end_endpoint().await;
    outcome?;
    Ok(story.account())
}

/// Names what will be made and what it costs; false without the owner's word.
fn consent(args: &Args, place: &Place, id: &str) -> Result<bool, Failure> {
    let (config, _) = config(place)?;
    println!(
        "This makes, uses and deletes:\n  stream {id} with {} shards, and table {id}-app, in {} at {}\n\
         About 0.015 USD per shard and hour, 0.014 USD per million put units of 25 KB, and some\n\
         thousand requests to the table: a few cents for a run of minutes (us-east-1; yours may differ).",
        args.shards,
        config.region(),
        config.kinesis_endpoint(),
    );
    if !args.yes {
        println!("Nothing was made. Say --yes to go on.");
    }
    Ok(args.yes)
}

struct Story<'a> {
    args: &'a Args,
    directory: &'a Path,
    environment: Vec<(&'static str, &'static str)>,
    told: mpsc::Sender<Told>,
    messages: mpsc::Receiver<Told>,
    processes: BTreeMap<String, Process>,
    progress: Progress,
    producer: Ledger,
    agent: Ledger,
    written: Arc<AtomicU64>,
    delivered: u64,
    failed: u64,
    foreign: u64,
    owners: BTreeMap<String, Option<String>>,
    requests: BTreeMap<String, BTreeMap<String, u64>>,
    ended: BTreeSet<String>,
    killed: Option<Instant>,
    takeover: Option<Duration>,
    last_arrival: Instant,
}

impl Story<'_> {
    fn start(&mut self, name: &str, role: &Role) -> Result<(), Failure> {
        let told = self.told.clone();
        let process = Process::start(name, role, self.directory, &self.environment, told)?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// Where the services are; starts the embedded endpoint if there is no other.
    async fn place(&mut self) -> Result<Place, Failure> {
        let region = self.args.region.clone();
        if !self.args.embedded() {
            let endpoint = self.args.endpoint.clone();
            return Ok(Place {
                region,
                endpoint,
                embedded: false,
            });
        }
        self.start("endpoint", &Role::Endpoint)?;
        match self.messages.recv().await {
            Some((_, Some(Message::Listening { url }))) => {
                println!("embedded endpoint at {url}");
                let region = Some(region.unwrap_or_else(|| "us-east-1".to_owned()));
                Ok(Place {
                    region,
                    endpoint: Some(url),
                    embedded: true,
                })
            }
            _ => Err(self.died("endpoint")),
        }
    }

    async fn tell(&mut self, resources: &mut Resources, place: &Place) -> Result<(), Failure> {
        let (stream, application) = (resources.stream.clone(), resources.application.clone());
        resources.create(self.args.shards).await?;
        self.progress
            .say(&format!("stream {stream} with {} shards", self.args.shards));
        println!(
            "tightened for the show: failover time {} s (default 10 s), parents are looked for each 1 s \
             (10 s), the agent's buffer age 1 s (60 s) and its initial position START_OF_FILE \
             (END_OF_FILE)",
            FAILOVER.as_secs()
        );
        for worker in ["worker-1", VICTIM, "worker-3"] {
            let role = Role::Worker {
                place: place.clone(),
                application: application.clone(),
                stream: stream.clone(),
                worker: worker.to_owned(),
            };
            self.start(worker, &role)?;
        }
        let logs = self.directory.join("logs");
        std::fs::create_dir(&logs)?;
        let configuration = self.agent_configuration(place, &stream, &logs)?;
        self.start("agent", &Role::Agent { configuration })?;
        let (records, seconds) = (self.args.records, self.args.seconds);
        let role = Role::Producer {
            place: place.clone(),
            stream,
            records,
            seconds,
        };
        self.start("producer", &role)?;
        let (lines, written) = (self.args.lines(), Arc::clone(&self.written));
        let over = Duration::from_secs(seconds);
        let writer = tokio::spawn(logfile::write(logs, lines, over, written));
        self.watch(resources).await?;
        writer.await??;
        Ok(())
    }

    fn agent_configuration(
        &self,
        place: &Place,
        stream: &str,
        logs: &Path,
    ) -> Result<std::path::PathBuf, Failure> {
        let mut configuration = json!({
            "checkpointFile": self.directory.join("agent-checkpoints"),
            "cloudwatch.emitMetrics": false,
            "flows": [{
                "filePattern": format!("{}/app.log*", logs.display()),
                "kinesisStream": stream,
                "initialPosition": "START_OF_FILE",
                "maxBufferAgeMillis": 1000,
            }],
        });
        if let Some(map) = configuration.as_object_mut() {
            if let Some(endpoint) = &place.endpoint {
                map.insert("kinesis.endpoint".to_owned(), endpoint.as_str().into());
            }
            if let Some(region) = &place.region {
                map.insert("kinesis.region".to_owned(), region.as_str().into());
            }
        }
        let path = self.directory.join("agent.json");
        std::fs::write(&path, configuration.to_string())?;
        Ok(path)
    }

    /// Follows the roles and lets things happen, until every record has arrived or none comes any more.
    async fn watch(&mut self, resources: &Resources) -> Result<(), Failure> {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        let mut happenings = Happenings::default();
        loop {
            tokio::select! {
                biased;
                Some((name, message)) = self.messages.recv() => self.hear(&name, message)?,
                _ = tick.tick() => {
                    for process in self.processes.values_mut() {
                        process.usage();
                    }
                    self.owners = resources.owners().await?;
                    self.look_for_takeover();
                    self.happen(&mut happenings, resources).await?;
                    let now = self.counts();
                    self.progress.show(now, &self.owners);
                    if self.is_over(&happenings) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            sent: self.producer.sent + self.written.load(Relaxed),
            delivered: self.delivered,
            consumed: self.producer.arrived + self.agent.arrived,
        }
    }

    fn is_over(&mut self, happenings: &Happenings) -> bool {
        self.agent.sent = self.written.load(Relaxed);
        let all_sent = self.ended.contains("producer") && self.agent.sent == self.args.lines();
        let all_arrived = self.producer.arrived + self.failed >= self.producer.sent
            && self.agent.arrived >= self.agent.sent;
        let story_told = happenings.merged && self.takeover.is_some();
        all_sent && ((all_arrived && story_told) || self.last_arrival.elapsed() > PATIENCE)
    }

    fn hear(&mut self, name: &str, message: Option<Message>) -> Result<(), Failure> {
        match message {
            Some(Message::Sent {
                sent,
                delivered,
                failed,
            }) => {
                self.producer.sent = sent;
                (self.delivered, self.failed) = (delivered, failed);
            }
            Some(Message::Arrived {
                producer,
                agent,
                foreign,
            }) => {
                self.last_arrival = Instant::now();
                self.foreign += foreign;
                producer.into_iter().for_each(|id| self.producer.enter(id));
                agent.into_iter().for_each(|id| self.agent.enter(id));
            }
            Some(Message::Done { requests, note }) => {
                self.requests.insert(name.to_owned(), requests);
                self.ended.insert(name.to_owned());
                if let Some(note) = note {
                    self.progress.say(&format!("{name} is done: {note}"));
                }
            }
            Some(Message::Listening { .. }) => {}
            None if self.ended.contains(name) => {}
            None => return Err(self.died(name)),
        }
        Ok(())
    }

    fn died(&self, name: &str) -> Failure {
        let log = self
            .processes
            .get(name)
            .map(Process::log_tail)
            .unwrap_or_default();
        format!("{name} ended before its time; its log ends:\n{log}").into()
    }

    /// A split at a quarter of the records, a kill at the half, a merge at three quarters.
    async fn happen(
        &mut self,
        done: &mut Happenings,
        resources: &Resources,
    ) -> Result<(), Failure> {
        let quarters = self.producer.sent * 4 / self.args.records.max(1);
        if !done.split && quarters >= 1 {
            if let Some(what) = resources.split().await? {
                done.split = true;
                self.progress.say(&what);
            }
        } else if !done.killed && quarters >= 2 && self.owned_by(VICTIM) > 0 {
            done.killed = true;
            self.ended.insert(VICTIM.to_owned());
            if let Some(process) = self.processes.get_mut(VICTIM) {
                process.kill().await?;
            }
            self.killed = Some(Instant::now());
            let shards = self.owned_by(VICTIM);
            self.progress.say(&format!(
                "{VICTIM} was killed (SIGKILL), it owned {shards} shards"
            ));
        } else if done.split
            && !done.merged
            && quarters >= 3
            && let Some(what) = resources.merge().await?
        {
            done.merged = true;
            self.progress.say(&what);
        }
        Ok(())
    }

    fn owned_by(&self, worker: &str) -> usize {
        self.owners
            .values()
            .filter(|owner| owner.as_deref() == Some(worker))
            .count()
    }

    fn look_for_takeover(&mut self) {
        if let (Some(killed), None) = (self.killed, self.takeover)
            && self.owned_by(VICTIM) == 0
        {
            self.takeover = Some(killed.elapsed());
            self.progress.say(&format!(
                "its shards were taken over after {:.1} s",
                killed.elapsed().as_secs_f64()
            ));
        }
    }

    /// Asks every role but the endpoint to end, and waits for what they say last.
    async fn stop_all(&mut self) {
        let mut asked = Vec::new();
        for (name, process) in &mut self.processes {
            if name != "endpoint" {
                process.ask_to_stop();
                asked.push(name.clone());
            }
        }
        let listen = async {
            while !asked.iter().all(|name| self.ended.contains(name)) {
                match self.messages.recv().await {
                    Some((name, None)) => _ = self.ended.insert(name),
                    Some((name, message)) => _ = self.hear(&name, message),
                    None => return,
                }
            }
        };
        // A role that does not end is killed below.
        let _ = tokio::time::timeout(DRAIN, listen).await;
        for name in &asked {
            if let Some(process) = self.processes.get_mut(name)
                && !matches!(process.ended(Duration::from_secs(5)).await, Ok(true))
                && name != VICTIM
            {
                eprintln!(
                    "{name} did not end well; its log ends:\n{}",
                    process.log_tail()
                );
            }
        }
    }

    async fn end_endpoint(&mut self) {
        if let Some(endpoint) = self.processes.get_mut("endpoint") {
            endpoint.ask_to_stop();
            // It is killed if it does not end.
            let _ = endpoint.ended(Duration::from_secs(5)).await;
        }
    }

    /// Prints the tables; true when nothing was lost.
    fn account(&mut self) -> bool {
        self.progress.end();
        println!();
        let row = |name: &str, ledger: &Ledger| {
            let cells = [ledger.sent, ledger.arrived, ledger.repeats, ledger.lost()];
            std::iter::once(name.to_owned())
                .chain(cells.map(|n| n.to_string()))
                .collect()
        };
        let rows = [
            row("producer", &self.producer),
            row("log file", &self.agent),
        ];
        table(&["source", "sent", "arrived", "twice", "lost"], &rows);
        for (name, ledger) in [("producer", &self.producer), ("log file", &self.agent)] {
            if ledger.lost() > 0 {
                println!("  the first missing of the {name}: {:?}", ledger.missing());
            }
        }
        if self.foreign > 0 {
            println!("  records of neither: {}", self.foreign);
        }
        println!();
        match self.takeover {
            Some(time) => println!(
                "  takeover of the killed worker's shards: {:.1} s",
                time.as_secs_f64()
            ),
            None => println!("  the killed worker's shards were not taken over"),
        }
        println!();
        let rows: Vec<Vec<String>> = self
            .processes
            .iter_mut()
            .map(|(name, process)| {
                let usage = process.usage();
                let requests = self.requests.get(name).map(|r| r.values().sum::<u64>());
                vec![
                    name.clone(),
                    format!("{:.2}", usage.cpu.as_secs_f64()),
                    (usage.peak_memory >> 20).to_string(),
                    requests
                        .filter(|n| *n > 0)
                        .map_or_else(|| "–".to_owned(), |n| n.to_string()),
                ]
            })
            .collect();
        table(&["process", "CPU s", "peak MiB", "requests"], &rows);
        println!();
        let mut operations: BTreeMap<&str, u64> = BTreeMap::new();
        for (operation, count) in self.requests.values().flatten() {
            *operations.entry(operation).or_default() += count;
        }
        let rows: Vec<Vec<String>> = operations
            .iter()
            .map(|(name, n)| vec![(*name).to_owned(), n.to_string()])
            .collect();
        table(&["operation", "requests"], &rows);
        let lost = self.producer.lost() + self.agent.lost();
        let resharded = self
            .owners
            .keys()
            .map(|s| short(s))
            .collect::<Vec<_>>()
            .join(" ");
        println!("\n  open at the end: shards {resharded}");
        println!(
            "\n{}",
            if lost == 0 {
                "nothing was lost"
            } else {
                "RECORDS WERE LOST"
            }
        );
        lost == 0 && self.failed == 0
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Happenings {
    split: bool,
    killed: bool,
    merged: bool,
}
