//! Where the server is, and how it is connected to.

use std::{env, fmt, time::Duration};

use serde::Deserialize;
use tokio_postgres::{Client, Config, NoTls};

use crate::fault::Fault;

/// How long a connection may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What every session needs so that values have one text, which reads back to the same value.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'";

/// Where the server is. Without a URL of its own, the environment says so, as it does to `psql`: `DATABASE_URL`, or `PGHOST`, `PGPORT`,
/// `PGUSER`, `PGPASSWORD` and `PGDATABASE`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Server {
    /// It may hold a password: it is never shown, and never stored.
    url: Option<String>,
}

impl Server {
    pub(crate) fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()) }
    }

    fn config(&self) -> Result<Config, Fault> {
        let wrong = |error: tokio_postgres::Error, name: &str| {
            Fault::fatal(format!("{name} is no connection string of PostgreSQL: {error}"))
        };
        if let Some(url) = &self.url {
            return url.parse().map_err(|error| wrong(error, "the URL"));
        }
        if let Ok(url) = env::var("DATABASE_URL") {
            return url.parse().map_err(|error| wrong(error, "`DATABASE_URL`"));
        }
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let mut config = Config::new();
        config.host(set("PGHOST").as_deref().unwrap_or("localhost"));
        config.user(set("PGUSER").or_else(|| set("USER")).as_deref().unwrap_or("postgres"));
        if let Some(port) = set("PGPORT") {
            let port = port.parse().map_err(|_| Fault::fatal(format!("`PGPORT` must be a port (got `{port}`)")))?;
            config.port(port);
        }
        if let Some(password) = set("PGPASSWORD") {
            config.password(password);
        }
        if let Some(database) = set("PGDATABASE") {
            config.dbname(database);
        }
        Ok(config)
    }

    /// The place without its secrets: `localhost:5432/flights`.
    pub(crate) fn place(&self) -> String {
        let Ok(config) = self.config() else { return "postgres".to_owned() };
        let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let port = config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
    }

    pub(crate) async fn connect(&self) -> Result<Client, Fault> {
        let mut config = self.config()?;
        config.connect_timeout(TIMEOUT).application_name("actix-batch");
        let doing = || format!("{} cannot be reached", self.place());
        let (client, connection) = config.connect(NoTls).await.map_err(|error| Fault::of(&error, doing()))?;
        tokio::spawn(async move {
            // The client learns of it by its next statement.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        });
        client.batch_execute(SESSION).await.map_err(|error| Fault::of(&error, doing()))?;
        Ok(client)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}
