//! `POST /records/KEY` puts its body into the stream. The answer comes when the record is stored, and says
//! where.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use kpl::{CloseReport, DeliveryError, Producer, PutError, Record};
use serde::Serialize;
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where a record is stored.
#[derive(Debug, Serialize)]
struct Stored {
    shard_id: String,
    sequence_number: String,
    sub_sequence_number: u64,
}

type Refusal = (StatusCode, String);

/// Serves until it is told to end.
pub(crate) async fn run(stream: &str, address: &str) -> Result<CloseReport, Box<dyn Error>> {
    let producer = Producer::builder(stream).build().await?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(serve(listener, producer, end).await?)
}

/// Serves until `end`; then answers what is under way, and delivers what was taken.
pub(crate) async fn serve(
    listener: TcpListener,
    producer: Producer,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<CloseReport> {
    // Clones share one producer: its records share requests, whichever connection they came by.
    let routes = Router::new()
        .route("/records/{key}", post(put))
        .layer(DefaultBodyLimit::max(2 << 20))
        .with_state(producer.clone());
    axum::serve(listener, routes)
        .with_graceful_shutdown(end)
        .await?;
    Ok(producer.close(Duration::from_secs(30)).await)
}

async fn put(
    State(producer): State<Producer>,
    Path(key): Path<String>,
    body: Bytes,
) -> Result<Json<Stored>, Refusal> {
    // Waits while the producer is full: back-pressure as far as the client.
    let receipt = producer
        .put(Record::new(key, body))
        .await
        .map_err(refused)?;
    // Whoever hangs up here changes nothing: the record was taken, and is delivered.
    let delivered = receipt.await.map_err(failed)?;
    Ok(Json(Stored {
        shard_id: delivered.shard_id.to_string(),
        sequence_number: delivered.sequence_number.to_string(),
        sub_sequence_number: delivered.sub_sequence_number,
    }))
}

fn refused(error: PutError) -> Refusal {
    let status = match &error {
        PutError::TooLarge { .. } | PutError::DataTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PutError::InvalidKey { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}

fn failed(error: DeliveryError) -> Refusal {
    (StatusCode::BAD_GATEWAY, error.to_string())
}
