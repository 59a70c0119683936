//! The embedded endpoint, which verifies each request's signature, and who calls it. Both begin at the
//! same time, and follow tokio's clock.

use aws::{Config, ConfigBuilder, Credentials, Environment, InProcess, Transport};
use bytes::Bytes;
use local::{AccessKey, FaultAction, Local, LocalOptions};
use runtime::time::from_epoch_millis;
use runtime::{Chance, TokioClock};
use std::sync::Arc;

pub(crate) const KEY: (&str, &str) = ("AKIDLOCAL", "a secret of the tests");
/// Wall time at the start.
pub(crate) const T0: u64 = 1_700_000_000_000;

pub(crate) fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock::starting_at(from_epoch_millis(T0)))
}

pub(crate) fn local() -> Local {
    Local::new(LocalOptions {
        clock: Some(clock()),
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        recorded: 1 << 20,
        ..LocalOptions::default()
    })
    .unwrap()
}

pub(crate) fn config() -> ConfigBuilder {
    Config::builder()
        .region("us-east-1")
        .credentials(Credentials::new(KEY.0, KEY.1, None))
        .clock(clock())
        .chance(Chance::seeded(1))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
}

pub(crate) fn transport(local: &Local) -> Arc<dyn Transport> {
    let local = local.clone();
    Arc::new(InProcess::new(move |request: http::Request<Bytes>| {
        let local = local.clone();
        async move { local.handle(request).await }
    }))
}

pub(crate) fn in_process(local: &Local) -> Config {
    config().transport(transport(local)).load().unwrap()
}

pub(crate) fn error(status: u16, code: &str) -> FaultAction {
    FaultAction::Error {
        status,
        code: code.to_owned(),
        message: "scripted".to_owned(),
    }
}
