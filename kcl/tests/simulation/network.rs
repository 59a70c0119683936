//! A worker's line to the services: it can be cut, refuse requests, delay them until after their sender
//! gave up, and lose answers.

use crate::APP;
use crate::key;
use crate::model::Model;
use aws::dynamodb::{AttributeValue, GetItem, Item};
use bytes::Bytes;
use http::{Request, Response};
use local::{Fault, FaultAction};
use runtime::{Chance, WallClock};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct Broken(&'static str);

#[derive(Clone)]
pub(crate) struct Line(Arc<Inner>);

struct Inner {
    name: String,
    model: Model,
    chance: Chance,
    /// Looks at rows, past all faults.
    looker: aws::dynamodb::Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cut: bool,
    quiet: bool,
    fault_rate: f64,
}

pub(crate) fn config(
    transport: Arc<dyn aws::Transport>,
    clock: &Arc<dyn WallClock>,
    chance: Chance,
) -> aws::Config {
    aws::Config::builder()
        .environment(aws::Environment::fixed::<&str, &str>([]))
        .region("us-east-1")
        .credentials(key::credentials())
        .transport(transport)
        .clock(Arc::clone(clock))
        .chance(chance)
        .load()
        .unwrap()
}

impl Line {
    pub(crate) fn new(name: String, model: Model, chance: Chance) -> Self {
        Self(Arc::new(Inner {
            looker: looker(&model),
            name,
            model,
            chance,
            state: Mutex::default(),
        }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn toggle_cut(&self) -> bool {
        let mut state = self.0.state.lock().unwrap();
        state.cut = !state.cut;
        state.cut
    }

    /// No faults for now, whatever else is set.
    pub(crate) fn quiet(&self, quiet: bool) {
        self.0.state.lock().unwrap().quiet = quiet;
    }

    pub(crate) fn set_faults(&self, rate: f64) {
        self.0.state.lock().unwrap().fault_rate = rate;
    }

    pub(crate) fn calm(&self) {
        *self.0.state.lock().unwrap() = State::default();
    }

    pub(crate) fn transport(&self) -> Arc<dyn aws::Transport> {
        let line = self.clone();
        Arc::new(aws::InProcess::new(move |request| {
            let line = line.clone();
            async move { line.call(request).await }
        }))
    }

    async fn call(self, request: Request<Bytes>) -> Result<Response<Bytes>, Broken> {
        let strikes = {
            let state = self.0.state.lock().unwrap();
            if state.cut && !state.quiet {
                return Err(Broken("cut off"));
            }
            !state.quiet && self.0.chance.happens(state.fault_rate)
        };
        if !strikes {
            return self.handle(request).await;
        }
        let short = Duration::from_millis(self.0.chance.below(300));
        let long = Duration::from_millis(self.0.chance.below(20_000));
        match self.0.chance.below(7) {
            0 => Err(Broken("refused")),
            1 => {
                let _ = self.handle(request).await;
                Err(Broken("the answer is lost"))
            }
            2 => {
                // Arrives whether or not the sender still waits.
                let late = tokio::spawn(async move {
                    sleep(long).await;
                    self.handle(request).await
                });
                late.await.unwrap_or(Err(Broken("gone")))
            }
            3 => {
                let answer = self.handle(request).await;
                sleep(short).await;
                answer
            }
            4 => {
                // Any other call must not meet it: its effect would go unseen.
                if is(&request, "GetRecords") {
                    let fault = Fault::nth("*", 1, FaultAction::ExpireIterator);
                    self.0.model.local().faults().add(fault);
                }
                self.handle(request).await
            }
            n => {
                let (status, code) = match n {
                    5 => (400, "ProvisionedThroughputExceededException"),
                    _ => (500, "InternalServerError"),
                };
                let action = FaultAction::Error {
                    status,
                    code: code.to_owned(),
                    message: String::new(),
                };
                self.0
                    .model
                    .local()
                    .faults()
                    .add(Fault::nth("*", 1, action));
                self.handle(request).await
            }
        }
    }

    async fn row(&self, key: &str) -> Option<Item> {
        let input = GetItem {
            table_name: APP.to_owned(),
            key: [("leaseKey".to_owned(), AttributeValue::s(key))].into(),
            consistent_read: true,
        };
        self.0.looker.get_item(&input).await.unwrap()
    }

    /// In one go: no other request comes between the row before and the row after.
    async fn handle(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Broken> {
        let local = self.0.model.local();
        let is_update = is(&request, "UpdateItem");
        if !is_update {
            return local.handle(request).await.map_err(|_| Broken("lost"));
        }
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        let key = body["Key"]["leaseKey"]["S"].as_str().unwrap().to_owned();
        // A fault that waits for this request must not strike the look at the row.
        let waiting = local.faults().remaining() > 0;
        let before = if waiting {
            None
        } else {
            Some(self.row(&key).await)
        };
        let answer = local.handle(request).await.map_err(|_| Broken("lost"));
        if let Some(before) = before {
            let after = self.row(&key).await;
            self.0
                .model
                .written(&self.0.name, before.as_ref(), after.as_ref());
        }
        answer
    }
}

fn is(request: &Request<Bytes>, operation: &str) -> bool {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()) == Some(operation)
}

fn looker(model: &Model) -> aws::dynamodb::Client {
    let local = model.local();
    let transport = aws::InProcess::new(move |request| {
        let local = local.clone();
        async move { local.handle(request).await }
    });
    let config = config(Arc::new(transport), &model.clock(), Chance::seeded(0));
    aws::dynamodb::Client::new(&config)
}
