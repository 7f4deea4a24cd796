use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use url::Url;

/// Where a store lies.
///
/// ```
/// use strata_remote::Address;
///
/// let address: Address = "s3://models/production".parse()?;
/// assert_eq!(address.to_string(), "s3://models/production");
/// assert!(matches!("./store".parse()?, Address::Folder(_)));
/// assert!("ftp://models".parse::<Address>().is_err());
/// # Ok::<(), strata_remote::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A folder: a path, or `file:` and a path.
    Folder(PathBuf),
    /// A part of an object store.
    Bucket(Bucket),
}

/// A part of an object store, written `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Who keeps it.
    pub service: Service,
    /// The name of the bucket or container.
    pub name: String,
    /// What the names of all objects begin with; may be empty. No `/` at its ends.
    pub prefix: String,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what speaks like it (`AWS_ENDPOINT_URL`).
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage; the account is `AZURE_STORAGE_ACCOUNT_NAME`.
    Azure,
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no address of a store: {problem} (expected a folder, file:, s3://BUCKET/PREFIX, gs:// or az://)"
)]
pub struct AddressError {
    problem: &'static str,
}

impl Service {
    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    // The text is in no error: it may hold what somebody took for the right place of a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem| AddressError { problem };
        if text.is_empty() {
            return Err(error("it is empty"));
        }
        if let Some(rest) = text.strip_prefix("file:") {
            if !rest.starts_with("//") {
                return Ok(Self::Folder(PathBuf::from(rest)));
            }
            let url = Url::parse(text).map_err(|_| error("not a URL"))?;
            let path = url.to_file_path();
            return path
                .map(Self::Folder)
                .map_err(|()| error("its path is none of this machine"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        let services = [Service::S3, Service::Gcs, Service::Azure];
        let service = services
            .into_iter()
            .find(|service| service.scheme() == scheme)
            .ok_or_else(|| error("of an unknown kind"))?;
        if rest.contains(['@', '?', '#']) {
            return Err(error(
                "credentials and settings come from the environment, not from the address",
            ));
        }
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(error(
                "the name of its bucket is missing or has other signs than letters, digits, `-`, `_`, `.`",
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(error(
                "a part of its prefix is empty, `.`, `..` or has other signs than letters, digits, `-`, `_`, `.`",
            ));
        }
        Ok(Self::Bucket(Bucket {
            service,
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), self.name)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Folder(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_reads_back_what_it_writes() {
        for text in ["s3://b", "gs://my-bucket/a/b.c", "az://c/x_y"] {
            let address: Address = text.parse().unwrap();
            assert!(matches!(address, Address::Bucket(_)));
            assert_eq!(address.to_string(), text);
            assert_eq!(format!("{text}/").parse(), Ok(address));
        }
    }

    #[test]
    fn a_folder_is_a_path_or_a_file_address() {
        for (text, path) in [
            ("store", "store"),
            ("/a/b", "/a/b"),
            ("file:store", "store"),
            ("file:/a b", "/a b"),
            ("file:///a%20b", "/a b"),
        ] {
            assert_eq!(text.parse(), Ok(Address::Folder(path.into())), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_why_and_tells_no_secret() {
        for (text, words) in [
            ("", "empty"),
            ("ftp://b", "unknown kind"),
            ("s3://", "name of its bucket"),
            ("s3://b c", "name of its bucket"),
            ("s3://b/a//c", "prefix"),
            ("s3://b/../c", "prefix"),
            ("s3://user:secret@b", "come from the environment"),
            ("az://c?sig=secret", "come from the environment"),
            ("file://elsewhere/secret", "none of this machine"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
