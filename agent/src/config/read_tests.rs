use super::*;

/// Writes the files (name, content) into a directory and reads `agent.json`.
fn read(files: &[(&str, &str)], strictness: Strictness) -> Result<(Config, Vec<Warning>), String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let main = directory.path().join("agent.json");
    Config::from_file(&main, strictness).map_err(|error| match error {
        ConfigError::Invalid { problems, .. } => problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        ConfigError::Syntax { source, .. } => format!("syntax: {source}"),
        other => other.to_string(),
    })
}

fn one(text: &str) -> Result<(Config, Vec<Warning>), String> {
    read(&[("agent.json", text)], Strictness::Lenient)
}

fn flow_with(extra: &str) -> String {
    format!(r#"{{"flows":[{{"filePattern":"/var/log/app.log*","kinesisStream":"s"{extra}}}]}}"#)
}

#[test]
fn the_shortest_configuration_has_the_originals_defaults() {
    let (config, warnings) = one(&flow_with("")).unwrap();
    assert_eq!(warnings, []);
    let flow = &config.flows[0];
    assert_eq!(flow.id(), "kinesis:s:/var/log/app.log*");
    assert_eq!(flow.initial, InitialPosition::EndOfFile);
    assert_eq!(flow.partition_key, PartitionKey::Random);
    assert_eq!(flow.terminator, b"\n");
    assert_eq!(flow.max_buffer_age, Duration::from_secs(60));
    assert_eq!(flow.max_buffer_records, 500);
    assert_eq!(flow.max_buffer_bytes, 5_242_880);
    assert_eq!(flow.poll, Duration::from_millis(100));
    assert_eq!(flow.retry_first, Duration::from_millis(100));
    assert_eq!(flow.retry_longest, Duration::from_secs(10));
    assert!(!flow.aggregation);
    assert_eq!(config.positions, Path::new(DEFAULT_POSITIONS));
    assert_eq!(
        config.original_positions.as_deref(),
        Some(Path::new(ORIGINAL_POSITIONS))
    );
    assert_eq!(config.positions_ttl, Duration::from_secs(7 * 86_400));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(config.summary_period, Duration::from_secs(30));
    assert_eq!(config.endpoint, None);
}

#[test]
fn every_built_key_is_read() {
    let text = r#"{
        // a comment
        "checkpointFile": "/tmp/positions", "checkpointTimeToLiveDays": "0x1",
        "kinesis.endpoint": "kinesis.eu-west-1.amazonaws.com", "kinesis.region": "eu-west-1",
        "awsAccessKeyId": "id", "awsSecretAccessKey": "secret",
        "connectionTimeoutMillis": 1, "socketTimeoutMillis": 2, "shutdownTimeoutMillis": 3,
        "log.statusReportingPeriodSeconds": 4, "maxBufferedBytes": 4194304,
        "flows": [{
            "filePattern": "/x.log", "kinesisStream": "s", "initialPosition": "START_OF_FILE",
            "partitionKeyOption": "DETERMINISTIC", "truncatedRecordTerminator": "<T>",
            "maxBufferAgeMillis": 1000, "maxBufferSizeRecords": 7, "maxBufferSizeBytes": 60000,
            "minTimeBetweenFilePollsMillis": 0, "maxTimeBetweenFileTrackerRefreshMillis": 10,
            "retryInitialBackoffMillis": 11, "retryMaxBackoffMillis": 12, "aggregation": true,
            "copyHoldMillis": 13
        }]
    }"#;
    let (config, warnings) = one(text).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.positions, Path::new("/tmp/positions"));
    assert_eq!(config.original_positions, None);
    assert_eq!(config.positions_ttl, Duration::from_secs(86_400));
    assert_eq!(
        config.endpoint.as_deref(),
        Some("https://kinesis.eu-west-1.amazonaws.com")
    );
    assert_eq!(config.region.as_deref(), Some("eu-west-1"));
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(config.connect_timeout, Duration::from_millis(1));
    assert_eq!(config.request_timeout, Duration::from_millis(2));
    assert_eq!(config.shutdown_timeout, Duration::from_millis(3));
    assert_eq!(config.summary_period, Duration::from_secs(4));
    assert_eq!(config.memory, 4_194_304);
    let flow = &config.flows[0];
    assert_eq!(flow.id(), "kinesis:s://x.log");
    assert_eq!(flow.initial, InitialPosition::StartOfFile);
    assert_eq!(flow.partition_key, PartitionKey::Deterministic);
    assert_eq!(flow.terminator, b"<T>");
    assert_eq!(flow.max_buffer_age, Duration::from_secs(1));
    assert_eq!((flow.max_buffer_records, flow.max_buffer_bytes), (7, 60000));
    assert_eq!(flow.poll, Duration::from_millis(1));
    assert_eq!(flow.rescan, Duration::from_millis(10));
    assert_eq!(flow.retry_first, Duration::from_millis(11));
    assert_eq!(flow.retry_longest, Duration::from_millis(12));
    assert!(flow.aggregation);
    assert_eq!(flow.copy_hold, Duration::from_millis(13));
}

