//! The files of a reader, one after the other; and what comes after the last one, if it is followed.
//!
//! A file that is followed may grow, and it may be rotated: it is renamed, and another one takes its name. The renamed file is read to its end
//! first. After a restart it is found again by how it begins, among the files that were rotated.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Fill, Text, TextCursor, TextFiles, changed};
use crate::source::{Identity, SourceError, SourceErrorKind};

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

impl Follow {
    /// Checks the files of a checkpoint. Of a file that may have been rotated, the cursor knows how it begins.
    pub(in crate::source) async fn verify<F: TextFiles>(
        self,
        files: &F,
        checkpoint: &Identity,
    ) -> Result<(), SourceError> {
        if self != Self::No && files.rotating().is_some() {
            return Ok(());
        }
        files.verify(checkpoint).await
    }
}

/// Files in their order.
#[derive(Debug)]
pub(in crate::source) struct Sequence<F: TextFiles> {
    source: F,
    files: Vec<F::File>,
    /// The one that is read now.
    current: Option<F::File>,
    next: usize,
    follow: Follow,
    /// The one file that is followed, and whose name another one may take.
    rotating: Option<F::File>,
    /// How many files were rotated away or restarted before this one: it is part of their numbers.
    earlier: u32,
}

/// What comes after the text that a reader has passed.
pub(in crate::source) enum Next<B> {
    /// Another file.
    Text(Text<B>),
    /// The same file has more, or is known to be complete.
    Again,
    /// Nothing yet.
    Nothing,
    /// Nothing, ever.
    End,
}

impl<F: TextFiles> Sequence<F> {
    pub(in crate::source) fn new(source: F, files: Vec<F::File>, follow: Follow) -> Self {
        let rotating = if follow == Follow::No { None } else { source.rotating() };
        Self { source, files, current: None, next: 0, follow, rotating, earlier: 0 }
    }

