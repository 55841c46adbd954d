//! The files of a reader, one after the other; and what comes after the last one, if it is followed.
//!
//! A file that is followed may grow, and it may be rotated: it is renamed, and another one takes its name. The renamed file is read to its end
//! first. After a restart it is found again by how it begins, among the files beside it whose names are its own and a number or a time.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use same_file::Handle;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Fill, Paths, Text, TextCursor, changed, failed};
use crate::source::SourceError;

/// How long a reader that follows a file waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What happens at the end of the last file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::source) enum Follow {
    /// It is complete.
    #[default]
    No,
    /// It may grow and be rotated. If it becomes shorter, the run fails.
    Refusing,
    /// If it becomes shorter, it is read again from its beginning.
    Restarting,
}

/// Files in their order.
#[derive(Debug)]
pub(in crate::source) struct Sequence {
    paths: Paths,
    files: Vec<PathBuf>,
    next: usize,
    follow: Follow,
    /// How many files were rotated away or restarted before this one: it is part of their numbers.
    earlier: u32,
}

/// What comes after the text that a reader has passed.
pub(in crate::source) enum Next {
    /// Another file.
    Text(Text),
    /// The same file has more, or is known to be complete.
    Again,
    /// Nothing yet.
    Nothing,
    /// Nothing, ever.
    End,
}

impl Sequence {
    pub(in crate::source) fn new(paths: &Paths, follow: Follow) -> Result<Self, SourceError> {
        Ok(Self { paths: paths.clone(), files: paths.list()?, next: 0, follow, earlier: 0 })
    }

    /// Opens the first file, or the one of a cursor, at its beginning. The second value is where to go on in it.
    pub(in crate::source) fn first<'c>(
        &mut self,
        from: Option<&'c TextCursor>,
    ) -> Result<(Text, Option<&'c TextCursor>), SourceError> {
        if let Some((path, cursor)) = self.rotating().map(Path::to_owned).zip(from) {
            return self.first_rotating(&path, cursor);
        }
        let missing =
            || SourceError::changed("the file of the checkpoint is not there: run with `fresh` to start again");
        self.next = from.map_or(0, |cursor| cursor.file as usize);
        let text = self.open_next()?.ok_or_else(missing)?;
        Ok((text, from))
    }

    /// Opens the followed file of a cursor, whatever its name is by now.
    fn first_rotating<'c>(
        &mut self,
        path: &Path,
        cursor: &'c TextCursor,
    ) -> Result<(Text, Option<&'c TextCursor>), SourceError> {
        (self.next, self.earlier) = (1, cursor.file);
        if let Some(found) = find(path, cursor)? {
            return Ok((self.open(&found, cursor.file)?, Some(cursor)));
        }
        if self.follow != Follow::Restarting {
            return Err(changed(&format!(
                "{} is not the file of the checkpoint, and no rotated file beside it is",
                path.display()
            )));
        }
        self.earlier += 1;
        Ok((self.open(path, self.earlier)?, None))
    }

    /// What comes next; `text` has no more for now. Waits a while, if it `may_wait`.
    pub(in crate::source) async fn next(&mut self, text: &mut Text, may_wait: bool) -> Result<Next, SourceError> {
        if let Some(next) = self.open_next()? {
            return Ok(Next::Text(next));
        }
        if self.follow == Follow::No {
            return Ok(Next::End);
        }
        if let Some(next) = self.look(text)? {
            return Ok(next);
        }
        if !may_wait {
            return Ok(Next::Nothing);
        }
        sleep(LOOK_AGAIN).await;
        Ok(self.look(text)?.unwrap_or(Next::Nothing))
    }

    /// What has become of the last file.
    fn look(&mut self, text: &mut Text) -> Result<Option<Next>, SourceError> {
        if text.was_truncated() {
            return self.restart(text).map(Some);
        }
        // Asked before the file is read once more: what is written after this look belongs to the new file.
        let is_over = text.is_complete() || self.is_over(text)?;
        if text.fill()? == Fill::More {
            return Ok(Some(Next::Again));
        }
        if is_over && !text.is_complete() {
            text.complete();
            return Ok(Some(Next::Again));
        }
        if !is_over {
            return Ok(None);
        }
        match self.rotating() {
            Some(path) => match after(path, text)? {
                Some(path) => {
                    self.earlier += 1;
                    Ok(Some(Next::Text(self.open(&path, self.earlier)?)))
                }
                None => Ok(None),
            },
            None => Ok(self.open_next()?.map(Next::Text)),
        }
    }

    fn restart(&mut self, text: &Text) -> Result<Next, SourceError> {
        if self.follow != Follow::Restarting {
            let what = format!("{} is followed and has become shorter", text.path().display());
            return Err(SourceError::changed(format!(
                "{what}: run with `fresh` to start again, or declare `restart_truncated`"
            )));
        }
        let path = text.path().to_owned();
        self.earlier += u32::from(self.rotating().is_some());
        let number = if self.rotating().is_some() { self.earlier } else { text.file() };
        Ok(Next::Text(self.open(&path, number)?))
    }

    /// Whether nothing more will be written to the last file: another one has its name, or comes after it.
    fn is_over(&mut self, text: &Text) -> Result<bool, SourceError> {
        if let Some(path) = self.rotating() {
            return Ok(!text.is_at(path));
        }
        let files = self.paths.list()?;
        if files.len() > self.files.len() && files.starts_with(&self.files) {
            self.files = files;
        }
        Ok(self.next < self.files.len())
    }

    /// The one file that is followed, and whose name another one may take.
    fn rotating(&self) -> Option<&Path> {
        match &self.paths {
            Paths::File(path) if self.follow != Follow::No => Some(path),
            _ => None,
        }
    }

    fn open_next(&mut self) -> Result<Option<Text>, SourceError> {
        let Some(path) = self.files.get(self.next).cloned() else { return Ok(None) };
        let number = u32::try_from(self.next).map_err(|_| SourceError::config("more than 2^32 files"))?;
        let text = self.open(&path, number)?;
        self.next += 1;
        Ok(Some(text))
    }

    fn open(&self, path: &Path, number: u32) -> Result<Text, SourceError> {
        let text = Text::open(path, number)?;
        if self.follow == Follow::No { Ok(text) } else { text.followed() }
    }
}

