//! Whom a connection in TLS trusts.

use crate::transport::TransportError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaFileError {
    /// The file cannot be read.
    #[error("CA file {} cannot be read: {source}; name a file of certificates in PEM", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no PEM, or has no certificate in it.
    #[error(
        "CA file {} holds no certificate: it has to be PEM, with a section that begins with \
         -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A section of the file is damaged.
    #[error("CA file {} is damaged PEM at certificate {number}: {source}; get the file anew", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Which of its certificates; the first is 1.
        number: usize,
        /// What is wrong with it.
        source: PemError,
    },
    /// A certificate is none.
    #[error(
        "CA file {}: certificate {number} cannot be trusted: {source}; take it out or replace it",
        path.display()
    )]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which of its certificates; the first is 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
}

/// Who encrypts: ring, or with the feature `aws-lc` aws-lc-rs.
fn provider() -> CryptoProvider {
    #[cfg(feature = "aws-lc")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc"))]
    rustls::crypto::ring::default_provider()
}

/// Settings of TLS connections: the provider, handed in and not installed, for a library sets no
/// global; as roots the CA file's certificates, else the platform's. Where the platform has none plain
/// HTTP still works, and HTTPS fails with the verifier's reason.
pub(crate) fn client_config(
    ca_file: Option<&Path>,
    verify_certificate: bool,
) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| TransportError::Connect(Box::new(e)))?;
    // A file that cannot be used is told of also where nothing is verified.
    let roots = ca_file
        .map(roots)
        .transpose()
        .map_err(|e| TransportError::CaFile(Box::new(e)))?;
    if !verify_certificate {
        tracing::warn!(
            "servers' certificates are not verified: whoever is on the way can read and change all \
             records and see who sends them"
        );
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth());
    }
    if let Some(roots) = roots {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    match builder.clone().with_platform_verifier() {
        Ok(verified) => Ok(verified.with_no_client_auth()),
        Err(error) => {
            tracing::warn!(%error, "no root certificates on this machine: https cannot be used");
            Ok(builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth())
        }
    }
}

/// The certificates of a PEM file; what else stands in it is passed over.
fn roots(path: &Path) -> Result<RootCertStore, CaFileError> {
    let text = std::fs::read(path).map_err(|source| CaFileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&text)) {
        let certificate = certificate.map_err(|source| CaFileError::Pem {
            path: path.to_owned(),
            number,
            source,
        })?;
        roots
            .add(certificate)
            .map_err(|source| CaFileError::Certificate {
                path: path.to_owned(),
                number,
                source,
            })?;
    }
    if roots.is_empty() {
        return Err(CaFileError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(roots)
}

/// Believes every certificate, but not that a server has the key of one that it has not.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
