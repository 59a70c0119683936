//! IAM Identity Center.

use crate::world::{Request, call, config, error, write};
use aws::{Config, Environment};
use mockito::{Matcher, Server};
use runtime::time::from_epoch_millis;
use runtime::{ManualClock, RetryPolicy};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const NEW: &str = "\
[profile new]
sso_session = my-sso
sso_account_id = 123456789012
sso_role_name = Reader & Writer
[sso-session my-sso]
sso_start_url = https://d-abc123.awsapps.com/start
sso_region = us-east-2
[profile old]
sso_start_url = https://d-abc123.awsapps.com/start
sso_region = cn-north-1
sso_account_id = 123456789012
sso_role_name = Reader
";
// What `sha1sum` makes of `my-sso` and of the start URL.
const NEW_FILE: &str = "sso/cache/0ad374308c5a4e22f723adf10145eafad7c4031c.json";
const OLD_FILE: &str = "sso/cache/40a89917e3175433e361b710a9d43528d7f1890a.json";
const TOKEN: &str = r#"{"accessToken":"bearer","expiresAt":"2023-11-14T22:20:00Z","region":"x"}"#;

fn portal(_: &Request) -> Option<(u16, String)> {
    // An hour later, in milliseconds.
    let body = r#"{"roleCredentials":{"accessKeyId":"SSO","secretAccessKey":"hush","sessionToken":"token","expiration":1700003600000}}"#;
    Some((200, body.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn the_cached_token_is_turned_into_the_roles_credentials() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", NEW);
    write(home.path(), NEW_FILE, TOKEN);
    let old = TOKEN.replace("00Z", "00UTC");
    write(home.path(), OLD_FILE, &old);
    for (profile, url) in [
        (
            "new",
            "https://portal.sso.us-east-2.amazonaws.com/federation/credentials\
             ?role_name=Reader%20%26%20Writer&account_id=123456789012",
        ),
        (
            "old",
            "https://portal.sso.cn-north-1.amazonaws.com.cn/federation/credentials\
             ?role_name=Reader&account_id=123456789012",
        ),
    ] {
        let (config, seen) = config(home.path(), &[("AWS_PROFILE", profile)], portal);
        call(&config).await.unwrap();
        assert_eq!(seen.urls(), [format!("GET {url}")]);
        let token = seen.header(0, "x-amz-sso_bearer_token");
        assert_eq!(token.unwrap(), "bearer");
        assert_eq!(*seen.keys.lock(), ["SSO"]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_logged_in_is_told_how_to() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", NEW);
    let vars = [("AWS_PROFILE", "new")];
    let login = "run `aws sso login --profile new`";
    let (missing, seen) = config(home.path(), &vars, portal);
    let text = error(&missing).await;
    assert!(
        text.contains(login) && text.contains("0ad374308c5a4e22f723adf10145eafad7c4031c"),
        "{text}"
    );
    for (token, words) in [
        (
            TOKEN.replace("2023", "2022"),
            "expired at 2022-11-14T22:20:00Z",
        ),
        (
            TOKEN.replace("expiresAt", "x"),
            "no accessToken or expiresAt",
        ),
        (TOKEN.replace("2023-", ""), "is no time"),
        ("bearer".to_owned(), "no JSON"),
    ] {
        write(home.path(), NEW_FILE, &token);
        let text = error(&missing).await;
        assert!(text.contains(login) && text.contains(words), "{text}");
        assert!(!text.contains("bearer"), "{text}");
    }
    assert!(seen.urls().is_empty());
    write(home.path(), NEW_FILE, TOKEN);
    for (status, body, words) in [
        (
            401,
            r#"{"message":"Session token not found"}"#,
            "not taken any more",
        ),
        (403, r#"{"message":"No access"}"#, "role Reader & Writer"),
        (200, "{}", "no expiration"),
    ] {
        let (config, seen) = config(home.path(), &vars, move |_| Some((status, body.to_owned())));
        let text = error(&config).await;
        assert!(text.contains(login) && text.contains(words), "{text}");
        assert_eq!(seen.urls().len(), 1);
    }
}

/// A token as `aws sso login` leaves it, with what it is renewed with.
fn cached(end: &str, registered_until: &str) -> String {
    json!({
        "startUrl": "https://d-abc123.awsapps.com/start", "region": "us-east-2",
        "accessToken": "bearer", "expiresAt": end,
        "clientId": "a client", "clientSecret": "its secret",
        "registrationExpiresAt": registered_until, "refreshToken": "hush",
        "more": ["kept"],
    })
    .to_string()
}

const PAST: &str = "2023-11-14T22:00:00Z";
/// In less than five minutes.
const SOON: &str = "2023-11-14T22:18:00Z";
const LATER: &str = "2023-12-01T00:00:00Z";
const RENEWED: &str = r#"{"accessToken":"a new bearer","tokenType":"Bearer","expiresIn":3600,"refreshToken":"hushed"}"#;

/// Renewals are answered so, everything else as [`portal`].
fn renewing(
    status: u16,
    body: &'static str,
) -> impl Fn(&Request) -> Option<(u16, String)> + Send + Sync + 'static {
    move |request| match request.uri().path() {
        "/token" => Some((status, body.to_owned())),
        _ => portal(request),
    }
}

fn cache(home: &Path) -> Value {
    let text = std::fs::read(home.join(".aws").join(NEW_FILE)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_or_ends_soon_is_renewed_and_written_back() {
    for end in [PAST, SOON] {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "config", NEW);
        write(home.path(), NEW_FILE, &cached(end, LATER));
        let vars = [("AWS_PROFILE", "new")];
        let (config, seen) = config(home.path(), &vars, renewing(200, RENEWED));
        call(&config).await.unwrap();
        let urls = seen.urls();
        assert_eq!(urls.len(), 2, "{urls:?}");
        assert_eq!(urls[0], "POST https://oidc.us-east-2.amazonaws.com/token");
        assert_eq!(seen.header(0, "authorization"), None);
        let asked: Value = serde_json::from_str(&seen.body(0)).unwrap();
        let wanted = json!({
            "clientId": "a client", "clientSecret": "its secret",
            "grantType": "refresh_token", "refreshToken": "hush",
        });
        assert_eq!(asked, wanted);
        let token = seen.header(1, "x-amz-sso_bearer_token");
        assert_eq!(token.unwrap(), "a new bearer");
        let mut wanted: Value = serde_json::from_str(&cached(end, LATER)).unwrap();
        wanted["accessToken"] = json!("a new bearer");
        wanted["expiresAt"] = json!("2023-11-14T23:13:20Z");
        wanted["refreshToken"] = json!("hushed");
        assert_eq!(cache(home.path()), wanted);
        let directory = home.path().join(".aws/sso/cache");
        let files: Vec<_> = directory.read_dir().unwrap().flatten().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = files[0].metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_renewed_serves_until_it_ends() {
    let refused =
        r#"{"error":"invalid_grant","error_description":"Invalid refresh token provided"}"#;
    let vars = [("AWS_PROFILE", "new")];
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", NEW);

    write(home.path(), NEW_FILE, &cached(SOON, LATER));
    let (soon, seen) = config(home.path(), &vars, renewing(400, refused));
    call(&soon).await.unwrap();
    let token = seen.header(1, "x-amz-sso_bearer_token");
    assert_eq!(token.unwrap(), "bearer");

    for (status, body, until, words) in [
        (400, refused, LATER, "invalid_grant: Invalid refresh token"),
        (200, "{}", LATER, "no accessToken or expiresIn"),
        (200, "x", LATER, "no JSON"),
        (200, RENEWED, PAST, "registration beside it is good until"),
    ] {
        write(home.path(), NEW_FILE, &cached(PAST, until));
        let (past, seen) = config(home.path(), &vars, renewing(status, body));
        let text = error(&past).await;
        assert!(
            text.contains(words)
                && text.contains(PAST)
                && text.contains("run `aws sso login --profile new`"),
            "{text}"
        );
        for secret in ["hush", "its secret", "bearer"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(seen.urls().len(), usize::from(until == LATER));
        assert_eq!(cache(home.path())["refreshToken"], "hush");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_another_process_renewed_meanwhile_is_taken() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", NEW);
    write(home.path(), NEW_FILE, &cached(PAST, LATER));
    let directory = home.path().to_owned();
    let faster = move |request: &Request| match request.uri().path() {
        "/token" => {
            let other = cached(LATER, LATER).replace("bearer", "the other's");
            write(&directory, NEW_FILE, &other);
            Some((400, r#"{"error":"invalid_grant"}"#.to_owned()))
        }
        _ => portal(request),
    };
    let (config, seen) = config(home.path(), &[("AWS_PROFILE", "new")], faster);
    call(&config).await.unwrap();
    let token = seen.header(1, "x-amz-sso_bearer_token");
    assert_eq!(token.unwrap(), "the other's");
}

#[tokio::test]
async fn a_renewal_over_the_wire_goes_where_the_environment_says() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", NEW);
    write(home.path(), NEW_FILE, &cached(PAST, LATER));
    let mut server = Server::new_async().await;
    let renewal = server
        .mock("POST", "/token")
        .match_header("content-type", "application/json")
        .match_header("authorization", Matcher::Missing)
        .match_body(Matcher::PartialJson(json!({"refreshToken": "hush"})))
        .with_body(RENEWED)
        .expect(1);
    let renewal = renewal.create_async().await;
    let role = server
        .mock("GET", "/federation/credentials")
        .match_query(Matcher::Any)
        .match_header("x-amz-sso_bearer_token", "a new bearer")
        .with_body(
            r#"{"roleCredentials":{"accessKeyId":"SSO","secretAccessKey":"s","sessionToken":"t","expiration":1700003600000}}"#,
        );
    let role = role.create_async().await;
    let kinesis = server
        .mock("POST", "/")
        .match_header(
            "authorization",
            Matcher::Regex("Credential=SSO/".to_owned()),
        )
        .with_status(400)
        .with_body(r#"{"__type":"ResourceNotFoundException"}"#);
    let kinesis = kinesis.create_async().await;
    let url = server.url();
    let vars = [
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_PROFILE", "new"),
        ("AWS_ENDPOINT_URL_SSO_OIDC", &url),
        ("AWS_ENDPOINT_URL_SSO", &url),
        ("AWS_ENDPOINT_URL_KINESIS", &url),
    ];
    let config = Config::builder()
        .region("eu-west-1")
        .environment(Environment::fixed(vars))
        .clock(Arc::new(ManualClock::new(from_epoch_millis(
            crate::world::NOW,
        ))))
        .retry(RetryPolicy::none())
        .load()
        .unwrap();
    call(&config).await.unwrap_err();
    for mock in [renewal, role, kinesis] {
        mock.assert_async().await;
    }
    assert_eq!(cache(home.path())["accessToken"], "a new bearer");
}
