//! From files to a [`Config`].

use super::keys::{self, Fate, Key};
use super::values::{self, Setting};
use super::{
    Config, ConfigError, ConfigProblem, DEFAULT_POSITIONS, FlowConfig, Glob, InitialPosition,
    ORIGINAL_POSITIONS, PartitionKey, ProblemKind, StaticCredentials, Strictness, Warning,
};
use crate::kinesis::SMALLEST_REQUEST;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory is not listed less often than this.
const LONGEST_RESCAN: Duration = Duration::from_secs(1);
/// The terminator of a cut record must leave room for a record.
const RECORD_LIMIT: usize = 1_048_576;

pub(super) fn from_file(
    path: &Path,
    strictness: Strictness,
) -> Result<(Config, Vec<Warning>), ConfigError> {
    let root = parse(path)?;
    let mut notes = Notes {
        strictness,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let Value::Object(root) = root else {
        notes.bad("(root)", "expected an object".to_owned());
        return Err(notes.into_error(path));
    };
    let mut flows = named_flows("flows", root.get("flows"), &mut notes);
    flows.extend(directory_flows(path, &mut notes));
    let config = global(&root, &flows, &mut notes);
    match config {
        Some(config) if notes.problems.is_empty() => Ok((config, notes.warnings)),
        _ => Err(notes.into_error(path)),
    }
}

fn parse(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    super::json::parse(&text).map_err(|source| ConfigError::Syntax {
        path: path.to_owned(),
        source,
    })
}

/// What was found on the way.
struct Notes {
    strictness: Strictness,
    problems: Vec<ConfigProblem>,
    warnings: Vec<Warning>,
}

impl Notes {
    fn problem(&mut self, key: &str, kind: ProblemKind) {
        self.problems.push(ConfigProblem {
            key: key.to_owned(),
            kind,
        });
    }

    fn bad(&mut self, key: &str, reason: String) {
        self.problem(key, ProblemKind::Value(reason));
    }

    fn warn(&mut self, key: &str, reason: String) {
        self.warnings.push(Warning {
            key: key.to_owned(),
            reason,
        });
    }

    fn unknown(&mut self, key: &str, reason: String) {
        match self.strictness {
            Strictness::Lenient => self.warn(key, reason),
            Strictness::Strict => self.problem(key, ProblemKind::Unknown(reason)),
        }
    }

    fn into_error(self, path: &Path) -> ConfigError {
        ConfigError::Invalid {
            path: path.to_owned(),
            problems: self.problems,
        }
    }
}

/// The flows of one file, each with the name under which its problems are told.
fn named_flows(prefix: &str, value: Option<&Value>, notes: &mut Notes) -> Vec<(String, Value)> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(n, flow)| (format!("{prefix}[{n}]"), flow.clone()))
            .collect(),
        Some(_) => {
            notes.bad(prefix, "expected a list of flows".to_owned());
            Vec::new()
        }
    }
}

/// The flows of `agent.d` beside the main file, in the order of the files' names.
fn directory_flows(main: &Path, notes: &mut Notes) -> Vec<(String, Value)> {
    let directory = main.with_file_name("agent.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                notes.warn("agent.d", format!("skipped: {error}"));
            }
            return Vec::new();
        }
    };
    let files: BTreeSet<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    let mut flows = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let shown = format!("agent.d/{name}");
        match parse(&file) {
            Ok(Value::Object(root)) => {
                for key in root.keys().filter(|key| *key != "flows") {
                    notes.warn(
                        &format!("{shown}: {key}"),
                        "only flows are read from agent.d".to_owned(),
                    );
                }
                let prefix = format!("{shown}: flows");
                flows.extend(named_flows(&prefix, root.get("flows"), notes));
            }
            Ok(_) => notes.warn(&shown, "skipped: expected an object".to_owned()),
            Err(ConfigError::Syntax { source, .. }) => {
                notes.warn(&shown, format!("skipped: not JSON: {source}"));
            }
            Err(error) => notes.warn(&shown, format!("skipped: {error}")),
        }
    }
    flows
}

/// The values of one object, converted, each under its key's name.
struct Values {
    keys: &'static [Key],
    set: BTreeMap<&'static str, Setting>,
}

