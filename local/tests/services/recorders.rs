//! Firehose, CloudWatch and STS: the services' limits, and what is given back.

use crate::client::{JSON, aimed, ask, base64, error_of, good, held, plain, post};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use local::{Local, LocalOptions, MetricDatum, MetricValue};
use minicbor::Encoder;
use minicbor::data::IanaTag;
use runtime::time::epoch_millis;
use serde_json::{Value, json};
use std::io::Write;

fn firehose(operation: &str, body: &Value) -> Request<Bytes> {
    aimed(&format!("Firehose_20150804.{operation}"), body)
}

fn batch(payloads: impl IntoIterator<Item = Vec<u8>>) -> Request<Bytes> {
    let records: Vec<Value> = payloads
        .into_iter()
        .map(|data| json!({"Data": base64(&data)}))
        .collect();
    let body = json!({"DeliveryStreamName": "logs", "Records": records});
    firehose("PutRecordBatch", &body)
}

#[tokio::test]
async fn firehose_keeps_what_it_takes() {
    let local = plain();
    let answer = good(&local, batch([b"one".to_vec(), b"two".to_vec()])).await;
    assert_eq!(answer["FailedPutCount"], 0);
    assert_eq!(answer["RequestResponses"].as_array().unwrap().len(), 2);
    let single = json!({"DeliveryStreamName": "other", "Record": {"Data": base64(b"three")}});
    let answer = good(&local, firehose("PutRecord", &single)).await;
    let kept = local.delivered();
    let seen: Vec<_> = kept.iter().map(|r| (&*r.stream, &r.data[..])).collect();
    assert_eq!(
        seen,
        [("logs", &b"one"[..]), ("logs", b"two"), ("other", b"three")]
    );
    assert_eq!(answer["RecordId"], kept[2].record_id.as_str());
    assert_eq!(epoch_millis(kept[0].at), crate::client::T0);
    let named = json!({"DeliveryStreamName": "logs"});
    let described = good(&local, firehose("DescribeDeliveryStream", &named)).await;
    let description = &described["DeliveryStreamDescription"];
    assert_eq!(description["DeliveryStreamStatus"], "ACTIVE");
    assert_eq!(
        description["DeliveryStreamARN"],
        "arn:aws:firehose:us-east-1:000000000000:deliverystream/logs"
    );
    assert_eq!(local.journal()[0].resource.as_deref(), Some("logs"));
    let (_, unknown) = ask(&local, firehose("TagDeliveryStream", &named)).await;
    assert_eq!(error_of(&unknown), "UnknownOperationException");
}

#[tokio::test]
async fn firehose_has_the_services_limits() {
    let local = plain();
    let status = async |request| ask(&local, request).await;
    let small = |count| batch(vec![b"x".to_vec(); count]);
    assert_eq!(status(small(500)).await.0, 200);
    let (code, answer) = status(small(501)).await;
    assert_eq!((code, error_of(&answer)), (400, "ValidationException"));
    assert_eq!(status(small(0)).await.0, 400);
    // A record of 1,000 KiB before base64, a batch of 4 MiB.
    let most = 1_000 << 10;
    assert_eq!(status(batch([vec![0; most]])).await.0, 200);
    let (code, answer) = status(batch([vec![0; most + 1]])).await;
    assert_eq!((code, error_of(&answer)), (400, "ValidationException"));
    let megabyte = 1_000_000;
    let four = (4 << 20) - 4 * megabyte;
    let full = |rest: usize| {
        let mut parts = vec![vec![0; megabyte]; 4];
        parts.push(vec![0; rest]);
        batch(parts)
    };
    assert_eq!(status(full(four)).await.0, 200);
    let (code, answer) = status(full(four + 1)).await;
    assert_eq!((code, error_of(&answer)), (400, "InvalidArgumentException"));
    assert_eq!(answer["message"], "Records size exceeds 4 MB limit");
    let long = json!({"DeliveryStreamName": "x".repeat(65), "Record": {"Data": ""}});
    assert_eq!(status(firehose("PutRecord", &long)).await.0, 400);
    let bad = json!({"DeliveryStreamName": "x", "Record": {"Data": "no base64!"}});
    let (_, answer) = status(firehose("PutRecord", &bad)).await;
    assert_eq!(error_of(&answer), "SerializationException");
    assert_eq!(local.delivered().len(), 500 + 1 + 5);
}

