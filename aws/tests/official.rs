//! The official SDK's chain as the source of credentials: it reads the process' own environment and files,
//! so that each case is a process of its own, this program once more.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

use aws::credentials::OfficialChain;
use aws::kinesis::{Client, IteratorPosition};
use aws::{Config, Environment};
use mockito::{Matcher, Server};
use runtime::RetryPolicy;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Which key a process is to sign with; and of which profile, if one is named.
const KEY: &str = "OFFICIAL_CHAIN_KEY";
const PROFILE: &str = "OFFICIAL_CHAIN_PROFILE";

const CONFIG: &str = "\
[profile process]
credential_process = /bin/echo '{\"Version\":1,\"AccessKeyId\":\"PROCESS\",\"SecretAccessKey\":\"hush\"}'
";
const CREDENTIALS: &str = "\
[work]
aws_access_key_id = WORK
aws_secret_access_key = hush
";

#[tokio::test]
async fn the_official_chain_signs_with_what_it_finds() {
    if let Ok(key) = std::env::var(KEY) {
        signs_with(&key).await;
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = [
        ("AWS_CONFIG_FILE", file("config", CONFIG)),
        (
            "AWS_SHARED_CREDENTIALS_FILE",
            file("credentials", CREDENTIALS),
        ),
    ];
    let keys = [
        ("AWS_ACCESS_KEY_ID", "ENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ];
    for (key, variables) in [
        ("ENVIRONMENT", &keys[..]),
        ("WORK", &[("AWS_PROFILE", "work")]),
        ("WORK", &[(PROFILE, "work")]),
        ("PROCESS", &[("AWS_PROFILE", "process")]),
    ] {
        let output = again(home.path())
            .envs(files.clone())
            .envs(variables.iter().copied())
            .env(KEY, key)
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{key}: {shown}");
        assert!(shown.contains("1 passed"), "{shown}");
    }
}

/// This program, without the variables of whoever started it.
fn again(home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env("HOME", home)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .args(["--exact", "the_official_chain_signs_with_what_it_finds"]);
    command
}

async fn signs_with(key: &str) {
    let mut server = Server::new_async().await;
    let kinesis = server
        .mock("POST", "/")
        .match_header(
            "authorization",
            Matcher::Regex(format!("Credential={key}/")),
        )
        .with_status(400)
        .with_body(r#"{"__type":"ResourceNotFoundException"}"#)
        .create_async()
        .await;
    let chain = OfficialChain::new().region("eu-west-1");
    let chain = match std::env::var(PROFILE) {
        Ok(profile) => chain.profile(profile),
        Err(_) => chain,
    };
    let config = Config::builder()
        .region("eu-west-1")
        .endpoint_url(server.url())
        .credentials_provider(Arc::new(chain))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
        .retry(RetryPolicy::none())
        .load()
        .unwrap();
    let client = Client::new(&config);
    let latest = IteratorPosition::Latest;
    let asked = client.get_shard_iterator("s", "shardId-0", &latest);
    asked.await.unwrap_err();
    kinesis.assert_async().await;
}
