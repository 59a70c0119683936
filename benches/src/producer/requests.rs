//! What the sink is asked, in CBOR and in JSON.

use crate::Failure;
use aggregation::HashKey;
use bytes::Bytes;
use minicbor::Decoder;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// What the sink looks at of an entry of PutRecords.
#[derive(Debug)]
pub struct Entry<'b> {
    pub hash_key: HashKey,
    data: Data<'b>,
}

#[derive(Debug)]
enum Data<'b> {
    Plain(&'b [u8]),
    Base64(Cow<'b, str>),
}

impl<'b> Entry<'b> {
    fn new(explicit: Option<&str>, partition_key: &str, data: Data<'b>) -> Result<Self, Failure> {
        let hash_key = match explicit {
            Some(text) => HashKey::parse_decimal(text)?,
            None => HashKey::of_partition_key(partition_key),
        };
        Ok(Self { hash_key, data })
    }

    pub fn data(&self) -> Result<Bytes, Failure> {
        Ok(match &self.data {
            Data::Plain(data) => Bytes::copy_from_slice(data),
            Data::Base64(text) => base64_simd::STANDARD
                .decode_to_vec(text.as_bytes())
                .map_err(|_| "data that is no base64")?
                .into(),
        })
    }
}

pub fn entries(cbor: bool, body: &[u8]) -> Result<Vec<Entry<'_>>, Failure> {
    if cbor {
        entries_in_cbor(body)
    } else {
        entries_in_json(body)
    }
}

fn entries_in_cbor(body: &[u8]) -> Result<Vec<Entry<'_>>, Failure> {
    let mut entries = Vec::new();
    let mut d = Decoder::new(body);
    for _ in 0..d.map()?.ok_or("a map without length")? {
        if d.str()? != "Records" {
            d.skip()?;
            continue;
        }
        for _ in 0..d.array()?.ok_or("an array without length")? {
            let (mut explicit, mut partition_key, mut data) = (None, "", &[][..]);
            for _ in 0..d.map()?.ok_or("a map without length")? {
                match d.str()? {
                    "ExplicitHashKey" => explicit = Some(d.str()?),
                    "PartitionKey" => partition_key = d.str()?,
                    "Data" => data = d.bytes()?,
                    _ => d.skip()?,
                }
            }
            entries.push(Entry::new(explicit, partition_key, Data::Plain(data))?);
        }
    }
    Ok(entries)
}

fn entries_in_json(body: &[u8]) -> Result<Vec<Entry<'_>>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request<'b> {
        #[serde(borrow)]
        records: Vec<Record<'b>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record<'b> {
        #[serde(borrow)]
        explicit_hash_key: Option<Cow<'b, str>>,
        #[serde(borrow)]
        partition_key: Cow<'b, str>,
        #[serde(borrow)]
        data: Cow<'b, str>,
    }
    let request: Request<'_> = serde_json::from_slice(body)?;
    let mut entries = Vec::with_capacity(request.records.len());
    for record in request.records {
        let explicit = record.explicit_hash_key.as_deref();
        let data = Data::Base64(record.data);
        entries.push(Entry::new(explicit, &record.partition_key, data)?);
    }
    Ok(entries)
}

/// Which shard a page of `ListShards` begins with: its token says.
pub fn first_shard(cbor: bool, body: &[u8]) -> Result<u32, Failure> {
    let text = if cbor {
        let mut d = Decoder::new(body);
        let mut token = None;
        for _ in 0..d.map()?.ok_or("a map without length")? {
            match d.str()? {
                "NextToken" => token = Some(d.str()?.to_owned()),
                _ => d.skip()?,
            }
        }
        token
    } else {
        let body: Value = serde_json::from_slice(body)?;
        body.get("NextToken")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Ok(text.map_or(Ok(0), |text| text.parse())?)
}
