//! Encryption by rustls.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::security::{Mode, Security};
use crate::fault::Fault;

pub(super) fn connector(security: &Security) -> Result<MakeRustlsConnect, Fault> {
    let provider = Arc::new(ring::default_provider());
    let check =
        Check { trusted: trusted(security)?, host: security.mode == Mode::VerifyFull, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Fault::fatal(format!("TLS cannot be set up: {error}")))?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(check)).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// What a certificate is checked against; `None` if it is not checked, as by `psql`: `require` alone keeps out who listens, not who
/// poses as the server.
fn trusted(security: &Security) -> Result<Option<Trusted>, Fault> {
    let certificates = match &security.roots {
        Some(path) => from_file(path)?,
        None if security.mode >= Mode::VerifyCa => rustls_native_certs::load_native_certs().certs,
        None => return Ok(None),
    };
    let mut roots = RootCertStore::empty();
    // The system may have some that this crate cannot read.
    roots.add_parsable_certificates(certificates.iter().cloned());
    if roots.is_empty() {
        return Err(Fault::fatal(
            "the system has no trusted certificates: name a file by `sslrootcert` or `PGSSLROOTCERT`",
        ));
    }
    Ok(Some(Trusted { roots, certificates }))
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let wrong =
        |why: String| Fault::fatal(format!("the trusted certificates in {} cannot be read: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("it holds none in PEM".to_owned()));
    }
    Ok(certificates)
}

#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

/// Checks what the server shows.
#[derive(Debug)]
struct Check {
    trusted: Option<Trusted>,
    /// Whether it must be the certificate of the host.
    host: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(certificate)?;
        // A server may show the trusted certificate itself: that is how PostgreSQL's manual makes one.
        if !trusted.certificates.iter().any(|own| own.as_ref() == certificate.as_ref()) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &trusted.roots, intermediates, now, algorithms)?;
        }
        if self.host {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
