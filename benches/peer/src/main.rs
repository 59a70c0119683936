//! The peer that `benches` measures against: ferrokinesis in a process of its own, on loopback.
//!
//! It stands behind one gate for all: whatever changes something is alone, reads share. Without the
//! gate that version can deadlock every worker, and readers at the tip miss records. A request's body
//! is read before the gate, so that nobody waits for another's network. The limits on writes are off,
//! as ours are when they are compared.
//!
//! `peer` listens on a free port, prints `listening on 127.0.0.1:PORT`, and ends when its standard
//! input does, so that it never outlives who started it.

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use ferrokinesis::store::StoreOptions;
use std::io::Read;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::RwLock;

/// The service's 10 MiB in base64, with room for names.
const MAX_BODY: usize = 20 << 20;
/// Subscriptions are polled outside the gate, where one thread at most may block.
const WORKERS: usize = 4;

type Gate = Arc<RwLock<()>>;

/// How an operation passes the gate.
enum Passage {
    Alone,
    Shared,
    Free,
}

fn passage(operation: &str) -> Passage {
    match operation {
        "SubscribeToShard" => Passage::Free,
        "GetRecords" | "GetShardIterator" => Passage::Shared,
        other if other.starts_with("List") || other.starts_with("Describe") => Passage::Shared,
        _ => Passage::Alone,
    }
}

async fn gated(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target = head.headers.get("x-amz-target");
    let target = target.and_then(|t| t.to_str().ok()).unwrap_or_default();
    let passage = passage(target.rsplit('.').next().unwrap_or_default());
    let request = Request::from_parts(head, Body::from(body));
    match passage {
        Passage::Alone => {
            let _alone = gate.write().await;
            next.run(request).await
        }
        Passage::Shared => {
            let _shared = gate.read().await;
            next.run(request).await
        }
        Passage::Free => next.run(request).await,
    }
}

async fn serve() -> std::io::Result<()> {
    let (app, _store) = ferrokinesis::create_app(StoreOptions {
        create_stream_ms: 0,
        delete_stream_ms: 0,
        update_stream_ms: 0,
        shard_limit: 100_000,
        enforce_limits: false,
        ..StoreOptions::default()
    });
    let app = app
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Gate::default(), gated));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Without it answers wait for acknowledgements: the peer would look slower than it is.
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("no TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, app).await
}

fn main() -> std::io::Result<()> {
    std::thread::spawn(|| {
        // Until whoever started us is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?
        .block_on(serve())
}
