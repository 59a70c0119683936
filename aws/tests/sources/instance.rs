//! The metadata of an EC2 instance.

use crate::world::{IN_AN_HOUR, Request, builder, call, call_by, config, error, json, seconds};
use crate::world::{seconds_gone, write};
use aws::ConfigError;

fn instance(request: &Request, end: &str) -> Option<(u16, String)> {
    match request.uri().path() {
        "/latest/api/token" => Some((200, "meta".to_owned())),
        "/latest/meta-data/iam/security-credentials/" => Some((200, "my.role\n".to_owned())),
        "/latest/meta-data/iam/security-credentials/my.role" => json("INSTANCE", end),
        "/latest/meta-data/placement/region" => Some((200, "ap-south-1".to_owned())),
        _ => Some((404, String::new())),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_first_and_sent_with_every_question() {
    let home = tempfile::tempdir().unwrap();
    let (config, seen) = config(home.path(), &[], |r| instance(r, IN_AN_HOUR));
    call(&config).await.unwrap();
    let at = "http://169.254.169.254/latest";
    assert_eq!(
        seen.urls(),
        [
            format!("PUT {at}/api/token"),
            format!("GET {at}/meta-data/iam/security-credentials/"),
            format!("GET {at}/meta-data/iam/security-credentials/my.role"),
        ]
    );
    let ttl = seen.header(0, "x-aws-ec2-metadata-token-ttl-seconds");
    assert_eq!(ttl.unwrap(), "21600");
    for n in [1, 2] {
        let token = seen.header(n, "x-aws-ec2-metadata-token");
        assert_eq!(token.unwrap(), "meta");
    }
    assert_eq!(*seen.keys.lock(), ["INSTANCE"]);
}

#[tokio::test(start_paused = true)]
async fn the_place_can_be_changed_and_switched_off() {
    let home = tempfile::tempdir().unwrap();
    let own = [(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://127.0.0.1:1338/",
    )];
    let (one, seen) = config(home.path(), &own, |r| instance(r, IN_AN_HOUR));
    call(&one).await.unwrap();
    assert_eq!(seen.urls()[0], "PUT http://127.0.0.1:1338/latest/api/token");
    write(
        home.path(),
        "config",
        "[default]\nec2_metadata_service_endpoint_mode = IPv6\n",
    );
    let (six, seen) = config(home.path(), &[], |r| instance(r, IN_AN_HOUR));
    call(&six).await.unwrap();
    assert_eq!(
        seen.urls()[0],
        "PUT http://[fd00:ec2::254]/latest/api/token"
    );
    let off = [("AWS_EC2_METADATA_DISABLED", "true")];
    let (off, seen) = config(home.path(), &off, |r| instance(r, IN_AN_HOUR));
    let text = error(&off).await;
    assert!(
        text.contains("switched off by AWS_EC2_METADATA_DISABLED"),
        "{text}"
    );
    assert!(seen.urls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_no_instance_waits_a_second() {
    let home = tempfile::tempdir().unwrap();
    let (config, seen) = config(home.path(), &[], |_| None);
    let text = error(&config).await;
    assert!(text.contains("no answer within 1s"), "{text}");
    assert_eq!((seconds_gone(&config), seen.urls().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_a_role_and_one_that_may_not_take_it_on_say_so() {
    let home = tempfile::tempdir().unwrap();
    let failure = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"}"#;
    for (path, status, body, words) in [
        ("/latest/api/token", 403, "", "HTTP status 403"),
        ("/latest/api/token", 200, "a\nb", "token"),
        (
            "/latest/meta-data/iam/security-credentials/",
            404,
            "",
            "role: nothing is there",
        ),
        (
            "/latest/meta-data/iam/security-credentials/",
            200,
            "../x",
            "not understood",
        ),
        (
            "/latest/meta-data/iam/security-credentials/my.role",
            200,
            failure,
            "no trust",
        ),
        (
            "/latest/meta-data/iam/security-credentials/my.role",
            200,
            "<",
            "no JSON",
        ),
        (
            "/latest/meta-data/iam/security-credentials/my.role",
            404,
            "",
            "HTTP status 404",
        ),
    ] {
        let (config, _) = config(home.path(), &[], move |r| {
            if r.uri().path() == path {
                Some((status, body.to_owned()))
            } else {
                instance(r, IN_AN_HOUR)
            }
        });
        let text = error(&config).await;
        assert!(text.contains(words) && !text.contains("hush"), "{text}");
    }
}

/// The metadata service goes on giving the last credentials when it gets no new ones.
#[tokio::test(start_paused = true)]
async fn credentials_of_the_instance_that_have_ended_are_used_on_and_asked_for_again_later() {
    let home = tempfile::tempdir().unwrap();
    let (config, seen) = config(home.path(), &[], |r| instance(r, "2023-11-14T22:00:00Z"));
    let client = aws::kinesis::Client::new(&config);
    for _ in 0..3_600 {
        call_by(&client).await.unwrap();
        tokio::time::sleep(seconds(1)).await;
    }
    let asked = seen.urls().len() / 3;
    assert!((4..=8).contains(&asked), "asked {asked} times in an hour");
}

#[tokio::test(start_paused = true)]
async fn the_region_is_the_instances_where_no_place_names_one() {
    let home = tempfile::tempdir().unwrap();
    let (asking, seen) = builder(home.path(), &[], |r| instance(r, IN_AN_HOUR));
    let config = asking.load_asking_instance().await.unwrap();
    assert_eq!(config.region(), "ap-south-1");
    assert_eq!(
        config.kinesis_endpoint(),
        "https://kinesis.ap-south-1.amazonaws.com"
    );
    assert_eq!(seen.urls().len(), 2);

    let (asking, seen) = builder(home.path(), &[("AWS_REGION", "eu-west-3")], |_| None);
    let config = asking.load_asking_instance().await.unwrap();
    assert_eq!((config.region(), seen.urls().len()), ("eu-west-3", 0));

    let (silent, _) = builder(home.path(), &[], |_| None);
    let error = silent.load_asking_instance().await.unwrap_err();
    assert!(matches!(error, ConfigError::NoRegionAtInstance { .. }));
    let text = error.to_string();
    for word in ["AWS_REGION", "profile", "no answer within 1s"] {
        assert!(text.contains(word), "{text}");
    }
    let (odd, _) = builder(home.path(), &[], |r| match r.uri().path() {
        "/latest/meta-data/placement/region" => Some((200, "x.evil/".to_owned())),
        _ => instance(r, IN_AN_HOUR),
    });
    let text = odd.load_asking_instance().await.unwrap_err().to_string();
    assert!(text.contains("not understood"), "{text}");
}
