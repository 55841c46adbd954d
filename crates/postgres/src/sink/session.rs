//! A transaction, with the statements of its connection: each is prepared once, because a statement that is given as text takes another round
//! trip every time. Statements that are joined travel together, and the server runs them in the order in which they were sent.

use std::{cell::RefCell, collections::HashMap};

use tokio_postgres::{Client, Error, Row, Statement, Transaction, types::ToSql};

/// The prepared statements of a connection, by their SQL.
pub(super) type Statements = RefCell<HashMap<String, Statement>>;

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open transaction.
pub(super) struct Session<'a> {
    transaction: Transaction<'a>,
    statements: &'a Statements,
}

impl<'a> Session<'a> {
    pub(super) async fn begin(client: &'a mut Client, statements: &'a Statements) -> Result<Self, Error> {
        Ok(Self { transaction: client.transaction().await?, statements })
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await
    }

    pub(super) fn transaction(&self) -> &Transaction<'a> {
        &self.transaction
    }

    pub(super) async fn prepared(&self, sql: &str) -> Result<Statement, Error> {
        let known = self.statements.borrow().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.transaction.prepare(sql).await?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.query(&statement, parameters).await
    }

    pub(super) async fn query_opt(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.query_opt(&statement, parameters).await
    }

    pub(super) async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.execute(&statement, parameters).await
    }
}
