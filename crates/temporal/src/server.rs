//! Connections to the server.

use std::{fmt, time::Duration};

use gethostname::gethostname;
use temporalio_client::{Client, ClientOptions, ClientTlsOptions, Connection, ConnectionOptions, TlsOptions};
use tokio::time::sleep;
use tracing::warn;
use url::Url;

use crate::error::ClusterError;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait between attempts.
const AGAIN: Duration = Duration::from_millis(500);

/// Where a Temporal server is and how to connect to it, for runners and workers alike. A URL alone is one, too.
///
/// ```
/// # use actix_batch_temporal::TemporalServer;
/// # let key = String::from("a key");
/// let cloud = TemporalServer::new("https://eu-west-1.aws.api.temporal.io:7233").namespace("flights.a1b2c").api_key(key);
/// ```
///
/// What is not here – a proxy, headers, payloads that are encrypted – can be set on a client of the SDK:
/// [`TemporalRunner::with_client`](crate::TemporalRunner::with_client), [`TemporalWorker::with_client`](crate::TemporalWorker::with_client).
#[derive(Clone)]
pub struct TemporalServer {
    url: String,
    namespace: String,
    api_key: Option<String>,
    root_certificate: Option<Vec<u8>>,
    server_name: Option<String>,
    client_certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl TemporalServer {
    /// A server at this URL: `http://127.0.0.1:7233`, or `https://…` with the feature `tls`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: "default".to_owned(),
            api_key: None,
            root_certificate: None,
            server_name: None,
            client_certificate: None,
        }
    }

    /// The namespace on the server. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// An API key, sent with each request; over `https://` only. It appears in no log and no error.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The certificate in PEM of the authority that the server's certificate must come from. Default: those that the machine trusts.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// The name in the server's certificate, if it is not the URL's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// This client's own certificate and its private key, both in PEM, for servers that ask for one (mTLS).
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Checked, and as the SDK wants them.
    fn options(&self) -> Result<ConnectionOptions, ClusterError> {
        let url = self.checked_url()?;
        if self.api_key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            let allowed = "one word of visible ASCII characters: does it end with a line end?".to_owned();
            return Err(ClusterError::Config { key: "api_key", value: "one that is not shown".to_owned(), allowed });
        }
        let tls = (url.scheme() == "https").then(|| self.tls());
        let options = ConnectionOptions::new(url).identity(identity()).connect_timeout(CONNECT).maybe_tls_options(tls);
        Ok(options.maybe_api_key(self.api_key.clone()).build())
    }

    fn checked_url(&self) -> Result<Url, ClusterError> {
        let is_secret = self.api_key.is_some() || self.root_certificate.is_some() || self.client_certificate.is_some();
        let url = Url::parse(&self.url).ok().filter(Url::has_host);
        let allowed = match url.as_ref().map(Url::scheme) {
            Some("https") if !cfg!(feature = "tls") => {
                "http://…; https:// needs the feature `tls` of actix-batch-temporal"
            }
            Some("http") if is_secret || self.server_name.is_some() => {
                "https://…, because an API key or a certificate is given: without TLS the key could be read, and no certificate is used"
            }
            Some("http" | "https") => "",
            _ => "a URL such as http://127.0.0.1:7233 or https://temporal.example.com:7233",
        };
        let refused = || ClusterError::Config { key: "url", value: self.url.clone(), allowed: allowed.to_owned() };
        url.filter(|_| allowed.is_empty()).ok_or_else(refused)
    }

    fn tls(&self) -> TlsOptions {
        let client = self.client_certificate.clone().map(|(certificate, key)| {
            ClientTlsOptions::builder().client_cert(certificate).client_private_key(key).build()
        });
        TlsOptions::builder()
            .maybe_server_root_ca_cert(self.root_certificate.clone())
            .maybe_domain(self.server_name.clone())
            .maybe_client_tls_options(client)
            .build()
    }

    async fn connect(&self) -> Result<Client, ClusterError> {
        let connected = Connection::connect(self.options()?).await;
        let connection = connected.map_err(|error| ClusterError::not_connected(&self.url, &error))?;
        let options = ClientOptions::new(&*self.namespace).build();
        Client::new(connection, options)
            .map_err(|error| ClusterError::Unreachable { url: self.url.clone(), error: error.to_string() })
    }
}

