//! Where a far tier can be: the address of the configuration as a client.

use crate::tier::TierOptions;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use std::path::PathBuf;
use std::sync::Arc;

/// A client and where in it our objects are.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: ObjectPath,
    /// The folder, if it is one.
    pub(crate) folder: Option<PathBuf>,
}

/// Makes the client. Nothing is asked of it; the error says what is wrong with the settings.
pub(crate) fn of(options: &TierOptions) -> Result<Place, String> {
    let (scheme, rest) = options.to.split_once("://").ok_or(
        "write file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
    )?;
    for (setting, is_set, schemes) in [
        ("endpoint", options.endpoint.is_some(), &["s3", "az"][..]),
        ("region", options.region.is_some(), &["s3"][..]),
        ("virtual_hosted", options.virtual_hosted, &["s3"][..]),
        ("allow_http", options.allow_http, &["s3", "gs", "az"][..]),
        ("credentials", options.credentials.is_some(), &["s3", "gs", "az"][..]),
    ] {
        if is_set && !schemes.contains(&scheme) {
            let used: Vec<String> = schemes.iter().map(|s| format!("{s}://")).collect();
            let used = used.join(", ");
            return Err(format!(
                "`{setting}` is a setting of {used}; {scheme}:// has no use for it"
            ));
        }
    }
    if scheme == "file" {
        return folder(rest);
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(format!("it names no bucket: {scheme}://BUCKET/PREFIX"));
    }
    let prefix = ObjectPath::parse(prefix.trim_matches('/')).map_err(|e| e.to_string())?;
    let store = bucket_of(scheme, bucket, options)?;
    Ok(Place { store, prefix, folder: None })
}

/// It is created with the first object: looking must not make an empty folder where a disk is missing.
fn folder(path: &str) -> Result<Place, String> {
    let folder = PathBuf::from(path);
    if !folder.is_absolute() {
        return Err("a folder is named from the root: file:///srv/alcedo".into());
    }
    let prefix = ObjectPath::from_absolute_path(&folder).map_err(|e| e.to_string())?;
    Ok(Place { store: Arc::new(LocalFileSystem::new()), prefix, folder: Some(folder) })
}

