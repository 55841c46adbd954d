//! A CSV parser that is slow and obvious: one byte after the other.

/// What a record is: its fields, or nothing if it is wrong.
pub type Record = Option<Vec<Vec<u8>>>;

/// The records of a text with commas and double quotes.
pub fn parse(text: &[u8]) -> Vec<Record> {
    let (mut records, mut fields, mut field) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quoted, mut was_quoted, mut wrong, mut empty) = (false, false, false, true);
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if quoted {
            match byte {
                b'"' if rest.next_if_eq(&b'"').is_some() => field.push(b'"'),
                b'"' => (quoted, was_quoted) = (false, true),
                byte => field.push(byte),
            }
            continue;
        }
        match byte {
            b'\n' | b'\r' => {
                if byte == b'\r' {
                    rest.next_if_eq(&b'\n');
                }
                if !empty {
                    fields.push(std::mem::take(&mut field));
                    records.push(Some(std::mem::take(&mut fields)).filter(|_| !wrong));
                }
                (was_quoted, wrong, empty) = (false, false, true);
            }
            b',' => {
                fields.push(std::mem::take(&mut field));
                (was_quoted, empty) = (false, false);
            }
            b'"' if field.is_empty() && !was_quoted => (quoted, empty) = (true, false),
            byte => {
                wrong |= was_quoted || byte == b'"';
                empty = false;
                field.push(byte);
            }
        }
    }
    if !empty {
        fields.push(field);
        records.push(Some(fields).filter(|_| !wrong && !quoted));
    }
    records
}
