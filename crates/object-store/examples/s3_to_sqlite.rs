//! Flights from an object of CSV into SQLite.
fn main() {}
