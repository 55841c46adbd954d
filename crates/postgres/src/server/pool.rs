//! Takes connections out of a pool of the program's own.

use std::{fmt, ptr};

use deadpool_postgres::{ClientWrapper, HookError, Object, PoolError};
use tokio::time::timeout;

use super::{Connection, Server, TIMEOUT};
use crate::fault::Fault;

/// A pool that connections are taken out of for good. It may make others in their place.
#[derive(Clone)]
pub(crate) struct Pool(deadpool_postgres::Pool);

impl Pool {
    pub(super) async fn take(&self) -> Result<Connection, Fault> {
        let Ok(object) = timeout(TIMEOUT, self.0.get()).await else {
            return Err(Fault::temporary(format!("the pool has had no connection for {TIMEOUT:?}")));
        };
        match object {
            Ok(object) => clean(Object::take(object)).await,
            Err(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error))) => {
                Err(Fault::of(&error, "the pool cannot connect"))
            }
            Err(error @ PoolError::Timeout(_)) => {
                Err(Fault::temporary(format!("the pool gives no connection: {error}")))
            }
            Err(error) => Err(Fault::fatal(format!("the pool gives no connection: {error}"))),
        }
    }
}

/// Ends what the session was used for before: a transaction, a role, a search path.
async fn clean(client: ClientWrapper) -> Result<Connection, Fault> {
    let cleaned = async {
        // `DISCARD` runs in no transaction, and so in a message of its own.
        client.batch_execute("ROLLBACK").await?;
        client.batch_execute("DISCARD ALL").await
    };
    match timeout(TIMEOUT, cleaned).await {
        Ok(Ok(())) => Ok(Connection::FromPool(client)),
        Ok(Err(error)) => Err(Fault::of(&error, "a connection of the pool cannot be used")),
        Err(_) => Err(Fault::temporary(format!("a connection of the pool does not answer within {TIMEOUT:?}"))),
    }
}

impl From<deadpool_postgres::Pool> for Server {
    fn from(pool: deadpool_postgres::Pool) -> Self {
        Self::Pool(Pool(pool))
    }
}

impl PartialEq for Pool {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0.manager(), other.0.manager())
    }
}

impl Eq for Pool {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pool")
    }
}
