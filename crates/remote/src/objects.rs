//! Single objects: read up to a limit, written with a condition, each within a time.

use std::{fmt, future::Future, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{
    ClientConfigKey, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig, UpdateVersion,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
};
use tokio::runtime::Runtime;

use crate::{Bucket, RemoteError, Service};

/// For one request and its repetitions, and for the next bytes of an answer.
const TIME: Duration = Duration::from_secs(60);

/// Repetitions of a request that failed by no fault of its own, and how long they go on.
const RETRIES: usize = 3;
const RETRY_TIME: Duration = Duration::from_secs(20);

/// A time beyond all that are kept here.
const NO_LIMIT: &str = "1 day";

/// A store in a part of an object store.
pub struct Remote {
    bucket: Bucket,
    pub(crate) store: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the store, which knows the credentials.
        write!(f, "Remote({})", self.bucket)
    }
}

/// A small object, and what it must still be when it is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Small {
    pub(crate) bytes: Vec<u8>,
    pub(crate) update: UpdateVersion,
}

/// How a conditional write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Done,
    /// The condition did not hold.
    Refused,
}

impl Remote {
    /// The store in a bucket, with credentials and settings from the environment: the variables of the service's own tools,
    /// such as `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`;
    /// `GOOGLE_APPLICATION_CREDENTIALS`; `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`. Without credentials those
    /// of the machine or pod are asked for. Plain HTTP only with `AWS_ALLOW_HTTP=true`.
    ///
    /// Nothing is asked of the store yet.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn from_env(bucket: &Bucket) -> Result<Self, RemoteError> {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self::with_settings(bucket, std::env::vars_os().filter_map(text))
    }

    /// [`Remote::from_env`] with these instead of the environment.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn with_settings(
        bucket: &Bucket,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, RemoteError> {
        let failed = |problem: String| RemoteError::Store {
            address: bucket.to_string(),
            action: "use it with the settings of the environment",
            problem,
        };
        let store = build(bucket, settings).map_err(|error| failed(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            bucket: bucket.clone(),
            store,
            runtime,
        })
    }

    /// Where it lies.
    pub fn address(&self) -> String {
        self.bucket.to_string()
    }

    pub(crate) fn key(&self, path: &str) -> Path {
        let parts = self.bucket.prefix.split('/').chain(path.split('/'));
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// The path of an object below the store's prefix.
    pub(crate) fn path_of<'a>(&self, key: &'a Path) -> Option<&'a str> {
        let key = key.as_ref();
        if self.bucket.prefix.is_empty() {
            return Some(key);
        }
        key.strip_prefix(&self.bucket.prefix)?.strip_prefix('/')
    }

    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// `work`, for at most the time that anything may take.
    pub(crate) async fn timed<T>(
        &self,
        action: &'static str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<object_store::Result<T>, RemoteError> {
        tokio::time::timeout(TIME, work)
            .await
            .map_err(|_| self.failed(action, format!("no answer for {} s", TIME.as_secs())))
    }

    pub(crate) fn failed(&self, action: &'static str, problem: impl fmt::Display) -> RemoteError {
        let mut problem = problem.to_string();
        // What the HTTP library says of an address that is not HTTPS.
        if problem.contains("builder error") {
            problem += ": plain HTTP is used only with AWS_ALLOW_HTTP=true";
        }
        RemoteError::Store {
            address: self.address(),
            action,
            problem,
        }
    }

    /// The beginning of an object; none if there is no such object.
    pub(crate) async fn open(&self, key: &Path) -> Result<Option<GetResult>, RemoteError> {
        match self.timed("read", self.store.get(key)).await? {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    /// What is known of an object without reading it; none if there is no such object.
    pub(crate) async fn look_at(&self, key: &Path) -> Result<Option<ObjectMeta>, RemoteError> {
        match self.timed("read", self.store.head(key)).await? {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    /// A small object; none if there is no such object, an error if it has more than `limit` bytes.
    pub(crate) async fn small(&self, path: &str, limit: u64) -> Result<Option<Small>, RemoteError> {
        let Some(found) = self.open(&self.key(path)).await? else {
            return Ok(None);
        };
        let update = UpdateVersion {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        };
        let too_large = || {
            self.failed(
                "read",
                format!("{path} has more than the {limit} bytes that are allowed"),
            )
        };
        if found.meta.size > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(found.meta.size as usize);
        let mut parts = found.into_stream();
        while let Some(part) = self.next(&mut parts).await? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Ok(Some(Small { bytes, update }))
    }

    /// The next bytes of an answer.
    pub(crate) async fn next(
        &self,
        parts: &mut (impl StreamExt<Item = object_store::Result<Bytes>> + Unpin),
    ) -> Result<Option<Bytes>, RemoteError> {
        let next = async { parts.next().await.transpose() };
        self.timed("read", next)
            .await?
            .map_err(|error| self.failed("read", error))
    }

    /// Writes a small object under a condition.
    pub(crate) async fn put(
        &self,
        path: &str,
        bytes: Vec<u8>,
        mode: PutMode,
    ) -> Result<Put, RemoteError> {
        let is_update = matches!(mode, PutMode::Update(_));
        let payload = PutPayload::from(bytes);
        let key = self.key(path);
        let put = self.store.put_opts(&key, payload, mode.into());
        match self.timed("write", put).await? {
            Ok(_) => Ok(Put::Done),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(Put::Refused),
            // An object that was to be replaced is gone.
            Err(object_store::Error::NotFound { .. }) if is_update => Ok(Put::Refused),
            Err(error) => Err(self.failed("write", error)),
        }
    }
}

fn build(
    bucket: &Bucket,
    settings: impl IntoIterator<Item = (String, String)>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_TIME,
        ..RetryConfig::default()
    };
    let prefix = match bucket.service {
        Service::S3 => "aws_",
        Service::Gcs => "google_",
        Service::Azure => "azure_",
    };
    let settings = settings
        .into_iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .filter(|(key, _)| key.starts_with(prefix));
    // How long a whole answer may take says nothing of large ones; what is limited is how long it may stall.
    let timeout = ClientConfigKey::Timeout;
    Ok(match bucket.service {
        Service::S3 => {
            let first = AmazonS3Builder::new()
                .with_retry(retry)
                .with_config(AmazonS3ConfigKey::Client(timeout), NO_LIMIT);
            let all = configured(first, settings, AmazonS3Builder::with_config);
            Arc::new(all.with_bucket_name(&bucket.name).build()?)
        }
        Service::Gcs => {
            let first = GoogleCloudStorageBuilder::new()
                .with_retry(retry)
                .with_config(GoogleConfigKey::Client(timeout), NO_LIMIT);
            let all = configured(first, settings, GoogleCloudStorageBuilder::with_config);
            Arc::new(all.with_bucket_name(&bucket.name).build()?)
        }
        Service::Azure => {
            let first = MicrosoftAzureBuilder::new()
                .with_retry(retry)
                .with_config(AzureConfigKey::Client(timeout), NO_LIMIT);
            let all = configured(first, settings, MicrosoftAzureBuilder::with_config);
            Arc::new(all.with_container_name(&bucket.name).build()?)
        }
    })
}

/// With those of the settings that the service knows.
fn configured<B, K: FromStr>(
    builder: B,
    settings: impl Iterator<Item = (String, String)>,
    set: fn(B, K, String) -> B,
) -> B {
    settings.fold(builder, |builder, (key, value)| match key.parse() {
        Ok(key) => set(builder, key, value),
        Err(_) => builder,
    })
}
