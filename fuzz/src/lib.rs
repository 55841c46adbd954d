//! What the fuzz targets check. The tests of `crates/pipeline` run the same checks over the corpus.

pub mod checkpoint;
pub mod csv;
pub mod reference;
