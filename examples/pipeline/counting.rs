//! A transport that counts the requests that pass it.

use aws::transport::{Body, RequestBody};
use aws::{HttpTransport, Transport, TransportError};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Requests by operation.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<String, u64>>>);

impl Requests {
    /// What was counted until now.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().clone()
    }
}

#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Transport>,
    requests: Requests,
}

impl Transport for Counting {
    fn call(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        let target = request
            .headers()
            .get("x-amz-target")
            .and_then(|v| v.to_str().ok());
        let operation = target
            .and_then(|t| t.rsplit('.').next())
            .unwrap_or("?")
            .to_owned();
        *self.requests.0.lock().entry(operation).or_default() += 1;
        self.inner.call(request)
    }

    fn separate(&self) -> Result<Option<Arc<dyn Transport>>, TransportError> {
        let separate = self.inner.separate()?;
        Ok(separate.map(|inner| {
            let requests = self.requests.clone();
            Arc::new(Self { inner, requests }) as Arc<dyn Transport>
        }))
    }
}

/// A transport over sockets, and the count of what passes it.
pub fn transport() -> Result<(Arc<dyn Transport>, Requests), TransportError> {
    let requests = Requests::default();
    let inner: Arc<dyn Transport> = Arc::new(HttpTransport::new(Duration::from_secs(3))?);
    Ok((
        Arc::new(Counting {
            inner,
            requests: requests.clone(),
        }),
        requests,
    ))
}
