//! TLS: a certificate of our own made at the start, or one from files.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use std::fmt;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The own certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Made(#[source] rcgen::Error),
    /// The certificates could not be read.
    #[error("no certificate in PEM: {0}")]
    Certificate(String),
    /// The key could not be read.
    #[error("no private key in PEM: {0}")]
    Key(String),
    /// Certificate and key do not work together.
    #[error("certificate and key do not work: {0}")]
    Unusable(#[source] rustls::Error),
}

/// What an endpoint shows to clients that speak TLS: HTTP/2 and HTTP/1.1, by ALPN.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    ca: Option<Arc<str>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own", &self.ca.is_some())
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// A new certificate for host names and addresses, signed by a new authority that clients have to
    /// be given: [`Tls::ca_pem`]. Its keys live in this process only.
    ///
    /// # Errors
    /// [`TlsError::Made`] when a name is no host name.
    pub fn own<'n>(hosts: impl IntoIterator<Item = &'n str>) -> Result<Self, TlsError> {
        let named = |params: &mut CertificateParams, name: &str| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        };
        let authority_key = KeyPair::generate().map_err(TlsError::Made)?;
        let mut authority = CertificateParams::default();
        named(&mut authority, "kinesis-local authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = authority
            .self_signed(&authority_key)
            .map_err(TlsError::Made)?;
        let issuer = Issuer::new(authority, authority_key);
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let key = KeyPair::generate().map_err(TlsError::Made)?;
        let mut params = CertificateParams::new(hosts).map_err(TlsError::Made)?;
        named(&mut params, "kinesis-local");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer).map_err(TlsError::Made)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|e| TlsError::Key(e.to_owned()))?;
        Ok(Self {
            config: configure(vec![certificate.der().clone()], private)?,
            ca: Some(ca.pem().into()),
        })
    }

    /// A certificate (with what it is signed by, up to and without the root) and its private key, in
    /// PEM.
    ///
    /// # Errors
    /// When either cannot be read, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| TlsError::Certificate(e.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::Certificate("the file holds none".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Key(e.to_string()))?;
        Ok(Self {
            config: configure(chain, key)?,
            ca: None,
        })
    }

    /// The authority that clients have to trust, in PEM; none when the certificate came from outside.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

fn configure(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let own = Tls::own(["localhost", "127.0.0.1"]).unwrap();
        let ca = own.ca_pem().unwrap();
        assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
        let key = KeyPair::generate().unwrap().serialize_pem();
        let nothing = Tls::from_pem(b"nonsense", key.as_bytes()).unwrap_err();
        assert!(matches!(nothing, TlsError::Certificate(_)), "{nothing}");
        let no_key = Tls::from_pem(ca.as_bytes(), ca.as_bytes()).unwrap_err();
        assert!(matches!(no_key, TlsError::Key(_)), "{no_key}");
        let strangers = Tls::from_pem(ca.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(strangers, TlsError::Unusable(_)), "{strangers}");
    }
}
