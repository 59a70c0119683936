//! The embedded endpoint.

use crate::Failure;
use crate::messages::Message;
use local::{AccessKey, Local, LocalOptions};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio_util::sync::CancellationToken;

/// The one access key, by id and secret, that the endpoint verifies signatures by.
pub const KEY: (&str, &str) = ("AKIDPIPELINE", "a secret of this example");

pub async fn run(stop: CancellationToken) -> Result<(), Failure> {
    let local = Local::new(LocalOptions {
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        ..LocalOptions::default()
    })?;
    let server = local
        .start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await?;
    super::tell(&Message::Listening { url: server.url() })?;
    stop.cancelled().await;
    server.stop().await;
    super::tell(&Message::Done {
        requests: BTreeMap::new(),
        note: None,
    })
}
