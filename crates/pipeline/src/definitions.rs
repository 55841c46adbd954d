//! Pipelines by name, for runners on other machines.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{error::RunError, pipeline::Pipeline};

/// A pipeline that is registered by name: the name and its own data are all that another machine needs to run it.
pub trait Definition: Serialize + DeserializeOwned + 'static {
    /// Its name.
    const NAME: &'static str;

    /// The pipeline.
    ///
    /// # Errors
    ///
    /// If the configuration does not make a pipeline.
    fn build(&self) -> Result<Pipeline, RunError>;
}

type Build = Box<dyn Fn(Value) -> Result<Pipeline, RunError> + Send + Sync>;

/// The definitions that a process knows.
///
/// ```
/// use actix_batch_pipeline::{Definitions, prelude::*};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Serialize, Deserialize)]
/// struct Squares {
///     up_to: u64,
/// }
///
/// impl Definition for Squares {
///     const NAME: &'static str = "squares";
///
///     fn build(&self) -> Result<Pipeline, RunError> {
///         let up_to = self.up_to;
///         let squares = Pipeline::named("squares").read(from_iter("numbers", move || 1..=up_to)).map(|number| number * number);
///         Ok(squares.write(for_each(|square: &u64| println!("{square}"))).accept_duplicates(true).build())
///     }
/// }
///
/// let definitions = Definitions::new().register::<Squares>();
/// let pipeline = definitions.build("squares", json!({ "up_to": 3 }))?;
/// # actix_rt::System::new().block_on(async {
/// assert_eq!(pipeline.run().await?.written, 3);
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// assert!(definitions.build("cubes", json!({})).is_err());
/// # Ok::<(), RunError>(())
/// ```
#[derive(Default)]
pub struct Definitions(BTreeMap<&'static str, Build>);

impl Definitions {
    /// No definitions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a definition. One of the same name takes its place.
    pub fn register<D: Definition>(mut self) -> Self {
        let build = |configuration| -> Result<Pipeline, RunError> {
            let definition: D = serde_json::from_value(configuration)
                .map_err(|error| RunError::Definition { name: D::NAME.to_owned(), reason: error.to_string() })?;
            definition.build()
        };
        self.0.insert(D::NAME, Box::new(build));
        self
    }

    /// The pipeline of a definition with this configuration.
    ///
    /// # Errors
    ///
    /// [`RunError::Definition`] if there is none of this name, or the configuration does not fit; otherwise what
    /// [`Definition::build`] returns.
    pub fn build(&self, name: &str, configuration: Value) -> Result<Pipeline, RunError> {
        let Some(build) = self.0.get(name) else {
            let known = self.names().collect::<Vec<_>>().join(", ");
            let reason = format!("it is not registered here; registered are: {known}");
            return Err(RunError::Definition { name: name.to_owned(), reason });
        };
        build(configuration)
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Definitions").field(&self.names().collect::<Vec<_>>()).finish()
    }
}
