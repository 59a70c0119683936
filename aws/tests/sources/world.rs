//! A network in which Kinesis answers always, and everybody else as the test says.

use aws::kinesis::{Client, IteratorPosition};
use aws::{Config, ConfigBuilder, Environment, Error, InProcess, Transport};
use bytes::Bytes;
use parking_lot::Mutex;
use runtime::time::{epoch_millis, from_epoch_millis};
use runtime::{Chance, RetryPolicy, TokioClock};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// 2023-11-14 22:13:20 UTC
pub(crate) const NOW: u64 = 1_700_000_000_000;
/// An hour later, as sources write it.
pub(crate) const IN_AN_HOUR: &str = "2023-11-14T23:13:20Z";

/// A request as it was sent.
pub(crate) type Request = http::Request<Bytes>;
/// Status and body; nothing: silence.
pub(crate) type Answer = Option<(u16, String)>;

/// The requests that were sent to others than Kinesis, and the access keys that Kinesis saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) asked: Arc<Mutex<Vec<Request>>>,
    pub(crate) keys: Arc<Mutex<Vec<String>>>,
}

impl Seen {
    /// Method and URL of each request to others than Kinesis.
    pub(crate) fn urls(&self) -> Vec<String> {
        let asked = self.asked.lock();
        let asked = asked.iter();
        asked
            .map(|r| format!("{} {}", r.method(), r.uri()))
            .collect()
    }

    /// The header of the `n`th request to others than Kinesis.
    pub(crate) fn header(&self, n: usize, name: &str) -> Option<String> {
        let asked = self.asked.lock();
        let value = asked[n].headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// The body of the `n`th request to others than Kinesis.
    pub(crate) fn body(&self, n: usize) -> String {
        String::from_utf8(self.asked.lock()[n].body().to_vec()).unwrap()
    }
}

/// What carries requests to Kinesis and to others.
pub(crate) fn transport(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Arc<dyn Transport> {
    seen_by(answer, Seen::default())
}

fn seen_by(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    log: Seen,
) -> Arc<dyn Transport> {
    Arc::new(InProcess::new(move |request: Request| {
        let host = request.uri().host().unwrap_or_default();
        let answer = if host.starts_with("kinesis.") {
            let signature = request.headers()["authorization"].to_str().unwrap();
            let key = signature.split_once("Credential=").unwrap().1;
            let key = key.split('/').next().unwrap();
            log.keys.lock().push(key.to_owned());
            // {"ShardIterator": "it"}
            let iterator = [b"\xa1\x6d", b"ShardIterator".as_slice(), b"\x62it"];
            Some((200, Bytes::from(iterator.concat())))
        } else {
            let answer = answer(&request);
            log.asked.lock().push(request);
            answer.map(|(status, body)| (status, Bytes::from(body)))
        };
        async move {
            let Some((status, body)) = answer else {
                return std::future::pending().await;
            };
            let mut response = http::Response::new(body);
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(response)
        }
    }))
}

/// A configuration with these variables, in this home directory, and nothing else.
pub(crate) fn builder(
    home: &Path,
    vars: &[(&str, &str)],
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (ConfigBuilder, Seen) {
    let seen = Seen::default();
    let transport = seen_by(answer, seen.clone());
    let home = [("HOME".to_owned(), home.display().to_string())];
    let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let builder = Config::builder()
        .environment(Environment::fixed(vars.chain(home)))
        .transport(transport)
        .clock(Arc::new(TokioClock::starting_at(from_epoch_millis(NOW))))
        .chance(Chance::seeded(1))
        .retry(RetryPolicy::none());
    (builder, seen)
}

/// As [`builder`], in eu-west-1.
pub(crate) fn config(
    home: &Path,
    vars: &[(&str, &str)],
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (Config, Seen) {
    let (builder, seen) = builder(home, vars, answer);
    (builder.region("eu-west-1").load().unwrap(), seen)
}

/// A call to Kinesis by a new client.
pub(crate) async fn call(config: &Config) -> Result<String, Error> {
    call_by(&Client::new(config)).await
}

/// A call to Kinesis.
pub(crate) async fn call_by(client: &Client) -> Result<String, Error> {
    let latest = IteratorPosition::Latest;
    client.get_shard_iterator("s", "shardId-0", &latest).await
}

/// The text of a call's error.
pub(crate) async fn error(config: &Config) -> String {
    call(config).await.unwrap_err().to_string()
}

/// Writes a shared file into the home directory.
pub(crate) fn write(home: &Path, name: &str, text: &str) {
    let path = home.join(".aws").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Credentials in JSON, as containers and instances give them.
pub(crate) fn json(key: &str, end: &str) -> Answer {
    let body = format!(
        r#"{{"Code":"Success","AccessKeyId":"{key}","SecretAccessKey":"hush","Token":"token","Expiration":"{end}"}}"#
    );
    Some((200, body))
}

/// Credentials in XML, as STS gives them.
pub(crate) fn xml(key: &str) -> Answer {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>hush</SecretAccessKey>\
         <SessionToken>token</SessionToken><Expiration>{IN_AN_HOUR}</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    Some((200, body))
}

/// Seconds of tokio's time since `NOW`, by the clock of the configuration.
pub(crate) fn seconds_gone(config: &Config) -> u64 {
    (epoch_millis(config.clock().now()) - NOW) / 1_000
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
