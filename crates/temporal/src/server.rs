//! Connections to the server.

use std::{str::FromStr, time::Duration};

use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions};
use tokio::time::sleep;
use tracing::warn;

use crate::error::ClusterError;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait between attempts.
const AGAIN: Duration = Duration::from_millis(500);

/// Where a server is, and which namespace is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) namespace: String,
}

impl Server {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), namespace: "default".to_owned() }
    }

    pub(crate) async fn connect(&self) -> Result<Client, ClusterError> {
        let refused = || ClusterError::Config {
            key: "url",
            value: self.url.clone(),
            allowed: "a URL such as http://127.0.0.1:7233".to_owned(),
        };
        let url = url::Url::from_str(&self.url).map_err(|_| refused())?;
        let options = ConnectionOptions::new(url).identity(identity()).connect_timeout(CONNECT).build();
        let connected = Connection::connect(options).await;
        let connection = connected.map_err(|error| ClusterError::unreachable(&self.url, &error))?;
        let options = ClientOptions::new(&*self.namespace).build();
        Client::new(connection, options)
            .map_err(|error| ClusterError::Unreachable { url: self.url.clone(), error: error.to_string() })
    }

    /// Connects, however long that takes.
    pub(crate) async fn connect_at_last(&self) -> Result<Client, ClusterError> {
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

/// Who this process is, for the server's pages.
fn identity() -> String {
    format!("actix-batch, process {}", std::process::id())
}
