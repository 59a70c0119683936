//! The log agent, as the binary `kinesis-agent` runs it.

use crate::Failure;
use crate::counting;
use crate::messages::Message;
use std::path::Path;
use tokio_util::sync::CancellationToken;

pub async fn run(configuration: &Path, stop: CancellationToken) -> Result<(), Failure> {
    let (config, warnings) = agent::Config::from_file(configuration, agent::Strictness::Strict)?;
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
    let (transport, requests) = counting::transport()?;
    let agent = agent::Agent::builder(config)
        .transport(transport)
        .build()
        .await?;
    let report = agent.run(stop).await?;
    super::tell(&Message::Done {
        requests: requests.counts(),
        note: Some(report.to_string()),
    })
}
