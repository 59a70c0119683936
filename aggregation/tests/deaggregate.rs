//! Rules of de-aggregation beyond the recorded data, from tables.

use aggregation::{
    Deaggregated, HashKey, HashRange, Loss, MAGIC, Records, UserRecord, deaggregate, is_aggregate,
    looks_like_aggregate, md5_one,
};
use bytes::Bytes;

fn wrap(body: &[u8]) -> Bytes {
    Bytes::from([&MAGIC, body, &md5_one(body)].concat())
}

fn records(body: &[u8], range: Option<HashRange>) -> Option<Records> {
    match deaggregate(&wrap(body), range) {
        Deaggregated::Records(records) => Some(records),
        Deaggregated::PassThrough => None,
    }
}

/// What comes out of a body: data of each record, and the loss.
fn outcome(body: &[u8], range: Option<HashRange>) -> Option<(Vec<Bytes>, Option<Loss>)> {
    let records = records(body, range)?;
    let loss = records.loss().copied();
    Some((records.map(|record| record.data).collect(), loss))
}

/// A body with one partition key `a`, an explicit hash key and a record that uses both.
fn with_explicit(text: &[u8]) -> Vec<u8> {
    let mut body = b"\x0a\x01a\x12".to_vec();
    assert!(text.len() < 128);
    body.extend(u8::try_from(text.len()));
    body.extend(text);
    body.extend(b"\x1a\x07\x08\x00\x10\x00\x1a\x01x");
    body
}

const GOOD: &[u8] = b"\x0a\x01a\x1a\x05\x08\x00\x1a\x01x";

#[test]
fn explicit_hash_keys_are_read_as_javas_big_integers() {
    let out_of_range = Some(Loss::OutOfRange {
        at: 0,
        hash_key: None,
        lost: 1,
    });
    let not_a_number = Some(Loss::ExplicitHashKeyNotANumber { at: 0, lost: 1 });
    for (text, loss) in [
        (&b"0"[..], None),
        (b"007", None),
        (b"+7", None),
        (b"-0", None),
        (b"340282366920938463463374607431768211455", None),
        (b"340282366920938463463374607431768211456", out_of_range),
        (b"-1", out_of_range),
        (
            b"99999999999999999999999999999999999999999999999999999",
            out_of_range,
        ),
        (b"", not_a_number),
        (b"+", not_a_number),
        (b"-", not_a_number),
        (b"+-7", not_a_number),
        (b" 7", not_a_number),
        (b"7x", not_a_number),
        (b"\xff", not_a_number),
    ] {
        let (out, got) = outcome(&with_explicit(text), None).unwrap();
        assert_eq!(got, loss, "{text:?}");
        assert_eq!(out.len(), usize::from(loss.is_none()), "{text:?}");
    }
    let record = records(&with_explicit(b"+007"), None)
        .unwrap()
        .next()
        .unwrap();
    let explicit = record.explicit_hash_key.clone().unwrap();
    assert_eq!(
        (explicit.as_str(), explicit.key()),
        ("+007", HashKey::new(7))
    );
    assert_eq!(record.hash_key(), HashKey::new(7));
}

#[test]
fn bodies_that_pass_through_and_bodies_that_do_not() {
    let one = Some(1);
    for (how, addition, records) in [
        ("nothing more", &b""[..], one),
        ("unknown integer", b"\x48\x01", one),
        ("unknown group", b"\x4b\x08\x01\x4c", one),
        ("end of a group that never began", b"\x4c", None),
        ("wire type 6", b"\x4e", None),
        ("field 0", b"\x02\x00", None),
        ("cut in the middle of a field", b"\x0a\x05ab", None),
        (
            "key table as an integer is an unknown field",
            b"\x08\x01",
            one,
        ),
        (
            "a record as an integer is an unknown field",
            b"\x18\x01",
            one,
        ),
        (
            "index as bytes does not count as the index",
            b"\x1a\x06\x0a\x01a\x1a\x01x",
            None,
        ),
        ("an empty record lacks its fields", b"\x1a\x00", None),
        ("a second record", b"\x1a\x04\x08\x00\x1a\x00", Some(2)),
        (
            "field twice: the last index counts",
            b"\x1a\x06\x08\x09\x08\x00\x1a\x00",
            Some(2),
        ),
        (
            "an unused explicit key that is no number",
            b"\x12\x01x",
            one,
        ),
        ("an unused key that is not UTF-8", b"\x0a\x01\xff", one),
    ] {
        let body = [GOOD, addition].concat();
        let got = outcome(&body, None).map(|(out, loss)| {
            assert_eq!(loss, None, "{how}");
            out.len()
        });
        assert_eq!(got, records, "{how}");
        assert_eq!(is_aggregate(&wrap(&body)), records.is_some(), "{how}");
        assert!(looks_like_aggregate(&wrap(&body)), "{how}");
    }
}

#[test]
fn key_indices_are_cast_to_32_bits() {
    // (index as varint, what the table of one key makes of it)
    for (index, lost_at) in [
        (&b"\x00"[..], None),
        (b"\x80\x80\x80\x80\x10", None),                     // 2^32
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", None), // 2^63
        (b"\x01", Some(1)),
        (b"\xff\xff\xff\xff\x0f", Some(u32::MAX)), // -1 to Java
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Some(u32::MAX)),
    ] {
        let mut body = b"\x0a\x01a\x1a".to_vec();
        body.push(u8::try_from(index.len()).unwrap() + 4);
        body.push(0x08);
        body.extend(index);
        body.extend(b"\x1a\x01x");
        let (out, loss) = outcome(&body, None).unwrap();
        let want = lost_at.map(|index| Loss::PartitionKeyIndex {
            at: 0,
            index,
            table: 1,
            lost: 1,
        });
        assert_eq!(loss, want, "{index:x?}");
        assert_eq!(out.len(), usize::from(want.is_none()));
    }
}

