//! The names of files, as numbers: a record must be small, and dropping it must not touch memory that other threads use.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, RwLock},
};

/// The name of a file that was read. It is a number that stands for the text; equal names are equal numbers.
///
/// ```
/// use actix_batch_pipeline::FileName;
///
/// let name = FileName::new("flights.csv");
/// assert_eq!(name, FileName::new("flights.csv"));
/// assert_eq!(name.to_string(), "flights.csv");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileName(u32);

#[derive(Default)]
struct Names {
    by_number: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, u32>,
}

/// Every name that this process has read from; it only grows by the number of different files.
static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(RwLock::default);

impl FileName {
    /// The number of this name.
    ///
    /// # Panics
    ///
    /// If a process reads from more than 2³² − 1 files.
    pub fn new(text: &str) -> Self {
        let mut names = NAMES.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(&number) = names.by_text.get(text) {
            return Self(number);
        }
        let number = u32::try_from(names.by_number.len()).expect("a process reads from fewer than 2^32 files");
        let text: Arc<str> = text.into();
        names.by_number.push(Arc::clone(&text));
        names.by_text.insert(text, number);
        Self(number)
    }

    /// The text.
    pub fn text(self) -> Arc<str> {
        let names = NAMES.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        names.by_number.get(self.0 as usize).cloned().unwrap_or_default()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}
