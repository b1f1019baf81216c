//! Lowers the documents of the native format into a declaration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::declaration::{
    Account, Declaration, DeclaredCheck, DeclaredContent, DeclaredDirectory, DeclaredEntry,
    DeclaredFile, DeclaredKind, DeclaredService, DeclaredSource, DeclaredSupervision, Origin,
    Place, Placed, Policies, SignalTarget,
};
use crate::error::Error;
use crate::json::Located;
use crate::manifest::document::{
    CheckDocument, DirectoryDocument, FileDocument, ManifestDocument, ServiceDocument,
};
use crate::manifest::value::{CommandDocument, Mode, SourcePath};

/// Lowers `document`, which was read from `origin` and found valid.
///
/// # Errors
///
/// [`Error::Internal`] if it is not valid.
pub(super) fn lower(document: ManifestDocument, origin: Origin) -> Result<Declaration, Error> {
    let mut entries = Vec::with_capacity(
        document.files.len() + document.directories.len() + document.absent.len(),
    );
    for (index, document) in document.files.into_iter().enumerate() {
        let place = Place::key("files", document.dest.offset).index(index);
        entries.push(file(document, place, &origin)?);
    }
    for (index, document) in document.directories.into_iter().enumerate() {
        let place = Place::key("directories", document.path.offset).index(index);
        entries.push(directory(document, place, &origin));
    }
    for (index, dest) in document.absent.into_iter().enumerate() {
        entries.push(DeclaredEntry {
            dest: dest.value.0,
            place: Place::key("absent", dest.offset).index(index),
            kind: DeclaredKind::Absent,
        });
    }
    Ok(Declaration {
        service: service(document.service),
        entries,
        checks: document.check.into_iter().map(check).collect(),
        policies: Policies {
            on_drift: document.on_drift,
            on_manifest_change: document.on_manifest_change,
        },
        origin,
    })
}

fn file(document: FileDocument, place: Place, origin: &Origin) -> Result<DeclaredEntry, Error> {
    let content = match (document.source, document.content) {
        (Some(path), None) => DeclaredContent::Source(source(&path, origin)),
        (None, Some(text)) => DeclaredContent::Inline(text),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Error::internal("a valid file has not one content", &place));
        }
    };
    Ok(DeclaredEntry {
        dest: document.dest.value.0,
        place,
        kind: DeclaredKind::File(DeclaredFile {
            content,
            owner: placed(document.owner, place.member("owner")),
            group: placed(document.group, place.member("group")),
            mode: mode(document.mode),
            optional: document.optional,
            sha256: document.sha256.map(|sha256| sha256.0),
            secret: document.secret,
            mutable: document.mutable,
        }),
    })
}

fn directory(document: DirectoryDocument, place: Place, origin: &Origin) -> DeclaredEntry {
    DeclaredEntry {
        dest: document.path.value.0,
        place,
        kind: DeclaredKind::Directory(DeclaredDirectory {
            source: document.source.map(|path| source(&path, origin)),
            owner: placed(document.owner, place.member("owner")),
            group: placed(document.group, place.member("group")),
            mode: mode(document.mode),
            file_mode: mode(document.file_mode),
            exact: document.exact,
            recursive: document.recursive,
        }),
    }
}

fn service(document: Located<ServiceDocument>) -> DeclaredService {
    let Located {
        value: document,
        offset,
    } = document;
    let place = Place::key("service", offset);
    let groups = place.member("supplementary_groups");
    let supplementary_groups = document.supplementary_groups.into_iter().enumerate();
    let (target, rewrite) = match document.signals {
        Some(signals) => (signals.target, signals.rewrite.0),
        None => (SignalTarget::Child, BTreeMap::new()),
    };
    let supervision = DeclaredSupervision {
        target,
        rewrite,
        expected_exit: document
            .expected_exit
            .into_iter()
            .flatten()
            .map(|status| status.0)
            .collect(),
        grace: document
            .stop_grace_seconds
            .map(|seconds| Duration::from_secs(seconds.into())),
    };
    DeclaredService {
        place,
        command: document.command.map_or_else(Vec::new, words),
        user: document.user.map(|user| Placed {
            value: user.value,
            place: place.member("user").at(user.offset),
        }),
        group: placed(document.group, place.member("group")),
        supplementary_groups: supplementary_groups
            .map(|(index, value)| Placed {
                value,
                place: groups.index(index),
            })
            .collect(),
        env: document.env,
        working_dir: document.working_dir.map(|path| path.0),
        umask: document.umask.map(|umask| umask.0),
        capabilities: document.capabilities.into_iter().collect(),
        no_new_privileges: document.no_new_privileges,
        allow_root: document.allow_root,
        supervision: document.supervise.then_some(supervision),
    }
}

fn check(document: CheckDocument) -> DeclaredCheck {
    DeclaredCheck {
        command: words(document.command),
        timeout: Duration::from_secs(document.timeout_seconds.into()),
    }
}

fn source(source: &SourcePath, origin: &Origin) -> DeclaredSource {
    DeclaredSource {
        path: origin.locate(&source.0),
        is_absolute: Path::new(&source.0).is_absolute(),
    }
}

fn placed(account: Option<Account>, place: Place) -> Option<Placed<Account>> {
    account.map(|value| Placed { value, place })
}

fn mode(mode: Option<Located<Mode>>) -> Option<u32> {
    mode.map(|mode| mode.value.0)
}

fn words(command: CommandDocument) -> Vec<OsString> {
    command.0.into_iter().map(|word| word.0.into()).collect()
}
