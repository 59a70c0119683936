//! IAM Identity Center.

use crate::world::{Request, call, config, error, write};

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
