//! Roles, from the Security Token Service.

use crate::world::{Request, call, config, error, write, xml};
use aws::{Config, Environment, InProcess};
use local::{AccessKey, Local, LocalOptions};
use std::sync::Arc;

/// STS, which names the keys that it gives after the role.
fn sts(request: &Request) -> Option<(u16, String)> {
    let form = String::from_utf8_lossy(request.body()).into_owned();
    let role = form.split_once("role%2F")?.1.split('&').next()?;
    xml(&role.to_uppercase())
}

const CHAIN: &str = "\
[default]
role_arn = arn:aws:iam::1:role/third
source_profile = second
external_id = a b+c
role_session_name = me@home
duration_seconds = 900
[profile second]
role_arn = arn:aws:iam::1:role/second
source_profile = base
[profile base]
role_arn = arn:aws:iam::1:role/first
source_profile = base
aws_access_key_id = BASE
aws_secret_access_key = hush
";

#[tokio::test(start_paused = true)]
async fn a_chain_of_profiles_takes_one_role_on_with_the_credentials_of_the_other() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", CHAIN);
    let (config, seen) = config(home.path(), &[], sts);
    call(&config).await.unwrap();
    assert_eq!(
        seen.urls(),
        ["POST https://sts.eu-west-1.amazonaws.com/"; 2],
        "the keys of the base profile are meant themselves"
    );
    let by = |n: usize| {
        let signature = seen.header(n, "authorization").unwrap();
        let (_, rest) = signature.split_once("Credential=").unwrap();
        rest.split(',').next().unwrap().to_owned()
    };
    assert_eq!(by(0), "BASE/20231114/eu-west-1/sts/aws4_request");
    assert_eq!(by(1), "SECOND/20231114/eu-west-1/sts/aws4_request");
    assert_eq!(
        seen.body(0),
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fsecond\
         &RoleSessionName=kinesis-rs-1700000000000"
    );
    assert_eq!(
        seen.body(1),
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fthird\
         &RoleSessionName=me%40home&DurationSeconds=900&ExternalId=a%20b%2Bc"
    );
    assert_eq!(seen.header(1, "x-amz-security-token").unwrap(), "token");
    let form = "application/x-www-form-urlencoded";
    assert_eq!(seen.header(0, "content-type").unwrap(), form);
    assert_eq!(*seen.keys.lock(), ["THIRD"]);
}

