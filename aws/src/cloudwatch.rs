//! Amazon CloudWatch: `PutMetricData`, and an [`Uploader`] that sends what a set of instruments
//! measures.

mod encode;
mod kept;
mod uploader;

pub use uploader::{UploadStats, Uploader, UploaderError, UploaderSettings};

use crate::client::Caller;
use crate::config::{Config, ConfigError};
use crate::endpoint::{Endpoint, Service};
use crate::error::Error;
use encode::Body;
use runtime::metrics::{Point, Statistics, Unit};
use std::collections::VecDeque;
use std::time::SystemTime;

/// A metric's values in one interval, at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// The metric's name, 1 to 255 characters; the same holds for it.
    pub name: String,
    /// Name and value of each dimension: the first 30 with a value are sent. Characters that
    /// CloudWatch does not take (other than printable ASCII) are sent as `?`, those beyond the 255th
    /// of a name and the 1,024th of a value are not.
    pub dimensions: Vec<(String, String)>,
    /// What the values are in.
    pub unit: Unit,
    /// The end of the interval. CloudWatch takes what is up to two weeks old.
    pub timestamp: SystemTime,
    /// The values. A datum without any is not sent; a number that is beyond ±2^360 is sent as that.
    pub statistics: Statistics,
}

impl Datum {
    /// The datum of what was read at `timestamp`.
    #[must_use]
    pub fn of(point: Point, timestamp: SystemTime) -> Self {
        Self {
            name: point.metric.name.to_owned(),
            dimensions: point
                .dimensions
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value))
                .collect(),
            unit: point.metric.unit,
            timestamp,
            statistics: point.statistics,
        }
    }
}

/// Calls CloudWatch, in JSON. Clones share connections.
///
/// Its URL is looked up as those of the other services are ([`crate::ConfigBuilder::endpoint_url`]);
/// [`Client::with_endpoint_url`] says otherwise.
#[derive(Debug, Clone)]
pub struct Client(Caller);

impl Client {
    /// A client with the configuration's time-outs and retry policy.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(Caller::new(config, Service::CloudWatch))
    }

    /// A client that calls this URL.
    ///
    /// # Errors
    /// When it is no URL of an endpoint.
    pub fn with_endpoint_url(config: &Config, url: &str) -> Result<Self, ConfigError> {
        let endpoint = Endpoint::given("the endpoint of CloudWatch", url)?;
        Ok(Self(Self::new(config).0.at(endpoint)))
    }

    /// Sends data, in as few requests as the service's limits allow: 1,000 data and 1 MB each;
    /// bodies above 10 KiB are compressed.
    ///
    /// A request whose answer was lost may have been taken, and is tried again: CloudWatch cannot tell
    /// and counts it twice.
    ///
    /// # Errors
    /// That of the first request that failed. Those before it were taken.
    ///
    /// # Cancellation
    /// Dropping the future gives up what was not sent yet.
    pub async fn put_metric_data(&self, namespace: &str, data: Vec<Datum>) -> Result<(), Error> {
        let mut data: VecDeque<Datum> = data.into();
        while let Some(body) = Body::of_first(namespace, &mut data) {
            self.put(&body).await?;
        }
        Ok(())
    }

    /// One call.
    async fn put(&self, body: &Body) -> Result<(), Error> {
        // A good answer is empty.
        self.0.call("PutMetricData", body, |_| Ok(())).await
    }
}
