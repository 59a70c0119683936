//! What the endpoint says to keys, signatures and times that are wrong, and what becomes of it here.

use crate::{KEY, clock, config, in_process, local, transport};
use aws::{Credentials, Encoding, Error, ErrorKind};
use local::Local;
use runtime::{RetryPolicy, WallClock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

async fn error_of(local: &Local, key: (&str, &str), encoding: Encoding) -> Error {
    let config = config()
        .credentials(Credentials::new(key.0, key.1, None))
        .transport(transport(local))
        .kinesis_encoding(encoding)
        .retry(RetryPolicy::none())
        .load()
        .unwrap();
    let kinesis = aws::kinesis::Client::new(&config);
    kinesis.list_streams().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_refused_in_both_encodings_and_by_dynamodb() {
    let local = local();
    for encoding in [Encoding::Cbor, Encoding::Json] {
        let wrong = error_of(&local, (KEY.0, "another secret"), encoding).await;
        assert_eq!(wrong.code(), "InvalidSignatureException", "{wrong}");
        assert_eq!(wrong.kind(), ErrorKind::Credential);
        let stranger = error_of(&local, ("AKIDSTRANGER", KEY.1), encoding).await;
        assert_eq!(stranger.code(), "UnrecognizedClientException", "{stranger}");
        assert_eq!(stranger.kind(), ErrorKind::Credential);
    }
    let config = config()
        .credentials(Credentials::new(KEY.0, "another secret", None))
        .transport(transport(&local))
        .load()
        .unwrap();
    let dynamodb = aws::dynamodb::Client::new(&config);
    let refused = dynamodb.describe_table("t").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credential, "{refused}");
    assert!(in_process(&local).region() == "us-east-1");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_not_the_endpoints_is_refused() {
    let config = config()
        .region("eu-west-1")
        .transport(transport(&local()))
        .load()
        .unwrap();
    let kinesis = aws::kinesis::Client::new(&config);
    let refused = kinesis.list_streams().await.unwrap_err();
    assert_eq!(refused.code(), "InvalidSignatureException", "{refused}");
    assert!(refused.to_string().contains("eu-west-1"), "{refused}");
}

/// A clock that is wrong by so many seconds.
#[derive(Debug)]
struct Off(Arc<dyn WallClock>, i64);

impl WallClock for Off {
    fn now(&self) -> SystemTime {
        let by = Duration::from_secs(self.1.unsigned_abs());
        if self.1 < 0 {
            self.0.now() - by
        } else {
            self.0.now() + by
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_learnt_from_the_refusal() {
    for (off, requests) in [(-3_600, 2), (3_600, 2), (-600, 1), (600, 1)] {
        let local = local();
        let config = config()
            .clock(Arc::new(Off(clock(), off)))
            .transport(transport(&local))
            .load()
            .unwrap();
        let kinesis = aws::kinesis::Client::new(&config);
        kinesis.list_streams().await.unwrap();
        assert_eq!(local.request_counts()["ListStreams"], requests, "{off}");
        // Once learnt it is right at once.
        kinesis.list_streams().await.unwrap();
        assert_eq!(local.request_counts()["ListStreams"], requests + 1, "{off}");
    }
}
