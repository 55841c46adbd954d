//! Replaces an object, unless another run has done so since it was read.

use bytes::Bytes;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion, path::Path};

/// Why an object is not replaced.
#[derive(Debug)]
pub(super) enum Unreplaced {
    /// Another run has replaced it.
    Overtaken,
    Failed(Error),
}

impl From<Error> for Unreplaced {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// An object and its version, if it is there.
pub(super) async fn read(objects: &dyn ObjectStore, key: &Path) -> Result<Option<(Bytes, UpdateVersion)>, Error> {
    let found = match objects.get(key).await {
        Err(Error::NotFound { .. }) => return Ok(None),
        found => found?,
    };
    let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    Ok(Some((found.bytes().await?, version)))
}

/// Stores an object over this version of it, and over no other; without a version, only if it is not there. A store that cannot do so in one step
/// is asked for the version first.
pub(super) async fn replace(
    objects: &dyn ObjectStore,
    key: &Path,
    bytes: &Bytes,
    version: Option<&UpdateVersion>,
) -> Result<UpdateVersion, Unreplaced> {
    let mode = version.cloned().map_or(PutMode::Create, PutMode::Update);
    match objects.put_opts(key, bytes.clone().into(), PutOptions::from(mode)).await {
        Ok(put) => Ok(put.into()),
        // The answer to the first attempt may have been lost.
        Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotModified { .. }) => {
            let there = read(objects, key).await?;
            there.filter(|(there, _)| there == bytes).map(|(_, version)| version).ok_or(Unreplaced::Overtaken)
        }
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
            check(objects, key, version).await?;
            Ok(objects.put(key, bytes.clone().into()).await?.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an object still has this version.
pub(super) async fn check(
    objects: &dyn ObjectStore,
    key: &Path,
    version: Option<&UpdateVersion>,
) -> Result<(), Unreplaced> {
    let there = read(objects, key).await?.map(|(_, version)| version.e_tag);
    if there == version.map(|version| version.e_tag.clone()) { Ok(()) } else { Err(Unreplaced::Overtaken) }
}
