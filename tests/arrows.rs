//! Which crate may use which: the arrows of ARCHITECTURE.md, read from cargo's own metadata.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Normal dependencies inside the workspace; these and no others.
const ARROWS: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("aggregation", &[]),
    ("aws", &["runtime"]),
    ("local", &["runtime", "aggregation"]),
    ("kpl", &["aws", "aggregation", "runtime"]),
    ("kcl", &["aws", "aggregation", "runtime"]),
    ("agent", &["kpl", "aws", "aggregation", "runtime"]),
];

/// These use everything and are used by nobody.
const OUTSIDE: &[&str] = &["examples", "tests", "benches"];

/// What tests inside a crate may use beside its own arrows.
const FOR_TESTS: &[&str] = &["local"];

/// Crates that must stay free of what they must not know.
const NEVER: &[(&str, &[&str])] = &[
    ("runtime", &["reqwest", "aws-sigv4", "hyper"]),
    ("aggregation", &["tokio", "reqwest", "hyper", "aws-sigv4"]),
    ("local", &["reqwest", "aws-sigv4"]),
    ("kpl", &["reqwest", "rusqlite", "dynoxide-rs"]),
    ("kcl", &["reqwest", "rusqlite", "dynoxide-rs"]),
];

#[derive(Default)]
struct Uses {
    normal: BTreeSet<String>,
    tests: BTreeSet<String>,
}

fn uses() -> BTreeMap<String, Uses> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut all = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let mut uses = Uses::default();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("a name").to_owned();
            match dependency["kind"].as_str() {
                Some("dev") => uses.tests.insert(name),
                _ => uses.normal.insert(name),
            };
        }
        all.insert(package["name"].as_str().expect("a name").to_owned(), uses);
    }
    all
}

#[test]
fn no_crate_uses_one_that_it_must_not_see() {
    let uses = uses();
    let known: BTreeSet<&str> = ARROWS
        .iter()
        .map(|a| a.0)
        .chain(OUTSIDE.iter().copied())
        .collect();
    let found: BTreeSet<&str> = uses.keys().map(String::as_str).collect();
    assert_eq!(found, known, "a crate is not in the table, or is gone");
    for (name, allowed) in ARROWS {
        let inside = |set: &BTreeSet<String>| -> BTreeSet<String> {
            set.iter()
                .filter(|n| known.contains(n.as_str()))
                .cloned()
                .collect()
        };
        for used in inside(&uses[*name].normal) {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} must not use {used}"
            );
        }
        for used in inside(&uses[*name].tests) {
            let fine = allowed.contains(&used.as_str()) || FOR_TESTS.contains(&used.as_str());
            assert!(fine, "tests of {name} must not use {used}");
        }
    }
}

#[test]
fn no_crate_knows_what_its_room_must_not_know() {
    let uses = uses();
    for (name, never) in NEVER {
        for dependency in *never {
            assert!(
                !uses[*name].normal.contains(*dependency),
                "{name} must not use {dependency}"
            );
        }
    }
}
