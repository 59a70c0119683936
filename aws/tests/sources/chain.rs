//! The order of places.

use crate::world::{IN_AN_HOUR, Request, call, config, error, json, write, xml};
use aws::transport::Body;
use aws::{Transport, TransportError};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Everybody who can be asked has an answer of his own.
fn everybody(request: &Request) -> Option<(u16, String)> {
    let uri = request.uri();
    let form = String::from_utf8_lossy(request.body()).into_owned();
    match (uri.host().unwrap(), uri.path()) {
        ("sts.eu-west-1.amazonaws.com", "/") if form.contains("WebIdentity") => xml("WEB"),
        ("169.254.170.2", "/task") => json("CONTAINER", IN_AN_HOUR),
        ("169.254.169.254", "/latest/api/token") => Some((200, "meta".to_owned())),
        ("169.254.169.254", path) if path.ends_with("/security-credentials/") => {
            Some((200, "role".to_owned()))
        }
        ("169.254.169.254", path) if path.ends_with("/role") => json("INSTANCE", IN_AN_HOUR),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_place_that_says_something_counts() {
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, "jwt").unwrap();
    let keys = "[default]\naws_access_key_id = PROFILE\naws_secret_access_key = hush\n";
    write(home.path(), "credentials", keys);
    let token = token.display().to_string();
    let mut vars = vec![
        ("AWS_ACCESS_KEY_ID", "ENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task"),
    ];
    let found = async |vars: &[(&str, &str)]| {
        let (config, seen) = config(home.path(), vars, everybody);
        call(&config).await.unwrap();
        let keys = seen.keys.lock();
        keys.last().cloned().unwrap()
    };
    assert_eq!(found(&vars).await, "ENVIRONMENT");
    vars.drain(..2);
    assert_eq!(found(&vars).await, "WEB");
    vars.drain(..2);
    assert_eq!(found(&vars).await, "PROFILE");
    std::fs::remove_file(home.path().join(".aws/credentials")).unwrap();
    assert_eq!(found(&vars).await, "CONTAINER");
    vars.clear();
    assert_eq!(found(&vars).await, "INSTANCE");
}

/// Counts how often it was asked for connections of one's own.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Transport>,
    separated: Arc<AtomicUsize>,
}

impl Transport for Counted {
    fn call(
        &self,
        request: http::Request<aws::transport::RequestBody>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        self.inner.call(request)
    }

    fn separate(&self) -> Result<Option<Arc<dyn Transport>>, TransportError> {
        self.separated.fetch_add(1, Relaxed);
        let (inner, separated) = (Arc::clone(&self.inner), Arc::clone(&self.separated));
        Ok(Some(Arc::new(Self { inner, separated })))
    }
}

/// A look-up never waits for a connection that a blocked runtime drives.
#[tokio::test(start_paused = true)]
async fn a_look_up_over_the_network_has_connections_of_its_own_and_others_make_none() {
    let home = tempfile::tempdir().unwrap();
    let keys = "[default]\naws_access_key_id = PROFILE\naws_secret_access_key = hush\n";
    for (keys, vars, expected) in [
        (keys, vec![], 0),
        (
            "",
            vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/task")],
            1,
        ),
        ("", vec![], 1),
    ] {
        write(home.path(), "credentials", keys);
        let transport = crate::world::transport(everybody);
        let separated = Arc::new(AtomicUsize::new(0));
        let counted = Counted {
            inner: transport,
            separated: Arc::clone(&separated),
        };
        let (builder, _) = crate::world::builder(home.path(), &vars, everybody);
        let builder = builder.region("eu-west-1").transport(Arc::new(counted));
        call(&builder.load().unwrap()).await.unwrap();
        assert_eq!(separated.load(Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_anywhere_names_every_place_that_was_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let (config, seen) = config(home.path(), &[], |_| None);
    let text = error(&config).await;
    for place in [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "profile \"default\"",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "http://169.254.169.254: no answer within 1s",
    ] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert!(seen.keys.lock().is_empty(), "nothing was signed");
}

#[tokio::test(start_paused = true)]
async fn half_of_something_is_an_error_and_not_passed_over() {
    let home = tempfile::tempdir().unwrap();
    for (vars, lacks) in [
        (("AWS_ACCESS_KEY_ID", "A"), "AWS_SECRET_ACCESS_KEY"),
        (("AWS_SECRET_ACCESS_KEY", "hush"), "AWS_ACCESS_KEY_ID"),
        (("AWS_WEB_IDENTITY_TOKEN_FILE", "/x"), "AWS_ROLE_ARN"),
    ] {
        let (config, seen) = config(home.path(), &[vars], everybody);
        let text = error(&config).await;
        assert!(text.contains(lacks) && !text.contains("hush"), "{text}");
        assert!(seen.urls().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn rotated_keys_in_the_files_are_picked_up_once_the_old_ones_were_refused() {
    let home = tempfile::tempdir().unwrap();
    let keys = |key: &str| {
        let text = format!("[default]\naws_access_key_id={key}\naws_secret_access_key=s\n");
        write(home.path(), "credentials", &text);
    };
    keys("OLD");
    // Kinesis itself, which refuses the old keys from the second call on.
    let calls = AtomicUsize::new(0);
    let (builder, seen) = crate::world::builder(home.path(), &[], move |request| {
        let signature = request.headers()["authorization"].to_str().unwrap();
        let refused = calls.fetch_add(1, Relaxed) > 0 && signature.contains("Credential=OLD/");
        Some(if refused {
            (400, r#"{"__type":"ExpiredTokenException"}"#.to_owned())
        } else {
            (200, r#"{"ShardIterator":"it"}"#.to_owned())
        })
    });
    let config = builder
        .region("eu-west-1")
        .endpoint_url("http://elsewhere")
        .kinesis_encoding(aws::Encoding::Json)
        .load()
        .unwrap();
    let client = aws::kinesis::Client::new(&config);
    crate::world::call_by(&client).await.unwrap();
    keys("NEW");
    crate::world::call_by(&client).await.unwrap();
    let key = |n: usize| seen.header(n, "authorization").unwrap().contains("=NEW/");
    assert_eq!((key(0), key(1), key(2)), (false, false, true));
}
