//! A connection to somewhere far away: every byte is under way for a while, in both directions, and the
//! first ones for as long again and once more, which is when a connection over such a distance stands.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What may be under way at a time.
const ROOM: usize = 1 << 20;

/// The far end of a connection.
pub fn away(near: TcpStream, one_way: Duration) -> DuplexStream {
    let (far, between) = duplex(ROOM);
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = split(between);
    let stands = Instant::now() + one_way * 2;
    carry(near_in, far_out, one_way, stands);
    carry(far_in, near_out, one_way, stands);
    far
}

fn carry<R, W>(mut from: R, mut to: W, one_way: Duration, stands: Instant)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    tokio::spawn(async move {
        loop {
            let mut part = Vec::with_capacity(16 << 10);
            let Ok(1..) = from.read_buf(&mut part).await else {
                break;
            };
            let arrives = Instant::now().max(stands) + one_way;
            if under_way.send((arrives, part)).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((arrives, part)) = arriving.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&part).await.is_err() {
                return;
            }
        }
        let _closed = to.shutdown().await;
    });
}
