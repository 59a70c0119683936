//! Which URL a service is called at.

mod owned;

pub(crate) use owned::{OwnedHosts, Plane};

use crate::config::ConfigError;
use crate::environment::Environment;
use crate::profile::Profile;
use http::Uri;
use http::uri::{Authority, Scheme};
use std::fmt;

/// A service that this crate calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Kinesis,
    DynamoDb,
    CloudWatch,
    /// Gives out credentials of roles.
    Sts,
    /// Gives out credentials to who has logged in.
    Sso,
    /// Renews what shows that someone has logged in.
    SsoOidc,
}

/// Which of a service's names in a region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) fips: bool,
    pub(crate) dual_stack: bool,
}

impl Variant {
    /// The switch that is on.
    fn switch(self) -> Option<&'static str> {
        match self {
            Self { fips: true, .. } => Some("use_fips (AWS_USE_FIPS_ENDPOINT, use_fips_endpoint)"),
            Self {
                dual_stack: true, ..
            } => Some("use_dual_stack (AWS_USE_DUALSTACK_ENDPOINT, use_dualstack_endpoint)"),
            Self { .. } => None,
        }
    }
}

impl Service {
    /// The name that requests are signed for.
    pub(crate) const fn signing_name(self) -> &'static str {
        match self {
            Self::CloudWatch => "monitoring",
            _ => self.key(),
        }
    }

    /// What the service is called in the `services` of a profile.
    const fn key(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDb => "dynamodb",
            Self::CloudWatch => "cloudwatch",
            Self::Sts => "sts",
            Self::Sso => "sso",
            Self::SsoOidc => "sso_oidc",
        }
    }

    /// What the service's host names begin with.
    const fn host_name(self) -> &'static str {
        match self {
            Self::Sso => "portal.sso",
            Self::SsoOidc => "oidc",
            _ => self.signing_name(),
        }
    }

    /// What stands before the operation in `X-Amz-Target`.
    pub(crate) const fn target_prefix(self) -> &'static str {
        match self {
            Self::Kinesis => "Kinesis_20131202",
            Self::DynamoDb => "DynamoDB_20120810",
            Self::CloudWatch => "GraniteServiceVersion20100801",
            // Their requests name the operation elsewhere.
            Self::Sts | Self::Sso | Self::SsoOidc => "",
        }
    }

    const fn url_variable(self) -> &'static str {
        match self {
            Self::Kinesis => "AWS_ENDPOINT_URL_KINESIS",
            Self::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::CloudWatch => "AWS_ENDPOINT_URL_CLOUDWATCH",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            Self::Sso => "AWS_ENDPOINT_URL_SSO",
            Self::SsoOidc => "AWS_ENDPOINT_URL_SSO_OIDC",
        }
    }
}

