//! Where the server is, and how it is connected to.

use std::{env, fmt, time::Duration};

use mongodb::{
    Client, Database,
    options::{ClientOptions, ConnectionString, HostInfo, WriteConcern},
};
use serde::Deserialize;

use crate::fault::Fault;

/// How long to look for a server, unless the URI says it (`serverSelectionTimeoutMS`).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server is, and which database it is about. Without a URI of its own, `MONGODB_URI` says it; without both it is
/// `mongodb://localhost:27017`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Server {
    /// It may hold a password: it is never shown, and never stored.
    uri: Option<String>,
}

impl Server {
    pub(crate) fn at(uri: impl Into<String>) -> Self {
        Self { uri: Some(uri.into()) }
    }

    fn parsed(&self) -> Result<ConnectionString, Fault> {
        let (uri, name) = match (&self.uri, env::var("MONGODB_URI")) {
            (Some(uri), _) => (uri.clone(), "the URI"),
            (None, Ok(uri)) => (uri, "`MONGODB_URI`"),
            (None, Err(_)) => ("mongodb://localhost:27017".to_owned(), "the URI"),
        };
        ConnectionString::parse(&uri).map_err(|error| {
            // The driver's words may quote a piece of a password that was not encoded.
            let why = if uri.contains('@') {
                "write the special characters of user and password as %40 and the like".to_owned()
            } else {
                error.kind.to_string()
            };
            Fault::fatal(format!("{name} is no connection string of MongoDB: {why}"))
        })
    }

    /// The place without its secrets: `localhost:27017/geo`.
    pub(crate) fn place(&self, database: Option<&str>) -> String {
        let Ok(uri) = self.parsed() else { return "mongodb".to_owned() };
        let hosts = match &uri.host_info {
            HostInfo::HostIdentifiers(hosts) => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            HostInfo::DnsRecord(name) => name.clone(),
            _ => String::new(),
        };
        format!("{hosts}/{}", database.or(uri.default_database.as_deref()).unwrap_or_default())
    }

    /// A client of this database, with connections of its own: a driver's client belongs to the thread that it was made on.
    pub(crate) async fn connect(&self, database: Option<&str>) -> Result<Database, Fault> {
        let uri = self.parsed()?;
        let doing = || format!("{} cannot be reached", self.place(database));
        let mut options = ClientOptions::parse(uri).await.map_err(|error| Fault::of(&error, doing()))?;
        options.app_name.get_or_insert_with(|| "actix-batch".to_owned());
        options.server_selection_timeout.get_or_insert(TIMEOUT);
        // What a checkpoint calls settled must survive the loss of a server.
        options.write_concern.get_or_insert_with(WriteConcern::majority);
        let database = database.map(str::to_owned).or_else(|| options.default_database.clone());
        let Some(database) = database else {
            let message = "there is no database: name one by `.database(…)`, or at the end of the URI, like `mongodb://localhost/geo`";
            return Err(Fault::fatal(message));
        };
        let client = Client::with_options(options).map_err(|error| Fault::of(&error, doing()))?;
        Ok(client.database(&database))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place(None))
    }
}
