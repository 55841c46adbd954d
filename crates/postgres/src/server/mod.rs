//! Where the server is, and how it is connected to.

use std::{env, fmt, future::Future, time::Duration};

use serde::Deserialize;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::fault::Fault;

mod connection;
#[cfg(feature = "deadpool")]
mod pool;
mod security;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use connection::Connection;
use security::{Given, Mode, Security};

/// How long a connection may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What every session needs so that values have one text, which reads back to the same value.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'";

/// Where the server is.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<String>")]
pub(crate) enum Server {
    /// The environment says so, as it does to `psql`: `DATABASE_URL`, or `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD` and `PGDATABASE`. `PGSSLMODE`,
    /// `PGSSLROOTCERT`, `PGSSLCERT` and `PGSSLKEY` hold where a URL does not say `sslmode`, `sslrootcert`, and `sslcert` with `sslkey`.
    #[default]
    Environment,
    /// It may hold a password: it is never shown, and never stored.
    Url(String),
    #[cfg(feature = "deadpool")]
    Pool(pool::Pool),
}

impl From<Option<String>> for Server {
    fn from(url: Option<String>) -> Self {
        url.map_or(Self::Environment, Self::Url)
    }
}

impl Server {
    /// How to connect without a pool.
    fn config(&self) -> Result<(Config, Security), Fault> {
        let (mut config, given) = match (self, env::var("DATABASE_URL")) {
            (Self::Url(url), _) => parsed(url, "the URL")?,
            (_, Ok(url)) => parsed(&url, "`DATABASE_URL`")?,
            (_, Err(_)) => (from_environment()?, Given::default()),
        };
        let security = given.apply(&mut config)?;
        Ok((config, security))
    }

    /// The place without its secrets: `localhost:5432/flights`. A pool does not say where it is.
    pub(crate) fn place(&self) -> String {
        if self.is_pool() {
            return "pool".to_owned();
        }
        let Ok((config, _)) = self.config() else { return "postgres".to_owned() };
        let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let port = config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
    }

    /// Whether connections come out of a pool.
    pub(crate) fn is_pool(&self) -> bool {
        match self {
            #[cfg(feature = "deadpool")]
            Self::Pool(_) => true,
            Self::Environment | Self::Url(_) => false,
        }
    }

    pub(crate) async fn connect(&self) -> Result<Connection, Fault> {
        let connection = self.connection().await?;
        // The other end of a connection that a pool has kept may be gone without a word.
        let Ok(set) = timeout(TIMEOUT, connection.batch_execute(SESSION)).await else {
            return Err(Fault::temporary(format!("{} does not answer within {TIMEOUT:?}", self.place())));
        };
        set.map_err(|error| Fault::of(&error, format!("the session cannot be set up at {}", self.place())))?;
        Ok(connection)
    }

    async fn connection(&self) -> Result<Connection, Fault> {
        #[cfg(feature = "deadpool")]
        if let Self::Pool(pool) = self {
            return pool.take().await;
        }
        let (mut config, security) = self.config()?;
        config.connect_timeout(TIMEOUT).application_name("actix-batch");
        let client = open(&config, &security).await?;
        client.map(Connection::Made).map_err(|error| Fault::of(&error, format!("{} cannot be reached", self.place())))
    }
}

fn parsed(url: &str, name: &str) -> Result<(Config, Given), Fault> {
    if !has_plain_secrets(url) {
        let message = "has an `@` or a `/` in its user or password: write them as %40 and %2F";
        return Err(Fault::fatal(format!("{name} {message}")));
    }
    let (given, url) = Given::take_from(url);
    let config =
        url.parse().map_err(|error| Fault::fatal(format!("{name} is no connection string of PostgreSQL: {error}")))?;
    Ok((config, given))
}

/// Whether the password ends where the driver thinks it does: otherwise a part of it would be taken for the host, and shown.
fn has_plain_secrets(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return true };
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    let authority = path.split_once('/').map_or(path, |(authority, _)| authority);
    path.matches('@').count() == authority.matches('@').count() && authority.matches('@').count() <= 1
}

fn from_environment() -> Result<Config, Fault> {
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

/// Connects, as safely as it must be.
#[cfg(feature = "tls")]
async fn open(config: &Config, security: &Security) -> Result<Result<Client, Error>, Fault> {
    if security.mode == Mode::Disable {
        return Ok(config.connect(NoTls).await.map(|(client, connection)| driven(client, connection)));
    }
    let connected = config.connect(tls::connector(security)?).await;
    Ok(connected.map(|(client, connection)| driven(client, connection)))
}

/// Connects, unless encryption is asked for.
#[cfg(not(feature = "tls"))]
async fn open(config: &Config, security: &Security) -> Result<Result<Client, Error>, Fault> {
    if security.mode >= Mode::Require {
        let mode = security.mode.name();
        return Err(Fault::fatal(format!("sslmode={mode} needs the feature `tls` of actix-batch-postgres")));
    }
    Ok(config.connect(NoTls).await.map(|(client, connection)| driven(client, connection)))
}

fn driven(client: Client, connection: impl Future<Output = Result<(), Error>> + Send + 'static) -> Client {
    tokio::spawn(async move {
        // The client learns of it by its next statement.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL has ended");
        }
    });
    client
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn a_password_that_the_driver_would_cut_is_refused_and_not_shown() {
        for url in ["postgres://me:p@ss-secret@host/db", "postgres://me:p/ss-secret@host/db"] {
            let server = Server::Url(url.to_owned());
            let refused = server.config().unwrap_err().message;
            assert!(refused.contains("%40") && !refused.contains("ss-secret"), "{refused}");
            assert_eq!(format!("{server:?}"), "postgres");
        }
        assert_eq!(format!("{:?}", Server::Url("postgres://me:p%40ss-secret@host:5/db".to_owned())), "host:5/db");
    }
}
