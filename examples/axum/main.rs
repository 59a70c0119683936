//! A web service with a producer in its state.
//!
//! ```sh
//! cargo run --example axum -- orders 127.0.0.1:8080
//! curl -d 'an order' localhost:8080/records/customer-7
//! ```
//!
//! Where and as whom it puts is looked up as the AWS SDKs do: `AWS_ENDPOINT_URL`, `AWS_REGION`, profiles.
//! SIGTERM or Ctrl-C ends it: requests under way are answered, and what was taken is delivered.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod service;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(stream), Some(address)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: axum STREAM ADDRESS");
        return ExitCode::FAILURE;
    };
    match service::run(&stream, &address).await {
        Ok(report) => {
            println!("{} delivered, {} failed", report.delivered, report.failed);
            ExitCode::from(u8::from(report.failed + report.abandoned > 0))
        }
        Err(error) => {
            eprintln!("axum: {error}");
            ExitCode::FAILURE
        }
    }
}
