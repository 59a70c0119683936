//! The one access key of the tests: endpoints verify each request's signature by it.

use local::{AccessKey, LocalOptions};

pub(crate) const KEY: (&str, &str) = ("AKIDCONSUMER", "a secret of the consumer's tests");

/// The same options, with signatures verified.
pub(crate) fn verified(options: LocalOptions) -> LocalOptions {
    LocalOptions {
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        ..options
    }
}

pub(crate) fn credentials() -> aws::Credentials {
    aws::Credentials::new(KEY.0, KEY.1, None)
}
