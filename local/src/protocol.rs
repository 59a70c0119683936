//! Which service a request is for, what it asks, and how it wants its errors written.

use crate::refusal::Refusal;
use crate::service::Service;
use crate::wire::Encoding;
use ::http::request::Parts;
use std::borrow::Cow;

/// How a request is written, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AWS JSON, or its CBOR twin.
    Aws(Encoding),
    /// JSON 1.0, as DynamoDB and CloudWatch speak it.
    Json10,
    /// A form, answered in XML of this namespace.
    Query { namespace: &'static str },
    /// Smithy RPC v2 in CBOR.
    RpcCbor,
}

/// The XML namespace of STS.
pub(crate) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The XML namespace of CloudWatch.
pub(crate) const CLOUDWATCH_NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";

impl Protocol {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Aws(encoding) => encoding.content_type(),
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Query { .. } => "text/xml",
            Self::RpcCbor => "application/cbor",
        }
    }

    /// An error in this protocol: its status, its body, and the name it goes by.
    pub(crate) fn refusal(
        self,
        refusal: &Refusal,
        request_id: &str,
    ) -> (u16, Vec<u8>, Cow<'static, str>) {
        match self {
            Self::Aws(encoding) => {
                let body = encoding.refusal(refusal);
                (refusal.status, body, refusal.code.clone())
            }
            Self::Json10 => {
                let body = Encoding::Json.refusal(refusal);
                (refusal.status, body, refusal.code.clone())
            }
            Self::RpcCbor => {
                let body = Encoding::Cbor.refusal(refusal);
                (refusal.status, body, refusal.code.clone())
            }
            Self::Query { namespace } => {
                let (status, code) = query_error(refusal);
                let blame = if status < 500 { "Sender" } else { "Receiver" };
                let body = format!(
                    "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{blame}</Type><Code>{}</Code>\
                     <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
                    escape(&code),
                    escape(&refusal.message),
                );
                (status, body.into_bytes(), code)
            }
        }
    }
}

/// The status and the name that an error has in the query protocol, where they differ.
pub(crate) fn query_error(refusal: &Refusal) -> (u16, Cow<'static, str>) {
    let (status, code) = match &*refusal.code {
        "InvalidParameterValueException" => (400, "InvalidParameterValue"),
        "InvalidParameterCombinationException" => (400, "InvalidParameterCombination"),
        "MissingRequiredParameterException" => (400, "MissingParameter"),
        "ThrottlingException" => (400, "Throttling"),
        "UnknownOperationException" => (400, "InvalidAction"),
        "ValidationException" => (400, "ValidationError"),
        "SerializationException" => (400, "MalformedInput"),
        "IncompleteSignatureException" => (400, "IncompleteSignature"),
        "InvalidSignatureException" => (403, "SignatureDoesNotMatch"),
        "MissingAuthenticationTokenException" => (403, "MissingAuthenticationToken"),
        "UnrecognizedClientException" => (403, "InvalidClientTokenId"),
        _ => return (refusal.status, refusal.code.clone()),
    };
    (status, Cow::Borrowed(code))
}

/// Text in XML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A request, as far as its head tells (and the action of a form).
#[derive(Debug)]
pub(crate) struct Route {
    /// None when its target is nobody's.
    pub(crate) service: Option<Service>,
    pub(crate) operation: String,
    pub(crate) protocol: Protocol,
}

const RPC_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

impl Route {
    /// Errors are for an encoding that the service does not speak.
    pub(crate) fn of(head: &Parts, body: &[u8]) -> (Self, Result<(), Refusal>) {
        let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
        let content_type = text("content-type").unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if let Some(operation) = head.uri.path().strip_prefix(RPC_PATH) {
            let route = Self {
                service: Some(Service::CloudWatch),
                operation: operation.to_owned(),
                protocol: Protocol::RpcCbor,
            };
            return (route, Ok(()));
        }
        let target = text("x-amz-target").unwrap_or_default();
        if target.is_empty() && media == "application/x-www-form-urlencoded" {
            return (Self::of_form(body), Ok(()));
        }
        let encoding = Encoding::of_content_type(content_type);
        let (prefix, operation) = target.split_once('.').unwrap_or(("", target));
        let Some(service) = Service::of_target(prefix) else {
            let route = Self {
                service: None,
                operation: target.to_owned(),
                protocol: Protocol::Aws(encoding.unwrap_or(Encoding::Json)),
            };
            return (route, Ok(()));
        };
        let (protocol, spoken) = match (service, encoding) {
            (Service::Kinesis, Some(encoding)) => (Protocol::Aws(encoding), Ok(())),
            (Service::Kinesis, None) => (
                Protocol::Aws(Encoding::Json),
                Err(Refusal::serialization(format!(
                    "Content-Type '{content_type}' is neither application/x-amz-json-1.1 nor \
                     application/x-amz-cbor-1.1"
                ))),
            ),
            (Service::Firehose, _) => (Protocol::Aws(Encoding::Json), Ok(())),
            _ => (Protocol::Json10, Ok(())),
        };
        let route = Self {
            service: Some(service),
            operation: operation.to_owned(),
            protocol,
        };
        (route, spoken)
    }

