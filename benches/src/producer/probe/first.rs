//! From nothing to the acknowledgement of one record.

use super::super::records::{Keys, Maker};
use super::{Figures, ProbeOptions, nothing_failed};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

pub async fn measure(options: &ProbeOptions) -> Figures {
    // The configuration is made before: it reads files and knows no endpoint yet.
    let builder = options.builder()?;
    let record = Maker::new(Keys::One, 100).record();
    let began = Instant::now();
    let producer = builder.build().await?;
    let built = began.elapsed();
    let receipt = producer.put(record).await?;
    producer.flush().await;
    receipt.await?;
    let took = began.elapsed();
    nothing_failed(&producer)?;
    producer.close(Duration::from_secs(1)).await;
    Ok(json!({
        "built": built.as_secs_f64() * 1e3,
        "took": took.as_secs_f64() * 1e3,
    }))
}