/// Scheme and authority; requests go to the root path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    authority: Authority,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl Endpoint {
    /// The first of: what was given, the environment, the profile, the region's own. In the environment
    /// and in the profile what is said of the service counts before what is said of all; both are
    /// passed over when `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` or `ignore_configured_endpoint_urls` says
    /// so. The order is that of the AWS SDKs' reference guide. As with them, another variant of the
    /// region's names does not go together with a URL, which is one name alone.
    pub(crate) fn find(
        service: Service,
        region: &str,
        variant: Variant,
        given: [(&'static str, Option<String>); 2],
        env: &Environment,
        profile: &Profile,
    ) -> Result<Self, ConfigError> {
        let variables = [service.url_variable(), "AWS_ENDPOINT_URL"];
        let of_service = profile.of_service(service.key(), "endpoint_url");
        let ignore = env
            .get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .or_else(|| profile.get("ignore_configured_endpoint_urls"))
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let configured = variables
            .map(|name| (name, env.get(name)))
            .into_iter()
            .chain([
                ("endpoint_url of the profile's services", of_service),
                ("endpoint_url of the profile", profile.get("endpoint_url")),
            ])
            .filter(|_| !ignore);
        let found = given
            .into_iter()
            .chain(configured)
            .find_map(|(source, url)| Some((source, url?)));
        match found {
            Some((source_name, url)) => {
                if let Some(switch) = variant.switch() {
                    return Err(ConfigError::EndpointVariant {
                        source_name,
                        switch,
                    });
                }
                Self::given(source_name, &url)
            }
            None => Self::of_region(service, region, variant),
        }
    }

    /// That of a URL, which `source_name` gave.
    pub(crate) fn given(source_name: &'static str, url: &str) -> Result<Self, ConfigError> {
        Self::parse(url).map_err(|reason| ConfigError::BadEndpoint {
            source_name,
            url: without_secret(url),
            reason,
        })
    }

    /// The region's own.
    pub(crate) fn of_region(
        service: Service,
        region: &str,
        variant: Variant,
    ) -> Result<Self, ConfigError> {
        let host = host(service, region, variant);
        Self::parse(&format!("https://{host}")).map_err(|_| ConfigError::BadRegion {
            region: region.to_owned(),
        })
    }

    /// Reads `scheme://host[:port]`; a trailing slash is allowed, a path is not.
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url
            .trim()
            .parse()
            .map_err(|e: http::uri::InvalidUri| e.to_string())?;
        let parts = uri.into_parts();
        let scheme = match parts.scheme {
            Some(s) if s == Scheme::HTTP || s == Scheme::HTTPS => s,
            Some(s) => return Err(format!("scheme {s} is neither http nor https")),
            None => return Err("no scheme (http:// or https://)".to_owned()),
        };
        let authority = parts.authority.ok_or("no host")?;
        if authority.host().is_empty() {
            return Err("no host".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("user and password do not belong in an endpoint".to_owned());
        }
        match parts
            .path_and_query
            .as_ref()
            .map(http::uri::PathAndQuery::as_str)
        {
            None | Some("" | "/") => Ok(Self {
                authority: normal(&scheme, authority),
                scheme,
            }),
            Some(path) => Err(format!("a path ({path}) does not belong in an endpoint")),
        }
    }

    /// `scheme://authority/`.
    pub(crate) fn url(&self) -> String {
        format!("{self}/")
    }

    /// What the `Host` header says.
    pub(crate) fn host(&self) -> &str {
        self.authority.as_str()
    }
}

/// As HTTP clients write it: in small letters, and without a port that is the scheme's own. What is
/// signed is then what a server sees, whether as `Host` or as the authority of HTTP/2.
fn normal(scheme: &Scheme, authority: Authority) -> Authority {
    let own = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let host = match authority.port_u16() {
        Some(port) if port == own => authority.host(),
        _ => authority.as_str(),
    };
    host.to_ascii_lowercase().parse().unwrap_or(authority)
}

/// The URL without what stands before `@`, which may be a password.
pub(crate) fn without_secret(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => url.to_owned(),
    }
}

/// The service's host name in a region, by the rules that the AWS SDKs have for each service.
fn host(service: Service, region: &str, variant: Variant) -> String {
    let name = service.host_name();
    let partition = partition(region);
    match (variant.fips, variant.dual_stack) {
        (false, false) => format!("{name}.{region}.{}", partition.suffix),
        (false, true) => format!("{name}.{region}.{}", partition.dual_stack),
        // There the plain names are validated.
        (true, false) if region.starts_with("us-gov-") => {
            format!("{name}.{region}.{}", partition.suffix)
        }
        (true, false) => format!("{name}-fips.{region}.{}", partition.suffix),
        (true, true) => format!("{name}-fips.{region}.{}", partition.dual_stack),
    }
}

/// The DNS suffixes of a partition.
struct Partition {
    prefix: &'static str,
    suffix: &'static str,
    dual_stack: &'static str,
}

