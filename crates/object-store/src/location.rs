//! Where objects are: a URL, which may end in a pattern. Names and passwords in it stay in here.

use std::{collections::BTreeMap, fmt, sync::Arc};

use object_store::{ObjectStore, path::Path};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::fault::Fault;

/// A URL like `s3://bucket/flights/*.csv`, with what else the store has to know.
///
/// As serde data it is the URL without the name and the password that it may hold.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct Location {
    /// Without name and password.
    url: String,
    /// `name:password`.
    user: Option<String>,
    /// Why it says nowhere. What may be a password is cut off.
    wrong: Option<Wrong>,
}

/// What may be a password, and does not stand where one does.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Slash,
    Port,
}

/// Settings of a store, by `object_store`'s own names. They may be secrets: they are read, and never written or shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Options(pub(crate) BTreeMap<String, String>);

/// A store that the program brings along.
#[derive(Clone, Default)]
pub(crate) struct Given(pub(crate) Option<Arc<dyn ObjectStore>>);

/// A URL in its parts.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Scheme and bucket or host: `s3://bucket`.
    pub(crate) base: Url,
    /// The key, or the prefix before the pattern.
    pub(crate) path: Path,
    /// What keys have to match, if they do not have to be the path itself.
    pub(crate) which: Which,
}

/// Which objects a URL means.
#[derive(Debug, PartialEq)]
pub(crate) enum Which {
    /// The one with this key.
    One,
    /// All under the prefix.
    Prefix,
    /// Those under the prefix whose whole key matches.
    Glob(glob::Pattern),
}

impl From<String> for Location {
    fn from(url: String) -> Self {
        let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (format!("{}://", scheme.to_ascii_lowercase()), rest),
            _ => (String::new(), &*url),
        };
        let host = rest.split('/').next().unwrap_or_default();
        // After `name:`, a slash may be one of the password. A port is not to be told from it.
        let end = if host.contains(':') { rest.rfind('@') } else { host.rfind('@') };
        let (user, rest) = match end {
            Some(end) => (Some(rest[..end].to_owned()), &rest[end + 1..]),
            None => (None, rest),
        };
        let (host, key) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_cut = user.as_ref().is_some_and(|user| user.contains('/'));
        let wrong = is_cut.then_some(Wrong::Slash);
        match host.rsplit_once(':') {
            Some((name, port)) if !is_port(port) && !host.ends_with(']') => {
                Self { url: format!("{scheme}{name}{key}"), user, wrong: Some(Wrong::Port) }
            }
            _ => Self { url: format!("{scheme}{rest}"), user, wrong },
        }
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.shown().to_owned()
    }
}

impl Location {
    /// The URL, for people.
    pub(crate) fn shown(&self) -> &str {
        // What comes after a question mark may be a signature. It is refused later, and must not be shown before.
        match self.scheme() {
            "http" | "https" => self.url.split('?').next().unwrap_or_default(),
            _ => &self.url,
        }
    }

