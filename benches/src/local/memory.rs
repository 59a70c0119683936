//! Resident memory over the payload that is kept.

use super::load::fill;
use super::server::{Server, Which};
use crate::Failure;
use crate::choice::Effort;
use crate::table::Line;

/// Record size, records of a request, target.
const CASES: [(usize, usize, Option<f64>); 3] = [
    (1_024, 500, Some(1.15)),
    (100, 500, None),
    (25_000, 100, None),
];

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn measure(effort: Effort) -> Result<Vec<Line>, Failure> {
    let payload: u64 = if effort.quick { 1 << 28 } else { 1 << 30 };
    let mut lines = Vec::new();
    for (size, per_request, target) in CASES {
        let server = Server::start(Which::Ours, &[("bench", 8)]).await?;
        let before = server.resident()?;
        let records = payload / u64::try_from(size)?;
        let stored = fill(server.addr, "bench", records, size, per_request).await?;
        let grown = server.resident()?.saturating_sub(before);
        let kept = stored * u64::try_from(size)?;
        let ratio = grown as f64 / kept as f64;
        let measured = format!(
            "{stored} records, {:.0} MB of payload, {:.0} MB resident: ratio {ratio:.3}",
            kept as f64 / 1e6,
            grown as f64 / 1e6
        );
        let row = format!("memory: records of {size} B");
        lines.push(match target {
            Some(target) => Line::at_most(row, measured, ratio, target),
            None => Line::stated(row, measured),
        });
    }
    Ok(lines)
}
