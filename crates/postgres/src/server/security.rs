//! How a connection is encrypted, and who shows which certificate: `sslmode`, `sslrootcert`, `sslcert` and `sslkey`, as `psql` knows them.

use std::{borrow::Cow, env, path::PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::{Config, config::SslMode};

use crate::fault::Fault;

/// What a connection must have, from the least on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Disable,
    /// Encrypted, if the server can.
    Prefer,
    Require,
    /// Encrypted, and the certificate is one of a known authority.
    VerifyCa,
    /// And it is that of the host.
    VerifyFull,
}

impl Mode {
    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "disable" => Ok(Self::Disable),
            // Where encryption is allowed it is welcome.
            "allow" | "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(Fault::fatal(format!(
                "`sslmode` must be disable, allow, prefer, require, verify-ca or verify-full (got `{text}`)"
            ))),
        }
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Security {
    pub(super) mode: Mode,
    /// The certificates that are trusted, in PEM. Without them, those of the system.
    pub(super) roots: Option<PathBuf>,
    /// What is shown to the server.
    pub(super) client: Option<ClientCertificate>,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl ClientCertificate {
    fn of(certificate: Option<String>, key: Option<String>) -> Result<Option<Self>, Fault> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate: certificate.into(), key: key.into() })),
            (None, None) => Ok(None),
            (Some(certificate), None) => {
                Err(Fault::fatal(format!("`sslcert` is {certificate}, and `sslkey` is missing")))
            }
            (None, Some(key)) => Err(Fault::fatal(format!("`sslkey` is {key}, and `sslcert` is missing"))),
        }
    }
}

/// What a connection string says of it, and the rest of the string: the driver does not know all of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Given {
    pub(super) fn take_from(text: &str) -> (Self, String) {
        let mut given = Self::default();
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let rest = match text.split_once('?').filter(|_| is_url) {
            Some((place, query)) => {
                let rest: Vec<_> = query.split('&').filter(|pair| !given.takes(pair, decoded)).collect();
                format!("{place}?{}", rest.join("&"))
            }
            None if is_url => text.to_owned(),
            None => words(text).into_iter().filter(|word| !given.takes(word, unquoted)).collect::<Vec<_>>().join(" "),
        };
        (given, rest)
    }

    fn takes(&mut self, pair: &str, read: fn(&str) -> Cow<'_, str>) -> bool {
        let place = match pair.split_once('=') {
            Some(("sslmode", _)) => &mut self.mode,
            Some(("sslrootcert", _)) => &mut self.roots,
            Some(("sslcert", _)) => &mut self.certificate,
            Some(("sslkey", _)) => &mut self.key,
            _ => return false,
        };
        *place = pair.split_once('=').map(|(_, value)| read(value).into_owned());
        true
    }

    /// With what the environment says: `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT` and `PGSSLKEY`. Tells the driver.
    pub(super) fn apply(self, config: &mut Config) -> Result<Security, Fault> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let mode = match (self.mode, config.get_ssl_mode()) {
            (Some(mode), _) => Mode::parse(&mode)?,
            // With blanks around its `=`, the driver has read it.
            (None, SslMode::Require) => Mode::Require,
            (None, SslMode::Disable) => Mode::Disable,
            (None, _) => set("PGSSLMODE").map_or(Ok(Mode::Prefer), |mode| Mode::parse(&mode))?,
        };
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let roots = self.roots.or_else(|| set("PGSSLROOTCERT")).filter(|roots| roots != "system");
        // A certificate and its key come from one place.
        let client = match (self.certificate, self.key) {
            (None, None) => ClientCertificate::of(set("PGSSLCERT"), set("PGSSLKEY"))?,
            (certificate, key) => ClientCertificate::of(certificate, key)?,
        };
        Ok(Security { mode, roots: roots.map(PathBuf::from), client })
    }
}

fn decoded(value: &str) -> Cow<'_, str> {
    percent_decode_str(value).decode_utf8_lossy()
}

fn unquoted(value: &str) -> Cow<'_, str> {
    let inner = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
    inner.replace("\\'", "'").replace("\\\\", "\\").into()
}

/// The words of `host=localhost password='one two'`.
fn words(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let is_between = |character: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match character {
            _ if was_escaped => false,
            '\\' => {
                escaped = true;
                false
            }
            '\'' => {
                quoted = !quoted;
                false
            }
            _ => !quoted && character.is_whitespace(),
        }
    };
    text.split(is_between).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_does_not_know_is_taken_out_of_a_connection_string() {
        let taken = |text: &str| {
            let (given, rest) = Given::take_from(text);
            (given.mode.unwrap_or_default(), given.roots.unwrap_or_default(), rest)
        };
        let own = |mode: &str, roots: &str, rest: &str| (mode.to_owned(), roots.to_owned(), rest.to_owned());
        let url = "postgres://me:a%20b@host/db?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fa%20b.pem";
        let rest = "postgres://me:a%20b@host/db?connect_timeout=3";
        assert_eq!(taken(url), own("verify-full", "/a b.pem", rest));
        assert_eq!(taken("postgres://host/sslmode=x"), own("", "", "postgres://host/sslmode=x"));
        let words = r"host=h password='it\'s sslmode=disable' sslmode=require sslrootcert='/a b.pem' user=me";
        let rest = r"host=h password='it\'s sslmode=disable' user=me";
        assert_eq!(taken(words), own("require", "/a b.pem", rest));
        assert!(rest.parse::<Config>().is_ok());
        assert_eq!(taken("postgres://host/db?sslmode=disable"), own("disable", "", "postgres://host/db?"));
        assert!("postgres://host/db?".parse::<Config>().is_ok());
    }

    #[test]
    fn what_is_asked_for_is_never_taken_for_less() {
        for text in ["host=h sslmode = require", "host=h sslmode=require", "postgres://h/d?sslmode=require"] {
            let (given, rest) = Given::take_from(text);
            let mut config = rest.parse().unwrap();
            assert_eq!(given.apply(&mut config).unwrap().mode, Mode::Require, "{text}");
            assert_eq!(config.get_ssl_mode(), SslMode::Require, "{text}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused_by_name() {
        let applied = |query: &str| {
            let (given, rest) = Given::take_from(&format!("postgres://host/db?{query}"));
            given.apply(&mut rest.parse().unwrap()).map(|security| security.client).map_err(|fault| fault.message)
        };
        let both = ClientCertificate { certificate: "/me.crt".into(), key: "/me.key".into() };
        assert_eq!(applied("sslcert=/me.crt&sslkey=/me.key"), Ok(Some(both)));
        assert_eq!(applied("sslcert=/me.crt"), Err("`sslcert` is /me.crt, and `sslkey` is missing".to_owned()));
        assert_eq!(applied("sslkey=/me.key"), Err("`sslkey` is /me.key, and `sslcert` is missing".to_owned()));
    }

    #[test]
    fn an_unknown_mode_is_refused_by_name() {
        let (given, rest) = Given::take_from("postgres://host/db?sslmode=often");
        let refused = given.apply(&mut rest.parse().unwrap()).unwrap_err();
        assert!(refused.message.contains("got `often`"), "{}", refused.message);
    }
}
