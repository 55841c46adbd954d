//! Finds the end of a record without its fields, in any number of pieces: for records that are too large, and to cut files.

use super::scan::Dialect;

/// Where in a record the bytes so far have led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    RecordStart,
    FieldStart,
    Field,
    Quoted,
    /// After a quote inside quotes: the end of the field, or half of a doubled quote.
    QuoteInQuoted,
    Comment,
    /// After a carriage return, which ends the record unless a line feed follows.
    CarriageReturn,
}

/// Passes one record, or one comment.
#[derive(Debug)]
pub(super) struct Skip {
    dialect: Dialect,
    place: Place,
    is_comment: bool,
}

impl Skip {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, place: Place::RecordStart, is_comment: false }
    }

    /// Whether what it passes is a comment.
    pub(super) fn is_comment(&self) -> bool {
        self.is_comment
    }

    /// Passes bytes up to the end of the record: how many, with how many line ends, and whether the record ended.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> (usize, u64, bool) {
        let (mut at, mut lines) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            at += match self.place {
                Place::CarriageReturn => return (at + usize::from(byte == b'\n'), lines + 1, true),
                Place::RecordStart => {
                    self.is_comment = Some(byte) == self.dialect.comment;
                    self.place = if self.is_comment { Place::Comment } else { Place::FieldStart };
                    0
                }
                Place::Quoted => {
                    let passed = self.pass_quoted(rest);
                    lines += memchr::memchr_iter(b'\n', &rest[..passed]).count() as u64;
                    passed
                }
                Place::QuoteInQuoted if Some(byte) == self.dialect.quote => {
                    self.place = Place::Quoted;
                    1
                }
                Place::QuoteInQuoted => {
                    self.place = Place::Field;
                    0
                }
                Place::FieldStart | Place::Field | Place::Comment => match self.pass_unquoted(rest) {
                    (passed, true) => return (at + passed, lines + 1, true),
                    (passed, false) => passed,
                },
            };
        }
        (at, lines, false)
    }

    /// Passes bytes inside quotes, and the quote behind them.
    fn pass_quoted(&mut self, bytes: &[u8]) -> usize {
        match self.dialect.quote.and_then(|quote| memchr::memchr(quote, bytes)) {
            Some(quote) => {
                self.place = Place::QuoteInQuoted;
                quote + 1
            }
            None => bytes.len(),
        }
    }

    /// Passes bytes outside of quotes, up to a line end or the next quote; and whether a line feed has ended the record.
    fn pass_unquoted(&mut self, bytes: &[u8]) -> (usize, bool) {
        let quote = self.dialect.quote.filter(|_| self.place != Place::Comment).unwrap_or(b'\n');
        let found = memchr::memchr3(b'\n', b'\r', quote, bytes);
        let passed = found.unwrap_or(bytes.len());
        if self.place != Place::Comment
            && let Some(last) = passed.checked_sub(1)
        {
            let is_delimiter = bytes[last] == self.dialect.delimiter;
            self.place = if is_delimiter { Place::FieldStart } else { Place::Field };
        }
        let Some(found) = found else { return (passed, false) };
        match bytes[found] {
            b'\n' => return (found + 1, true),
            b'\r' => self.place = Place::CarriageReturn,
            // In the middle of a field it opens nothing.
            _ if self.place == Place::FieldStart => self.place = Place::Quoted,
            _ => {}
        }
        (found + 1, false)
    }
}
