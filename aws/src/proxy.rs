//! HTTP proxies: `https` goes through them by `CONNECT`, so that they see nothing but host and port;
//! `http` is forwarded by them.

use crate::config::ConfigError;
use crate::endpoint::without_secret;
use crate::environment::Environment;
use crate::transport::TransportError;
use std::fmt;

/// What no proxy is asked for: this machine, and the addresses at which instances and containers get
/// their credentials.
const NEAR: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32";

/// A proxy. Neither `Debug` nor any error shows its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// May have user and password in it.
    url: String,
    login: Option<(String, String)>,
}

/// A text that is no proxy's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no proxy: {reason}; e.g. http://proxy.example:3128")]
pub struct BadProxy {
    /// As given, without user and password.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Proxy {
    /// A proxy by its URL, `http://host:port`, `https://host:port` (TLS to the proxy itself), or
    /// `host:port`, which is taken for the first. User and password may stand in it, with percent
    /// encoding.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn new(url: impl AsRef<str>) -> Result<Self, BadProxy> {
        let url = url.as_ref().trim();
        let bad = |reason: String| BadProxy {
            url: without_secret(url),
            reason,
        };
        let whole = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let uri: http::Uri = whole
            .parse()
            .map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => {}
            (Some("http" | "https"), _) => return Err(bad("no host".to_owned())),
            (scheme, _) => {
                let scheme = scheme.unwrap_or_default();
                return Err(bad(format!("scheme {scheme} is neither http nor https")));
            }
        }
        // What the HTTP client does not take shows now, and not at the first request.
        reqwest::Proxy::all(&whole).map_err(|e| bad(e.without_url().to_string()))?;
        Ok(Self {
            url: whole,
            login: None,
        })
    }

    /// Says who asks, to a proxy that wants to know (`Basic`).
    #[must_use]
    pub fn with_login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &without_secret(&self.url))
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}

/// Which requests go through which proxy. Default: none through any.
///
/// Requests to this machine, and those to the addresses at which instances and containers get their
/// credentials (`169.254.0.0/16`, `fd00:ec2::/32`), never go through one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// For `https`.
    pub https: Option<Proxy>,
    /// For `http`.
    pub http: Option<Proxy>,
    /// Hosts that are called directly, as in `NO_PROXY`: names, which stand for what is below them too,
    /// addresses, networks such as `10.0.0.0/8`, or `*` for all; separated by commas.
    pub except: String,
}

impl Proxies {
    /// Everything through one proxy.
    #[must_use]
    pub fn all(proxy: Proxy) -> Self {
        Self {
            https: Some(proxy.clone()),
            http: Some(proxy),
            except: String::new(),
        }
    }

    /// As the environment says: `https_proxy` or `HTTPS_PROXY`, `http_proxy` or `HTTP_PROXY`, for what
    /// these do not name `all_proxy` or `ALL_PROXY`, and `no_proxy` or `NO_PROXY`. As with curl the
    /// small letters go before the large ones. `HTTP_PROXY` is not read where `REQUEST_METHOD` is
    /// set: in a CGI program it comes from the caller's headers.
    ///
    /// # Errors
    /// When a variable is no proxy's URL.
    pub fn from_environment(env: &Environment) -> Result<Self, ConfigError> {
        let first = |names: &[&'static str]| {
            let found = names.iter().find_map(|name| Some((*name, env.get(name)?)));
            let proxy = found.map(|(source_name, url)| {
                Proxy::new(url).map_err(|source| ConfigError::BadProxy {
                    source_name,
                    source,
                })
            });
            proxy.transpose()
        };
        let http: &[&'static str] = match env.get("REQUEST_METHOD") {
            Some(_) => &["http_proxy", "all_proxy", "ALL_PROXY"],
            None => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        Ok(Self {
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            http: first(http)?,
            except: Self::exceptions(env),
        })
    }

    /// `no_proxy` or `NO_PROXY`.
    pub(crate) fn exceptions(env: &Environment) -> String {
        let names = ["no_proxy", "NO_PROXY"];
        names
            .iter()
            .find_map(|name| env.get(name))
            .unwrap_or_default()
    }

    /// For the HTTP client.
    pub(crate) fn of_client(&self) -> Result<Vec<reqwest::Proxy>, TransportError> {
        let except = reqwest::NoProxy::from_string(&format!("{NEAR},{}", self.except));
        let both = [
            (&self.https, reqwest::Proxy::https as fn(String) -> _),
            (&self.http, reqwest::Proxy::http as fn(String) -> _),
        ];
        let given = both
            .into_iter()
            .filter_map(|(proxy, make)| Some((proxy.as_ref()?, make)));
        given
            .map(|(proxy, make)| {
                let made: reqwest::Result<reqwest::Proxy> = make(proxy.url.clone());
                let made = made.map_err(|e| TransportError::Connect(Box::new(e.without_url())))?;
                let made = made.no_proxy(except.clone());
                Ok(match &proxy.login {
                    Some((user, password)) => made.basic_auth(user, password),
                    None => made,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let proxies = [
            Proxy::new("http://me:hush@proxy:1").unwrap(),
            Proxy::new("proxy:1").unwrap().with_login("me", "hush"),
        ];
        for proxy in proxies {
            let shown = format!("{:?}", Proxies::all(proxy));
            assert!(
                shown.contains("proxy:1") && !shown.contains("hush"),
                "{shown}"
            );
        }
        for url in [
            "socks5://me:hush@proxy",
            "http://me:hush@",
            "me:hush@",
            "http://me:hush@p:x",
        ] {
            let error = format!("{0} {0:?}", Proxy::new(url).unwrap_err());
            assert!(!error.contains("hush") && error.contains("3128"), "{error}");
        }
    }

    #[test]
    fn the_environments_variables_and_their_order() {
        let found = |vars: &[(&str, &str)]| {
            let env = Environment::fixed(vars.iter().copied());
            let proxies = Proxies::from_environment(&env).unwrap();
            let url = |proxy: Option<Proxy>| proxy.map(|p| p.url).unwrap_or_default();
            (url(proxies.https), url(proxies.http), proxies.except)
        };
        let mut vars = vec![
            ("https_proxy", "http://a"),
            ("HTTPS_PROXY", "http://b"),
            ("http_proxy", "http://c"),
            ("HTTP_PROXY", "http://d"),
            ("all_proxy", "http://e"),
            ("ALL_PROXY", "http://f"),
            ("no_proxy", "g"),
            ("NO_PROXY", "h"),
        ];
        let texts = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(found(&vars), texts("http://a", "http://c", "g"));
        vars.retain(|(name, _)| !["https_proxy", "http_proxy", "no_proxy"].contains(name));
        assert_eq!(found(&vars), texts("http://b", "http://d", "h"));
        vars.push(("REQUEST_METHOD", "GET"));
        assert_eq!(found(&vars), texts("http://b", "http://e", "h"));
        vars.retain(|(name, _)| *name == "ALL_PROXY");
        assert_eq!(found(&vars), texts("http://f", "http://f", ""));
        assert_eq!(found(&[]), texts("", "", ""));
        let bad = Environment::fixed([("HTTPS_PROXY", "socks5://me:hush@x")]);
        let error = Proxies::from_environment(&bad).unwrap_err().to_string();
        assert!(
            error.contains("HTTPS_PROXY") && !error.contains("hush"),
            "{error}"
        );
    }
}