/// Whether an error says that nobody is there, or that whoever is there cannot answer now.
pub(crate) fn is_away(error: &object_store::Error) -> bool {
    let first = error as &(dyn std::error::Error + 'static);
    let mut chain = std::iter::successors(Some(first), |error| error.source());
    chain.any(|error| is_lost(error) || error.to_string().contains(" status code: 5"))
}

/// What object stores say of a bucket that is not there, as of an object: S3, GCS, Azure.
const NO_BUCKET: [&str; 3] =
    ["NoSuchBucket", "The specified bucket does not exist", "ContainerNotFound"];

/// Whether an error about an object says that the whole bucket is not there.
pub(crate) fn has_no_bucket(error: &object_store::Error) -> bool {
    let first = error as &(dyn std::error::Error + 'static);
    let mut chain = std::iter::successors(Some(first), |error| error.source());
    chain.any(|error| {
        let text = error.to_string();
        NO_BUCKET.iter().any(|said| text.contains(said))
    })
}

#[cfg(not(feature = "cloud"))]
fn is_lost(_: &(dyn std::error::Error + 'static)) -> bool {
    false
}

#[cfg(not(feature = "cloud"))]
fn bucket_of(scheme: &str, _: &str, _: &TierOptions) -> Result<Arc<dyn ObjectStore>, String> {
    match scheme {
        "s3" | "gs" | "az" => Err(format!(
            "this build reaches folders only; {scheme}:// needs one with `cargo build --profile dist \
             --features cloud`"
        )),
        other => Err(format!("{other}:// is not known")),
    }
}

#[cfg(feature = "cloud")]
use cloud::{bucket_of, is_lost};

#[cfg(feature = "cloud")]
mod cloud {
    use super::TierOptions;
    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::client::{HttpError, HttpErrorKind};
    use object_store::gcp::GoogleCloudStorageBuilder;
    use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    /// A host that does not answer is away; names and routes take less.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Repetitions of one request: a restart of the other side, not its absence.
    const RETRIES: usize = 3;
    const BACKOFF_FIRST: Duration = Duration::from_millis(100);
    const BACKOFF_MAX: Duration = Duration::from_secs(2);

    /// Whether a request or its answer did not get through.
    pub(super) fn is_lost(error: &(dyn std::error::Error + 'static)) -> bool {
        use HttpErrorKind::{Connect, Interrupted, Request, Timeout};
        error
            .downcast_ref::<HttpError>()
            .is_some_and(|e| matches!(e.kind(), Connect | Request | Timeout | Interrupted))
    }

    pub(super) fn bucket_of(
        scheme: &str,
        bucket: &str,
        options: &TierOptions,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        let pairs = options.credentials.as_deref().map(credentials).transpose()?;
        let pairs = pairs.unwrap_or_default();
        let client = ClientOptions::new()
            .with_timeout(options.request_timeout)
            .with_connect_timeout(CONNECT_TIMEOUT);
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: BACKOFF_FIRST,
                max_backoff: BACKOFF_MAX,
                ..BackoffConfig::default()
            },
            max_retries: RETRIES,
            retry_timeout: options.request_timeout,
        };
        // What is set wins over the environment; plain HTTP is for those who ask for it here.
        let client = client.with_allow_http(options.allow_http);
        let endpoint = options.endpoint.clone();
        match scheme {
            "s3" => {
                let mut b = AmazonS3Builder::from_env().with_client_options(client);
                b = known(pairs, b, |b, key, value| Ok(b.with_config(key, value)))?;
                if let Some(endpoint) = endpoint {
                    b = b.with_endpoint(endpoint);
                }
                if let Some(region) = &options.region {
                    b = b.with_region(region);
                }
                b = b.with_bucket_name(bucket).with_retry(retry);
                b = b.with_virtual_hosted_style_request(options.virtual_hosted);
                made(b.with_allow_http(options.allow_http).build())
            }
            "gs" => {
                let mut b = GoogleCloudStorageBuilder::from_env().with_client_options(client);
                b = known(pairs, b, |b, key, value| Ok(b.with_config(key, value)))?;
                made(b.with_bucket_name(bucket).with_retry(retry).build())
            }
            "az" => {
                let mut b = MicrosoftAzureBuilder::from_env().with_client_options(client);
                b = known(pairs, b, |b, key, value| Ok(b.with_config(key, value)))?;
                if let Some(endpoint) = endpoint {
                    b = b.with_endpoint(endpoint);
                }
                b = b.with_container_name(bucket).with_retry(retry);
                made(b.with_allow_http(options.allow_http).build())
            }
            other => Err(format!("{other}:// is not known")),
        }
    }

    fn made<S: ObjectStore>(
        built: object_store::Result<S>,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        built.map(|store| Arc::new(store) as Arc<dyn ObjectStore>).map_err(|e| e.to_string())
    }

    /// Applies settings by the names that they have in the environment.
    fn known<B, K: std::str::FromStr>(
        pairs: Vec<(String, String)>,
        builder: B,
        set: impl Fn(B, K, String) -> Result<B, String>,
    ) -> Result<B, String> {
        pairs.into_iter().try_fold(builder, |builder, (name, value)| {
            let key = name.to_ascii_lowercase().parse::<K>();
            set(
                builder,
                key.map_err(|_| format!("the credentials name `{name}`, which is not known"))?,
                value,
            )
        })
    }

    /// `NAME=VALUE` lines of a file that only its owner reads. No error tells a value.
    fn credentials(path: &Path) -> Result<Vec<(String, String)>, String> {
        let shown = path.display();
        let failed = |e: std::io::Error| format!("credentials {shown}: {e}");
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(format!("credentials {shown} can be read by others: chmod 600"));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let lines = text.lines().map(str::trim).enumerate();
        lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(at, line)| {
                let wrong = || format!("credentials {shown}, line {}: write NAME=VALUE", at + 1);
                let (name, value) = line.split_once('=').ok_or_else(wrong)?;
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect()
    }
}
