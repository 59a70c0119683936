//! A reader of event streams of the tests' own: every checksum and length is checked.

use bytes::Bytes;
use http_body_util::BodyExt;
use local::{AnswerBody, Local};
use minicbor::Decoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) payload: Bytes,
}

impl Event {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `initial-response`, `SubscribeToShardEvent`, or an exception's name.
    pub(crate) fn kind(&self) -> &str {
        match self.header(":message-type") {
            "event" => self.header(":event-type"),
            "exception" => self.header(":exception-type"),
            other => panic!("{other}"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header(":content-type"), "application/json");
        serde_json::from_slice(&self.payload).unwrap()
    }

    pub(crate) fn cbor(&self) -> Value {
        assert_eq!(self.header(":content-type"), "application/cbor");
        crate::wire::tree(&mut Decoder::new(&self.payload))
    }

    /// The payloads of a JSON event's records.
    pub(crate) fn texts(&self) -> Vec<String> {
        assert_eq!(self.kind(), "SubscribeToShardEvent");
        crate::client::texts(&self.json())
    }
}

/// Takes a whole message off the front of a buffer, if it is there.
pub(crate) fn take(buffer: &mut Vec<u8>) -> Option<Event> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(
            buffer.get(at..at + 4)?.try_into().unwrap(),
        ))
    };
    let total = usize::try_from(number(0)?).unwrap();
    let head = usize::try_from(number(4)?).unwrap();
    let prelude = number(8)?;
    if buffer.len() < total {
        return None;
    }
    assert_eq!(crc32fast::hash(&buffer[..8]), prelude, "prelude");
    assert_eq!(
        crc32fast::hash(&buffer[..total - 4]),
        number(total - 4).unwrap(),
        "message"
    );
    let mut rest = &buffer[12..12 + head];
    let mut headers = BTreeMap::new();
    while !rest.is_empty() {
        let name = usize::from(rest[0]);
        let key = std::str::from_utf8(&rest[1..=name]).unwrap();
        assert_eq!(rest[1 + name], 7, "a string");
        let at = 2 + name;
        let length = usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
        let value = std::str::from_utf8(&rest[at + 2..at + 2 + length]).unwrap();
        headers.insert(key.to_owned(), value.to_owned());
        rest = &rest[at + 2 + length..];
    }
    let payload = Bytes::copy_from_slice(&buffer[12 + head..total - 4]);
    buffer.drain(..total);
    Some(Event { headers, payload })
}

/// A subscription read in process.
pub(crate) struct Events {
    body: AnswerBody,
    buffer: Vec<u8>,
}

impl Events {
    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = take(&mut self.buffer) {
                return Some(event);
            }
            match self.body.frame().await {
                Some(frame) => self
                    .buffer
                    .extend_from_slice(&frame.unwrap().into_data().unwrap()),
                None => {
                    assert!(self.buffer.is_empty(), "cut");
                    return None;
                }
            }
        }
    }

    /// What there is without waiting: pending is none of the two.
    pub(crate) fn poll(&mut self) -> Poll<Option<Event>> {
        pin!(self.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The next message, which has to be there already.
    pub(crate) fn now(&mut self) -> Event {
        match self.poll() {
            Poll::Ready(Some(event)) => event,
            other => panic!("{other:?}"),
        }
    }
}

/// Registers a consumer; gives its ARN.
pub(crate) async fn register(local: &Local, stream: &str, name: &str) -> String {
    let arn = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}");
    let body = json!({"StreamARN": arn, "ConsumerName": name});
    let answer = crate::client::good(local, "RegisterStreamConsumer", body).await;
    answer["Consumer"]["ConsumerARN"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn wanted(consumer: &str, shard: u32, position: Value) -> Value {
    json!({"ConsumerARN": consumer, "ShardId": crate::client::shard_id(shard),
        "StartingPosition": position})
}

/// Subscribes in process; the first message has been read.
pub(crate) async fn subscribe(local: &Local, consumer: &str, shard: u32, from: Value) -> Events {
    let request = crate::client::request(
        "Kinesis_20131202.SubscribeToShard",
        "application/x-amz-json-1.1",
        wanted(consumer, shard, from).to_string(),
    );
    let answer = local.handle_streaming(request).await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body().as_whole());
    assert_eq!(
        answer.headers()["content-type"],
        "application/vnd.amazon.eventstream"
    );
    let mut events = Events {
        body: answer.into_body(),
        buffer: Vec::new(),
    };
    let first = events.now();
    assert_eq!(first.kind(), "initial-response");
    assert_eq!(first.json(), json!({}));
    events
}

pub(crate) fn from(kind: &str) -> Value {
    json!({"Type": kind})
}
