//! How a connection is encrypted: the certificates that it trusts and shows, which are files of which nothing is kept here, and when the handshake
//! comes.

use std::{
    env,
    path::{Path, PathBuf},
};

use async_nats::{
    ConnectOptions,
    rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use serde::{Deserialize, Serialize};

/// Files in PEM, and a switch, under the names that they have in the configuration of `nats-server`. A file that is not set here is the
/// environment's, by the names of the command line tool `nats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "these are the server's names")]
pub(crate) struct Tls {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) handshake_first: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(set: &bool) -> bool {
    !set
}

impl Tls {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn set_client(&mut self, certificate: PathBuf, key: PathBuf) {
        (self.cert_file, self.key_file) = (Some(certificate), Some(key));
    }

    /// Connections with these files, and never without encryption if there are any. An error names the file.
    pub(crate) fn apply(&self, options: ConnectOptions) -> Result<ConnectOptions, String> {
        self.or_else(|name| env::var_os(name).map(PathBuf::from)).checked(options)
    }

    /// A certificate and its key belong together: both are set, or both come from elsewhere.
    fn or_else(&self, other: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let mut tls = self.clone();
        tls.ca_file = tls.ca_file.or_else(|| other("NATS_CA"));
        if tls.cert_file.is_none() && tls.key_file.is_none() {
            (tls.cert_file, tls.key_file) = (other("NATS_CERT"), other("NATS_KEY"));
        }
        tls
    }

    fn checked(self, options: ConnectOptions) -> Result<ConnectOptions, String> {
        if self.is_empty() {
            return Ok(options);
        }
        let mut options = options.require_tls(true);
        if self.handshake_first {
            options = options.tls_first();
        }
        if let Some(path) = self.ca_file {
            certificates(&path)?;
            options = options.add_root_certificates(path);
        }
        match (self.cert_file, self.key_file) {
            (Some(certificate), Some(key)) => {
                certificates(&certificate)?;
                PrivateKeyDer::from_pem_file(&key).map_err(|error| unreadable(&key, "no private key", &error))?;
                Ok(options.add_client_certificate(certificate, key))
            }
            (None, None) => Ok(options),
            (Some(path), None) => Err(format!("the certificate {} needs its key: set NATS_KEY", path.display())),
            (None, Some(path)) => Err(format!("the key {} needs its certificate: set NATS_CERT", path.display())),
        }
    }
}

/// The client takes a file without certificates for one with none to trust.
fn certificates(path: &Path) -> Result<(), String> {
    let what = "no certificate";
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, what, &error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(path, what, &error))?;
    if found.is_empty() { Err(unreadable(path, what, &pem::Error::NoItemsFound)) } else { Ok(()) }
}

/// Other errors than those of the file system might quote a line of it.
fn unreadable(path: &Path, what: &str, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("the file {} cannot be read: {error}", path.display()),
        _ => format!("the file {} holds {what} in PEM", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use async_nats::ConnectOptions;

    use super::Tls;

    fn environment(name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/{name}")))
    }

    #[test]
    fn what_is_not_set_comes_from_the_environment_but_a_certificate_never_gets_a_key_from_elsewhere() {
        let all = Tls::default().or_else(environment);
        let own = Tls { ca_file: Some("/ca".into()), cert_file: Some("/cert".into()), ..Tls::default() };
        assert_eq!(
            all,
            serde_json::from_str(r#"{"ca_file":"/NATS_CA","cert_file":"/NATS_CERT","key_file":"/NATS_KEY"}"#).unwrap()
        );
        assert_eq!(own.or_else(environment), own);
        assert!(own.checked(ConnectOptions::new()).unwrap_err().contains("/ca cannot be read"));
    }

    #[test]
    fn a_file_that_is_missing_or_holds_something_else_is_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let (path, nowhere) = (folder.path().join("file.pem"), folder.path().join("nowhere.pem"));
        std::fs::write(&path, "-----BEGIN s3cret\n").unwrap();
        let said = |tls: Tls| tls.checked(ConnectOptions::new()).unwrap_err();
        let missing = said(Tls { ca_file: Some(nowhere), ..Tls::default() });
        assert!(missing.contains("nowhere.pem cannot be read"), "{missing}");
        let wrong = said(Tls { ca_file: Some(path.clone()), ..Tls::default() });
        assert!(wrong.contains("file.pem holds no certificate in PEM") && !wrong.contains("s3cret"), "{wrong}");
        let alone = said(Tls { cert_file: Some(path), ..Tls::default() });
        assert!(alone.contains("needs its key"), "{alone}");
    }
}
