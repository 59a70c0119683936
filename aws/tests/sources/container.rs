//! ECS tasks and EKS pods.

use crate::world::{IN_AN_HOUR, call, call_by, config, error, json, seconds};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

#[tokio::test(start_paused = true)]
async fn a_task_is_asked_at_the_agent_and_a_pod_at_its_address_with_the_token_of_the_moment() {
    let home = tempfile::tempdir().unwrap();
    let (task, seen) = config(home.path(), &[(RELATIVE, "/v2/x?y=z")], |_| {
        json("TASK", IN_AN_HOUR)
    });
    call(&task).await.unwrap();
    assert_eq!(seen.urls(), ["GET http://169.254.170.2/v2/x?y=z"]);
    assert_eq!(seen.header(0, "authorization"), None);
    assert_eq!(*seen.keys.lock(), ["TASK"]);

    let file = home.path().join("token");
    let path = file.display().to_string();
    let pod = "http://169.254.170.23/v1/credentials";
    let vars = [(FULL, pod), (TOKEN_FILE, path.as_str()), (TOKEN, "other")];
    let (pod, seen) = config(home.path(), &vars, |_| json("POD", IN_AN_HOUR));
    for (n, token) in ["first\n", "second"].into_iter().enumerate() {
        std::fs::write(&file, token).unwrap();
        call(&pod).await.unwrap();
        let sent = seen.header(n, "authorization").unwrap();
        assert_eq!(sent, token.trim_end());
    }
    let vars = [(FULL, "http://[fd00:ec2::23]/v1/x"), (TOKEN, "given")];
    let (six, seen) = config(home.path(), &vars, |_| json("POD", IN_AN_HOUR));
    call(&six).await.unwrap();
    assert_eq!(seen.header(0, "authorization").unwrap(), "given");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_an_error_before_anything_is_sent() {
    let home = tempfile::tempdir().unwrap();
    for (vars, word) in [
        (vec![(FULL, "http://example.com/x")], "example.com"),
        (
            vec![(RELATIVE, "/x"), (TOKEN_FILE, "/nonexistent")],
            "/nonexistent",
        ),
        (vec![(RELATIVE, "/x"), (TOKEN, "hush\nhush")], "header"),
        (vec![(RELATIVE, "@example.com/x")], "example.com"),
    ] {
        let (config, seen) = config(home.path(), &vars, |_| json("X", IN_AN_HOUR));
        let text = error(&config).await;
        assert!(
            text.contains(word) && text.contains("the container's endpoint"),
            "{text}"
        );
        assert!(!text.contains("hush"), "{text}");
        assert!(seen.urls().is_empty(), "{vars:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_and_passing_faults_are_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let refusal = r#"{"code":"AccessDenied","message":"no role"}"#;
    for (status, body, times, words) in [
        (403, refusal, 1, "HTTP status 403: AccessDenied: no role"),
        (500, "", 3, "HTTP status 500"),
        (429, "", 3, "HTTP status 429"),
        (200, "<html>hush", 1, "no JSON"),
        (200, r#"{"AccessKeyId":"A"}"#, 1, "SecretAccessKey"),
    ] {
        let (config, seen) = config(home.path(), &[(RELATIVE, "/x")], move |_| {
            Some((status, body.to_owned()))
        });
        let text = error(&config).await;
        assert!(text.contains(words) && !text.contains("hush"), "{text}");
        assert_eq!(seen.urls().len(), times, "{status}");
    }
    let (config, seen) = config(home.path(), &[(RELATIVE, "/x")], |_| None);
    let text = error(&config).await;
    assert!(text.contains("no answer within 2s"), "{text}");
    assert_eq!(seen.urls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_through_a_renewal_and_through_an_outage_of_the_source() {
    let home = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let n = Arc::clone(&asked);
    let (config, seen) = config(home.path(), &[(RELATIVE, "/x")], move |_| {
        match n.fetch_add(1, Relaxed) {
            0 => json("FIRST", IN_AN_HOUR),
            1..=5 => Some((500, String::new())),
            6 | 7 => None,
            _ => json("SECOND", "2023-11-15T03:13:20Z"),
        }
    });
    let client = aws::kinesis::Client::new(&config);
    for _ in 0..7_000 {
        let began = tokio::time::Instant::now();
        call_by(&client).await.unwrap();
        assert_eq!(began.elapsed(), seconds(0), "nobody waits");
        tokio::time::sleep(seconds(1)).await;
    }
    let keys = seen.keys.lock();
    let first = keys.iter().filter(|key| *key == "FIRST").count();
    // Renewed 10 to 15 minutes before the end, and later by what the outage took.
    assert!((2_700..3_060).contains(&first), "{first}");
    assert!(keys[first..].iter().all(|key| key == "SECOND"));
    assert_eq!(asked.load(Relaxed), 9);
}
