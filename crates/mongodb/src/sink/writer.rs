//! Writes a batch.

use std::{fmt, marker::PhantomData, sync::Arc};

use actix_batch::Batch;
use actix_batch_pipeline::{
    Position, Record,
    checkpoint::{RunId, Settled},
    sink::{Sink, SinkError, SinkErrorKind, Written},
};
use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database, IndexModel,
    bson::{Document, RawDocumentBuf, doc, oid::ObjectId},
    options::{CollectionOptions, IndexOptions, ReadPreference, SelectionCriteria},
};
use serde::Serialize;

use super::{
    Mode, MongoDb,
    documents::{check_size, document, id_of, with_id},
    insert::insert,
    transaction::Transactions,
    upsert::{Target, Upserts},
};
use crate::fault::Fault;

/// Writes records to a collection of MongoDB; made by [`MongoDb`].
pub struct MongoDbSink<T> {
    sink: MongoDb,
    run: RunId,
    settled: Arc<Settled>,
    /// The owner of the run's lease: transactions are written under it alone.
    owner: Option<ObjectId>,
    /// The version of `settled` that is stored; of transactions.
    seen: u64,
    database: Option<Database>,
    records: PhantomData<fn(T)>,
}

impl<T> MongoDbSink<T> {
    pub(super) fn new(sink: MongoDb, run: RunId, settled: Arc<Settled>, owner: Option<ObjectId>) -> Self {
        Self { sink, run, settled, owner, seen: u64::MAX, database: None, records: PhantomData }
    }

    async fn connect(&mut self) -> Result<&Database, Fault> {
        match &mut self.database {
            Some(database) => Ok(database),
            none => {
                let database = self.sink.server.connect(self.sink.database.as_deref()).await?;
                check(&database, &self.sink).await?;
                Ok(none.insert(database))
            }
        }
    }
}

impl<T: Serialize + Send + Sync + 'static> MongoDbSink<T> {
    async fn write_batch(&mut self, batch: &Batch<Record<T>>) -> Result<Written, Fault> {
        self.connect().await?;
        let Self { sink, run, settled, owner, seen, database, .. } = self;
        let Some(database) = database else { return Err(Fault::temporary("there is no connection")) };
        let to = Destination { database, sink, pipeline: &run.pipeline };
        if sink.transactions {
            let owner = owner.ok_or_else(|| Fault::fatal("a transaction is written without a lease"))?;
            return Transactions { to, settled, owner, seen }.write(batch).await;
        }
        let mut written = Written::all();
        to.write(batch, |_| true, &mut written, None).await?;
        Ok(written)
    }
}

/// Where the records of a pipeline go.
pub(super) struct Destination<'a> {
    pub(super) database: &'a Database,
    pub(super) sink: &'a MongoDb,
    pub(super) pipeline: &'a str,
}

impl Destination<'_> {
    /// Writes those records of a batch that are `wanted`. What is refused goes to `written`. Returns whether the server has stored all that it was
    /// sent: if not, it has ended the transaction.
    pub(super) async fn write<T: Serialize>(
        &self,
        batch: &Batch<Record<T>>,
        wanted: impl Fn(Position) -> bool,
        written: &mut Written,
        session: Option<&mut ClientSession>,
    ) -> Result<bool, Fault> {
        let Self { database, sink, pipeline } = self;
        let records = batch.iter().enumerate().filter(|(_, record)| wanted(record.position()));
        match sink.mode {
            Mode::Insert => {
                let mut documents = Vec::with_capacity(batch.len());
                for (at, record) in records {
                    let whole = document(&**record).and_then(|own| {
                        let whole = with_id(own, || id_of(pipeline, record.position()));
                        check_size(&whole).map(|()| whole)
                    });
                    match whole {
                        Ok(whole) => documents.push((at, whole)),
                        Err(error) => written.refuse(at, error),
                    }
                }
                insert(&collection(database, sink), &documents, written, session).await
            }
            Mode::Upsert => {
                let mut upserts = Upserts::default();
                for (at, record) in records {
                    let added = document(&**record).and_then(|own| upserts.add(at, own, &sink.key));
                    if let Err(error) = added {
                        written.refuse(at, error);
                    }
                }
                upserts.write(&mut Target { database, collection: &sink.collection, session }, written).await
            }
        }
    }
}

