//! The upload of metrics to Amazon CloudWatch: whether and how, and its life beside that of the producer.

use crate::meters::STREAM;
use crate::settings::url;
use aws::cloudwatch::{UploadStats, Uploader, UploaderError, UploaderSettings};
use runtime::metrics::{ExtraDimension, Granularity, Level, View};
use runtime::{Metrics, Settings, TaskScope};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

/// The settings that ask for uploads when they are given.
const ASKING: [&str; 6] = [
    "CloudwatchEndpoint",
    "CloudwatchPort",
    "MetricsGranularity",
    "MetricsLevel",
    "MetricsNamespace",
    "MetricsUploadDelay",
];

/// How metrics are uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadOptions {
    /// What was said about it.
    on: Option<bool>,
    /// Other settings ask for it.
    asked: bool,
    level: Level,
    granularity: Granularity,
    namespace: String,
    delay: Duration,
    endpoint: Option<String>,
}

impl UploadOptions {
    pub(crate) fn read(settings: &Settings) -> Self {
        let word = |name| settings.text(name).unwrap_or_default();
        let given = |name: &&str| settings.is_set(name);
        Self {
            on: given(&"MetricsUpload").then(|| settings.bool("MetricsUpload")),
            asked: ASKING.iter().any(given),
            level: word("MetricsLevel").parse().unwrap_or(Level::Detailed),
            granularity: word("MetricsGranularity")
                .parse()
                .unwrap_or(Granularity::Shard),
            namespace: word("MetricsNamespace"),
            delay: settings.duration("MetricsUploadDelay").unwrap_or_default(),
            endpoint: url(settings, "CloudwatchEndpoint", "CloudwatchPort"),
        }
    }

    /// True when metrics are to be uploaded.
    pub(crate) fn is_on(&self, dimensions: &[ExtraDimension]) -> bool {
        let asked = self.asked || !dimensions.is_empty();
        self.on.unwrap_or(asked && self.level > Level::None)
    }
}

/// What is being uploaded.
pub(crate) struct Upload {
    scope: TaskScope,
    uploader: Uploader,
}

impl Upload {
    /// Starts uploading what is measured of this stream.
    pub(crate) fn start(
        config: &aws::Config,
        metrics: &Metrics,
        options: &UploadOptions,
        stream: &str,
        dimensions: &[ExtraDimension],
    ) -> Result<Self, UploaderError> {
        let view = view(stream, dimensions)
            .with_level(options.level)
            .with_granularity(options.granularity);
        let mut settings = UploaderSettings::new(options.namespace.as_str())
            .with_view(view)
            .with_upload_delay(options.delay);
        if let Some(url) = &options.endpoint {
            settings = settings.with_endpoint_url(url);
        }
        let scope = TaskScope::new("metrics");
        let uploader = Uploader::start(config, metrics, settings, &scope)?;
        Ok(Self { scope, uploader })
    }

    /// Tells the uploader to end, with a last upload, when it is dropped.
    pub(crate) fn ends(&self) -> DropGuard {
        self.scope.token().clone().drop_guard()
    }

    /// Ends the uploader: what is not uploaded by then is given up, counted and logged.
    pub(crate) async fn finish(&self, deadline: Option<Instant>) {
        let left = deadline.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let _ = self.scope.shutdown(left).await;
    }

    pub(crate) fn running(&self) -> usize {
        self.scope.running()
    }

    pub(crate) fn stats(&self) -> UploadStats {
        self.uploader.stats()
    }
}

/// The metrics of a stream, each also at the places above its own.
pub(crate) fn view(stream: &str, dimensions: &[ExtraDimension]) -> View {
    View::everything()
        .with_ancestors(true)
        .with_place(STREAM, stream)
        .with_extra(dimensions.iter().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SETTINGS;

    #[test]
    fn uploads_are_on_when_anything_about_them_is_given() {
        let dimension = [ExtraDimension::new("Host", "h", Granularity::Global)];
        for (given, dimensions, on) in [
            (&[][..], &[][..], false),
            (&[("RateLimit", "100")], &[], false),
            (&[("MetricsLevel", "summary")], &[], true),
            (&[("MetricsNamespace", "App")], &[], true),
            (&[("CloudwatchEndpoint", "h")], &[], true),
            (&[("MetricsUpload", "true")], &[], true),
            (&[], &dimension, true),
            (&[("MetricsLevel", "none")], &dimension, false),
            (
                &[("MetricsLevel", "none"), ("MetricsUpload", "true")],
                &[],
                true,
            ),
            (
                &[("MetricsUploadDelay", "9"), ("MetricsUpload", "false")],
                &dimension,
                false,
            ),
        ] {
            let mut settings = Settings::new(SETTINGS);
            for (name, value) in given {
                settings.set(name, value);
            }
            settings.check().unwrap();
            let options = UploadOptions::read(&settings);
            assert_eq!(options.is_on(dimensions), on, "{given:?}");
        }
    }

    #[test]
    fn the_defaults_are_the_originals() {
        let options = UploadOptions::read(&Settings::new(SETTINGS));
        assert_eq!(
            options,
            UploadOptions {
                on: None,
                asked: false,
                level: Level::Detailed,
                granularity: Granularity::Shard,
                namespace: "KinesisProducerLibrary".to_owned(),
                delay: Duration::from_secs(60),
                endpoint: None,
            }
        );
        let mut settings = Settings::new(SETTINGS);
        settings.set("CloudwatchEndpoint", "monitoring.test");
        settings.set("CloudwatchPort", "8443");
        settings.set("MetricsGranularity", "STREAM");
        let options = UploadOptions::read(&settings);
        assert_eq!(options.endpoint.unwrap(), "https://monitoring.test:8443");
        assert_eq!(options.granularity, Granularity::Stream);
        for bad in ["AWS/Kinesis", ":x", "", "ü"] {
            let mut settings = Settings::new(SETTINGS);
            settings.set("MetricsNamespace", bad);
            assert!(settings.check().is_err(), "{bad:?}");
        }
    }
}
