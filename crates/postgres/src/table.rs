//! What the catalogue says about a table.

use tokio_postgres::Client;

use crate::{fault::Fault, form::Form};

/// A table, as the catalogue has it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Quoted, as statements need it.
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// The columns of each unique index that is not partial.
    unique: Vec<Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As SQL writes it: `character varying(20)`.
    pub(crate) sql_type: String,
    /// What values are cast to: the type without its length, because a cast to `varchar(20)` would cut the text off, and the column refuses it.
    pub(crate) cast: String,
    /// How values are sent to it.
    pub(crate) form: Form,
    pub(crate) is_nullable: bool,
}

const NAME: &str = "SELECT to_regclass($1)::text";
const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, atttypmod), NOT attnotnull, \
    format_type(CASE typtype WHEN 'd' THEN typbasetype ELSE atttypid END, -1) \
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid \
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
const UNIQUE: &str = "SELECT ARRAY(SELECT attname::text FROM unnest(indkey) WITH ORDINALITY AS key (attnum, place) \
    JOIN pg_attribute USING (attnum) WHERE attrelid = indrelid AND place <= indnkeyatts ORDER BY place) \
    FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL";

impl Table {
    pub(crate) async fn find(client: &Client, table: &str) -> Result<Self, Fault> {
        let doing = || format!("looking at table `{table}` failed");
        let failed = |error| Fault::of(&error, doing());
        let name: Option<String> = client.query_one(NAME, &[&table]).await.map_err(failed)?.get(0);
        let Some(name) = name else { return Err(Fault::fatal(format!("there is no table `{table}`"))) };
        let columns = client.query(COLUMNS, &[&table]).await.map_err(failed)?;
        let column = |row: &tokio_postgres::Row| {
            let sql_type: String = row.get(1);
            Column { name: row.get(0), form: Form::of(&sql_type), sql_type, cast: row.get(3), is_nullable: row.get(2) }
        };
        let unique = client.query(UNIQUE, &[&table]).await.map_err(failed)?;
        let unique = unique.iter().map(|row| row.get(0)).collect();
        Ok(Self { name, columns: columns.iter().map(column).collect(), unique })
    }

    pub(crate) fn column(&self, name: &str) -> Result<&Column, Fault> {
        self.place(name).map(|at| &self.columns[at])
    }

    /// The place of this column.
    pub(crate) fn place(&self, name: &str) -> Result<usize, Fault> {
        let found = self.columns.iter().position(|column| column.name == name);
        found.ok_or_else(|| Fault::fatal(format!("table {} has no column `{name}`", self.name)))
    }

    /// Refuses a key that does not find one row.
    pub(crate) fn check_key(&self, key: &[String]) -> Result<(), Fault> {
        for column in key {
            self.column(column)?;
        }
        let is_key =
            |unique: &Vec<String>| unique.len() == key.len() && key.iter().all(|column| unique.contains(column));
        if self.unique.iter().any(is_key) {
            return Ok(());
        }
        let key = list(key);
        Err(Fault::fatal(format!(
            "table {} has no unique index on its key ({key}): CREATE UNIQUE INDEX ON {} ({key})",
            self.name, self.name
        )))
    }
}

/// `"a", "b"`
pub(crate) fn list<N: AsRef<str>>(names: &[N]) -> String {
    names.iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
