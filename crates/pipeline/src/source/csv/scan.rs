//! Where a CSV record ends and where its fields are: pure, and told nothing but bytes.

/// What separates, quotes and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) comment: Option<u8>,
}

/// One field of a record, as a place in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) end: usize,
    /// It stands in quotes, which are not part of it.
    pub(super) quoted: bool,
    /// It has doubled quotes, each of which stands for one.
    pub(super) escaped: bool,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// A record of this many bytes, terminator included.
    Record { bytes: usize, lines: u64, fault: Option<Fault> },
    /// An empty line or a comment of this many bytes.
    Nothing { bytes: usize, lines: u64 },
    /// The bytes end before the record does.
    Incomplete,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A quote inside a field that does not begin with one.
    StrayQuote,
    /// Text between a closing quote and the delimiter.
    AfterQuote,
    /// The file ends inside quotes.
    Unclosed,
}

/// Scans records. The fields of the last one are kept.
#[derive(Debug)]
pub(super) struct Scanner {
    dialect: Dialect,
    /// The bytes that end an unquoted field, or are a fault in it.
    special: [bool; 256],
    fields: Vec<Field>,
}

impl Scanner {
    pub(super) fn new(dialect: Dialect) -> Self {
        let mut special = [false; 256];
        for byte in [Some(dialect.delimiter), dialect.quote, Some(b'\n'), Some(b'\r')].into_iter().flatten() {
            special[usize::from(byte)] = true;
        }
        Self { dialect, special, fields: Vec::new() }
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Looks at what `bytes` begin with. `is_all`: no more bytes follow.
    #[inline]
    pub(super) fn scan(&mut self, bytes: &[u8], is_all: bool) -> Scanned {
        self.fields.clear();
        match bytes.first() {
            None => return Scanned::Incomplete,
            Some(b'\n' | b'\r') => return line_end(bytes, 0, is_all).map_or(Scanned::Incomplete, nothing),
            Some(first) if Some(*first) == self.dialect.comment => return comment(bytes, is_all),
            Some(_) => {}
        }
        self.record(bytes, is_all)
    }

    fn record(&mut self, bytes: &[u8], is_all: bool) -> Scanned {
        let (mut at, mut fault, mut lines) = (0, None, 0);
        loop {
            let end = match self.dialect.quote {
                Some(quote) if bytes.get(at) == Some(&quote) => match self.quoted(bytes, at, quote, is_all) {
                    Some((end, found)) => {
                        fault = fault.or(found);
                        lines += memchr::memchr_iter(b'\n', &bytes[at..end]).count() as u64;
                        end
                    }
                    None => return Scanned::Incomplete,
                },
                _ => {
                    let (end, found) = self.unquoted(bytes, at);
                    fault = fault.or(found);
                    self.fields.push(Field { start: at, end, quoted: false, escaped: false });
                    end
                }
            };
            match bytes.get(end) {
                Some(byte) if *byte == self.dialect.delimiter => at = end + 1,
                Some(_) => {
                    return match line_end(bytes, end, is_all) {
                        Some(bytes) => Scanned::Record { bytes, lines: lines + 1, fault },
                        None => Scanned::Incomplete,
                    };
                }
                None if is_all => return Scanned::Record { bytes: end, lines, fault },
                None => return Scanned::Incomplete,
            }
        }
    }

    /// Where an unquoted field ends.
    #[inline]
    fn unquoted(&self, bytes: &[u8], start: usize) -> (usize, Option<Fault>) {
        let (mut at, mut fault) = (start, None);
        loop {
            match bytes.get(at) {
                Some(&byte) if !self.special[usize::from(byte)] => at += 1,
                // A quote in the middle of a field does not open anything: the record ends at its line's end.
                Some(&byte) if Some(byte) == self.dialect.quote => {
                    fault = Some(Fault::StrayQuote);
                    at += 1;
                }
                _ => return (at, fault),
            }
        }
    }

    /// Where a quoted field ends, with its closing quote; `None` if the bytes end before it does.
    fn quoted(&mut self, bytes: &[u8], start: usize, quote: u8, is_all: bool) -> Option<(usize, Option<Fault>)> {
        let (mut at, mut escaped) = (start + 1, false);
        let closing = loop {
            match memchr::memchr(quote, &bytes[at..]).map(|found| at + found) {
                None if is_all => {
                    self.fields.push(Field { start: start + 1, end: bytes.len(), quoted: true, escaped });
                    return Some((bytes.len(), Some(Fault::Unclosed)));
                }
                None => return None,
                Some(found) => match bytes.get(found + 1) {
                    Some(next) if *next == quote => {
                        escaped = true;
                        at = found + 2;
                    }
                    None if !is_all => return None,
                    _ => break found,
                },
            }
        };
        self.fields.push(Field { start: start + 1, end: closing, quoted: true, escaped });
        let (end, _) = self.unquoted(bytes, closing + 1);
        Some((end, (end > closing + 1).then_some(Fault::AfterQuote)))
    }
}

fn nothing(bytes: usize) -> Scanned {
    Scanned::Nothing { bytes, lines: 1 }
}

/// The byte after a line end: LF, CRLF or CR.
#[inline]
fn line_end(bytes: &[u8], at: usize, is_all: bool) -> Option<usize> {
    match (bytes.get(at)?, bytes.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (_, Some(b'\n')) => Some(at + 2),
        (_, None) if !is_all => None,
        _ => Some(at + 1),
    }
}

fn comment(bytes: &[u8], is_all: bool) -> Scanned {
    match memchr::memchr2(b'\n', b'\r', bytes) {
        Some(end) => line_end(bytes, end, is_all).map_or(Scanned::Incomplete, nothing),
        None if is_all => Scanned::Nothing { bytes: bytes.len(), lines: 0 },
        None => Scanned::Incomplete,
    }
}