    /// Opens the first file, or the one of a cursor, at its beginning. The second value is where to go on in it.
    pub(in crate::source) async fn first<'c>(
        &mut self,
        from: Option<&'c TextCursor>,
    ) -> Result<(Text<F::Blocks>, Option<&'c TextCursor>), SourceError> {
        if let Some((file, cursor)) = self.rotating.clone().zip(from) {
            return self.first_rotating(&file, cursor).await;
        }
        let missing =
            || SourceError::changed("the file of the checkpoint is not there: run with `fresh` to start again");
        self.next = from.map_or(0, |cursor| cursor.file as usize);
        let text = self.open_next().await?.ok_or_else(missing)?;
        Ok((text, from))
    }

    /// Opens the followed file of a cursor, whatever its name is by now.
    async fn first_rotating<'c>(
        &mut self,
        file: &F::File,
        cursor: &'c TextCursor,
    ) -> Result<(Text<F::Blocks>, Option<&'c TextCursor>), SourceError> {
        (self.next, self.earlier) = (1, cursor.file);
        if let Some(found) = self.find(file, cursor).await? {
            return Ok((self.open(&found, cursor.file).await?, Some(cursor)));
        }
        if self.follow != Follow::Restarting {
            return Err(changed(&format!(
                "{file} is not the file of the checkpoint, and no rotated file beside it is"
            )));
        }
        self.earlier += 1;
        Ok((self.open(file, self.earlier).await?, None))
    }

    /// The file of a cursor: the one that has the name, or a rotated one.
    async fn find(&self, file: &F::File, cursor: &TextCursor) -> Result<Option<F::File>, SourceError> {
        let rotated = self.source.rotated()?.into_iter().map(|(_, file)| file);
        for candidate in std::iter::once(file.clone()).chain(rotated) {
            match self.is_of(&candidate, cursor).await {
                Ok(true) => return Ok(Some(candidate)),
                Ok(false) => {}
                // It is not there, or it was changed: another one may be it.
                Err(error) if matches!(error.kind(), SourceErrorKind::Config | SourceErrorKind::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn is_of(&self, file: &F::File, cursor: &TextCursor) -> Result<bool, SourceError> {
        let mut text = Text::open(&self.source, file, cursor.file).await?.followed();
        Ok(text.begins_as(cursor).await? && text.go_to(&self.source, file, cursor).await.is_ok())
    }

    /// Goes on behind a cursor in the file that is read now.
    pub(in crate::source) async fn go_to(
        &self,
        text: Text<F::Blocks>,
        cursor: &TextCursor,
    ) -> Result<Text<F::Blocks>, SourceError> {
        match &self.current {
            Some(file) => text.go_to(&self.source, file, cursor).await,
            None => Ok(text),
        }
    }

    /// What comes next; `text` has no more for now. Waits a while, if it `may_wait`.
    pub(in crate::source) async fn next(
        &mut self,
        text: &mut Text<F::Blocks>,
        may_wait: bool,
    ) -> Result<Next<F::Blocks>, SourceError> {
        if let Some(next) = self.open_next().await? {
            return Ok(Next::Text(next));
        }
        if self.follow == Follow::No {
            return Ok(Next::End);
        }
        if let Some(next) = self.look(text).await? {
            return Ok(next);
        }
        if !may_wait {
            return Ok(Next::Nothing);
        }
        sleep(LOOK_AGAIN).await;
        Ok(self.look(text).await?.unwrap_or(Next::Nothing))
    }

    /// What has become of the last file.
    async fn look(&mut self, text: &mut Text<F::Blocks>) -> Result<Option<Next<F::Blocks>>, SourceError> {
        if text.was_truncated() {
            return self.restart(text).await.map(Some);
        }
        // Asked before the file is read once more: what is written after this look belongs to the new file.
        let is_over = text.is_complete() || self.is_over(text).await?;
        if text.fill().await? == Fill::More {
            return Ok(Some(Next::Again));
        }
        if !is_over {
            return Ok(None);
        }
        if !text.is_complete() {
            text.complete();
            return Ok(Some(Next::Again));
        }
        match self.rotating.clone() {
            Some(file) => self.open_rotated(&file, text).await,
            None => Ok(self.open_next().await?.map(Next::Text)),
        }
    }

    async fn restart(&mut self, text: &Text<F::Blocks>) -> Result<Next<F::Blocks>, SourceError> {
        let Some(file) = self.current.clone().filter(|_| self.follow == Follow::Restarting) else {
            return Err(SourceError::changed(format!(
                "{} is followed and has become shorter: run with `fresh` to start again, or declare `follow_truncated`",
                text.shown()
            )));
        };
        let number = if self.rotating.is_some() {
            self.earlier += 1;
            self.earlier
        } else {
            text.file()
        };
        Ok(Next::Text(self.open(&file, number).await?))
    }

    /// Whether nothing more will be written to the last file: another one has its name, or comes after it.
    async fn is_over(&mut self, text: &Text<F::Blocks>) -> Result<bool, SourceError> {
        if self.rotating.is_some() {
            return Ok(!text.has_its_name() || !self.is_current_the_followed_one());
        }
        let files = self.source.list().await?;
        let shown = |files: &[F::File]| files.iter().map(ToString::to_string).collect::<Vec<_>>();
        if files.len() > self.files.len() && shown(&files[..self.files.len()]) == shown(&self.files) {
            self.files = files;
        }
        Ok(self.next < self.files.len())
    }

    /// Whether the file that is read now has the name that is followed, and not one that a rotation gave it.
    fn is_current_the_followed_one(&self) -> bool {
        let shown = |file: &Option<F::File>| file.as_ref().map(ToString::to_string);
        shown(&self.current) == shown(&self.rotating)
    }

    /// The file that took the name of `text`: of those that were renamed since, the oldest.
    async fn open_rotated(
        &mut self,
        file: &F::File,
        text: &Text<F::Blocks>,
    ) -> Result<Option<Next<F::Blocks>>, SourceError> {
        let own = text.modified();
        let newer = self.source.rotated()?.into_iter().filter(|(modified, _)| own.is_some_and(|own| *modified > own));
        let oldest = newer.min_by_key(|(modified, _)| *modified).map_or_else(|| file.clone(), |(_, file)| file);
        let opened = match self.open(&oldest, self.earlier + 1).await {
            Ok(text) => text,
            // The file with the name is still to be made.
            Err(error) if error.kind() == SourceErrorKind::Config => return Ok(None),
            Err(error) => return Err(error),
        };
        self.earlier += 1;
        Ok(Some(Next::Text(opened)))
    }

    async fn open_next(&mut self) -> Result<Option<Text<F::Blocks>>, SourceError> {
        let Some(file) = self.files.get(self.next).cloned() else { return Ok(None) };
        let number = u32::try_from(self.next).map_err(|_| SourceError::config("more than 2^32 files"))?;
        let text = self.open(&file, number).await?;
        self.next += 1;
        Ok(Some(text))
    }

    async fn open(&mut self, file: &F::File, number: u32) -> Result<Text<F::Blocks>, SourceError> {
        let text = Text::open(&self.source, file, number).await?;
        self.current = Some(file.clone());
        Ok(if self.follow == Follow::No { text } else { text.followed() })
    }
}