#[tokio::test(start_paused = true)]
async fn a_profile_takes_its_role_on_with_its_own_keys_or_with_a_named_source() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", CHAIN);
    let (own, seen) = config(home.path(), &[("AWS_PROFILE", "base")], sts);
    call(&own).await.unwrap();
    assert!(seen.header(0, "authorization").unwrap().contains("=BASE/"));
    assert_eq!(*seen.keys.lock(), ["FIRST"]);

    let role = "[default]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = ";
    for (source, vars, key) in [
        (
            "EcsContainer",
            vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")],
            "CONTAINER",
        ),
        ("Ec2InstanceMetadata", vec![], "INSTANCE"),
    ] {
        write(home.path(), "config", &format!("{role}{source}\n"));
        let (config, seen) = config(home.path(), &vars, |r| match r.uri().path() {
            "/" => sts(r),
            "/x" => crate::world::json("CONTAINER", crate::world::IN_AN_HOUR),
            "/latest/api/token" => Some((200, "meta".to_owned())),
            path if path.ends_with('/') => Some((200, "role".to_owned())),
            _ => crate::world::json("INSTANCE", crate::world::IN_AN_HOUR),
        });
        call(&config).await.unwrap();
        let last = seen.urls().len() - 1;
        let signature = seen.header(last, "authorization").unwrap();
        assert!(signature.contains(&format!("={key}/")), "{signature}");
        assert_eq!(*seen.keys.lock(), ["X"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_says_is_told_with_who_asked_and_without_secrets() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", CHAIN);
    let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                   <Message>User &lt;BASE&gt; may not; token</Message></Error></ErrorResponse>";
    let (refused, seen) = config(home.path(), &[], move |_| Some((403, refusal.to_owned())));
    let text = error(&refused).await;
    for word in [
        "AccessDenied: User <BASE> may not",
        "role/second",
        "trust policy",
        "BASE",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(seen.urls().len(), 1, "it is not tried again");
    for (status, body, words) in [
        (200, "<x/>", "no AccessKeyId"),
        (200, "\u{0}", "no AccessKeyId"),
        (503, "", "HTTP status 503"),
    ] {
        let (config, _) = config(home.path(), &[], move |_| Some((status, body.to_owned())));
        let text = error(&config).await;
        assert!(text.contains(words), "{text}");
    }
    let (silent, _) = config(home.path(), &[], |_| None);
    let text = error(&silent).await;
    let words = "https://sts.eu-west-1.amazonaws.com: no answer within 10s";
    assert!(text.contains(words), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_web_identity_is_sent_unsigned_with_the_token_of_the_moment() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("jwt");
    let path = file.display().to_string();
    let vars = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod"),
        ("AWS_ROLE_SESSION_NAME", "session"),
        // The command line's credentials of a role do not take part.
        ("AWS_PROFILE", "default"),
    ];
    write(home.path(), "config", "[default]\noutput = json\n");
    let (pod, seen) = config(home.path(), &vars, sts);
    for (n, token) in ["eyJ.a/b.c\n", "eyJ.d"].into_iter().enumerate() {
        std::fs::write(&file, token).unwrap();
        call(&pod).await.unwrap();
        assert_eq!(seen.header(n, "authorization"), None);
        let sent = token.trim_end().replace('/', "%2F");
        assert_eq!(
            seen.body(n),
            format!(
                "Action=AssumeRoleWithWebIdentity&Version=2011-06-15\
                 &RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fpod&RoleSessionName=session\
                 &WebIdentityToken={sent}"
            )
        );
    }
    assert_eq!(*seen.keys.lock(), ["POD", "POD"]);
    // A token that the refusal repeats is not told.
    let refusal = "<Error><Code>InvalidIdentityToken</Code><Message>eyJ.d?</Message></Error>";
    let (refused, _) = config(home.path(), &vars, move |_| Some((400, refusal.to_owned())));
    let text = error(&refused).await;
    assert!(text.contains("InvalidIdentityToken: (token)?"), "{text}");
    std::fs::remove_file(&file).unwrap();
    let text = error(&pod).await;
    assert!(text.contains("jwt") && text.contains("role/pod"), "{text}");

    let profile = format!(
        "[default]\nrole_arn = arn:aws:iam::1:role/of-profile\nweb_identity_token_file = {path}\n"
    );
    write(home.path(), "config", &profile);
    std::fs::write(&file, "t").unwrap();
    let (of_profile, seen) = config(home.path(), &[], sts);
    call(&of_profile).await.unwrap();
    assert_eq!(*seen.keys.lock(), ["OF-PROFILE"]);
}

/// The signature of the question and of what is done with the answer are both verified.
#[tokio::test]
async fn the_endpoints_own_sts_gives_keys_that_the_endpoint_takes() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config", CHAIN);
    let local = Local::new(LocalOptions {
        verify_signatures: vec![AccessKey::new("BASE", "hush")],
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 1).unwrap();
    let served = local.clone();
    let transport = InProcess::new(move |request| {
        let local = served.clone();
        async move { local.handle(request).await }
    });
    let config = Config::builder()
        .region("us-east-1")
        .environment(Environment::fixed([(
            "HOME".to_owned(),
            home.path().display().to_string(),
        )]))
        .transport(Arc::new(transport))
        .load()
        .unwrap();
    let names = aws::kinesis::Client::new(&config).list_streams().await;
    assert_eq!(names.unwrap(), ["s"]);
    let roles = local.assumed_roles();
    let roles: Vec<_> = roles
        .iter()
        .map(|role| (role.role_arn.as_str(), role.caller.as_deref()))
        .collect();
    let second = local.assumed_roles()[0].access_key_id.clone();
    assert_eq!(
        roles,
        [
            ("arn:aws:iam::1:role/second", Some("BASE")),
            ("arn:aws:iam::1:role/third", Some(second.as_str())),
        ]
    );
}
