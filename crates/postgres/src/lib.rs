#![doc = include_str!("../README.md")]

mod fault;
mod form;
mod server;
mod sink;
mod source;
mod table;

pub use sink::{Postgres, PostgresSink, PostgresStore};
pub use source::{PostgresReader, PostgresTable, RowKey};
