//! Large batches: `COPY` into a temporary table of the session, from which one statement inserts them.
//!
//! The temporary table has the target's columns in the forms in which values are sent, so a cast, a constraint or a trigger that refuses a row
//! does so in the `INSERT`, as it does for a small batch. It is made once for each connection, and is empty after each transaction.

use std::pin::pin;

use tokio_postgres::{Client, Error, binary_copy::BinaryCopyInWriter};

use super::{rows::Rows, session::Session};
use crate::table::{Table, list, quoted};

/// The temporary table, as statements name it.
pub(super) const STAGE: &str = "pg_temp._pipeline_copy";

const MAY: &str = "SELECT has_database_privilege(current_database(), 'TEMPORARY')";

/// Whether the user may have a temporary table.
pub(super) async fn is_allowed(client: &Client) -> Result<bool, Error> {
    Ok(client.query_one(MAY, &[]).await?.get(0))
}

/// Makes the temporary table of a session.
pub(super) async fn create(client: &Client, table: &Table) -> Result<(), Error> {
    let column = |column: &crate::table::Column| format!("{} {}", quoted(&column.name), column.form.sql_type());
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    client
        .batch_execute(&format!("CREATE TEMPORARY TABLE {STAGE} ({}) ON COMMIT DELETE ROWS", columns.join(", ")))
        .await
}

/// Sends the rows to the temporary table.
pub(super) async fn send(session: &Session<'_>, table: &Table, rows: &Rows) -> Result<(), Error> {
    let columns = || rows.columns.iter().map(|at| &table.columns[*at]);
    let names: Vec<_> = columns().map(|column| &column.name).collect();
    let types: Vec<_> = columns().map(|column| column.form.wire_type()).collect();
    let sql = format!("COPY {STAGE} ({}) FROM STDIN BINARY", list(&names));
    let statement = session.prepared(&sql).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(session.transaction().copy_in(&statement).await?, &types));
    for row in &rows.cells {
        writer.as_mut().write_raw(rows.columns.iter().map(|at| &row[*at])).await?;
    }
    writer.finish().await.map(drop)
}