/// The rules apply in the order of the records: what went wrong first decides.
#[test]
fn the_first_fault_decides() {
    let a = HashKey::of_partition_key("a");
    let not_a = HashRange::new(HashKey::new(a.as_u128() + 1), HashKey::MAX).unwrap();
    let good = b"\x1a\x05\x08\x00\x1a\x01x".as_slice();
    let explicit = b"\x1a\x07\x08\x00\x10\x00\x1a\x01e".as_slice();
    let bad_index = b"\x1a\x05\x08\x07\x1a\x01y".as_slice();
    let table = b"\x0a\x01a\x12\x273402823669209384634633746074317682114550".as_slice();
    let table = &table[..table.len() - 1];

    let body = [table, explicit, good, bad_index].concat();
    let (out, loss) = outcome(&body, Some(not_a)).unwrap();
    assert!(
        out.is_empty(),
        "the explicit key's record vanishes with the stray one"
    );
    assert_eq!(
        loss,
        Some(Loss::OutOfRange {
            at: 1,
            hash_key: Some(a),
            lost: 3
        })
    );

    let body = [table, explicit, bad_index, good].concat();
    let (out, loss) = outcome(&body, Some(not_a)).unwrap();
    assert_eq!(
        out,
        [Bytes::from_static(b"e")],
        "the stray one is never looked at"
    );
    assert_eq!(
        loss,
        Some(Loss::PartitionKeyIndex {
            at: 1,
            index: 7,
            table: 1,
            lost: 2
        })
    );

    let body = [table, good, bad_index, explicit].concat();
    let (out, loss) = outcome(&body, None).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(loss.unwrap().lost(), 2);
}

/// A key that is not UTF-8 belongs where its replaced text belongs.
#[test]
fn keys_that_are_not_utf_8_are_hashed_as_replaced() {
    let body = b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x\x1a\x05\x08\x00\x1a\x01y";
    let key = HashKey::of_partition_key("\u{FFFD}");
    let range = HashRange::new(key, key).unwrap();
    let records: Vec<UserRecord> = records(body, Some(range)).unwrap().collect();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record.partition_key, "\u{FFFD}");
        assert_eq!(record.hash_key(), key);
    }
    // The text was made once.
    assert_eq!(
        records[0].partition_key.as_ptr(),
        records[1].partition_key.as_ptr()
    );
}

#[test]
fn payloads_and_keys_are_views_of_the_input() {
    let data = wrap(b"\x0a\x03key\x12\x017\x1a\x0b\x08\x00\x10\x00\x1a\x05hello");
    let Deaggregated::Records(mut records) = deaggregate(&data, None) else {
        panic!()
    };
    let record = records.next().unwrap();
    let inside = data.as_ptr_range();
    assert_eq!(
        (&record.partition_key[..], &record.data[..]),
        ("key", &b"hello"[..])
    );
    assert!(inside.contains(&record.data.as_ptr()));
    assert!(inside.contains(&record.partition_key.as_ptr()));
    assert!(inside.contains(&record.explicit_hash_key.unwrap().as_str().as_ptr()));
    assert!(records.next().is_none() && records.next().is_none());
}

/// Payloads stay out of what is printed.
#[test]
fn debug_shows_no_payload() {
    let data = wrap(b"\x0a\x01a\x1a\x0a\x08\x00\x1a\x06secret");
    let answer = deaggregate(&data, None);
    assert_eq!(
        format!("{answer:?}"),
        "Records(Records { len: 1, loss: None })"
    );
    let Deaggregated::Records(mut records) = answer else {
        panic!()
    };
    let record = records.next().unwrap();
    assert_eq!(
        format!("{record:?}"),
        "UserRecord { partition_key: \"a\", explicit_hash_key: None, data_len: 6, \
         sub_sequence_number: 0, tags: 0 }"
    );
}

#[test]
fn losses_say_what_happened() {
    for (loss, text) in [
        (
            Loss::OutOfRange {
                at: 1,
                hash_key: Some(HashKey::new(42)),
                lost: 3,
            },
            "user record 1 is outside the shard's range of hash keys (its hash key: 42), \
             so all 3 of its aggregate are dropped",
        ),
        (
            Loss::OutOfRange {
                at: 0,
                hash_key: None,
                lost: 3,
            },
            "user record 0 is outside the shard's range of hash keys (its hash key: no hash key at \
             all), so all 3 of its aggregate are dropped",
        ),
        (
            Loss::PartitionKeyIndex {
                at: 0,
                index: 5,
                table: 2,
                lost: 2,
            },
            "user record 0 has partition key 5 of a table of 2: 2 user records lost",
        ),
        (
            Loss::ExplicitHashKeyNotANumber { at: 4, lost: 1 },
            "user record 4 has an explicit hash key that is no number: 1 user records lost",
        ),
        (Loss::NoRecords, "the aggregate holds no user records"),
    ] {
        assert_eq!(loss.to_string(), text);
    }
}
