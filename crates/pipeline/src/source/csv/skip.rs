//! Finds the end of a record byte by byte, in any number of pieces: for records that are too large, and to cut files.

use super::scan::Dialect;

/// Where in a record the bytes so far have led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Field,
    Quoted,
    /// After a quote inside quotes: the end of the field, or half of a doubled quote.
    QuoteInQuoted,
    /// After a carriage return, which ends the record unless a line feed follows.
    CarriageReturn,
}

/// Passes one record.
#[derive(Debug)]
pub(super) struct Skip {
    dialect: Dialect,
    place: Place,
}

impl Skip {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, place: Place::FieldStart }
    }

    /// Passes bytes up to the end of the record: how many, with how many line ends, and whether the record ended.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> (usize, u64, bool) {
        let (mut at, mut lines) = (0, 0);
        while at < bytes.len() {
            let byte = bytes[at];
            if self.place == Place::CarriageReturn {
                return (at + usize::from(byte == b'\n'), lines + 1, true);
            }
            at += 1;
            let is_quote = Some(byte) == self.dialect.quote;
            self.place = match (self.place, byte) {
                (Place::Quoted, _) if is_quote => Place::QuoteInQuoted,
                (Place::Quoted, b'\n') => {
                    lines += 1;
                    Place::Quoted
                }
                (Place::Quoted, _) => Place::Quoted,
                (Place::QuoteInQuoted | Place::FieldStart, _) if is_quote => Place::Quoted,
                (_, b'\n') => {
                    self.place = Place::FieldStart;
                    return (at, lines + 1, true);
                }
                (_, b'\r') => Place::CarriageReturn,
                (_, byte) if byte == self.dialect.delimiter => Place::FieldStart,
                _ => Place::Field,
            };
        }
        (at, lines, false)
    }
}
