//! Which server, and how to reach it. Secrets stay in here: neither errors nor `Debug` show them.

use std::{env, error::Error, fmt, io, iter::successors};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr, rustls};
use serde::{Deserialize, Serialize, Serializer};

use crate::tls::Tls;

/// Where a server is expected if nobody says anything else.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// A server, or several of one cluster, separated by commas. Without a URL it is that of `NATS_URL`. Names and passwords are read and never
/// written.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Server(pub(crate) Option<String>);

impl Server {
    fn url(&self) -> String {
        self.0.clone().or_else(|| env::var("NATS_URL").ok()).unwrap_or_else(|| DEFAULT_URL.to_owned())
    }

    /// Connects once. A connection that is lost later is restored by the client, however long that takes.
    pub(crate) async fn connect(&self, tls: &Tls, name: &str) -> Result<Client, ConnectError> {
        // An error says that the program has chosen its provider of TLS, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = self.url();
        let wrong = |error: &dyn fmt::Display| ConnectError::new(&url, true, error);
        let addresses = addresses(&url).map_err(|error| wrong(&error))?;
        let options = tls.apply(ConnectOptions::new().name(name)).map_err(|error| wrong(&error))?;
        let options = sign_in(options).await.map_err(|error| wrong(&error))?;
        options.connect(addresses).await.map_err(|error| ConnectError::new(&url, is_lasting(&error), &error))
    }
}

/// Whether trying again never helps: the server refuses who we are, or one of both refuses the other's certificate.
fn is_lasting(error: &async_nats::ConnectError) -> bool {
    let of_tls = |error: &(dyn Error + 'static)| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
    };
    matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Tls)
        || successors(error.source(), |error| (*error).source()).any(of_tls)
}

/// Takes URLs apart.
fn addresses(urls: &str) -> io::Result<Vec<ServerAddr>> {
    // A URL would end its names and passwords there, and take the rest for a path.
    let is_cut = |one: &str| sign_in_of(one).is_some_and(|sign_in| sign_in.contains(['/', '?', '#']));
    if urls.split(',').any(is_cut) {
        let what = "the special characters of a name or a password have to be written as %2F and the like";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    urls.split(',').map(|one| one.trim().parse()).collect()
}

/// What a URL says about who we are: all before its last `@`.
fn sign_in_of(url: &str) -> Option<&str> {
    let (before, _) = url.rsplit_once('@')?;
    Some(before.split_once("://").map_or(before, |(_, sign_in)| sign_in))
}

/// What the environment says about who we are; a name in the URL outranks it.
async fn sign_in(options: ConnectOptions) -> io::Result<ConnectOptions> {
    #[cfg(feature = "credentials")]
    if let Ok(path) = env::var("NATS_CREDS") {
        return options.credentials_file(path).await;
    }
    std::future::ready(()).await;
    Ok(match (env::var("NATS_USER"), env::var("NATS_PASSWORD"), env::var("NATS_TOKEN")) {
        (Ok(user), Ok(password), _) => options.user_and_password(user, password),
        (_, _, Ok(token)) => options.token(token),
        _ => options,
    })
}

/// A server that cannot be reached.
#[derive(Debug)]
pub(crate) struct ConnectError {
    message: String,
    /// Whether it will be the same in the next attempt.
    pub(crate) is_lasting: bool,
}

impl ConnectError {
    fn new(url: &str, is_lasting: bool, error: &dyn fmt::Display) -> Self {
        let message = format!(
            "the NATS server {} cannot be reached; is it running, and is `connect` or NATS_URL right? {error}",
            without_secrets(url)
        );
        Self { message, is_lasting }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The URLs without names, passwords and tokens.
fn without_secrets(urls: &str) -> String {
    let mut servers: Vec<String> = Vec::new();
    for piece in urls.split(',') {
        match servers.last_mut() {
            // A name without a scheme: it may be the rest of a password that has a comma.
            Some(before) if piece.contains('@') && !piece.contains("://") => before.push_str(piece),
            _ => servers.push(piece.trim().to_owned()),
        }
    }
    let cut = |one: &str| match one.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => format!("{scheme}://{host}"),
            _ => host.to_owned(),
        },
        None => one.to_owned(),
    };
    // What is no address may be a password that stands in its place.
    let hide = |one: &String| Some(cut(one)).filter(|one| one.parse::<ServerAddr>().is_ok());
    servers.iter().map(|one| hide(one).unwrap_or_else(|| "***".to_owned())).collect::<Vec<_>>().join(",")
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_deref().map(without_secrets).serialize(serializer)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.url()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Server, without_secrets};

    #[test]
    fn names_and_passwords_are_never_shown() {
        assert_eq!(without_secrets("nats://me:p@ss@one:4222, tls://token@two"), "nats://one:4222,tls://two");
        assert_eq!(without_secrets("me:secret@one"), "one");
        let server = Server(Some("nats://me:secret@one".to_owned()));
        assert_eq!(format!("{server:?}"), "nats://one");
        assert_eq!(serde_json::to_string(&server).unwrap(), "\"nats://one\"");
    }
}
