//! What the callers submit: a number that nobody else submits, in 8 bytes or in 1 KiB.

use std::{
    fmt::{self, Debug},
    hash::{Hash, Hasher},
};

/// A job that can be told from every other: the reply must carry the same number, and peers that merge equal jobs find none.
pub(crate) trait Payload: Clone + Debug + Eq + Hash + Send + Sync + Unpin + 'static {
    fn new(number: u64) -> Self;
    fn number(&self) -> u64;
}

/// 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Small(u64);

impl Payload for Small {
    fn new(number: u64) -> Self {
        Self(number)
    }

    fn number(&self) -> u64 {
        self.0
    }
}

/// 1 KiB, by value: whoever moves a job once too often pays for it.
#[derive(Clone)]
pub(crate) struct Large {
    number: u64,
    _rest: [u8; 1016],
}

impl Payload for Large {
    fn new(number: u64) -> Self {
        Self { number, _rest: [0; 1016] }
    }

    fn number(&self) -> u64 {
        self.number
    }
}

// The number alone says which job it is. Hashing a kilobyte would be a cost of this bench, not of the peer that asks for a key.
impl PartialEq for Large {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Large {}

impl Hash for Large {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl Debug for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Large({})", self.number)
    }
}
