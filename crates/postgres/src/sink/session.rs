//! A transaction, with the statements of its connection: each is prepared once, because a statement that is given as text takes another round
//! trip every time.

use std::collections::HashMap;

use tokio_postgres::{Client, Error, Row, Statement, Transaction, types::ToSql};

/// The prepared statements of a connection, by their SQL.
pub(super) type Statements = HashMap<String, Statement>;

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open transaction.
pub(super) struct Session<'a> {
    transaction: Transaction<'a>,
    statements: &'a mut Statements,
}

impl<'a> Session<'a> {
    pub(super) async fn begin(client: &'a mut Client, statements: &'a mut Statements) -> Result<Self, Error> {
        Ok(Self { transaction: client.transaction().await?, statements })
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await
    }

    pub(super) fn transaction(&self) -> &Transaction<'a> {
        &self.transaction
    }

    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.transaction.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.query(&statement, parameters).await
    }

    pub(super) async fn query_opt(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.query_opt(&statement, parameters).await
    }

    pub(super) async fn execute(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.execute(&statement, parameters).await
    }
}
