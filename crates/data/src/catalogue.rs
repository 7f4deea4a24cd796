use strata_spec::Digest;

use crate::cifar::{self, Layout};

/// A data set with a public home.
pub(crate) struct Entry {
    /// Its name in a recipe.
    pub(crate) name: &'static str,
    /// Its name for people.
    pub(crate) title: &'static str,
    /// Addresses to which a file's name is appended, in the order in which they are tried.
    pub(crate) homes: &'static [&'static str],
    pub(crate) format: Format,
    pub(crate) files: &'static [File],
}

/// What the files of a data set are.
pub(crate) enum Format {
    /// Four IDX files: training images and labels, test images and labels.
    Idx,
    /// One archive. In the user's own folder it may be another than the published one, such as one with fewer test rows.
    Cifar(&'static Layout),
}

/// A published file.
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
}

impl File {
    pub(crate) const fn new(name: &'static str, bytes: u64, sha256: &'static str) -> Self {
        Self {
            name,
            bytes,
            sha256,
        }
    }

    /// Digest of its bytes.
    pub(crate) fn digest(&self) -> Digest {
        format!("sha256:{}", self.sha256)
            .parse()
            .expect("a test reads every digest of the catalogue")
    }
}

/// The entry of that name.
pub(crate) fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

pub(crate) const ENTRIES: [Entry; 4] = [
    Entry {
        name: "mnist",
        title: "MNIST",
        homes: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ],
        format: Format::Idx,
        files: &[
            File::new(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            File::new(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            File::new(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            File::new(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ],
    },
    Entry {
        name: "fashion-mnist",
        title: "Fashion-MNIST",
        // Its home speaks no HTTPS; the checksum is what vouches for the files.
        homes: &[
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ],
        format: Format::Idx,
        files: &[
            File::new(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            File::new(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            File::new(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            File::new(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ],
    },
    Entry {
        name: "cifar10",
        title: "CIFAR-10",
        homes: &["https://www.cs.toronto.edu/~kriz/"],
        format: Format::Cifar(&cifar::CIFAR_10),
        files: &[File::new(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        )],
    },
    Entry {
        name: "cifar100",
        title: "CIFAR-100",
        homes: &["https://www.cs.toronto.edu/~kriz/"],
        format: Format::Cifar(&cifar::CIFAR_100),
        files: &[File::new(
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        )],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_file_has_a_digest_of_its_own() {
        let digests: HashSet<Digest> = ENTRIES
            .iter()
            .flat_map(|entry| entry.files)
            .map(File::digest)
            .collect();
        assert_eq!(digests.len(), 10);
        assert!(
            ENTRIES
                .iter()
                .flat_map(|entry| entry.homes)
                .all(|home| home.ends_with('/'))
        );
    }
}
