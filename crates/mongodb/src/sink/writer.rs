//! Writes a batch.

use std::{fmt, marker::PhantomData};

use actix_batch::Batch;
use actix_batch_pipeline::{
    Record,
    checkpoint::RunId,
    sink::{Sink, SinkError, SinkErrorKind, Written},
};
use futures_util::TryStreamExt;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{Document, RawDocumentBuf},
    options::{CollectionOptions, IndexOptions, ReadPreference, SelectionCriteria},
};
use serde::Serialize;

use super::{
    Mode, MongoDb,
    documents::{document, id_of, with_id},
    insert::insert,
    upsert::{Target, Upserts},
};
use crate::fault::Fault;

/// Writes records to a collection of MongoDB; made by [`MongoDb`].
pub struct MongoDbSink<T> {
    sink: MongoDb,
    run: RunId,
    database: Option<Database>,
    records: PhantomData<fn(T)>,
}

impl<T> MongoDbSink<T> {
    pub(super) fn new(sink: MongoDb, run: RunId) -> Self {
        Self { sink, run, database: None, records: PhantomData }
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
        let Some(database) = &self.database else { return Err(Fault::temporary("there is no connection")) };
        let (sink, pipeline, mut written) = (&self.sink, &self.run.pipeline, Written::all());
        match sink.mode {
            Mode::Insert => {
                let mut documents = Vec::with_capacity(batch.len());
                for (at, record) in batch.iter().enumerate() {
                    match document(&**record) {
                        Ok(own) => documents.push((at, with_id(own, || id_of(pipeline, record.position())))),
                        Err(error) => written.refuse(at, error),
                    }
                }
                insert(&collection(database, sink), &documents, &mut written).await?;
            }
            Mode::Upsert => {
                let mut upserts = Upserts::default();
                for (at, record) in batch.iter().enumerate() {
                    let added = document(&**record).and_then(|own| upserts.add(at, own, &sink.key));
                    if let Err(error) = added {
                        written.refuse(at, error);
                    }
                }
                upserts.write(&Target { database, collection: &sink.collection }, &mut written).await?;
            }
        }
        Ok(written)
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

/// The fields of each unique index that holds all documents.
async fn unique(database: &Database, sink: &MongoDb) -> Result<Vec<Vec<String>>, Fault> {
    let failed = |error| Fault::of(&error, format!("looking at collection `{}` failed", sink.collection));
    let indexes: Vec<IndexModel> = match collection(database, sink).list_indexes().await {
        Ok(indexes) => indexes.try_collect().await.map_err(failed)?,
        Err(error) if is_missing(&error) => Vec::new(),
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

/// Whether the server says that there is no such collection, or database, yet.
fn is_missing(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(failed) if failed.code == 26)
}

impl<T> fmt::Debug for MongoDbSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbSink").field("sink", &self.sink).field("run", &self.run).finish_non_exhaustive()
    }
}