impl Values {
    /// Converts every key of the object; `elsewhere` are the keys that belong to the other level.
    fn read(
        object: &Map<String, Value>,
        prefix: &str,
        keys: &'static [Key],
        elsewhere: &'static [Key],
        notes: &mut Notes,
    ) -> Self {
        let mut set = BTreeMap::new();
        for (name, value) in object {
            let shown = format!("{prefix}{name}");
            let Some(key) = keys::find(keys, name) else {
                notes.unknown(&shown, unknown(name, keys, elsewhere));
                continue;
            };
            if value.is_null() {
                continue;
            }
            if let Fate::Stops { off } = key.fate {
                if !off.contains(&text_form(value).as_str()) {
                    notes.problem(&shown, ProblemKind::NotBuilt);
                }
                continue;
            }
            let setting = match values::convert(key.kind, value) {
                Ok(setting) => setting,
                Err(_) if is_secret(name) => {
                    notes.bad(&shown, "expected text".to_owned());
                    continue;
                }
                Err(reason) => {
                    notes.bad(&shown, reason);
                    continue;
                }
            };
            if let Fate::Ignored { why, quiet } = key.fate
                && !quiet.contains(&text_form(value).as_str())
            {
                notes.warn(&shown, format!("has no effect: {why}"));
            }
            set.insert(key.name, setting);
        }
        Self { keys, set }
    }

    fn get(&self, name: &str) -> Option<Setting> {
        self.set.get(name).cloned().or_else(|| {
            let key = keys::find(self.keys, name)?;
            if key.default.is_empty() {
                return None;
            }
            values::convert(key.kind, &Value::String(key.default.to_owned())).ok()
        })
    }

    /// Text; empty counts as unset.
    fn text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Setting::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn integer(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Setting::Integer(n)) => u64::try_from(n).unwrap_or(0),
            _ => 0,
        }
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or(usize::MAX)
    }

    fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.integer(name))
    }

    fn bool(&self, name: &str) -> bool {
        self.get(name) == Some(Setting::Bool(true))
    }
}

fn is_secret(name: &str) -> bool {
    matches!(name, "awsAccessKeyId" | "awsSecretAccessKey")
}

fn text_form(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn unknown(name: &str, keys: &'static [Key], elsewhere: &'static [Key]) -> String {
    if keys::find(elsewhere, name).is_some() {
        let level = if std::ptr::eq(elsewhere, keys::FLOW) {
            "in a flow"
        } else {
            "at the top level"
        };
        return format!("unknown key here: it belongs {level}, and has no effect");
    }
    match runtime::settings::nearest(name, keys.iter().map(|key| key.name)) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key".to_owned(),
    }
}

fn global(
    root: &Map<String, Value>,
    flows: &[(String, Value)],
    notes: &mut Notes,
) -> Option<Config> {
    let mut settings = root.clone();
    settings.remove("flows");
    let values = Values::read(&settings, "", keys::GLOBAL, keys::FLOW, notes);
    if flows.is_empty() && !notes.problems.iter().any(|p| p.key == "flows") {
        notes.problem("flows", ProblemKind::Missing);
    }
    let credentials = match (
        values.text("awsAccessKeyId"),
        values.text("awsSecretAccessKey"),
    ) {
        (Some(access_key_id), Some(secret_access_key)) => Some(StaticCredentials {
            access_key_id,
            secret_access_key,
        }),
        (Some(_), None) => {
            notes.problem("awsSecretAccessKey", ProblemKind::Missing);
            None
        }
        (None, Some(_)) => {
            notes.problem("awsAccessKeyId", ProblemKind::Missing);
            None
        }
        (None, None) => None,
    };
    let given = |name| values.set.contains_key(name) && values.text(name).is_some();
    let own_positions = given("checkpointFile");
    let positions = values
        .text("checkpointFile")
        .unwrap_or_else(|| DEFAULT_POSITIONS.to_owned());
    let flows = all_flows(flows, notes);
    Some(Config {
        flows,
        positions: PathBuf::from(positions),
        original_positions: (!own_positions).then(|| PathBuf::from(ORIGINAL_POSITIONS)),
        positions_ttl: Duration::from_secs(
            values
                .integer("checkpointTimeToLiveDays")
                .saturating_mul(86_400),
        ),
        endpoint: values.text("kinesis.endpoint").map(with_scheme),
        region: values.text("kinesis.region"),
        credentials,
        connect_timeout: values.millis("connectionTimeoutMillis"),
        request_timeout: values.millis("socketTimeoutMillis"),
        shutdown_timeout: values.millis("shutdownTimeoutMillis"),
        summary_period: Duration::from_secs(values.integer("log.statusReportingPeriodSeconds")),
        memory: values.integer("maxBufferedBytes"),
    })
}

/// The original gives https to an endpoint without a scheme.
fn with_scheme(endpoint: String) -> String {
    if endpoint.contains("://") {
        endpoint
    } else {
        format!("https://{endpoint}")
    }
}