impl<T: Serialize + Send + Sync + 'static> Sink<T> for MongoDbSink<T> {
    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.connect().await?;
        Ok(())
    }

    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        self.write_batch(batch).await.map_err(|fault| {
            let alone = batch.len() == 1 && fault.kind == SinkErrorKind::Batch;
            if alone { SinkError::record(fault.message) } else { fault.into() }
        })
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }
}

/// The collection as it is now: on the primary, whatever the URI prefers for reading.
fn collection(database: &Database, sink: &MongoDb) -> Collection<RawDocumentBuf> {
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let options = CollectionOptions::builder().selection_criteria(primary).build();
    database.collection_with_options(&sink.collection, options)
}

/// Reaches the server, and refuses a key that does not find one document.
async fn check(database: &Database, sink: &MongoDb) -> Result<(), Fault> {
    if sink.mode == Mode::Upsert && sink.key.is_empty() {
        let message = format!("an upsert into `{}` needs a key: name fields by `.key([…])`", sink.collection);
        return Err(Fault::fatal(message));
    }
    if sink.transactions {
        check_transactions(database, sink).await?;
    }
    let indexes = unique(database, sink).await?;
    let is_key =
        |fields: &Vec<String>| fields.len() == sink.key.len() && sink.key.iter().all(|field| fields.contains(field));
    if sink.mode == Mode::Insert || sink.is_by_id() || indexes.iter().any(is_key) {
        return Ok(());
    }
    let keys: Document = sink.key.iter().map(|field| (field.clone(), 1.into())).collect();
    if !sink.create_index {
        return Err(Fault::fatal(format!(
            "collection `{0}` has no unique index on its key: db.{0}.createIndex({keys}, {{ unique: true }}), or `.create_index(true)`",
            sink.collection
        )));
    }
    let index = IndexModel::builder().keys(keys).options(IndexOptions::builder().unique(true).build()).build();
    let made = collection(database, sink).create_index(index).await;
    made.map_err(|error| Fault::of(&error, format!("the unique index of `{}` cannot be made", sink.collection)))?;
    Ok(())
}

/// Refuses a server that would take a transaction for single commands, and makes the collection, which a transaction cannot everywhere.
async fn check_transactions(database: &Database, sink: &MongoDb) -> Result<(), Fault> {
    let failed = |error| Fault::of(&error, "looking at the server failed");
    let hello = database.run_command(doc! { "hello": 1 }).await.map_err(failed)?;
    let is_router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if !hello.contains_key("setName") && !is_router {
        let place = sink.server.place(sink.database.as_deref());
        return Err(Fault::fatal(format!(
            "{place} has no transactions: make the server a replica set (of one member, if need be), or leave out `.transactions(true)`"
        )));
    }
    match database.create_collection(&sink.collection).await {
        Err(error) if !is_code(&error, 48) => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The fields of each unique index that holds all documents.
async fn unique(database: &Database, sink: &MongoDb) -> Result<Vec<Vec<String>>, Fault> {
    let failed = |error| Fault::of(&error, format!("looking at collection `{}` failed", sink.collection));
    let indexes: Vec<IndexModel> = match collection(database, sink).list_indexes().await {
        Ok(indexes) => indexes.try_collect().await.map_err(failed)?,
        // There is no such collection, or database, yet.
        Err(error) if is_code(&error, 26) => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let is_whole = |index: &IndexModel| {
        index
            .options
            .as_ref()
            .is_some_and(|options| options.unique == Some(true) && options.partial_filter_expression.is_none())
    };
    Ok(indexes.into_iter().filter(is_whole).map(|index| index.keys.keys().cloned().collect()).collect())
}

fn is_code(error: &mongodb::error::Error, code: i32) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(failed) if failed.code == code)
}

impl<T> fmt::Debug for MongoDbSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbSink").field("sink", &self.sink).field("run", &self.run).finish_non_exhaustive()
    }
}
