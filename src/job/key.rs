//! A job's key, of any type that the user chooses.
//!
//! Keys are computed before the intake's lock is taken, and compared under it. Panics of user code are contained: a job whose key
//! function panics gets a unique key, and two keys whose comparison panics are different.

use std::{
    any::{Any, type_name},
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use crate::{
    panics::{catch, discard},
    reentry::drop_unlocked,
};

/// One hasher for all keys, so that equal keys have equal hashes, whichever closure computed them. Its own keys are random, so
/// that an attacker cannot construct collisions.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A key of any type.
#[derive(Clone)]
pub(crate) struct Key {
    hash: u64,
    value: Arc<dyn Same>,
}

/// Computes a job's key; `None` if it has none.
pub(crate) type KeyFn<J> = Box<dyn Fn(&J) -> Option<Key> + Send + Sync>;

impl Key {
    /// Wraps the user's key function so that it never panics. A job for which it returns `Option::None` has no key.
    pub(crate) fn by<J, K>(key: impl Fn(&J) -> K + Send + Sync + 'static) -> KeyFn<J>
    where
        K: Eq + Hash + Send + Sync + 'static,
    {
        Box::new(move |job| {
            let key = || {
                let key = key(job);
                if is_none(&key) { None } else { Some(Self::of(key)) }
            };
            catch(key).unwrap_or_else(|| Some(Self::unique()))
        })
    }

    fn of<K: Eq + Hash + Send + Sync + 'static>(key: K) -> Self {
        Self { hash: HASHES.hash_one(&key), value: Arc::new(Value(Some(key))) }
    }

    /// A key that no other job has.
    fn unique() -> Self {
        let value = Arc::new(Unique);
        Self { hash: HASHES.hash_one(Arc::as_ptr(&value)), value }
    }

    /// Whether this is a unique key, which no other job can have.
    #[cfg(feature = "cache")]
    pub(crate) fn is_unique(&self) -> bool {
        !self.value.same(&*self.value)
    }
}

/// Whether the key is `Option::None`. Generic code cannot ask for that directly. But the type's name tells whether it is an
/// `Option`, and an `Option` hashes its discriminant first, which is 0 for `None`.
fn is_none<K: Hash>(key: &K) -> bool {
    if !type_name::<K>().starts_with("core::option::Option<") {
        return false;
    }
    let mut first = FirstWrite(None);
    key.hash(&mut first);
    first.0 == Some(0)
}

/// A hasher that keeps the sum of the bytes of the first write.
struct FirstWrite(Option<u32>);

impl Hasher for FirstWrite {
    fn write(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_with(|| bytes.iter().map(|byte| u32::from(*byte)).sum());
    }

    fn finish(&self) -> u64 {
        0
    }
}

trait Same: Any + Send + Sync {
    fn same(&self, other: &dyn Any) -> bool;
}

/// A key of the user's. `Some` until it is dropped.
struct Value<K: 'static>(Option<K>);

impl<K: 'static> Drop for Value<K> {
    fn drop(&mut self) {
        drop_unlocked(self.0.take());
    }
}

impl<K: Eq + Send + Sync + 'static> Same for Value<K> {
    fn same(&self, other: &dyn Any) -> bool {
        let equal = |other: &Self| {
            catch_unwind(AssertUnwindSafe(|| self.0 == other.0)).unwrap_or_else(|panic| {
                discard(panic);
                false
            })
        };
        other.downcast_ref().is_some_and(equal)
    }
}

/// The value of a unique key. Each one is in an `Arc` of its own, and so has an address of its own.
struct Unique;

impl Same for Unique {
    fn same(&self, _: &dyn Any) -> bool {
        false
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.value, &other.value) {
            return true;
        }
        let other_value: &dyn Any = &*other.value;
        self.hash == other.hash && self.value.same(other_value)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_when_their_values_are() {
        let by_length = Key::by(|word: &&str| word.len());
        assert_eq!(by_length(&"on"), by_length(&"of"));
        assert_ne!(by_length(&"on"), by_length(&"off"));
    }

    #[test]
    fn none_is_no_key_and_an_empty_some_is_one() {
        let first = Key::by(|word: &&str| word.chars().next());
        assert_eq!(first(&""), None);
        assert_eq!(first(&"on"), first(&"off"));
        let unit = Key::by(|word: &&str| (!word.is_empty()).then_some(()));
        assert_eq!(unit(&""), None);
        assert!(unit(&"on").is_some());
        let nested = Key::by(|word: &&str| Some(word.chars().next()));
        assert!(nested(&"").is_some(), "the key is `None`, which is a value like any other");
        let plain = Key::by(|_: &&str| ());
        assert!(plain(&"").is_some());
    }

    #[test]
    fn a_job_whose_key_function_panics_has_a_unique_key() {
        let key = Key::by(|_: &u8| -> u8 { panic!("no key") });
        let (first, second) = (key(&1), key(&1));
        assert!(first.is_some());
        assert_ne!(first, second);
        assert_eq!(first, first.clone());
    }

    #[test]
    fn keys_whose_comparison_panics_are_different() {
        struct Hostile;
        impl PartialEq for Hostile {
            fn eq(&self, _: &Self) -> bool {
                panic!("not comparable")
            }
        }
        impl Eq for Hostile {}
        impl Hash for Hostile {
            fn hash<H: Hasher>(&self, _: &mut H) {}
        }
        let key = Key::by(|_: &u8| Hostile);
        assert_ne!(key(&1), key(&1));
    }
}
