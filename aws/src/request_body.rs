//! What is sent: bytes that lie in several places and are joined nowhere but on the wire.

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request's body: pieces, one behind the other. Clones share them.
#[derive(Clone)]
pub struct RequestBody(Arc<[Bytes]>);

impl RequestBody {
    /// A body of these pieces.
    pub fn of_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self(
            pieces
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .collect(),
        )
    }

    /// The pieces in their order; none is empty.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// How many bytes they have together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole; a body of one piece is not copied.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match &*self.0 {
            [] => Bytes::new(),
            [whole] => whole.clone(),
            pieces => {
                let mut whole = BytesMut::with_capacity(self.len());
                pieces
                    .iter()
                    .for_each(|piece| whole.extend_from_slice(piece));
                whole.freeze()
            }
        }
    }

    /// As reqwest sends it: with its length announced.
    pub(crate) fn sent(self) -> reqwest::Body {
        match &*self.0 {
            [] => reqwest::Body::from(Bytes::new()),
            [whole] => reqwest::Body::from(whole.clone()),
            _ => reqwest::Body::wrap(Sending {
                left: self.len() as u64,
                next: 0,
                pieces: self.0,
            }),
        }
    }
}

impl From<Bytes> for RequestBody {
    fn from(whole: Bytes) -> Self {
        Self::of_pieces([whole])
    }
}

/// Its contents are a user's.
impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("pieces", &self.0.len())
            .field("len", &self.len())
            .finish()
    }
}

/// A body on its way.
struct Sending {
    pieces: Arc<[Bytes]>,
    next: usize,
    /// Bytes of the pieces from `next` on.
    left: u64,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.get(self.next).cloned();
        if let Some(piece) = &piece {
            self.next += 1;
            self.left -= piece.len() as u64;
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http_body_util::BodyExt;

    fn body(pieces: &[&'static str]) -> RequestBody {
        RequestBody::of_pieces(
            pieces
                .iter()
                .map(|piece| Bytes::from_static(piece.as_bytes())),
        )
    }

    #[tokio::test]
    async fn what_is_sent_is_the_whole_with_its_length() {
        for pieces in [
            &[][..],
            &[""],
            &["abc"],
            &["ab", "", "c", "def"],
            &["", "a"],
        ] {
            let body = body(pieces);
            let whole = pieces.concat();
            assert_eq!(
                (body.len(), body.is_empty()),
                (whole.len(), whole.is_empty())
            );
            assert!(body.pieces().iter().all(|piece| !piece.is_empty()));
            assert_eq!(body.clone().into_bytes(), whole);
            let sent = body.sent();
            let announced = http_body::Body::size_hint(&sent).exact();
            assert_eq!(announced, Some(whole.len() as u64), "{pieces:?}");
            let frames = sent.into_data_stream().map(Result::unwrap);
            assert_eq!(frames.collect::<Vec<_>>().await.concat(), whole.as_bytes());
        }
    }

    #[test]
    fn one_piece_is_not_copied() {
        let whole = Bytes::from(vec![7; 100]);
        assert_eq!(
            RequestBody::from(whole.clone()).into_bytes().as_ptr(),
            whole.as_ptr()
        );
    }
}