#[tokio::test]
async fn some_records_of_a_batch_fail_by_a_rule() {
    let local = plain();
    let rule = "op=PutRecordBatch,on=logs,nth=1,split=2:ServiceUnavailableException";
    local.faults().add(rule.parse().unwrap());
    let answer = good(&local, batch((0..5).map(|n| vec![n]))).await;
    assert_eq!(answer["FailedPutCount"], 2);
    for (i, entry) in answer["RequestResponses"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let failed = entry["ErrorCode"] == "ServiceUnavailableException";
        assert_eq!(failed, i % 2 == 1, "{i}");
        assert_eq!(entry["RecordId"].is_string(), !failed, "{i}");
    }
    let kept: Vec<u8> = local.delivered().iter().map(|r| r.data[0]).collect();
    assert_eq!(kept, [0, 2, 4]);
}

#[tokio::test]
async fn named_delivery_streams_are_the_only_ones_and_rings_are_bounded() {
    let (local, _) = held(LocalOptions {
        delivery_streams: vec!["logs".to_owned()],
        recorded: 3,
        ..LocalOptions::default()
    });
    good(&local, batch((0..10).map(|n| vec![n]))).await;
    let kept: Vec<u8> = local.delivered().iter().map(|r| r.data[0]).collect();
    assert_eq!(kept, [7, 8, 9]);
    let other = json!({"DeliveryStreamName": "none", "Record": {"Data": ""}});
    let (status, answer) = ask(&local, firehose("PutRecord", &other)).await;
    assert_eq!(
        (status, error_of(&answer)),
        (400, "ResourceNotFoundException")
    );
}

const RPC: &str = "/service/GraniteServiceVersion20100801/operation/PutMetricData";

