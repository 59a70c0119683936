//! `application/vnd.amazon.eventstream`: messages with string headers and a payload.
//!
//! A message: total length (4), length of the headers (4), CRC-32 of these eight bytes (4), headers,
//! payload, CRC-32 of everything before it (4); all big-endian. A header: length of its name (1), name,
//! type (1; 7 is a string), length of the value (2), value.

use super::Encoding;
use crate::refusal::Refusal;
use bytes::Bytes;

/// Lengths, and both checksums.
const FRAME: usize = 16;
const STRING: u8 = 7;

/// An event: its type, and its payload in the stream's encoding.
pub(crate) fn event(kind: &str, encoding: Encoding, payload: &[u8]) -> Bytes {
    let headers = [
        (":message-type", "event"),
        (":event-type", kind),
        (":content-type", content_type(encoding)),
    ];
    message(&headers, payload)
}

/// An exception, which is the last message of a stream.
pub(crate) fn exception(encoding: Encoding, refusal: &Refusal) -> Bytes {
    let mut out = encoding.writer();
    out.begin_map();
    out.text_member("message", &refusal.message);
    out.end();
    let headers = [
        (":message-type", "exception"),
        (":exception-type", &*refusal.code),
        (":content-type", content_type(encoding)),
    ];
    message(&headers, &out.finish())
}

fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Cbor => "application/cbor",
    }
}

/// One message. Header names and values are cut at the format's bounds (255 and 32,767 bytes), which
/// ours never reach.
fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut head = Vec::with_capacity(128);
    for (name, value) in headers {
        let name = name.as_bytes();
        let value = value.as_bytes();
        let name = name.get(..name.len().min(255)).unwrap_or_default();
        let value = value.get(..value.len().min(32_767)).unwrap_or_default();
        head.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.extend_from_slice(name);
        head.push(STRING);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        head.extend_from_slice(value);
    }
    let total = FRAME + head.len() + payload.len();
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&length(total));
    out.extend_from_slice(&length(head.len()));
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    Bytes::from(out)
}

fn length(bytes: usize) -> [u8; 4] {
    // A payload is one page of records: far below 4 GiB.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that another implementation wrote and the Java SDK reads.
    const FOREIGN: &str = "AAAA+wAAAFumfzZZDTptZXNzYWdlLXR5cGUHAAVldmVudAs6ZXZlbnQtdHlwZQcAFVN1YnNjcmliZVRvU2hhcmRFdmVudA06Y29udGVudC10eXBlBwAQYXBwbGljYXRpb24vanNvbnsiUmVjb3JkcyI6W10sIkNvbnRpbnVhdGlvblNlcXVlbmNlTnVtYmVyIjoiNDk2ODA0MTUzODQyNzI0NDkzMjIxMjEzMDc1NzY2ODkyNjE4NjcwNjUwODgwOTUwMTA0MjI3ODYiLCJNaWxsaXNCZWhpbmRMYXRlc3QiOjAsIkNoaWxkU2hhcmRzIjpudWxsfZJxiAI=";

    #[test]
    fn a_message_is_byte_for_byte_what_another_implementation_writes() {
        let foreign = base64_simd::STANDARD.decode_to_vec(FOREIGN).unwrap();
        let payload = &foreign[12 + 91..foreign.len() - 4];
        assert_eq!(
            event("SubscribeToShardEvent", Encoding::Json, payload),
            foreign
        );
    }

    /// The check value of CRC-32 in RFC 3720's family of catalogues: "123456789" gives cbf43926.
    #[test]
    fn the_checksum_is_the_one_of_zlib() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_exception_names_its_type_and_tells_its_text() {
        let refusal = Refusal::in_use("taken over");
        let json = exception(Encoding::Json, &refusal);
        let text = String::from_utf8_lossy(&json);
        assert!(text.contains(":exception-type\u{7}\0\u{16}ResourceInUseException"));
        assert!(text.contains(r#"{"message":"taken over"}"#));
        let cbor = exception(Encoding::Cbor, &refusal);
        let text = String::from_utf8_lossy(&cbor);
        assert!(text.contains("application/cbor"));
        assert!(text.contains("taken over"));
    }
}