    /// STS and CloudWatch tell themselves apart by the version of their API.
    fn of_form(body: &[u8]) -> Self {
        let form = crate::recorders::form::decode(body);
        let value = |name: &str| {
            form.iter()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.as_str())
        };
        let (service, namespace) = match value("Version") {
            Some("2011-06-15") => (Some(Service::Sts), STS_NAMESPACE),
            Some("2010-08-01") => (Some(Service::CloudWatch), CLOUDWATCH_NAMESPACE),
            _ => (None, STS_NAMESPACE),
        };
        Self {
            service,
            operation: value("Action").unwrap_or_default().to_owned(),
            protocol: Protocol::Query { namespace },
        }
    }
}

/// The access key id that a request says it is signed with.
pub(crate) fn caller(head: &Parts) -> Option<String> {
    let authorization = head.headers.get("authorization")?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    let id = credential.split(['/', ',', ' ']).next()?;
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    fn route(path: &str, headers: &[(&str, &str)], body: &str) -> Route {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Route::of(&head, body.as_bytes()).0
    }

    #[test]
    fn services_are_told_apart() {
        let target = |t, kind| route("/", &[("x-amz-target", t), ("content-type", kind)], "{}");
        let json11 = "application/x-amz-json-1.1";
        let json10 = "application/x-amz-json-1.0";
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let form = |body| route("/", &[("content-type", form)], body);
        let cases = [
            (
                target("Kinesis_20131202.PutRecord", "application/x-amz-cbor-1.1"),
                Some(Service::Kinesis),
                "PutRecord",
                Protocol::Aws(Encoding::Cbor),
            ),
            (
                target("DynamoDB_20120810.GetItem", json10),
                Some(Service::DynamoDb),
                "GetItem",
                Protocol::Json10,
            ),
            (
                target("Firehose_20150804.PutRecord", json11),
                Some(Service::Firehose),
                "PutRecord",
                Protocol::Aws(Encoding::Json),
            ),
            (
                target("GraniteServiceVersion20100801.PutMetricData", json10),
                Some(Service::CloudWatch),
                "PutMetricData",
                Protocol::Json10,
            ),
            (
                route(
                    "/service/GraniteServiceVersion20100801/operation/PutMetricData",
                    &[
                        ("content-type", "application/cbor"),
                        ("smithy-protocol", "rpc-v2-cbor"),
                    ],
                    "",
                ),
                Some(Service::CloudWatch),
                "PutMetricData",
                Protocol::RpcCbor,
            ),
            (
                form("Action=PutMetricData&Version=2010-08-01"),
                Some(Service::CloudWatch),
                "PutMetricData",
                Protocol::Query {
                    namespace: CLOUDWATCH_NAMESPACE,
                },
            ),
            (
                form("Action=GetCallerIdentity&Version=2011-06-15"),
                Some(Service::Sts),
                "GetCallerIdentity",
                Protocol::Query {
                    namespace: STS_NAMESPACE,
                },
            ),
            (
                target("S3.PutObject", json11),
                None,
                "S3.PutObject",
                Protocol::Aws(Encoding::Json),
            ),
        ];
        for (found, service, operation, protocol) in cases {
            assert_eq!(found.service, service, "{found:?}");
            assert_eq!(found.operation, operation);
            assert_eq!(found.protocol, protocol);
        }
    }

    #[test]
    fn a_caller_is_found_in_the_authorization() {
        let of = |value: &str| {
            let request = Request::post("/").header("authorization", value);
            caller(&request.body(()).unwrap().into_parts().0)
        };
        let whole = "AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/kinesis/aws4_request, \
                     SignedHeaders=host, Signature=00";
        assert_eq!(of(whole).as_deref(), Some("AKID"));
        assert_eq!(of("Bearer x"), None);
        assert_eq!(of("AWS4-HMAC-SHA256 Credential=/x"), None);
    }

    #[test]
    fn xml_is_escaped() {
        assert_eq!(escape("<a> & \"b\""), "&lt;a&gt; &amp; &quot;b&quot;");
    }
}
