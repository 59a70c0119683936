//! The embedded endpoint.

use crate::Failure;
use crate::messages::Message;
use local::{Local, LocalOptions};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio_util::sync::CancellationToken;

pub async fn run(stop: CancellationToken) -> Result<(), Failure> {
    let local = Local::new(LocalOptions::default())?;
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
