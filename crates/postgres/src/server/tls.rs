//! Encryption by rustls.

use std::{fmt::Display, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::security::{ClientCertificate, Mode, Security};
use crate::fault::Fault;

pub(super) fn connector(security: &Security) -> Result<MakeRustlsConnect, Fault> {
    let provider = Arc::new(ring::default_provider());
    let check =
        Check { trusted: trusted(security)?, host: security.mode == Mode::VerifyFull, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Fault::fatal(format!("TLS cannot be set up: {error}")))?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(check));
    let config = match &security.client {
        None => config.with_no_client_auth(),
        Some(ClientCertificate { certificate, key: path }) => {
            let key = PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable("the key", path, &error))?;
            let shown = certificates(certificate, "the client's certificate")?;
            config.with_client_auth_cert(shown, key).map_err(|error| unreadable("the key", path, &error))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// What a certificate is checked against; `None` if it is not checked, as by `psql`: `require` alone keeps out who listens, not who
/// poses as the server.
fn trusted(security: &Security) -> Result<Option<Trusted>, Fault> {
    let certificates = match &security.roots {
        Some(path) => certificates(path, "the trusted certificates")?,
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

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(what, path, &error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| unreadable(what, path, &error))?;
    if found.is_empty() {
        return Err(unreadable(what, path, &"it holds none in PEM"));
    }
    Ok(found)
}

/// Of a file it is said where it is, and never what is in it.
fn unreadable(what: &str, path: &Path, why: &dyn Display) -> Fault {
    Fault::fatal(format!("{what} in {} cannot be read: {why}", path.display()))
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