fn all_flows(named: &[(String, Value)], notes: &mut Notes) -> Vec<FlowConfig> {
    let mut seen = BTreeSet::new();
    let mut flows = Vec::new();
    for (name, value) in named {
        let Value::Object(object) = value else {
            notes.bad(name, "expected an object".to_owned());
            continue;
        };
        if let Some(flow) = flow(name, object, notes) {
            if !seen.insert(flow.id()) {
                notes.problem(name, ProblemKind::DuplicateFlow(flow.id()));
            }
            flows.push(flow);
        }
    }
    flows
}

fn flow(name: &str, object: &Map<String, Value>, notes: &mut Notes) -> Option<FlowConfig> {
    let prefix = format!("{name}.");
    let values = Values::read(object, &prefix, keys::FLOW, keys::GLOBAL, notes);
    let pattern = values.text("filePattern");
    if pattern.is_none() && !has_problem(notes, &prefix, "filePattern") {
        notes.problem(&format!("{prefix}filePattern"), ProblemKind::Missing);
    }
    let stream = values.text("kinesisStream");
    let firehose = object.get("deliveryStream").is_some_and(|v| !v.is_null());
    if stream.is_none() && !firehose && !has_problem(notes, &prefix, "kinesisStream") {
        notes.problem(&format!("{prefix}kinesisStream"), ProblemKind::Missing);
    }
    let terminator = match values.get("truncatedRecordTerminator") {
        Some(Setting::Text(text)) if values.set.contains_key("truncatedRecordTerminator") => {
            text.into_bytes()
        }
        _ => b"\n".to_vec(),
    };
    if terminator.len() >= RECORD_LIMIT {
        notes.bad(
            &format!("{prefix}truncatedRecordTerminator"),
            format!("must be shorter than a record, {RECORD_LIMIT} bytes"),
        );
    }
    if values.size("maxBufferSizeBytes") < SMALLEST_REQUEST {
        notes.warn(
            &format!("{prefix}maxBufferSizeBytes"),
            format!("taken as {SMALLEST_REQUEST}, the smallest size of a request"),
        );
    }
    let (directory, glob) = split_pattern(&prefix, &pattern?, notes)?;
    Some(FlowConfig {
        directory,
        glob,
        stream: stream?,
        initial: match values.text("initialPosition").as_deref() {
            Some("START_OF_FILE") => InitialPosition::StartOfFile,
            _ => InitialPosition::EndOfFile,
        },
        partition_key: match values.text("partitionKeyOption").as_deref() {
            Some("DETERMINISTIC") => PartitionKey::Deterministic,
            _ => PartitionKey::Random,
        },
        terminator,
        max_buffer_age: values.millis("maxBufferAgeMillis"),
        max_buffer_records: values.size("maxBufferSizeRecords"),
        max_buffer_bytes: values.size("maxBufferSizeBytes"),
        poll: values
            .millis("minTimeBetweenFilePollsMillis")
            .max(Duration::from_millis(1)),
        rescan: values
            .millis("maxTimeBetweenFileTrackerRefreshMillis")
            .min(LONGEST_RESCAN),
        retry_first: values.millis("retryInitialBackoffMillis"),
        retry_longest: values.millis("retryMaxBackoffMillis"),
        aggregation: values.bool("aggregation"),
        copy_hold: values.millis("copyHoldMillis"),
    })
}

fn has_problem(notes: &Notes, prefix: &str, name: &str) -> bool {
    let key = format!("{prefix}{name}");
    notes.problems.iter().any(|problem| problem.key == key)
}

/// Splits a pattern at its last `/`: a literal directory and a glob.
fn split_pattern(prefix: &str, pattern: &str, notes: &mut Notes) -> Option<(PathBuf, Glob)> {
    let key = format!("{prefix}filePattern");
    let (directory, file) = match pattern.rsplit_once('/') {
        Some((directory, file)) if !file.is_empty() => (directory, file),
        _ => {
            notes.bad(
                &key,
                format!("{pattern:?} needs a directory and a file pattern after it"),
            );
            return None;
        }
    };
    let directory = if directory.is_empty() { "/" } else { directory };
    if directory.contains(['*', '?', '[', '{']) {
        notes.warn(
            &key,
            format!("the directory {directory:?} is taken literally, not as a glob"),
        );
    }
    match Glob::new(file) {
        Ok(glob) => Some((PathBuf::from(directory), glob)),
        Err(error) => {
            notes.bad(&key, format!("{file:?} is not a pattern: {error}"));
            None
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
