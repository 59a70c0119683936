//! A connection on which something has to happen.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// No request is shorter, and HTTP/2 begins with so many bytes.
const BEGINNING: u64 = 24;

/// Fails a connection on which nothing was sent in either direction for too long: while its first
/// bytes are awaited, `first`, later `idle`.
#[derive(Debug)]
pub(super) struct Patience<S> {
    io: S,
    first: Duration,
    idle: Duration,
    heard: u64,
    last: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Patience<S> {
    pub(super) fn new(io: S, first: Duration, idle: Duration) -> Self {
        Self {
            io,
            first,
            idle,
            heard: 0,
            last: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(first)),
        }
    }

    /// What a poll that waits gives: an error once patience is over. The alarm is not moved with each
    /// byte but only when it rings.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let patience = match self.heard {
                0..BEGINNING => self.first,
                _ => self.idle,
            };
            let end = self.last + patience;
            if end <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(end);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if polled.is_pending() {
            return self.wait(cx).map(Err);
        }
        let read = buffer.filled().len() - before;
        self.heard = self
            .heard
            .saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        // A slow beginning does not buy more time.
        if self.heard >= BEGINNING {
            self.last = Instant::now();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.wrote(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        if polled.is_pending() {
            return self.wait(cx).map(Err);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        if polled.is_pending() {
            return self.wait(cx).map(Err);
        }
        polled
    }
}

impl<S> Patience<S> {
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_pending() {
            return self.wait(cx).map(Err);
        }
        if self.heard >= BEGINNING {
            self.last = Instant::now();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const FIRST: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_beginning_that_drips_is_given_up() {
        let (mut client, server) = duplex(64);
        let mut server = Patience::new(server, FIRST, IDLE);
        let start = Instant::now();
        let drip = async {
            for _ in 0..10 {
                client.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        let mut all = Vec::new();
        let (read, ()) = tokio::join!(
            async {
                let read = server.read_to_end(&mut all).await;
                (read, start.elapsed())
            },
            drip
        );
        assert_eq!(read.0.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read.1.as_secs(), FIRST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_or_received_buys_time_later() {
        let (mut client, server) = duplex(64);
        let mut server = Patience::new(server, FIRST, IDLE);
        client.write_all(&[0; 24]).await.unwrap();
        let mut bytes = [0; 24];
        server.read_exact(&mut bytes).await.unwrap();
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(599)).await;
        server.write_all(b"x").await.unwrap();
        let read = server.read_exact(&mut bytes).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 599 + 600);
    }
}