/// The partition of a region.
fn partition(region: &str) -> &'static Partition {
    const COMMERCIAL: Partition = Partition {
        prefix: "",
        suffix: "amazonaws.com",
        dual_stack: "api.aws",
    };
    const OTHERS: &[Partition] = &[
        Partition {
            prefix: "cn-",
            suffix: "amazonaws.com.cn",
            dual_stack: "api.amazonwebservices.com.cn",
        },
        Partition {
            prefix: "us-iso-",
            suffix: "c2s.ic.gov",
            dual_stack: "api.aws.ic.gov",
        },
        Partition {
            prefix: "us-isob-",
            suffix: "sc2s.sgov.gov",
            dual_stack: "api.aws.scloud",
        },
        Partition {
            prefix: "eu-isoe-",
            suffix: "cloud.adc-e.uk",
            dual_stack: "api.cloud-aws.adc-e.uk",
        },
        Partition {
            prefix: "us-isof-",
            suffix: "csp.hci.ic.gov",
            dual_stack: "api.aws.hci.ic.gov",
        },
        Partition {
            prefix: "eusc-",
            suffix: "amazonaws.eu",
            dual_stack: "api.amazonwebservices.eu",
        },
    ];
    let mut others = OTHERS.iter();
    others
        .find(|partition| region.starts_with(partition.prefix))
        .unwrap_or(&COMMERCIAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(
        given: [Option<&str>; 2],
        env: &[(&str, &str)],
        region: &str,
    ) -> Result<String, String> {
        let env = Environment::fixed(env.iter().copied());
        let given = given.map(|url| ("given", url.map(str::to_owned)));
        let (variant, nobody) = (Variant::default(), Profile::default());
        Endpoint::find(Service::Kinesis, region, variant, given, &env, &nobody)
            .map(|e| e.to_string())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_first_place_that_names_one_counts() {
        let env = [
            ("AWS_ENDPOINT_URL", "http://all:1"),
            ("AWS_ENDPOINT_URL_KINESIS", "http://kinesis:2"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb:3"),
        ];
        let r = "eu-west-1";
        assert_eq!(
            find([Some("http://a"), Some("http://b")], &env, r).unwrap(),
            "http://a"
        );
        assert_eq!(
            find([None, Some("http://b:9/")], &env, r).unwrap(),
            "http://b:9"
        );
        assert_eq!(find([None, None], &env, r).unwrap(), "http://kinesis:2");
        assert_eq!(find([None, None], &env[..1], r).unwrap(), "http://all:1");
        assert_eq!(
            find([None, None], &[], r).unwrap(),
            "https://kinesis.eu-west-1.amazonaws.com"
        );
        for (given, normal) in [
            ("https://Host.example:443", "https://host.example"),
            ("http://h:80/", "http://h"),
            ("https://h:80", "https://h:80"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(find([Some(given), None], &[], r).unwrap(), normal);
        }
        let cn = find([None, None], &[], "cn-north-1").unwrap();
        assert_eq!(cn, "https://kinesis.cn-north-1.amazonaws.com.cn");
    }

    /// As the rules say that botocore 1.44.5 has for each service.
    #[test]
    fn each_partition_has_its_names() {
        let name = |service, region: &str, fips, dual_stack| {
            let variant = Variant { fips, dual_stack };
            let (env, nobody) = (Environment::fixed([("", "")]), Profile::default());
            let given = [("", None), ("", None)];
            let found = Endpoint::find(service, region, variant, given, &env, &nobody);
            found.unwrap().host().to_owned()
        };
        use Service::{CloudWatch, DynamoDb, Kinesis, Sso, SsoOidc, Sts};
        for (service, region, fips, dual_stack, expected) in [
            (
                Kinesis,
                "us-east-1",
                true,
                false,
                "kinesis-fips.us-east-1.amazonaws.com",
            ),
            (
                Kinesis,
                "us-east-1",
                false,
                true,
                "kinesis.us-east-1.api.aws",
            ),
            (
                Kinesis,
                "us-east-1",
                true,
                true,
                "kinesis-fips.us-east-1.api.aws",
            ),
            (
                Kinesis,
                "us-gov-west-1",
                false,
                false,
                "kinesis.us-gov-west-1.amazonaws.com",
            ),
            (
                Kinesis,
                "us-gov-west-1",
                true,
                false,
                "kinesis.us-gov-west-1.amazonaws.com",
            ),
            (
                Kinesis,
                "us-gov-east-1",
                false,
                true,
                "kinesis.us-gov-east-1.api.aws",
            ),
            (
                Kinesis,
                "us-gov-east-1",
                true,
                true,
                "kinesis-fips.us-gov-east-1.api.aws",
            ),
            (
                Kinesis,
                "cn-north-1",
                true,
                false,
                "kinesis-fips.cn-north-1.amazonaws.com.cn",
            ),
            (
                Kinesis,
                "cn-north-1",
                false,
                true,
                "kinesis.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                Kinesis,
                "us-iso-east-1",
                false,
                true,
                "kinesis.us-iso-east-1.api.aws.ic.gov",
            ),
            (
                Kinesis,
                "us-isob-east-1",
                false,
                false,
                "kinesis.us-isob-east-1.sc2s.sgov.gov",
            ),
            (
                Kinesis,
                "us-isob-east-1",
                false,
                true,
                "kinesis.us-isob-east-1.api.aws.scloud",
            ),
            (
                Kinesis,
                "us-isof-south-1",
                true,
                false,
                "kinesis-fips.us-isof-south-1.csp.hci.ic.gov",
            ),
            (
                Kinesis,
                "eu-isoe-west-1",
                false,
                true,
                "kinesis.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
            ),
            (
                Kinesis,
                "eusc-de-east-1",
                false,
                false,
                "kinesis.eusc-de-east-1.amazonaws.eu",
            ),
            (
                Kinesis,
                "eusc-de-east-1",
                false,
                true,
                "kinesis.eusc-de-east-1.api.amazonwebservices.eu",
            ),
            (
                DynamoDb,
                "eu-west-1",
                true,
                false,
                "dynamodb-fips.eu-west-1.amazonaws.com",
            ),
            (
                DynamoDb,
                "us-gov-west-1",
                true,
                false,
                "dynamodb.us-gov-west-1.amazonaws.com",
            ),
            (
                CloudWatch,
                "cn-north-1",
                false,
                false,
                "monitoring.cn-north-1.amazonaws.com.cn",
            ),
            (
                CloudWatch,
                "us-east-1",
                true,
                false,
                "monitoring-fips.us-east-1.amazonaws.com",
            ),
            (
                CloudWatch,
                "eu-west-1",
                false,
                true,
                "monitoring.eu-west-1.api.aws",
            ),
            (
                CloudWatch,
                "us-gov-west-1",
                true,
                false,
                "monitoring.us-gov-west-1.amazonaws.com",
            ),
            (
                Sts,
                "eu-west-1",
                false,
                false,
                "sts.eu-west-1.amazonaws.com",
            ),
            (
                Sts,
                "us-gov-west-1",
                true,
                false,
                "sts.us-gov-west-1.amazonaws.com",
            ),
            (
                Sso,
                "eu-west-1",
                true,
                true,
                "portal.sso-fips.eu-west-1.api.aws",
            ),
            (
                Sso,
                "cn-north-1",
                false,
                false,
                "portal.sso.cn-north-1.amazonaws.com.cn",
            ),
            (
                SsoOidc,
                "eu-west-1",
                true,
                true,
                "oidc-fips.eu-west-1.api.aws",
            ),
            (
                SsoOidc,
                "cn-north-1",
                false,
                false,
                "oidc.cn-north-1.amazonaws.com.cn",
            ),
            (
                SsoOidc,
                "us-gov-west-1",
                true,
                false,
                "oidc.us-gov-west-1.amazonaws.com",
            ),
        ] {
            let found = name(service, region, fips, dual_stack);
            assert_eq!(found, expected, "{service:?} {region} {fips} {dual_stack}");
        }
    }

    #[test]
    fn a_url_has_one_name_alone() {
        let (env, nobody) = (Environment::fixed([("", "")]), Profile::default());
        for (fips, dual_stack, word) in [(true, false, "use_fips"), (false, true, "use_dual_stack")]
        {
            let variant = Variant { fips, dual_stack };
            let given = [("endpoint_url", Some("http://x".to_owned())), ("", None)];
            let found =
                Endpoint::find(Service::Kinesis, "eu-west-1", variant, given, &env, &nobody);
            let error = found.unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("endpoint_url"),
                "{error}"
            );
        }
    }

    #[test]
    fn bad_urls_are_named() {
        for (url, why) in [
            ("localhost:4567", "no scheme"),
            ("127.0.0.1", "no scheme"),
            ("ftp://host", "neither http nor https"),
            ("http://host/path", "path"),
            ("http://user:word@host", "user and password"),
            ("http://", ""),
        ] {
            let error = find([Some(url), None], &[], "eu-west-1").unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
            assert!(error.contains("http://127.0.0.1:4567"), "{url}: {error}");
        }
        for url in ["http://user:word@host", "word@host", "http://a:word@b:x"] {
            let error = find([Some(url), None], &[], "eu-west-1").unwrap_err();
            assert!(!error.contains("word@"), "{error}");
        }
    }
}
