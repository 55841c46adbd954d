//! Which server, and how to reach it. Secrets stay in here: neither errors nor `Debug` show them.

use std::{env, fmt};

use async_nats::{Client, ConnectOptions, ServerAddr};
use serde::{Deserialize, Serialize, Serializer};

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
    pub(crate) async fn connect(&self, name: &str) -> Result<Client, ConnectError> {
        let url = self.url();
        let addresses = addresses(&url).map_err(|error| ConnectError::new(&url, &error))?;
        let options =
            sign_in(ConnectOptions::new().name(name)).await.map_err(|error| ConnectError::new(&url, &error))?;
        options.connect(addresses).await.map_err(|error| ConnectError::new(&url, &error))
    }
}

/// Takes URLs apart.
fn addresses(urls: &str) -> std::io::Result<Vec<ServerAddr>> {
    // A URL would end its names and passwords there, and take the rest for a path.
    let is_cut = |one: &str| sign_in_of(one).is_some_and(|sign_in| sign_in.contains(['/', '?', '#']));
    if urls.split(',').any(is_cut) {
        let what = "the special characters of a name or a password have to be written as %2F and the like";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, what));
    }
    urls.split(',').map(|one| one.trim().parse()).collect()
}

/// What a URL says about who we are: all before its last `@`.
fn sign_in_of(url: &str) -> Option<&str> {
    let (before, _) = url.rsplit_once('@')?;
    Some(before.split_once("://").map_or(before, |(_, sign_in)| sign_in))
}

/// What the environment says about who we are; a name in the URL outranks it.
async fn sign_in(options: ConnectOptions) -> std::io::Result<ConnectOptions> {
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
pub(crate) struct ConnectError(String);

impl ConnectError {
    fn new(url: &str, error: &dyn fmt::Display) -> Self {
        Self(format!(
            "the NATS server {} cannot be reached; is it running, and is `connect` or NATS_URL right? {error}",
            without_secrets(url)
        ))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
        assert_eq!(format!("{:?}", Server(Some("nats://me:secret@one".to_owned()))), "nats://one");
    }
}
