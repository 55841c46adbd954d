//! A connection, whoever has made it.

use std::ops::{Deref, DerefMut};

use tokio_postgres::Client;

/// A connection, and with it a session: its settings, its temporary table and its locks. It is closed when it is dropped, and never goes
/// back to a pool, where all of these would live on.
pub(crate) enum Connection {
    Made(Client),
    #[cfg(feature = "deadpool")]
    FromPool(deadpool_postgres::ClientWrapper),
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        match self {
            Self::Made(client) => client,
            #[cfg(feature = "deadpool")]
            Self::FromPool(client) => client,
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        match self {
            Self::Made(client) => client,
            #[cfg(feature = "deadpool")]
            Self::FromPool(client) => client,
        }
    }
}