#[test]
fn every_problem_is_told_at_once_with_its_key() {
    let text = r#"{
        "checkpointTimeToLiveDays": "soon", "shutdownTimeoutMillis": 1500.5,
        "awsSecretAccessKey": {"leak": "me"}, "assumeRoleARN": "arn:aws:iam::1:role/r",
        "flows": [
            {"filePattern": "relative.log", "kinesisStream": "s", "maxBufferSizeRecords": 501},
            {"filePattern": "/a/[b", "kinesisStream": "s", "initialPosition": "start"},
            {"kinesisStream": "s"},
            {"filePattern": "/a/b"},
            {"filePattern": "/a/b", "deliveryStream": "d"},
            {"filePattern": "/a/b", "kinesisStream": "s", "multiLineStartPattern": "^x",
             "fileFooterPattern": "EOF", "skipHeaderLines": 1, "dataProcessingOptions": [{}]},
            {"filePattern": "/a/c", "kinesisStream": "s"},
            {"filePattern": "/a/c", "kinesisStream": "s"},
            7
        ]}"#;
    let problems = one(text).unwrap_err();
    let keys: Vec<&str> = problems
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "assumeRoleARN",
            "awsSecretAccessKey",
            "checkpointTimeToLiveDays",
            "shutdownTimeoutMillis",
            "flows[0].maxBufferSizeRecords",
            "flows[0].filePattern",
            "flows[1].initialPosition",
            "flows[1].filePattern",
            "flows[2].filePattern",
            "flows[3].kinesisStream",
            "flows[4].deliveryStream",
            "flows[5].dataProcessingOptions",
            "flows[5].fileFooterPattern",
            "flows[5].multiLineStartPattern",
            "flows[5].skipHeaderLines",
            "flows[7]",
            "flows[8]",
        ],
        "{problems}"
    );
    assert!(!problems.contains("leak"), "{problems}");
    assert!(problems.contains("501 is outside of the valid range 1 to 500"));
    assert!(problems.contains("duplicate flow kinesis:s:/a/c"));
}