/// The same three data in each of the three wires.
fn three_wires() -> [(&'static str, Request<Bytes>); 3] {
    let at = 1_700_000_000;
    let tree = json!({"Namespace": "App", "MetricData": [
        {"MetricName": "Latency", "Value": 1.5, "Unit": "Milliseconds", "StorageResolution": 1,
            "Timestamp": at,
            "Dimensions": [{"Name": "Stream", "Value": "orders"}, {"Name": "Host", "Value": "é"}]},
        {"MetricName": "Batch", "StatisticValues":
            {"SampleCount": 3, "Sum": 6, "Minimum": 1, "Maximum": 3}},
        {"MetricName": "Sizes", "Values": [1, 2.5], "Counts": [10, 20]},
    ]});
    let headers = [
        (
            "x-amz-target",
            "GraniteServiceVersion20100801.PutMetricData",
        ),
        ("content-type", "application/x-amz-json-1.0"),
    ];
    let json10 = post("/", &headers, tree.to_string());
    let form = "Action=PutMetricData&Version=2010-08-01&Namespace=App\
        &MetricData.member.1.MetricName=Latency&MetricData.member.1.Value=1.5\
        &MetricData.member.1.Unit=Milliseconds&MetricData.member.1.StorageResolution=1\
        &MetricData.member.1.Timestamp=2023-11-14T22%3A13%3A20Z\
        &MetricData.member.1.Dimensions.member.1.Name=Stream\
        &MetricData.member.1.Dimensions.member.1.Value=orders\
        &MetricData.member.1.Dimensions.member.2.Name=Host\
        &MetricData.member.1.Dimensions.member.2.Value=%C3%A9\
        &MetricData.member.2.MetricName=Batch\
        &MetricData.member.2.StatisticValues.SampleCount=3\
        &MetricData.member.2.StatisticValues.Sum=6\
        &MetricData.member.2.StatisticValues.Minimum=1\
        &MetricData.member.2.StatisticValues.Maximum=3\
        &MetricData.member.3.MetricName=Sizes\
        &MetricData.member.3.Values.member.1=1&MetricData.member.3.Values.member.2=2.5\
        &MetricData.member.3.Counts.member.1=10&MetricData.member.3.Counts.member.2=20";
    let form_headers = [(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )];
    let form = post("/", &form_headers, form);
    let mut cbor = Vec::new();
    encode(&mut Encoder::new(&mut cbor), &tree, "");
    let cbor_headers = [
        ("smithy-protocol", "rpc-v2-cbor"),
        ("content-type", "application/cbor"),
    ];
    [
        ("json", json10),
        ("form", form),
        ("cbor", post(RPC, &cbor_headers, cbor)),
    ]
}

/// As Smithy's RPC v2 has it: a timestamp is seconds under tag 1.
fn encode(out: &mut Encoder<&mut Vec<u8>>, tree: &Value, name: &str) {
    match tree {
        Value::Object(members) => {
            out.map(u64::try_from(members.len()).unwrap()).unwrap();
            for (key, value) in members {
                out.str(key).unwrap();
                encode(out, value, key);
            }
        }
        Value::Array(items) => {
            out.array(u64::try_from(items.len()).unwrap()).unwrap();
            for item in items {
                encode(out, item, "");
            }
        }
        Value::String(text) => {
            out.str(text).unwrap();
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            if name == "Timestamp" {
                out.tag(IanaTag::Timestamp).unwrap();
            }
            out.f64(number).unwrap();
        }
        other => panic!("{other}"),
    }
}

fn expected() -> Vec<MetricDatum> {
    let at = runtime::time::from_epoch_millis(crate::client::T0);
    let text = str::to_owned;
    let datum = |name: &str, value: MetricValue| MetricDatum {
        namespace: text("App"),
        name: text(name),
        dimensions: Vec::new(),
        value,
        unit: None,
        resolution: 60,
        timestamp: at,
    };
    vec![
        MetricDatum {
            dimensions: vec![(text("Stream"), text("orders")), (text("Host"), text("é"))],
            unit: Some(text("Milliseconds")),
            resolution: 1,
            ..datum("Latency", MetricValue::Single(1.5))
        },
        datum(
            "Batch",
            MetricValue::Statistics {
                count: 3.0,
                sum: 6.0,
                minimum: 1.0,
                maximum: 3.0,
            },
        ),
        datum("Sizes", MetricValue::Values(vec![(1.0, 10.0), (2.5, 20.0)])),
    ]
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap().into()
}

#[tokio::test]
async fn metrics_mean_the_same_in_all_three_wires_compressed_or_not() {
    for compressed in [false, true] {
        for (wire, mut request) in three_wires() {
            let local = plain();
            if compressed {
                let body = gzip(request.body());
                *request.body_mut() = body;
                let encoding = "gzip".parse().unwrap();
                request.headers_mut().insert("content-encoding", encoding);
            }
            let response = local.handle(request).await.unwrap();
            assert_eq!(response.status(), 200, "{wire}: {:?}", response.body());
            assert_eq!(local.metrics(), expected(), "{wire}");
            match wire {
                "json" => assert_eq!(response.body(), "{}"),
                "form" => {
                    assert_eq!(response.headers()["content-type"], "text/xml");
                    let text = String::from_utf8_lossy(response.body()).into_owned();
                    assert!(text.starts_with("<PutMetricDataResponse xmlns="), "{text}");
                }
                _ => {
                    assert_eq!(response.headers()["smithy-protocol"], "rpc-v2-cbor");
                    assert_eq!(response.headers()["content-type"], "application/cbor");
                    assert_eq!(&response.body()[..], [0xbf, 0xff]);
                }
            }
            let seen = &local.journal()[0];
            assert_eq!(seen.resource.as_deref(), Some("App"));
            assert_eq!(seen.operation, "PutMetricData");
        }
    }
}

fn metrics(data: &Value) -> Request<Bytes> {
    let body = json!({"Namespace": "App", "MetricData": data});
    aimed("GraniteServiceVersion20100801.PutMetricData", &body)
}

#[tokio::test]
async fn cloudwatch_has_the_services_limits() {
    let local = plain();
    let one = |name: usize| json!({"MetricName": format!("m{name}"), "Value": 1});
    let many = |count| Value::Array((0..count).map(one).collect());
    good(&local, metrics(&many(1_000))).await;
    assert_eq!(local.metrics().len(), 1_000);
    let with = |extra: Value| {
        let mut datum = json!({"MetricName": "m"});
        for (key, value) in extra.as_object().unwrap() {
            datum[key] = value.clone();
        }
        json!([datum])
    };
    let dimensions = |count: usize| {
        let one = |n: usize| json!({"Name": format!("d{n}"), "Value": "v"});
        with(json!({"Value": 1, "Dimensions": (0..count).map(one).collect::<Vec<_>>()}))
    };
    for fine in [
        with(json!({"Values": vec![1; 150]})),
        dimensions(30),
        with(json!({"Value": 1, "Timestamp": 1_700_000_000 - 14 * 86_400})),
        with(json!({"Value": 1, "Timestamp": 1_700_000_000 + 7_200})),
    ] {
        good(&local, metrics(&fine)).await;
    }
    let kept = local.metrics().len();
    let invalid = "InvalidParameterValueException";
    let missing = "MissingRequiredParameterException";
    let both = "InvalidParameterCombinationException";
    let backwards = json!({"SampleCount": 1, "Sum": 1, "Minimum": 2, "Maximum": 1});
    for (bad, name) in [
        (many(1_001), invalid),
        (json!([]), missing),
        (json!([{"Value": 1}]), missing),
        (with(json!({})), missing),
        (with(json!({"Value": 1, "Values": [1]})), both),
        (with(json!({"Values": vec![1; 151]})), invalid),
        (with(json!({"Values": [1, 2], "Counts": [1]})), invalid),
        (dimensions(31), invalid),
        (with(json!({"Value": 1, "Unit": "Bananas"})), invalid),
        (with(json!({"Value": 1, "StorageResolution": 5})), invalid),
        (with(json!({"Value": 1e200})), invalid),
        (with(json!({"StatisticValues": backwards})), invalid),
        (
            with(json!({"Value": 1, "Timestamp": 1_700_000_000 - 14 * 86_400 - 1})),
            invalid,
        ),
        (
            with(json!({"Value": 1, "Timestamp": 1_700_000_000 + 7_201})),
            invalid,
        ),
        (
            with(json!({"MetricName": "x".repeat(256), "Value": 1})),
            invalid,
        ),
    ] {
        let (status, answer) = ask(&local, metrics(&bad)).await;
        assert_eq!((status, error_of(&answer)), (400, name), "{answer}");
    }
    for namespace in ["AWS/Kinesis", ":x", "", &"x".repeat(256)] {
        let body = json!({"Namespace": namespace, "MetricData": [one(0)]});
        let request = aimed("GraniteServiceVersion20100801.PutMetricData", &body);
        assert_eq!(error_of(&ask(&local, request).await.1), invalid);
    }
    // One bad datum, and none is kept.
    let mixed = json!([one(0), {"MetricName": "m"}]);
    assert_eq!(ask(&local, metrics(&mixed)).await.0, 400);
    assert_eq!(local.metrics().len(), kept);
    let headers = [
        (
            "x-amz-target",
            "GraniteServiceVersion20100801.PutMetricData",
        ),
        ("content-type", JSON),
    ];
    let large = post("/", &headers, vec![b' '; (1 << 20) + 1]);
    assert_ne!(local.handle(large).await.unwrap().status(), 200);
}

#[tokio::test]
async fn errors_speak_the_wire_of_the_request() {
    let local = plain();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let request = post(
        "/",
        &form,
        "Action=PutMetricData&Version=2010-08-01&Namespace=N",
    );
    let response = local.handle(request).await.unwrap();
    assert_eq!(response.status(), 400);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert!(text.contains("<Code>MissingParameter</Code>"), "{text}");
    assert!(text.contains("monitoring.amazonaws.com"), "{text}");
    let headers = [("content-type", "application/cbor")];
    let response = local.handle(post(RPC, &headers, vec![0xa0])).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["smithy-protocol"], "rpc-v2-cbor");
    let code = b"MissingRequiredParameterException";
    let found = response.body().windows(code.len()).any(|w| w == code);
    assert!(found, "{:?}", response.body());
}

async fn sts(local: &Local, body: &'static str) -> (u16, String) {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let response = local.handle(post("/", &headers, body)).await.unwrap();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    (response.status().as_u16(), text)
}

#[tokio::test]
async fn sts_answers_in_xml() {
    let local = plain();
    let (status, text) = sts(&local, "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert_eq!(status, 200);
    let start = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">";
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains("<Account>000000000000</Account>"), "{text}");
    for bad in [
        "Action=AssumeRole&Version=2011-06-15",
        "Action=AssumeRole&Version=2011-06-15&RoleSessionName=w&RoleArn=arn:aws:iam::0:role/reader",
        "Action=AssumeRole&Version=2011-06-15&RoleSessionName=worker&DurationSeconds=899&\
         RoleArn=arn:aws:iam::0:role/reader",
    ] {
        let (status, text) = sts(&local, bad).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("<Code>ValidationError</Code>"), "{text}");
    }
    let (_, text) = sts(&local, "Action=Whim&Version=2011-06-15").await;
    assert!(text.contains("<Code>InvalidAction</Code>"), "{text}");
    assert_eq!(local.assumed_roles(), []);
}
