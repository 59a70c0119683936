//! The binary against the embedded endpoint on a real socket.

#![expect(clippy::unwrap_used, reason = "these are tests through and through")]

use local::{AccessKey, Fault, FaultAction, Limits, Local, LocalOptions, Server};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long anything may take; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// The one access key, by id and secret, that the endpoint verifies signatures by.
const KEY: (&str, &str) = ("AKIDAGENT", "a secret of the agent's tests");

struct Bench {
    directory: tempfile::TempDir,
    local: Local,
    server: Server,
}

impl Bench {
    async fn new() -> Self {
        let local = Local::new(LocalOptions {
            limits: Limits::Off,
            verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
            ..LocalOptions::default()
        })
        .unwrap();
        let server = local
            .start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            local,
            server,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes an `agent.json` with one flow of this pattern, and further keys of the flow as JSON.
    fn configure(&self, pattern: &str, keys: &str) -> PathBuf {
        let path = self.at("agent.json");
        let text = format!(
            r#"{{
                // The endpoint of the test.
                "kinesis.endpoint": "{}",
                "log.statusReportingPeriodSeconds": 1,
                "checkpointFile": "{}",
                "flows": [{{
                    "filePattern": "{}", "kinesisStream": "logs",
                    "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 1000 {keys}
                }}]
            }}"#,
            self.server.url(),
            self.at("state/positions").display(),
            self.at(pattern).display(),
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn agent(&self, config: &Path, further: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kinesis-agent"))
            .arg("--configuration")
            .arg(config)
            .args(further)
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", KEY.0)
            .env("AWS_SECRET_ACCESS_KEY", KEY.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(self.at("log"))
                    .unwrap(),
            )
            .spawn()
            .unwrap()
    }

    /// Whether the agent has logged something about this path.
    fn has_seen(&self, path: &Path) -> bool {
        let path = format!("={}", path.display());
        self.log()
            .split_whitespace()
            .any(|word| word.ends_with(&path))
    }

    /// What the agent has logged.
    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }

    /// How often each record is in the stream.
    fn arrived(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for record in self.local.records("logs") {
            let line = String::from_utf8(record.data.to_vec()).unwrap();
            *times.entry(line).or_default() += 1;
        }
        times
    }

    /// Waits for a condition.
    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends a signal by the shell's `kill`, which every system has.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

async fn end(child: Child) -> std::process::Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap()
}