/// With the namespace `default`, and without TLS if it is `http://…`.
impl From<&str> for TemporalServer {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

/// As from a `&str`.
impl From<&String> for TemporalServer {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for TemporalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalServer")
            .field("url", &self.url)
            .field("namespace", &self.namespace)
            .field("has_api_key", &self.api_key.is_some())
            .field("server_name", &self.server_name)
            .field("has_client_certificate", &self.client_certificate.is_some())
            .finish_non_exhaustive()
    }
}

/// A server to connect to, or one that the user is connected to already.
#[derive(Clone)]
pub(crate) enum Server {
    Known(TemporalServer),
    Connected(Client),
}

impl Server {
    pub(crate) async fn connect(&self) -> Result<Client, ClusterError> {
        match self {
            Self::Known(server) => server.connect().await,
            // Its channel connects again by itself.
            Self::Connected(client) => Ok(client.clone()),
        }
    }

    /// Connects, however long that takes.
    pub(crate) async fn connect_with_retry(&self) -> Result<Client, ClusterError> {
        loop {
            match self.connect().await {
                Err(ClusterError::Unreachable { url, error }) => {
                    warn!(url, "the Temporal server is away: {error}");
                    sleep(AGAIN).await;
                }
                other => return other,
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(server) => server.fmt(f),
            Self::Connected(_) => f.write_str("a client"),
        }
    }
}

/// Who this process is, for the server's pages, as other workers of Temporal name themselves.
fn identity() -> String {
    format!("{}@{}", std::process::id(), gethostname().display())
}

#[cfg(test)]
mod tests {
    use super::TemporalServer;
    use crate::error::ClusterError;

    fn refused(server: &TemporalServer) -> String {
        let error = server.options().unwrap_err();
        assert!(matches!(error, ClusterError::Config { .. }));
        error.to_string()
    }

    #[test]
    fn a_url_must_be_one_of_http() {
        for url in ["127.0.0.1:7233", "localhost:7233", "ftp://127.0.0.1", "http://", ""] {
            assert!(refused(&TemporalServer::new(url)).contains("http://127.0.0.1:7233"), "{url}");
        }
        assert!(TemporalServer::new("http://127.0.0.1:7233").options().unwrap().tls_options.is_none());
    }

    #[test]
    fn keys_and_certificates_need_tls() {
        let server = TemporalServer::new("http://10.0.0.1:7233");
        for server in [
            server.clone().api_key("key"),
            server.clone().root_certificate("pem"),
            server.clone().server_name("temporal"),
            server.client_certificate("pem", "pem"),
        ] {
            assert!(refused(&server).contains("`url` must be https://…, because"));
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_without_its_feature_is_refused_by_name() {
        assert!(refused(&TemporalServer::new("https://10.0.0.1:7233")).contains("the feature `tls`"));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn everything_that_is_set_reaches_the_connection() {
        let server = TemporalServer::new("https://10.0.0.1:7233").namespace("flights").api_key("secret-1");
        let server = server.root_certificate("root").server_name("temporal").client_certificate("own", "secret-2");
        let options = server.options().unwrap();
        let tls = options.tls_options.unwrap();
        let client = tls.client_tls_options.unwrap();
        assert_eq!(options.api_key.as_deref(), Some("secret-1"));
        assert_eq!((tls.server_root_ca_cert.as_deref(), tls.domain.as_deref()), (Some(&b"root"[..]), Some("temporal")));
        assert_eq!((&client.client_cert[..], &client.client_private_key[..]), (&b"own"[..], &b"secret-2"[..]));
        assert!(!format!("{server:?}").contains("secret"), "{server:?}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn an_api_key_with_a_line_end_is_refused_and_not_shown() {
        for key in ["secret\n", "", "sec ret"] {
            let error = refused(&TemporalServer::new("https://10.0.0.1:7233").api_key(key));
            assert!(error.contains("`api_key` must be one word") && !error.contains("sec"), "{error}");
        }
    }
}
