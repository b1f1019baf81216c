//! `sealinit digest`: prints the digest of a manifest and of all content that it names.

use clap::Args;

use crate::commands::options::{LogOptions, ManifestOption};
use crate::error::Error;
use crate::plan::configuration::Configuration;
use crate::report;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0, 66 if a source is missing or unreadable, 78 if the manifest is; 2 for wrong usage.

Example: docker run -e SEALINIT_PIN=$(sealinit digest --manifest web/manifest.json) ...")]
pub(crate) struct DigestArgs {
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

impl DigestArgs {
    /// Prints the digest; returns the exit code.
    ///
    /// # Errors
    /// All problems of the manifest, [`Error::SourceRead`] for each source that cannot be read, or
    /// [`Error::Output`] if standard output is full or closed.
    pub(crate) fn run(&self) -> Result<u8, Vec<Error>> {
        let digest = Configuration::digest(&self.manifest.manifest)?;
        report::write(&format!("{digest}\n"))?;
        Ok(0)
    }
}
