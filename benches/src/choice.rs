//! What of a room is measured, and how thoroughly.

use crate::Failure;
use crate::table::{self, Line};
use clap::{Args, ValueEnum};
use std::fmt::Debug;
use std::time::Duration;

/// The rows that were asked for.
#[derive(Debug, Clone, Args)]
pub struct Choice<R: ValueEnum + Send + Sync + 'static> {
    /// What to measure; everything without.
    #[arg(value_enum)]
    rows: Vec<R>,
    #[command(flatten)]
    pub effort: Effort,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Effort {
    /// Shorter runs and fewer of them, to try things.
    #[arg(long)]
    pub quick: bool,
}

impl<R: ValueEnum + Copy + Debug + Send + Sync + 'static> Choice<R> {
    pub fn rows(&self) -> &[R] {
        match &*self.rows {
            [] => R::value_variants(),
            some => some,
        }
    }

    /// Measures them one after the other, and prints what was found.
    pub async fn measure(
        &self,
        measure: impl AsyncFn(R) -> Result<Vec<Line>, Failure>,
    ) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for row in self.rows() {
            eprintln!("measuring {row:?} ...");
            lines.extend(measure(*row).await?);
        }
        table::print(&lines);
        Ok(())
    }
}

impl Effort {
    /// How long one run takes.
    pub fn run(self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 4 })
    }

    /// How often each side has its turn.
    pub fn turns(self) -> usize {
        if self.quick { 1 } else { 3 }
    }
}
