//! Configuration files that are read again when they change.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More of a file is not read.
const MOST: u64 = 16 << 20;

/// The properties that tell one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let status = std::fs::metadata(path).ok()?;
        Some(Self {
            device: status.dev(),
            inode: status.ino(),
            size: status.size(),
            changed: (status.mtime(), status.mtime_nsec()),
        })
    }
}

/// The content of a file as of its current version, read again when the file changes.
pub struct FollowedFile<T> {
    path: PathBuf,
    seen: Option<Option<Version>>,
    value: Arc<T>,
    parse: fn(&str) -> T,
}

impl<T> FollowedFile<T> {
    /// Returns a file and how to read it. A file that is not there is read as an empty one.
    pub fn new(path: PathBuf, parse: fn(&str) -> T) -> Self {
        let value = Arc::new(parse(""));
        Self {
            path,
            seen: None,
            value,
            parse,
        }
    }

    /// Returns what the file says now. The same `Arc` means that nothing changed.
    pub fn current(&mut self) -> Arc<T> {
        let version = Version::of(&self.path);
        if self.seen != Some(version) {
            self.value = Arc::new((self.parse)(&read(&self.path).unwrap_or_default()));
            self.seen = Some(version);
        }
        self.value.clone()
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut octets = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}
