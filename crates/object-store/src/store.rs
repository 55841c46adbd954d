//! Opens the store of a location. What the environment says goes first, then the settings of the program.

use std::{env, fmt, sync::Arc};

use object_store::{Error, ObjectStore, local::LocalFileSystem, path::Path};

use crate::{
    fault::Fault,
    location::{Given, Location, Options, Parts},
};

/// A store, and what its errors must not show.
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) parts: Parts,
    secrets: Vec<String>,
}

impl Store {
    /// Opens the store of a location. Nothing is asked of a server yet.
    pub(crate) fn open(location: &Location, options: &Options, given: &Given) -> Result<Self, Fault> {
        let parts = location.parts()?;
        let secrets = secrets(location, options);
        let objects = match &given.0 {
            Some(store) => Arc::clone(store),
            None => by_url(location, &parts, options).map_err(|error| {
                Fault::fatal(format!("{}: {}", location.shown(), hide(&secrets, &error.to_string())))
            })?,
        };
        Ok(Self { objects, parts, secrets })
    }

    /// An object's URL, for people.
    pub(crate) fn shown(&self, key: &Path) -> String {
        self.parts.shown(key)
    }

    /// The error of something that was done with an object: `doing` is "cannot read", for instance.
    pub(crate) fn failed(&self, doing: &str, key: &Path, error: &Error) -> Fault {
        Fault::of(error, format!("{doing} {}", self.shown(key)), hide(&self.secrets, &error.to_string()))
    }

    /// Whether objects are files of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.parts.base.scheme() == "file"
    }
}

fn by_url(location: &Location, parts: &Parts, options: &Options) -> Result<Arc<dyn ObjectStore>, Error> {
    if location.user().is_some() && !matches!(parts.base.scheme(), "http" | "https") {
        return Err(refused("a name in the URL is for http and https only"));
    }
    // Without the features there is nothing to set.
    let _ = options;
    match parts.base.scheme() {
        "file" => Ok(Arc::new(LocalFileSystem::new().with_fsync(true)) as _),
        #[cfg(feature = "s3")]
        "s3" | "s3a" => s3(parts, options),
        #[cfg(not(feature = "s3"))]
        "s3" | "s3a" => Err(refused("enable the feature `s3`")),
        #[cfg(feature = "gcs")]
        "gs" => gcs(parts, options),
        #[cfg(not(feature = "gcs"))]
        "gs" => Err(refused("enable the feature `gcs`")),
        #[cfg(feature = "http")]
        "http" | "https" => http(location, parts, options),
        #[cfg(not(feature = "http"))]
        "http" | "https" => Err(refused("enable the feature `http`")),
        "memory" => Err(refused("objects in memory are in a store of the program: give it by `.store(…)`")),
        other => Err(refused(&format!("`{other}` is not among s3, gs, http, https and file"))),
    }
}

fn refused(why: &str) -> Error {
    Error::Generic { store: "URL", source: why.into() }
}

/// How long a store is asked again before that is an error.
#[cfg(feature = "_network")]
fn retry() -> object_store::RetryConfig {
    use std::time::Duration;
    object_store::RetryConfig { max_retries: 8, retry_timeout: Duration::from_secs(30), ..Default::default() }
}

/// The provider of TLS, unless the program has chosen one.
#[cfg(feature = "_network")]
fn use_ring() {
    // An error says that there is one, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(feature = "s3")]
fn s3(parts: &Parts, options: &Options) -> Result<Arc<dyn ObjectStore>, Error> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use_ring();
    let mut builder = AmazonS3Builder::from_env().with_url(parts.base.as_str()).with_retry(retry());
    for (key, value) in &options.0 {
        builder = builder.with_config(key.to_ascii_lowercase().parse()?, value);
    }
    let endpoints = [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint];
    let endpoint = endpoints.iter().find_map(|key| builder.get_config_value(key));
    // An endpoint without TLS was chosen by its URL.
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    Ok(Arc::new(builder.build()?))
}