fn append(path: &Path, text: &str) {
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Writes lines on a thread while the test goes on; rotates when asked.
struct Writer {
    log: PathBuf,
    lines: usize,
    rotations: usize,
}

impl Writer {
    fn line(n: usize) -> String {
        format!("line {n:07} {}\n", "x".repeat(n % 300))
    }

    fn write(&mut self, lines: usize) {
        let text: String = (self.lines..self.lines + lines).map(Self::line).collect();
        append(&self.log, &text);
        self.lines += lines;
    }

    fn rotated(&self) -> PathBuf {
        PathBuf::from(format!("{}.{}", self.log.display(), self.rotations))
    }

    fn rename(&mut self) {
        self.rotations += 1;
        fs::rename(&self.log, self.rotated()).unwrap();
        fs::File::create(&self.log).unwrap();
    }

    fn copy(&mut self) {
        self.rotations += 1;
        fs::copy(&self.log, self.rotated()).unwrap();
    }

    fn truncate(&self) {
        let file = fs::File::options().write(true).open(&self.log).unwrap();
        file.set_len(0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_five_times_while_the_file_grows_and_rotates_it_loses_nothing() {
    let bench = Bench::new().await;
    bench.local.create_stream("logs", 2).unwrap();
    fs::create_dir(bench.at("logs")).unwrap();
    let config = bench.configure("logs/app.log*", "");
    let mut writer = Writer {
        log: bench.at("logs/app.log"),
        lines: 0,
        rotations: 0,
    };
    let mut child = bench.agent(&config, &[]);
    // The flow is begun before the first line: what comes later is read from its start.
    bench
        .until("begun", |b| b.log().contains("connected"))
        .await;
    for round in 0..5 {
        for step in 0..10 {
            writer.write(400);
            let rotation = (round + step) % 10;
            match rotation {
                3 => writer.rename(),
                7 => writer.copy(),
                _ => continue,
            }
            // Its next look at the directory: what is rotated, it follows while the file grows.
            let rotated = writer.rotated();
            bench
                .until("the rotation is seen", |b| b.has_seen(&rotated))
                .await;
            if rotation == 7 {
                writer.truncate();
            }
        }
        let before = bench.arrived().len();
        bench
            .until("some lines arrived", |b| {
                b.arrived().len() > before.min(writer.lines - 1)
            })
            .await;
        signal(&child, "KILL");
        assert_eq!(end(child).await.status.signal(), Some(9));
        writer.write(100);
        match round % 2 {
            0 => writer.rename(),
            _ => {
                writer.copy();
                writer.truncate();
            }
        }
        writer.write(100);
        child = bench.agent(&config, &[]);
    }
    writer.write(100);
    let lines = writer.lines;
    bench
        .until("every line arrived", |b| b.arrived().len() >= lines)
        .await;
    signal(&child, "TERM");
    assert_eq!(end(child).await.status.code(), Some(0), "{}", bench.log());

    let arrived = bench.arrived();
    let missing = (0..lines)
        .filter(|n| !arrived.contains_key(&Writer::line(*n)))
        .count();
    let twice: usize = arrived.values().map(|times| times - 1).sum();
    println!(
        "{lines} lines, {} rotations, 5 kills: {missing} lost, {twice} twice",
        writer.rotations
    );
    assert_eq!((arrived.len(), missing), (lines, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_drains_what_was_read_and_the_next_start_sends_nothing_twice() {
    for name in ["TERM", "INT"] {
        let bench = Bench::new().await;
        bench.local.create_stream("logs", 1).unwrap();
        fs::create_dir(bench.at("logs")).unwrap();
        // A buffer age that nobody waits for: only the drain sends these lines.
        let config = bench.configure("logs/app.log", r#", "maxBufferAgeMillis": 900000"#);
        append(&bench.at("logs/app.log"), "one\ntwo\n");
        let child = bench.agent(&config, &["--log-format", "json", "--log", "debug"]);
        bench
            .until("connected", |b| b.log().contains("connected"))
            .await;
        bench
            .until("listed", |b| {
                b.local.request_counts().contains_key("ListShards")
            })
            .await;
        append(&bench.at("logs/app.log"), "three\n");
        bench
            .until("read", |b| b.log().contains("\"lag_bytes\":14"))
            .await;
        assert!(bench.arrived().is_empty());
        signal(&child, name);
        assert_eq!(end(child).await.status.code(), Some(0), "{}", bench.log());
        assert_eq!(bench.arrived().len(), 3, "{}", bench.log());
        let log = bench.log();
        assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
        assert!(log.contains("\"lag_bytes\":0"), "{log}");
        assert!(!log.contains(KEY.1), "{log}");

        let child = bench.agent(&config, &[]);
        append(&bench.at("logs/app.log"), "four\n");
        bench
            .until("read again", |b| b.log().contains("lag_bytes=5"))
            .await;
        signal(&child, name);
        assert_eq!(end(child).await.status.code(), Some(0));
        let arrived = bench.arrived();
        assert_eq!(
            (arrived.len(), arrived.values().sum::<usize>()),
            (4, 4),
            "{arrived:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_stream_and_a_missing_directory_are_named_and_waited_for() {
    let bench = Bench::new().await;
    let config = bench.configure(
        "later/app.log",
        r#", "aggregation": true, "partitionKeyOption": "DETERMINISTIC""#,
    );
    let child = bench.agent(&config, &[]);
    bench
        .until("the directory is named", |b| {
            let log = b.log();
            log.contains("does not exist; waiting for it") && log.contains("later")
        })
        .await;
    fs::create_dir(bench.at("later")).unwrap();
    append(&bench.at("later/app.log"), "one\ntwo\n");
    bench
        .until("the stream is named", |b| {
            b.log().contains("cannot send to the stream")
                && b.log().contains("\"logs\" does not exist")
        })
        .await;
    bench.local.create_stream("logs", 1).unwrap();
    bench
        .until("sent", |b| !b.local.records("logs").is_empty())
        .await;
    signal(&child, "TERM");
    assert_eq!(end(child).await.status.code(), Some(0));
    // Two lines, each a user record of one aggregate.
    let records = bench.local.records("logs");
    assert_eq!(records.len(), 1);
    assert!(records[0].data.starts_with(&[0xf3, 0x89, 0x9a, 0xc2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_goes_away_and_comes_back_costs_no_line() {
    let mut bench = Bench::new().await;
    bench.local.create_stream("logs", 1).unwrap();
    fs::create_dir(bench.at("logs")).unwrap();
    let config = bench.configure("logs/app.log*", "");
    let child = bench.agent(&config, &[]);
    bench
        .until("begun", |b| b.log().contains("connected"))
        .await;
    let mut writer = Writer {
        log: bench.at("logs/app.log"),
        lines: 0,
        rotations: 0,
    };
    writer.write(300);
    bench
        .until("some lines arrived", |b| b.arrived().len() == 300)
        .await;
    let address = bench.server.addr();
    let elsewhere = bench
        .local
        .start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    std::mem::replace(&mut bench.server, elsewhere).stop().await;
    for _ in 0..4 {
        writer.write(300);
        writer.rename();
        let rotated = writer.rotated();
        bench
            .until("the rotation is seen", |b| b.has_seen(&rotated))
            .await;
    }
    assert_eq!(bench.arrived().len(), 300);
    bench.server = bench.local.start_on(address).await.unwrap();
    writer.write(300);
    let lines = writer.lines;
    bench
        .until("every line arrived", |b| b.arrived().len() >= lines)
        .await;
    signal(&child, "TERM");
    assert_eq!(end(child).await.status.code(), Some(0));
    assert_eq!(bench.arrived().len(), lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process_it_runs_until_its_token_is_cancelled_and_reports() {
    let bench = Bench::new().await;
    bench.local.create_stream("logs", 1).unwrap();
    fs::create_dir(bench.at("logs")).unwrap();
    append(&bench.at("logs/app.log"), "one\ntwo\n");
    let path = bench.configure("logs/app.log", "");
    let text = fs::read_to_string(&path).unwrap();
    let (id, secret) = KEY;
    let keys =
        format!(r#""awsAccessKeyId": "{id}", "awsSecretAccessKey": "{secret}", "checkpointFile""#);
    fs::write(&path, text.replace("\"checkpointFile\"", &keys)).unwrap();
    let (config, warnings) = agent::Config::from_file(&path, agent::Strictness::Strict).unwrap();
    assert_eq!(warnings, []);
    // A second agent on the same positions is refused.
    let first = agent::Agent::builder(config.clone()).build().await.unwrap();
    let second = agent::Agent::builder(config).build().await.unwrap_err();
    assert!(
        second.to_string().contains("in use by another agent"),
        "{second}"
    );
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(first.run(stop.clone()));
    bench.until("sent", |b| b.arrived().len() == 2).await;
    stop.cancel();
    let report = running.await.unwrap().unwrap();
    assert_eq!(
        (report.records_sent, report.bytes_sent, report.bytes_behind),
        (2, 8, 0)
    );
}

#[tokio::test]
async fn what_stops_the_start_is_named_with_exit_code_1() {
    let bench = Bench::new().await;
    let run = |config: &Path, further: &[&str]| {
        fs::write(bench.at("log"), "").unwrap();
        let child = bench.agent(config, further);
        child.wait_with_output().unwrap()
    };
    let cases = [
        (
            r#","maxBufferSizeRecords": "many""#,
            "flows[0].maxBufferSizeRecords",
        ),
        (
            r#","dataProcessingOptions": [{"optionName": "CSVTOJSON"}]"#,
            "dataProcessingOptions",
        ),
        (r#","multiLineStartPattern": "^x""#, "multiLineStartPattern"),
        (
            r#","publishQueueCapcity": 3"#,
            "did you mean publishQueueCapacity?",
        ),
    ];
    for (keys, expected) in cases {
        let config = bench.configure("logs/app.log", keys);
        let output = run(&config, &["--strict"]);
        assert_eq!(output.status.code(), Some(1), "{keys}");
        assert!(bench.log().contains(expected), "{keys}: {}", bench.log());
    }
    let output = run(&bench.at("absent.json"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        bench.log().contains("absent.json cannot be read"),
        "{}",
        bench.log()
    );

    let config = bench.configure("logs/app.log", "");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("\"kinesis.endpoint\"", "\"firehose.endpoint\""),
    )
    .unwrap();
    assert_eq!(run(&config, &[]).status.code(), Some(1));
    let log = bench.log();
    assert!(log.contains("AWS_REGION, AWS_DEFAULT_REGION"), "{log}");
    assert!(log.contains("Firehose is not built yet"), "{log}");

    let config = bench.configure("logs/app.log", "");
    fs::create_dir_all(bench.at("state")).unwrap();
    fs::write(
        bench.at("state/positions"),
        "no database, and longer than a header ".repeat(100),
    )
    .unwrap();
    assert_eq!(run(&config, &[]).status.code(), Some(1));
    assert!(
        bench.log().contains("is damaged or is not a database"),
        "{}",
        bench.log()
    );

    assert_eq!(run(&config, &["--unknown"]).status.code(), Some(1));
    assert_eq!(run(&config, &["positional"]).status.code(), Some(1));
    let help = run(&config, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let mut text = String::new();
    help.stdout.as_slice().read_to_string(&mut text).unwrap();
    assert!(
        text.contains("--configuration") && text.contains("--strict"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_are_named_and_cost_no_line() {
    let bench = Bench::new().await;
    bench.local.create_stream("logs", 1).unwrap();
    let expired = bench.local.faults().add(Fault::every(
        "PutRecords",
        FaultAction::Error {
            status: 400,
            code: "ExpiredTokenException".to_owned(),
            message: "The security token included in the request is expired".to_owned(),
        },
    ));
    let config = bench.configure("app.log", "");
    append(&bench.at("app.log"), "one\ntwo\nthree\n");
    let child = bench.agent(&config, &[]);
    bench
        .until("the reason is told", |b| {
            b.log().contains("ExpiredTokenException")
        })
        .await;
    assert!(bench.arrived().is_empty());
    assert!(bench.local.faults().remove(expired));
    bench
        .until("all lines arrive", |b| b.arrived().len() == 3)
        .await;
    signal(&child, "TERM");
    assert!(end(child).await.status.success());
    assert!(!bench.log().contains(KEY.1), "the log shows a secret");
}

/// What holds in all tests: whoever signs wrongly gets nothing done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused_by_the_endpoint_and_named() {
    let bench = Bench::new().await;
    bench.local.create_stream("logs", 1).unwrap();
    let path = bench.configure("app.log", "");
    let text = fs::read_to_string(&path).unwrap();
    let keys = format!(
        r#""awsAccessKeyId": "{}", "awsSecretAccessKey": "another", "checkpointFile""#,
        KEY.0
    );
    fs::write(&path, text.replace("\"checkpointFile\"", &keys)).unwrap();
    append(&bench.at("app.log"), "one\n");
    let child = bench.agent(&path, &[]);
    bench
        .until("the reason is told", |b| {
            b.log().contains("InvalidSignatureException")
        })
        .await;
    signal(&child, "KILL");
    end(child).await;
    assert!(bench.arrived().is_empty());
}
