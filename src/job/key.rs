//! A job's key, of whatever type the user chose.
//!
//! Keys are made before a lock is taken, and compared under it. Panics of the user's code are contained: a job whose key function
//! panics gets a unique key, and two keys whose comparison panics are different.

use std::{
    any::Any,
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use crate::panics::{contain, discard};

/// Equal keys have equal hashes, whichever closure made them. The hash is random, so that collisions cannot be constructed.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A key of any type.
#[derive(Clone)]
pub(crate) struct Key {
    hash: u64,
    value: Arc<dyn Same>,
}

/// Computes a job's key.
pub(crate) type KeyFn<J> = Box<dyn Fn(&J) -> Key + Send + Sync>;

impl Key {
    /// The user's closure, as one that never panics.
    pub(crate) fn by<J, K>(key: impl Fn(&J) -> K + Send + Sync + 'static) -> KeyFn<J>
    where
        K: Eq + Hash + Send + Sync + 'static,
    {
        Box::new(move |job| {
            catch_unwind(AssertUnwindSafe(|| Self::of(key(job)))).unwrap_or_else(|panic| {
                discard(panic);
                Self::unique()
            })
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

    /// Whether no other job can have it.
    #[cfg(feature = "cache")]
    pub(crate) fn is_unique(&self) -> bool {
        !self.value.same(&*self.value)
    }
}

trait Same: Any + Send + Sync {
    fn same(&self, other: &dyn Any) -> bool;
}

/// `Some` until it is dropped.
struct Value<K>(Option<K>);

impl<K> Drop for Value<K> {
    fn drop(&mut self) {
        let key = self.0.take();
        contain(|| drop(key));
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

/// Each value has an allocation, and so an address, of its own.
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
    fn a_job_whose_key_function_panics_has_a_unique_key() {
        let key = Key::by(|_: &u8| -> u8 { panic!("no key") });
        let (first, second) = (key(&1), key(&1));
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