#[cfg(feature = "gcs")]
fn gcs(parts: &Parts, options: &Options) -> Result<Arc<dyn ObjectStore>, Error> {
    use object_store::gcp::GoogleCloudStorageBuilder;
    use_ring();
    let mut builder = GoogleCloudStorageBuilder::from_env().with_url(parts.base.as_str()).with_retry(retry());
    for (key, value) in &options.0 {
        builder = builder.with_config(key.to_ascii_lowercase().parse()?, value);
    }
    Ok(Arc::new(builder.build()?))
}

#[cfg(feature = "http")]
fn http(location: &Location, parts: &Parts, options: &Options) -> Result<Arc<dyn ObjectStore>, Error> {
    use std::time::Duration;

    use object_store::{ClientOptions, http::HttpBuilder};
    use_ring();
    // A server without ranges sends a whole object at once, which may take long; silence may not.
    let mut client = ClientOptions::new()
        .with_allow_http(parts.base.scheme() == "http")
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_secs(30));
    if let Some(user) = location.user() {
        client = client.with_default_headers(authorization(user)?);
    }
    for (key, value) in &options.0 {
        client = client.with_config(key.to_ascii_lowercase().parse()?, value);
    }
    let builder = HttpBuilder::new().with_url(parts.base.as_str()).with_client_options(client).with_retry(retry());
    Ok(Arc::new(builder.build()?))
}

/// Name and password as a header, so that the URL holds none, and no error shows them.
#[cfg(feature = "http")]
fn authorization(user: &str) -> Result<http::HeaderMap, Error> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let plain = percent_decoded(user);
    let mut value = http::HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(plain)))
        .map_err(|_| refused("the name or the password is no text"))?;
    value.set_sensitive(true);
    Ok([(http::header::AUTHORIZATION, value)].into_iter().collect())
}

#[cfg(feature = "http")]
fn percent_decoded(text: &str) -> String {
    // What a form says: a plus stands for a space there, and for itself here.
    let text = text.replace('+', "%2B");
    url::form_urlencoded::parse(text.replace('=', "%3D").replace('&', "%26").as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}

/// Whatever must not be shown: the values of settings whose names say so, and the password of the URL.
fn secrets(location: &Location, options: &Options) -> Vec<String> {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["secret", "token", "password", "key", "credential", "authorization"].iter().any(|word| name.contains(word))
    };
    let of_options = options.0.iter().map(|(name, value)| (name.clone(), value.clone()));
    let of_environment = env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("AWS_") || name.starts_with("GOOGLE_"))?;
        Some((name, value.into_string().ok()?))
    });
    let named = of_options.chain(of_environment).filter(|(name, _)| is_secret(name)).map(|(_, value)| value);
    let of_url = location.user().and_then(|user| user.split_once(':')).map(|(_, password)| password.to_owned());
    // Something as short as that would be found in words.
    named.chain(of_url).filter(|secret| secret.len() >= 4).collect()
}

fn hide(secrets: &[String], text: &str) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("base", &self.parts.base.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Location, Options, Store};
    use crate::{fault::Fault, location::Given};

    fn open(url: &str, options: &[(&str, &str)]) -> Result<Store, Fault> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Store::open(&Location::from(url.to_owned()), &Options(options.collect()), &Given::default())
    }

    #[test]
    fn a_secret_is_shown_by_no_error_that_repeats_it() {
        let store = open("file:///tmp/", &[("aws_session_token", "very-secret")]).unwrap();
        let error = object_store::Error::Generic { store: "S3", source: "<Token-0>very-secret</Token-0>".into() };
        let fault = store.failed("cannot read", &"a.csv".into(), &error);
        assert!(!format!("{fault:?}").contains("very-secret"));
        assert!(format!("{fault:?}").contains("<Token-0>***</Token-0>"));
        assert!(!format!("{store:?}").contains("very-secret"));
    }

    #[test]
    fn a_scheme_that_is_not_known_is_refused_by_name() {
        let error = format!("{:?}", open("ftp://host/a.csv", &[]).unwrap_err());
        assert!(error.contains("ftp://host/a.csv") && error.contains("s3, gs, http"), "{error}");
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_password_is_decoded_and_sent_as_a_header() {
        let headers = super::authorization("me:p%40s+s%3d").unwrap();
        assert_eq!(headers["authorization"], "Basic bWU6cEBzK3M9");
    }
}
