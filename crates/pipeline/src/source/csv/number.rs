//! Numbers as people write them: the whole text is a number, or it is none.

use std::str::FromStr;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    /// `1,5` instead of `1.5`.
    pub(super) decimal_comma: bool,
    /// What stands between groups of three digits.
    pub(super) thousands: Option<char>,
}

impl Numbers {
    #[inline]
    pub(super) fn whole<N: FromStr>(self, text: &str) -> Option<N> {
        match self.thousands {
            Some(separator) if text.contains(separator) => join(text, separator)?.parse().ok(),
            _ => text.parse().ok(),
        }
    }

    #[inline]
    pub(super) fn decimal<N: FromStr>(self, text: &str) -> Option<N> {
        if !self.decimal_comma && self.thousands.is_none() {
            return text.parse().ok();
        }
        let mark = if self.decimal_comma { ',' } else { '.' };
        let (whole, fraction) = match text.split_once(mark) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let whole = match self.thousands {
            Some(separator) if whole.contains(separator) => join(whole, separator)?,
            _ => whole.to_owned(),
        };
        // Rust's own parser would take a point that is no decimal mark here.
        let has_point = |part: &str| part.contains(['.', ',']);
        if has_point(&whole) || fraction.is_some_and(has_point) {
            return None;
        }
        match fraction {
            Some(fraction) => format!("{whole}.{fraction}").parse().ok(),
            None => whole.parse().ok(),
        }
    }
}

/// A whole number without the separators between its groups of three.
fn join(text: &str, separator: char) -> Option<String> {
    let mut groups = text.split(separator);
    let first = groups.next()?;
    let digits = first.trim_start_matches(['-', '+']);
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
    let is_first = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let mut joined = first.to_owned();
    for group in groups {
        if !is_group(group) {
            return None;
        }
        joined.push_str(group);
    }
    is_first.then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    const GERMAN: Numbers = Numbers { decimal_comma: true, thousands: Some('.') };
    const PLAIN: Numbers = Numbers { decimal_comma: false, thousands: None };

    #[test]
    fn a_number_is_the_whole_text_in_the_declared_format_or_none() {
        for (text, german, plain) in [
            ("1.234,56", Some(1234.56), None),
            ("1.234", Some(1234.0), Some(1.234)),
            ("1,5", Some(1.5), None),
            ("1.5", None, Some(1.5)),
            ("12.34,5", None, None),
            ("-1.234.567,8", Some(-1_234_567.8), None),
            ("5", Some(5.0), Some(5.0)),
            ("5 EUR", None, None),
            ("", None, None),
        ] {
            assert_eq!(GERMAN.decimal::<f64>(text), german, "{text}, German");
            assert_eq!(PLAIN.decimal::<f64>(text), plain, "{text}, plain");
        }
        assert_eq!(GERMAN.whole::<i64>("1.234"), Some(1234));
        assert_eq!(GERMAN.whole::<i64>("1.23"), None);
        assert_eq!(PLAIN.whole::<i64>("1.234"), None);
    }
}
