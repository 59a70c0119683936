//! Who calls a server that says what it is told.

use aws::{Config, ConfigBuilder, Credentials, Environment};
use mockito::Matcher;
use runtime::time::from_epoch_millis;
use runtime::{Chance, ManualClock};
use std::sync::Arc;

/// 2023-11-14 22:13:20 UTC
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) fn builder(url: &str) -> ConfigBuilder {
    Config::builder()
        .region("eu-west-1")
        .endpoint_url(url)
        .credentials(Credentials::new("AKID", "hush", None))
        .clock(Arc::new(ManualClock::new(from_epoch_millis(NOW))))
        .chance(Chance::seeded(1))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
}

/// The form of `Authorization` for Kinesis at that time.
pub(crate) fn signed() -> Matcher {
    Matcher::Regex(
        "^AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-west-1/kinesis/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
         Signature=[0-9a-f]{64}$"
            .to_owned(),
    )
}