#[test]
fn values_that_mean_off_pass() {
    let (_, warnings) = one(&flow_with(
        r#","multiLineStartPattern":"","skipHeaderLines":0,"dataProcessingOptions":[],
           "fileFooterPattern":null,"maxBufferAgeMillis":null,"deliveryStream":null,
           "aggregatedRecordSizeBytes":0"#,
    ))
    .unwrap();
    assert_eq!(warnings, []);
    let problems = one(&flow_with(r#","dataProcessingOptions":{"a":1}"#)).unwrap_err();
    assert!(problems.starts_with("flows[0].dataProcessingOptions"));
}

#[test]
fn keys_without_effect_and_unknown_keys_warn() {
    let cases = [
        (
            r#"{"maxSendingThreads":4,"flows":[F]}"#,
            "maxSendingThreads: has no effect",
        ),
        (
            r#"{"log.level":"INFO","flows":[F]}"#,
            "log.level: has no effect",
        ),
        (
            r#"{"cloudwatch.emitMetrics":true,"flows":[F]}"#,
            "cloudwatch.emitMetrics: has no effect",
        ),
        (
            r#"{"kinesis.endpiont":"h","flows":[F]}"#,
            "kinesis.endpiont: unknown key; did you mean kinesis.endpoint?",
        ),
        (
            r#"{"maxBufferAgeMillis":5,"flows":[F]}"#,
            "maxBufferAgeMillis: unknown key here: it belongs in a flow",
        ),
        (
            r#"{"completelyElse":5,"flows":[F]}"#,
            "completelyElse: unknown key",
        ),
    ];
    let flow = r#"{"filePattern":"/a/b","kinesisStream":"s"}"#;
    for (text, expected) in cases {
        let (_, warnings) = one(&text.replace("[F]", &format!("[{flow}]"))).unwrap();
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(
            warnings[0].to_string().starts_with(expected),
            "{}",
            warnings[0]
        );
    }
    let (_, quiet) = one(&format!(
        r#"{{"cloudwatch.emitMetrics":false,"flows":[{flow}]}}"#
    ))
    .unwrap();
    assert_eq!(quiet, []);
    let (_, warnings) = one(&flow_with(r#","maxBufferSizeBytes":5"#)).unwrap();
    assert!(
        warnings[0]
            .to_string()
            .starts_with("flows[0].maxBufferSizeBytes: taken as 52224")
    );
    let (_, warnings) = one(&flow_with(r#","filePatern":"x""#)).unwrap();
    assert_eq!(
        warnings[0].to_string(),
        "flows[0].filePatern: unknown key; did you mean filePattern?"
    );
}

#[test]
fn strict_makes_unknown_keys_errors_and_leaves_warnings_warnings() {
    let text = flow_with(r#","filePatern":"x","publishQueueCapacity":1"#);
    let problems = read(&[("agent.json", &text)], Strictness::Strict).unwrap_err();
    assert_eq!(
        problems,
        "flows[0].filePatern: unknown key; did you mean filePattern?"
    );
    let text = flow_with(r#","publishQueueCapacity":1"#);
    let (_, warnings) = read(&[("agent.json", &text)], Strictness::Strict).unwrap();
    assert_eq!(warnings.len(), 1);
}

#[test]
fn flows_of_agent_d_follow_in_the_order_of_names() {
    let flow = |name: &str| format!(r#"{{"filePattern":"/logs/{name}","kinesisStream":"s"}}"#);
    let of = |name: &str| format!(r#"{{"flows":[{}],"kinesis.region":"x"}}"#, flow(name));
    let (config, warnings) = read(
        &[
            ("agent.json", "{}"),
            ("agent.d/20", &of("b")),
            ("agent.d/10.json~", &of("a")),
            ("agent.d/30", "{ broken"),
            ("agent.d/sub/40", &of("c")),
        ],
        Strictness::Lenient,
    )
    .unwrap();
    let globs: Vec<&str> = config.flows.iter().map(|f| f.glob.as_str()).collect();
    assert_eq!(globs, ["a", "b"]);
    let keys: Vec<&str> = warnings.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "agent.d/10.json~: kinesis.region",
            "agent.d/20: kinesis.region",
            "agent.d/30"
        ]
    );
    let problems = read(
        &[("agent.json", "{}"), ("agent.d/1", r#"{"flows":[{}]}"#)],
        Strictness::Lenient,
    )
    .unwrap_err();
    assert!(
        problems.contains("agent.d/1: flows[0].filePattern: required"),
        "{problems}"
    );
}

#[test]
fn no_flows_no_object_no_json_no_file() {
    assert_eq!(one("{}").unwrap_err(), "flows: required, and missing");
    assert_eq!(
        one(r#"{"flows":[]}"#).unwrap_err(),
        "flows: required, and missing"
    );
    assert_eq!(
        one(r#"{"flows":{}}"#).unwrap_err(),
        "flows: expected a list of flows"
    );
    assert_eq!(one("[]").unwrap_err(), "(root): expected an object");
    assert!(one("{").unwrap_err().starts_with("syntax: "));
    assert!(
        read(&[], Strictness::Lenient)
            .unwrap_err()
            .ends_with("cannot be read")
    );
}
