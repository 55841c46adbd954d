#![doc = include_str!("../README.md")]

mod fault;
mod id;
mod server;
mod sink;
mod source;

pub use mongodb::bson;

pub use id::DocumentId;
pub use sink::{MongoDb, MongoDbSink, MongoDbStore};
pub use source::{MongoDbCollection, MongoDbReader};