    /// The name and the password that the URL holds, as they stand there.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn scheme(&self) -> &str {
        self.url.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Takes the URL apart.
    pub(crate) fn parts(&self) -> Result<Parts, Fault> {
        let wrong = |why: &str| {
            Fault::fatal(format!(
                "{} is no place of objects, like s3://bucket/folder/*.csv or file:///folder/: {why}",
                self.shown()
            ))
        };
        let Some((scheme, rest)) = self.url.split_once("://") else { return Err(wrong("it has no scheme")) };
        match self.wrong {
            Some(Wrong::Slash) => {
                return Err(wrong("write a slash of the password as %2F, and an `@` of the key as %40"));
            }
            Some(Wrong::Port) => return Err(wrong("what follows `:` is no port")),
            None => {}
        }
        if matches!(scheme, "http" | "https") && rest.contains(['?', '#']) {
            return Err(wrong("what follows `?` or `#` cannot be kept secret; leave it out"));
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let base = Url::parse(&format!("{scheme}://{bucket}/")).map_err(|error| wrong(&error.to_string()))?;
        let (fixed, which) = match key.find(['*', '?', '[']) {
            Some(wild) => {
                let fixed = &key[..key[..wild].rfind('/').map_or(0, |slash| slash + 1)];
                let pattern = glob::Pattern::new(key).map_err(|error| wrong(&error.to_string()))?;
                (fixed, Which::Glob(pattern))
            }
            None if key.is_empty() || key.ends_with('/') => (key, Which::Prefix),
            None => (key, Which::One),
        };
        let path = Path::from_url_path(fixed).map_err(|error| wrong(&error.to_string()))?;
        Ok(Parts { base, path, which })
    }
}

impl Parts {
    /// An object's URL, for people.
    pub(crate) fn shown(&self, key: &Path) -> String {
        format!("{}{key}", self.base)
    }
}

impl Which {
    /// Whether an object under the prefix is meant. Names that begin with `_` or `.` are not, nor are manifests, unless a pattern
    /// says so itself: that is where unfinished things lie.
    pub(crate) fn matches(&self, prefix: &Path, key: &Path) -> bool {
        match self {
            Self::One => key == prefix,
            Self::Prefix => {
                let mut inner = key.as_ref().strip_prefix(prefix.as_ref()).unwrap_or(key.as_ref()).split('/');
                !inner.any(|part| part.starts_with(['_', '.'])) && key.filename() != Some(crate::sink::MANIFEST)
            }
            Self::Glob(pattern) => {
                let options = glob::MatchOptions {
                    case_sensitive: true,
                    require_literal_separator: true,
                    require_literal_leading_dot: true,
                };
                pattern.matches_with(key.as_ref(), options)
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "given" } else { "by the URL" })
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::{Location, Which};

    fn location(url: &str) -> Location {
        Location::from(url.to_owned())
    }

    fn matching<'a>(url: &str, keys: &[&'a str]) -> Vec<&'a str> {
        let parts = location(url).parts().unwrap();
        keys.iter().filter(|key| parts.which.matches(&parts.path, &Path::from(**key))).copied().collect()
    }

    #[test]
    fn names_passwords_and_signatures_are_never_shown() {
        for url in ["https://me:p@ss@host/a.csv", "https://host/a.csv?X-Amz-Signature=p@ss"] {
            let location = location(url);
            assert_eq!(format!("{location:?}"), "https://host/a.csv");
        }
        let location = location("https://me:p@ss@host/a.csv");
        assert_eq!(serde_json::to_string(&location).unwrap(), "\"https://host/a.csv\"");
        assert_eq!(location.user(), Some("me:p@ss"));
    }

    #[test]
    fn a_signed_url_is_refused_without_showing_its_signature() {
        let error = format!("{:?}", location("https://host/a.csv?signature=s3cr3t").parts().unwrap_err());
        assert!(error.contains("https://host/a.csv is no place") && !error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn a_url_means_one_object_or_all_under_a_prefix_or_those_that_match() {
        let keys = ["a/1.csv", "a/2.csv", "a/2.txt", "a/b/3.csv", "a/_staging/4.csv", "a/.5.csv", "a/manifest.json"];
        assert_eq!(location("s3://bucket/a/1.csv").parts().unwrap().which, Which::One);
        assert_eq!(matching("s3://bucket/a/", &keys), ["a/1.csv", "a/2.csv", "a/2.txt", "a/b/3.csv"]);
        assert_eq!(matching("s3://bucket/a/*.csv", &keys), ["a/1.csv", "a/2.csv"]);
        assert_eq!(
            matching("gs://bucket/a/**/[0-9].csv", &keys),
            ["a/1.csv", "a/2.csv", "a/b/3.csv", "a/_staging/4.csv"]
        );
        assert_eq!(location("s3://bucket/a/b*/*.csv").parts().unwrap().path.as_ref(), "a");
    }
}
