//! Amazon Data Firehose: takes records for delivery streams, and keeps the last of them.

use super::Asked;
use super::ring::Ring;
use crate::endpoint::unknown_operation;
use crate::kinesis::Twist;
use crate::options::LocalOptions;
use crate::refusal::Refusal;
use crate::wire::{Blob, Check, Encoding, Fields};
use bytes::Bytes;
use runtime::Chance;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::SystemTime;

/// Records of one PutRecordBatch.
const MAX_RECORDS: usize = 500;
/// Bytes of one record, before base64: 1,000 KiB.
const MAX_RECORD: usize = 1_000 << 10;
/// Bytes of one PutRecordBatch, before base64: 4 MiB.
const MAX_BATCH: usize = 4 << 20;
/// Bytes that are kept beside the bound of items.
const MAX_KEPT: usize = 256 << 20;

/// A record that a delivery stream took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredRecord {
    /// The delivery stream.
    pub stream: String,
    /// The id it was answered with.
    pub record_id: String,
    /// Its bytes, decoded.
    pub data: Bytes,
    /// When it came, on the endpoint's clock.
    pub at: SystemTime,
}

#[derive(Debug)]
pub(crate) struct Firehose {
    account: String,
    region: String,
    /// The delivery streams that exist; any when none is named.
    streams: BTreeSet<String>,
    chance: Chance,
    pub(crate) kept: Ring<DeliveredRecord>,
}

impl Firehose {
    pub(super) fn new(options: &LocalOptions, chance: &Chance) -> Self {
        Self {
            account: options.account.clone(),
            region: options.region.clone(),
            streams: options.delivery_streams.iter().cloned().collect(),
            chance: chance.fork(),
            kept: Ring::new(options.recorded, MAX_KEPT),
        }
    }

    pub(super) fn call(&self, asked: &Asked<'_, '_>) -> Result<Vec<u8>, Refusal> {
        let request = Fields::new(asked.document, Encoding::Json);
        match asked.operation {
            "PutRecord" => self.put_record(request, asked),
            "PutRecordBatch" => self.put_record_batch(request, asked),
            "DescribeDeliveryStream" => self.describe(request),
            other => Err(unknown_operation(other)),
        }
    }

    /// The delivery stream that a request names.
    fn named<'d>(
        &self,
        request: Fields<'d, '_>,
        check: &mut Check,
    ) -> Result<Option<&'d str>, Refusal> {
        let name = request.text("DeliveryStreamName")?;
        check.present("deliveryStreamName", name);
        check.length("deliveryStreamName", name, 1, 64);
        check.name("deliveryStreamName", name);
        Ok(name)
    }

    fn existing(&self, name: Option<&str>) -> Result<String, Refusal> {
        let name = name.unwrap_or_default();
        if self.streams.is_empty() || self.streams.contains(name) {
            return Ok(name.to_owned());
        }
        Err(Refusal::not_found(format!(
            "Firehose {name} under accountId {} not found.",
            self.account
        )))
    }

    fn put_record(
        &self,
        request: Fields<'_, '_>,
        asked: &Asked<'_, '_>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut check = Check::default();
        let name = self.named(request, &mut check)?;
        let record = check.present("record", request.structure("Record")?);
        let data = match record {
            Some(record) => data_of(record, "record.data", &mut check)?,
            None => Bytes::new(),
        };
        check.finish()?;
        let stream = self.existing(name)?;
        let record_id = self.keep(&stream, data, asked.now);
        Ok(json!({"RecordId": record_id, "Encrypted": false})
            .to_string()
            .into_bytes())
    }

    fn put_record_batch(
        &self,
        request: Fields<'_, '_>,
        asked: &Asked<'_, '_>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut check = Check::default();
        let name = self.named(request, &mut check)?;
        let records = request.list("Records")?;
        check.present("records", records);
        let records = records.unwrap_or_default();
        if request.list("Records")?.is_some() {
            check.items("records", records.len(), 1, MAX_RECORDS);
        }
        let mut payloads = Vec::with_capacity(records.len().min(MAX_RECORDS));
        for (position, record) in records.iter().take(MAX_RECORDS).enumerate() {
            let member = format!("records.{}.member.data", position + 1);
            payloads.push(data_of(request.inner(record)?, &member, &mut check)?);
        }
        check.finish()?;
        if payloads.iter().map(Bytes::len).sum::<usize>() > MAX_BATCH {
            return Err(Refusal::invalid_argument("Records size exceeds 4 MB limit"));
        }
        let stream = self.existing(name)?;
        let mut failed = 0;
        let responses: Vec<_> = payloads
            .into_iter()
            .enumerate()
            .map(|(position, data)| match asked.twist {
                Twist::SplitEntries { every, code } if (position + 1) % (*every).max(1) == 0 => {
                    failed += 1;
                    json!({"ErrorCode": code, "ErrorMessage": "A scripted fault."})
                }
                _ => json!({"RecordId": self.keep(&stream, data, asked.now)}),
            })
            .collect();
        let answer = json!({
            "FailedPutCount": failed,
            "Encrypted": false,
            "RequestResponses": responses,
        });
        Ok(answer.to_string().into_bytes())
    }

    fn describe(&self, request: Fields<'_, '_>) -> Result<Vec<u8>, Refusal> {
        let mut check = Check::default();
        let name = self.named(request, &mut check)?;
        check.finish()?;
        let name = self.existing(name)?;
        let answer = json!({"DeliveryStreamDescription": {
            "DeliveryStreamName": name,
            "DeliveryStreamARN": format!(
                "arn:aws:firehose:{}:{}:deliverystream/{name}",
                self.region, self.account
            ),
            "DeliveryStreamStatus": "ACTIVE",
            "DeliveryStreamType": "DirectPut",
            "VersionId": "1",
            "Destinations": [],
            "HasMoreDestinations": false,
        }});
        Ok(answer.to_string().into_bytes())
    }

    fn keep(&self, stream: &str, data: Bytes, now: u64) -> String {
        let record_id = self.chance.uuid();
        self.kept.push(
            data.len() + stream.len() + record_id.len(),
            DeliveredRecord {
                stream: stream.to_owned(),
                record_id: record_id.clone(),
                data,
                at: runtime::time::from_epoch_millis(now),
            },
        );
        record_id
    }
}

fn data_of(record: Fields<'_, '_>, member: &str, check: &mut Check) -> Result<Bytes, Refusal> {
    let data = check.present(member, record.blob("Data")?);
    let data = data.unwrap_or(Blob::Plain(&[]));
    if data.len() > MAX_RECORD {
        check.problem(
            member,
            &format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", data.len()),
            &format!("Member must have length less than or equal to {MAX_RECORD}"),
        );
    }
    let mut bytes = Vec::with_capacity(data.len());
    data.append_to(&mut bytes)?;
    Ok(Bytes::from(bytes))
}
