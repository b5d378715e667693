//! Configuration files that are read again when they change.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest number of bytes that are read of a file.
const MOST: u64 = 16 << 20;

/// The properties by which versions of a file are distinguished.
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
    /// Returns a file that `parse` reads. A missing file is read as an empty one.
    pub fn new(path: PathBuf, parse: fn(&str) -> T) -> Self {
        let value = Arc::new(parse(""));
        Self {
            path,
            seen: None,
            value,
            parse,
        }
    }

    /// Returns the present content of the file. The same `Arc` as before means that nothing has changed.
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
