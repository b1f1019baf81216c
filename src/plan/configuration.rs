//! A manifest and what its sources hold, all of one moment.
//!
//! Never looks at where it is going to be installed, but for the accounts that its names are looked up in.

use std::path::Path;

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::plan::sources::{ContentCache, SourceScope, SourceTable};

/// What the operator has mounted.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) manifest: Manifest,
    pub(crate) inventory: SourceTable,
    pub(crate) held: ContentCache,
    /// What could not be read. In the inventory an empty content stands for it.
    pub(crate) unread: Vec<Error>,
}

impl Configuration {
    /// Reads the manifest at `path` and those of its sources that are in `reach`.
    ///
    /// # Errors
    /// Everything that is wrong with the manifest.
    pub(crate) fn load(path: &Path, reach: SourceScope) -> Result<Self, Vec<Error>> {
        const ATTEMPTS: usize = 5;
        // Kubernetes swaps a whole directory by its link `..data`, and files read before and after would make a configuration that
        // nobody wrote.
        let data =
            || std::fs::read_link(path.parent().unwrap_or(Path::new("")).join("..data")).ok();
        let mut attempt = 1;
        loop {
            let before = data();
            let read = Manifest::load(path).map(|manifest| {
                let (inventory, held, unread) = SourceTable::read(&manifest, reach);
                Self {
                    manifest,
                    inventory,
                    held,
                    unread,
                }
            });
            if attempt == ATTEMPTS || data() == before {
                return read;
            }
            attempt += 1;
        }
    }

    /// This configuration, if all of it was read.
    ///
    /// # Errors
    /// What could not be read.
    pub(crate) fn complete(mut self) -> Result<Self, Vec<Error>> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            Ok(self)
        } else {
            Err(unread)
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.inventory.digest(self.manifest.text())
    }
}
