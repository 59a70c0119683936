//! The log agent, as the binary `kinesis-agent` runs it.

use crate::Failure;
use crate::messages::Message;
use std::collections::BTreeMap;
use std::path::Path;
use tokio_util::sync::CancellationToken;

pub async fn run(configuration: &Path, stop: CancellationToken) -> Result<(), Failure> {
    let (config, warnings) = agent::Config::from_file(configuration, agent::Strictness::Strict)?;
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
    let report = agent::Agent::builder(config)
        .build()
        .await?
        .run(stop)
        .await?;
    super::tell(&Message::Done {
        requests: BTreeMap::new(),
        note: Some(report.to_string()),
    })
}
