//! What a job holds, as one number.

use std::hash::{BuildHasher, Hash, RandomState};

/// Computes a number for a job's content. Different contents have different numbers, for all practical purposes.
pub(crate) type Fingerprint<J> = Box<dyn Fn(&J) -> u128 + Send + Sync>;

/// Two 64-bit hashes, each with random keys of its own: 128 bits for which collisions cannot be constructed.
pub(crate) fn fingerprint<J: Hash>() -> Fingerprint<J> {
    let states = [RandomState::new(), RandomState::new()];
    Box::new(move |job| {
        let [high, low] = [&states[0], &states[1]].map(|state| u128::from(state.hash_one(job)));
        (high << 64) | low
    })
}
