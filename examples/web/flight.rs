//! A flight as it is posted, the key that names it, and the reasons to refuse it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Text;

/// One flight: the columns of the data file, and `null` wherever the file says `NA`.
///
/// Everything may be missing here, so that a gap becomes an answer about *this* row instead of a parse error.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "these are the names of the data")]
pub(crate) struct Flight {
    pub(crate) year: Option<i64>,
    pub(crate) month: Option<i64>,
    pub(crate) day: Option<i64>,
    pub(crate) dep_time: Option<i64>,
    pub(crate) sched_dep_time: Option<i64>,
    pub(crate) dep_delay: Option<i64>,
    pub(crate) arr_time: Option<i64>,
    pub(crate) sched_arr_time: Option<i64>,
    pub(crate) arr_delay: Option<i64>,
    pub(crate) carrier: Option<Text>,
    pub(crate) flight: Option<i64>,
    pub(crate) tailnum: Option<Text>,
    pub(crate) origin: Option<Text>,
    pub(crate) dest: Option<Text>,
    pub(crate) air_time: Option<i64>,
    pub(crate) distance: Option<i64>,
    pub(crate) hour: Option<i64>,
    pub(crate) minute: Option<i64>,
    pub(crate) time_hour: Option<Text>,
}

/// What makes a flight this flight and no other: no two rows of the data share it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) carrier: Text,
    pub(crate) flight: i64,
    pub(crate) origin: Text,
    pub(crate) sched_dep_time: i64,
}

/// Why a row is not stored.
#[derive(Clone, Debug, Error, PartialEq)]
pub(crate) enum Refused {
    #[error("`{0}` is missing, and a flight is known by it")]
    KeyMissing(&'static str),
    #[error("`tailnum` is missing: which aircraft was it?")]
    NoTailnum,
    #[error("`{column}` is \"{code}\": a code is made of ASCII letters and digits")]
    Code { column: &'static str, code: String },
    #[error("{year}-{month}-{day} (year-month-day) is not in the calendar")]
    Date { year: i64, month: i64, day: i64 },
    #[error("`{column}` is {time}: a time of day is HHMM, from 0 to 2400")]
    Time { column: &'static str, time: i64 },
    #[error("`{column}` is {value}: no clock shows that")]
    Clock { column: &'static str, value: i64 },
    #[error("`time_hour` is \"{0}\": write it like 2013-01-01T10:00:00Z")]
    TimeHour(Text),
}

impl Flight {
    /// The key of a flight that can be stored, or the reason why it cannot.
    ///
    /// A cancelled flight has no times, and is welcome.
    pub(crate) fn check(&self) -> Result<Key, Refused> {
        let key = self.key()?;
        code("tailnum", self.tailnum.as_deref())?.ok_or(Refused::NoTailnum)?;
        code("dest", self.dest.as_deref())?;
        date(key.year, key.month, key.day)?;
        self.check_times()?;
        Ok(key)
    }

    fn key(&self) -> Result<Key, Refused> {
        Ok(Key {
            year: self.year.ok_or(Refused::KeyMissing("year"))?,
            month: self.month.ok_or(Refused::KeyMissing("month"))?,
            day: self.day.ok_or(Refused::KeyMissing("day"))?,
            carrier: key_code("carrier", self.carrier.as_deref())?,
            flight: self.flight.ok_or(Refused::KeyMissing("flight"))?,
            origin: key_code("origin", self.origin.as_deref())?,
            sched_dep_time: self.sched_dep_time.ok_or(Refused::KeyMissing("sched_dep_time"))?,
        })
    }

    fn check_times(&self) -> Result<(), Refused> {
        for (column, time) in [
            ("dep_time", self.dep_time),
            ("sched_dep_time", self.sched_dep_time),
            ("arr_time", self.arr_time),
            ("sched_arr_time", self.sched_arr_time),
        ] {
            if let Some(time) = time.filter(|&time| !is_time(time)) {
                return Err(Refused::Time { column, time });
            }
        }
        for (column, value, limit) in [("hour", self.hour, 24), ("minute", self.minute, 60)] {
            if let Some(value) = value.filter(|value| !(0..limit).contains(value)) {
                return Err(Refused::Clock { column, value });
            }
        }
        match &self.time_hour {
            Some(text) if !is_time_hour(text) => Err(Refused::TimeHour(text.clone())),
            _ => Ok(()),
        }
    }
}

/// A code such as `UA`, `JFK` or `N14228`; an empty one and `NA` are missing ones.
fn code<'a>(column: &'static str, code: Option<&'a str>) -> Result<Option<&'a str>, Refused> {
    match code {
        None | Some("" | "NA") => Ok(None),
        Some(code) if code.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(Some(code)),
        Some(code) => Err(Refused::Code { column, code: code.into() }),
    }
}

fn key_code(column: &'static str, text: Option<&str>) -> Result<Text, Refused> {
    Ok(code(column, text)?.ok_or(Refused::KeyMissing(column))?.into())
}

fn date(year: i64, month: i64, day: i64) -> Result<(), Refused> {
    let real = (1..=9999).contains(&year) && (1..=days_of(year, month)).contains(&day);
    if real { Ok(()) } else { Err(Refused::Date { year, month, day }) }
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

/// HHMM. The data calls midnight 2400 when a flight leaves or lands on it.
fn is_time(time: i64) -> bool {
    (0..=2400).contains(&time) && time % 100 < 60
}

/// Like `2013-01-01T10:00:00Z`.
fn is_time_hour(text: &str) -> bool {
    let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
    let numbers = parts.and_then(|(day, clock)| Some((three(day, '-')?, three(clock, ':')?)));
    numbers.is_some_and(|([year, month, day], [hour, minute, second])| {
        let clock = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
        clock && date(year, month, day).is_ok()
    })
}

fn three(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.splitn(3, separator).map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}
