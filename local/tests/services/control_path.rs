//! The control path: what other languages script and read.

use crate::client::{aimed, ask, base64, good, json_of, kinesis, plain};
use bytes::Bytes;
use http::Request;
use local::Local;
use serde_json::{Value, json};

async fn call(local: &Local, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/_local/{path}"))
        .header("content-type", "application/json")
        .body(Bytes::from(body.map(|b| b.to_string()).unwrap_or_default()))
        .unwrap();
    let response = local.handle(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status().as_u16(), json_of(&response))
}

fn put() -> Request<Bytes> {
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"x")});
    kinesis("PutRecord", &body)
}

#[tokio::test]
async fn faults_are_added_listed_counted_and_taken_back() {
    let local = plain();
    local.create_stream("s", 1).unwrap();
    let rules = json!([
        {"op": "PutRecord", "nth": 2, "drop": "after"},
        {"op": "PutRecord", "on": "s", "probability": 1, "error": "Odd:418:with, a comma"},
    ]);
    let (status, added) = call(&local, "POST", "faults", Some(rules)).await;
    assert_eq!((status, &added["ids"]), (200, &json!([0, 1])));
    let (status, answer) = ask(&local, put()).await;
    assert_eq!((status, &answer["__type"]), (418, &json!("Odd")));
    assert_eq!(answer["message"], "with, a comma");
    assert!(local.handle(put()).await.is_err());
    let (_, listed) = call(&local, "GET", "faults", None).await;
    assert_eq!(listed["waiting"], 1);
    assert_eq!(listed["struck"], 2);
    assert_eq!(
        listed["faults"],
        json!([
            {"id": 0, "op": "PutRecord", "nth": 2, "drop": "after", "seen": 2, "struck": 1,
                "waiting": false},
            {"id": 1, "op": "PutRecord", "on": "s", "error": "Odd:418:with, a comma", "seen": 2,
                "struck": 1, "waiting": true},
        ])
    );
    assert_eq!(call(&local, "DELETE", "faults/0", None).await.0, 404);
    assert_eq!(call(&local, "DELETE", "faults/x", None).await.0, 404);
    assert_eq!(call(&local, "DELETE", "faults/1", None).await.0, 200);
    good(&local, put()).await;
    let one = json!({"throttle": true});
    call(&local, "POST", "faults", Some(one)).await;
    assert_eq!(local.faults().remaining(), 1);
    call(&local, "DELETE", "faults", None).await;
    good(&local, put()).await;
    let (_, listed) = call(&local, "GET", "faults", None).await;
    assert_eq!(listed["faults"], json!([]));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_adds_nothing() {
    let local = plain();
    for (body, named) in [
        (json!([{"throttle": true}, {"opp": "X"}]), "'opp'"),
        (json!({"op": "X"}), "does not say what happens"),
        (json!({"nth": [1], "throttle": true}), "'nth'"),
        (json!("throttle"), "JSON object"),
    ] {
        let (status, answer) = call(&local, "POST", "faults", Some(body)).await;
        assert_eq!(status, 400);
        let text = answer["message"].as_str().unwrap();
        assert!(text.contains(named), "{text}");
    }
    // A web page can send this much to any port; it changes nothing.
    let page = Request::post("/_local/faults")
        .header("content-type", "text/plain")
        .body(Bytes::from_static(b"{\"throttle\": true}"))
        .unwrap();
    assert_eq!(local.handle(page).await.unwrap().status(), 415);
    assert_eq!(local.faults().remaining(), 0);
    assert_eq!(call(&local, "GET", "nothing", None).await.0, 404);
    assert_eq!(call(&local, "PUT", "faults", None).await.0, 405);
    assert_eq!(call(&local, "POST", "journal", None).await.0, 405);
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_who_asked_what_and_how_long_it_took() {
    let local = Local::new(local::LocalOptions::default()).unwrap();
    local.create_stream("s", 1).unwrap();
    local.faults().add("nth=2,delay=1500ms".parse().unwrap());
    let signed = crate::client::sign(put(), ("AKID", "x"), "kinesis", crate::client::AT);
    local.handle(signed).await.unwrap();
    ask(&local, put()).await;
    ask(&local, aimed("Nobody.Nothing", &json!({}))).await;
    // What is asked of the control path is not written down.
    let (_, journal) = call(&local, "GET", "journal", None).await;
    let (_, again) = call(&local, "GET", "journal", None).await;
    assert_eq!(journal, again);
    let rows = journal["requests"].as_array().unwrap();
    let row = |i: usize| {
        [
            "service",
            "operation",
            "resource",
            "caller",
            "status",
            "tookMillis",
            "error",
        ]
        .map(|key| rows[i][key].clone())
    };
    assert_eq!(
        json!([row(0), row(1), row(2)]),
        json!([
            ["kinesis", "PutRecord", "s", "AKID", 200, 0, null],
            ["kinesis", "PutRecord", "s", null, 200, 1_500, null],
            [
                null,
                "Nobody.Nothing",
                null,
                null,
                400,
                0,
                "UnknownOperationException"
            ],
        ])
    );
    assert_eq!(journal["counts"]["PutRecord"], 2);
    assert_eq!(journal["errors"], 1);
    assert_eq!(journal["dropped"], 0);
}

#[tokio::test]
async fn what_recorders_keep_is_given_and_forgotten() {
    let local = plain();
    let record = json!({"DeliveryStreamName": "d", "Record": {"Data": base64(b"x")}});
    good(&local, aimed("Firehose_20150804.PutRecord", &record)).await;
    let (_, kept) = call(&local, "GET", "firehose", None).await;
    assert_eq!((&kept["total"], &kept["dropped"]), (&json!(1), &json!(0)));
    assert_eq!(kept["records"][0]["stream"], "d");
    assert_eq!(kept["records"][0]["data"], base64(b"x"));
    call(&local, "DELETE", "firehose", None).await;
    let (_, kept) = call(&local, "GET", "firehose", None).await;
    assert_eq!((&kept["total"], &kept["dropped"]), (&json!(1), &json!(1)));
    assert_eq!(kept["records"], json!([]));
    for place in ["cloudwatch", "sts"] {
        let (status, kept) = call(&local, "GET", place, None).await;
        assert_eq!((status, &kept["total"]), (200, &json!(0)));
    }
}
