//! Fingerprints: a job's content as one number.

use std::hash::{BuildHasher, Hash, RandomState};

/// Computes a job's fingerprint. For all practical purposes, different contents have different fingerprints.
pub(crate) type Fingerprint<J> = Box<dyn Fn(&J) -> u128 + Send + Sync>;

/// A fingerprint of two 64-bit hashes with different random keys, so that an attacker cannot construct collisions.
pub(crate) fn fingerprint<J: Hash>() -> Fingerprint<J> {
    let states = [RandomState::new(), RandomState::new()];
    Box::new(move |job| {
        let [high, low] = [&states[0], &states[1]].map(|state| u128::from(state.hash_one(job)));
        (high << 64) | low
    })
}
