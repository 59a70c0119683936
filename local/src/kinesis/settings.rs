//! What of a stream its owner sets: retention, mode, record size, placement of records, metrics,
//! encryption.

use super::Kinesis;
use super::control::HOUR;
use super::stream::{Change, State, Stream};
use crate::refusal::Refusal;
use crate::wire::{Check, Document, Emit, Fields};
use std::collections::BTreeSet;
use std::sync::Arc;

/// UpdateStreamMode calls per stream in 24 hours.
const MODE_CHANGES: usize = 2;
/// StartStreamEncryption calls, and as many StopStreamEncryption calls, per stream in 24 hours.
const ENCRYPTION_CHANGES: usize = 25;

const METRICS: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "IteratorAgeMilliseconds",
    "OutgoingBytes",
    "OutgoingRecords",
    "ReadProvisionedThroughputExceeded",
    "WriteProvisionedThroughputExceeded",
];
const ALL_METRICS: &str = "ALL";

impl Kinesis {
    pub(super) fn change_retention(
        &self,
        request: Fields<'_, '_>,
        increase: bool,
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let hours = request.integer("RetentionPeriodHours")?;
        check.present("retentionPeriodHours", hours);
        check.range("retentionPeriodHours", hours, 1, 8_760);
        check.finish()?;
        let hours = hours.and_then(|h| u64::try_from(h).ok()).unwrap_or(24);
        if hours < 24 {
            return Err(Refusal::invalid_argument(format!(
                "Minimum allowed retention period is 24 hours. Requested retention period ({hours} \
                 hours) is too short."
            )));
        }
        let now = self.now();
        let stream = self.existing(&name, now)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        let present = state.retention / HOUR;
        if increase && hours < present {
            return Err(Refusal::invalid_argument(format!(
                "Requested retention period ({hours} hours) for stream {name} can not be shorter \
                 than existing retention period ({present} hours). Use DecreaseRetentionPeriod API."
            )));
        }
        if !increase && hours > present {
            return Err(Refusal::invalid_argument(format!(
                "Requested retention period ({hours} hours) for stream {name} can not be longer \
                 than existing retention period ({present} hours). Use IncreaseRetentionPeriod API."
            )));
        }
        state.set_retention(hours * HOUR, now);
        Ok(())
    }

    pub(super) fn update_stream_mode(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("streamARN", request.text("StreamARN")?);
        let mode = read_mode(request, &mut check)?;
        check.present("streamModeDetails", mode);
        refuse_warm_throughput(request)?;
        check.finish()?;
        let on_demand = mode == Some("ON_DEMAND");
        let (stream, now) = self.of_arn(arn)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        if state.settings.on_demand == on_demand {
            return Err(Refusal::validation(format!(
                "Stream {} under account {} is in {} mode already.",
                stream.name,
                self.account,
                mode.unwrap_or_default()
            )));
        }
        // The strategy exists on demand only, and records without keys must not lose their place
        // unasked. Our reading: the service's documents do not tell.
        if state.settings.auto {
            return Err(Refusal::invalid_argument(format!(
                "Stream {} under account {} has the record distribution strategy AUTO, which a \
                 stream in PROVISIONED mode cannot have.",
                stream.name, self.account
            )));
        }
        if self.limits.quotas && !state.quotas.modes.has(MODE_CHANGES, now) {
            return Err(Refusal::limit_exceeded(format!(
                "The mode of stream {} under account {} was changed {MODE_CHANGES} times within 24 \
                 hours.",
                stream.name, self.account
            )));
        }
        state.quotas.modes.note(MODE_CHANGES, now);
        state.settings.on_demand = on_demand;
        self.update(&stream, &mut state, now);
        Ok(())
    }

    pub(super) fn update_max_record_size(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let kib = check.present("maxRecordSizeInKiB", request.integer("MaxRecordSizeInKiB")?);
        check.range("maxRecordSizeInKiB", kib, 1_024, 10_240);
        check.finish()?;
        let now = self.now();
        let stream = self.existing(&name, now)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        if let Some(kib) = kib.and_then(|n| u64::try_from(n).ok()) {
            state.settings.max_record_kib = kib;
        }
        self.update(&stream, &mut state, now);
        Ok(())
    }

    pub(super) fn update_record_distribution(
        &self,
        request: Fields<'_, '_>,
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let arn = check.present("streamARN", request.text("StreamARN")?);
        let strategy = read_strategy(request, &mut check)?;
        check.present("recordDistributionStrategy", strategy);
        check.finish()?;
        let auto = strategy == Some("AUTO");
        let (stream, _) = self.of_arn(arn)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        if !state.settings.on_demand {
            return Err(strategy_needs_on_demand());
        }
        state.settings.auto = auto;
        Ok(())
    }