/// The file of a cursor: the one that has the name, or one beside it.
fn find(path: &Path, cursor: &TextCursor) -> Result<Option<PathBuf>, SourceError> {
    for candidate in std::iter::once(path.to_owned()).chain(rotated(path)?.into_iter().map(|(_, path)| path)) {
        let is_file = candidate.is_file();
        if is_file && Text::open(&candidate, cursor.file)?.followed()?.begins_as(cursor)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// The file that took the name of `text`: of those that were renamed since, the oldest.
fn after(path: &Path, text: &Text) -> Result<Option<PathBuf>, SourceError> {
    let own = text.modified()?;
    let newer = rotated(path)?.into_iter().filter(|(modified, candidate)| *modified > own && !text.is_at(candidate));
    let oldest = newer.min().map(|(_, candidate)| candidate);
    Ok(oldest.or_else(|| path.is_file().then(|| path.to_owned())))
}

/// The files beside a followed one that look like earlier ones of it: `app.log.1`, `app.log-20261127`, `app.log.2.gz`.
fn rotated(path: &Path) -> Result<Vec<(SystemTime, PathBuf)>, SourceError> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { return Ok(Vec::new()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let entry = entry.map_err(|error| failed(folder, error))?;
        let other = entry.file_name().to_string_lossy().into_owned();
        if !other.strip_prefix(&name).is_some_and(is_rotation) {
            continue;
        }
        // A file that goes away meanwhile is none of ours any more.
        let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
        if let Ok(modified) = meta.modified() {
            found.push((modified, entry.path()));
        }
    }
    Ok(found)
}

/// Whether this is what a rotation appends to a name: a number or a time, and perhaps a compression.
fn is_rotation(suffix: &str) -> bool {
    let suffix = suffix.trim_end_matches(".gz").trim_end_matches(".zst");
    let Some(number) = suffix.strip_prefix(['.', '-', '_']) else { return false };
    number.starts_with(|first: char| first.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || ".-_:TZ".contains(c))
}

/// Whether a path leads to this open file.
pub(super) fn leads_to(path: &Path, file: &Handle) -> bool {
    Handle::from_path(path).is_ok_and(|other| other == *file)
}

#[cfg(test)]
mod tests {
    use super::is_rotation;

    #[test]
    fn a_rotated_file_has_its_name_and_a_number_or_a_time() {
        let rotations = [".1", "-20261127", ".2026-11-27T10:00:00Z", ".3.gz", "_4.zst", ".2026-11-27.gz"];
        assert!(rotations.into_iter().all(is_rotation));
        assert!(!["", ".lock", ".tmp", ".bak", "-journal", ".gz", "2", ".1.partial"].into_iter().any(is_rotation));
    }
}