    pub(super) fn change_monitoring(
        &self,
        request: Fields<'_, '_>,
        enable: bool,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let wanted = check.present("shardLevelMetrics", request.list("ShardLevelMetrics")?);
        let wanted = wanted.unwrap_or_default();
        check.items("shardLevelMetrics", wanted.len(), 1, METRICS.len());
        let mut chosen = BTreeSet::new();
        for metric in wanted {
            let Document::Text(metric) = metric else {
                return Err(Refusal::serialization(
                    "An item of 'ShardLevelMetrics' can not be converted to a String",
                ));
            };
            if metric == ALL_METRICS {
                chosen.extend(METRICS.map(str::to_owned));
            } else {
                check.one_of("shardLevelMetrics.member", Some(metric), &METRICS);
                chosen.insert(metric.to_string());
            }
        }
        check.finish()?;
        let stream = self.existing(&name, self.now())?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        let present = state.settings.metrics.clone();
        let desired: BTreeSet<String> = if enable {
            present.union(&chosen).cloned().collect()
        } else {
            present.difference(&chosen).cloned().collect()
        };
        state.settings.metrics.clone_from(&desired);
        drop(state);
        out.begin_map();
        out.text_member("StreamName", &stream.name);
        out.text_member("StreamARN", &stream.arn);
        for (member, metrics) in [
            ("CurrentShardLevelMetrics", &present),
            ("DesiredShardLevelMetrics", &desired),
        ] {
            out.begin_list_member(member);
            for metric in metrics {
                out.text(metric);
            }
            out.end();
        }
        out.end();
        Ok(())
    }

    /// Records are marked as encrypted; they are kept in memory as they are.
    pub(super) fn change_encryption(
        &self,
        request: Fields<'_, '_>,
        start: bool,
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let kind = check.present("encryptionType", request.text("EncryptionType")?);
        check.one_of("encryptionType", kind, &["NONE", "KMS"]);
        let key = check.present("keyId", request.text("KeyId")?);
        check.length("keyId", key, 1, 2_048);
        check.finish()?;
        if kind != Some("KMS") {
            return Err(Refusal::validation(
                "EncryptionType has to be KMS to start or stop encryption.",
            ));
        }
        let now = self.now();
        let stream = self.existing(&name, now)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        let quotas = &mut state.quotas;
        let window = if start {
            &mut quotas.encryption_starts
        } else {
            &mut quotas.encryption_stops
        };
        if self.limits.quotas && !window.has(ENCRYPTION_CHANGES, now) {
            return Err(Refusal::limit_exceeded(format!(
                "The encryption of stream {} under account {} was changed {ENCRYPTION_CHANGES} \
                 times within 24 hours.",
                stream.name, self.account
            )));
        }
        window.note(ENCRYPTION_CHANGES, now);
        state.settings.key_id = key.filter(|_| start).map(str::to_owned);
        self.update(&stream, &mut state, now);
        Ok(())
    }

    /// The stream of an operation that takes its ARN only, and the time.
    fn of_arn(&self, arn: Option<&str>) -> Result<(Arc<Stream>, u64), Refusal> {
        let now = self.now();
        let stream = self.existing(self.name_of_arn(arn.unwrap_or_default())?, now)?;
        Ok((stream, now))
    }

    /// Shows a change of settings as UPDATING for as long as changes take.
    fn update(&self, stream: &Stream, state: &mut State, now: u64) {
        state.begin(Change::Settings, now.saturating_add(self.state_delay));
        state.settle(stream.created, now);
    }
}

/// The `StreamMode` of a request, if it has one.
pub(super) fn read_mode<'d>(
    request: Fields<'d, '_>,
    check: &mut Check,
) -> Result<Option<&'d str>, Refusal> {
    let Some(details) = request.structure("StreamModeDetails")? else {
        return Ok(None);
    };
    let mode = details.text("StreamMode")?;
    check.present("streamModeDetails.streamMode", mode);
    check.one_of(
        "streamModeDetails.streamMode",
        mode,
        &["PROVISIONED", "ON_DEMAND"],
    );
    Ok(mode)
}

/// The `RecordDistributionStrategy` of a request, if it has one.
pub(super) fn read_strategy<'d>(
    request: Fields<'d, '_>,
    check: &mut Check,
) -> Result<Option<&'d str>, Refusal> {
    let strategy = request.text("RecordDistributionStrategy")?;
    check.one_of(
        "recordDistributionStrategy",
        strategy,
        &["AUTO", "USER_PARTITION_KEY"],
    );
    Ok(strategy)
}

pub(super) fn strategy_needs_on_demand() -> Refusal {
    Refusal::invalid_argument(
        "RecordDistributionStrategy can be set on streams in ON_DEMAND mode only.",
    )
}

/// Warm throughput needs a commitment of the account, which this one does not have.
pub(super) fn refuse_warm_throughput(request: Fields<'_, '_>) -> Result<(), Refusal> {
    match request.integer("WarmThroughputMiBps")? {
        None => Ok(()),
        Some(_) => Err(Refusal::validation(
            "WarmThroughputMiBps needs the account's minimum throughput billing commitment, which \
             is not enabled.",
        )),
    }
}
