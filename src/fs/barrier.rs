//! The barrier before a seal: changes that were made before it have reached the disk after it.
//!
//! A few changes are synced one by one. Many are written first, and then each file system that was
//! changed is synced once, which takes one flush of its journal instead of one for each file.
//!
//! `syncfs(2)` reports an error of write-back since Linux 5.8, and to a descriptor only those that
//! came after it was opened. So the descriptor of a file system is opened before the first change
//! in it, by [`Barrier::covers`]. Where an error could be lost, because the kernel is older, a
//! seccomp filter refuses the call, or the file system does not wait for its device or server
//! (FUSE, 9p, CIFS), each change is synced by itself.
//!
//! overlayfs passes `syncfs(2)` on to the file system that it writes to, but does not report the
//! errors of that one's files. There each file is synced once more after the barrier; nothing is
//! left to be written then.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, fstatfs,
};
use nix::sys::utsname::uname;
use nix::unistd::syncfs;

use crate::fs::dir::{Dir, retry};
use crate::fs::error::FsError;
use crate::fs::metadata::Ownership;
use crate::fs::progress::Progress;

/// `statfs(2)`; nix does not have it on musl.
const XFS_SUPER_MAGIC: FsType = FsType(0x5846_5342);

/// Changes up to which each is synced by itself: a sync of a whole file system also waits for what
/// other processes have written.
const FEW: usize = 16;

/// The first kernel whose `syncfs(2)` reports errors of write-back.
const REPORTS_ERRORS: (u32, u32) = (5, 8);

/// The interval of checks, during a sync, for progress that is to be logged.
const TICK: Duration = Duration::from_millis(250);

/// The file systems with changes that are not on disk yet.
#[derive(Debug)]
pub(crate) struct Barrier {
    /// True if file systems may be synced as a whole.
    whole: bool,
    /// By device number.
    file_systems: BTreeMap<u64, FileSystem>,
    /// File systems that are synced as a whole although not all changes in them are covered, by
    /// device number.
    included: BTreeMap<u64, (OwnedFd, PathBuf)>,
}

/// The way in which changes on one file system reach the disk.
#[derive(Debug)]
enum FileSystem {
    /// Each is synced by itself.
    Each,
    /// All together, through this descriptor, which was opened before the first change.
    Whole {
        fd: OwnedFd,
        path: PathBuf,
        /// True if errors of write-back are reported.
        reports: bool,
    },
}

impl Barrier {
    /// Makes a barrier for about `changes` files.
    pub(crate) fn new(changes: usize) -> Self {
        Self {
            whole: changes > FEW && kernel_reports_errors(),
            file_systems: BTreeMap::new(),
            included: BTreeMap::new(),
        }
    }

    /// Makes a barrier before which each change is synced by itself.
    pub(crate) fn each() -> Self {
        Self {
            whole: false,
            file_systems: BTreeMap::new(),
            included: BTreeMap::new(),
        }
    }

    /// Returns true if changes in `dir` from now on are synced by [`Self::pass`]. If not, each has
    /// to be synced by the caller.
    ///
    /// # Errors
    /// [`FsError::Io`] if the directory cannot be opened.
    pub(crate) fn covers(&mut self, dir: &Dir) -> Result<bool, FsError> {
        if !self.whole {
            return Ok(false);
        }
        let device = dir.metadata().device;
        if let Some(known) = self.file_systems.get(&device) {
            return Ok(matches!(known, FileSystem::Whole { .. }));
        }
        let file_system = FileSystem::of(dir)?;
        let covered = matches!(file_system, FileSystem::Whole { .. });
        self.file_systems.insert(device, file_system);
        Ok(covered)
    }

    /// Includes the file system of `dir` in [`Self::pass`] in any case: for changes of files that
    /// are not opened, and so cannot be synced one by one.
    pub(crate) fn include(&mut self, dir: &Dir) -> Result<(), FsError> {
        let device = dir.metadata().device;
        if !self.covers(dir)? && !self.included.contains_key(&device) {
            let opened = (dir.reopen()?, dir.path().to_owned());
            self.included.insert(device, opened);
        }
        Ok(())
    }

    /// Gives `dir` `wanted`, changing only what differs. Returns true if anything did.
    pub(crate) fn give(&mut self, dir: &Dir, wanted: Ownership) -> Result<bool, FsError> {
        if dir.metadata().ownership == wanted {
            return Ok(false);
        }
        if self.covers(dir)? {
            dir.change_ownership(wanted)?;
        } else {
            dir.set_ownership(wanted)?;
        }
        Ok(true)
    }

    /// Returns true if files in `dir` have to be synced after [`Self::pass`], so that an error is
    /// reported.
    pub(crate) fn is_silent(&self, dir: &Dir) -> bool {
        matches!(
            self.file_systems.get(&dir.metadata().device),
            Some(FileSystem::Whole { reports: false, .. })
        )
    }

    /// Waits until everything before it is on disk.
    ///
    /// # Errors
    /// [`FsError::Io`] if anything that was written since [`Self::covers`] did not get there.
    pub(crate) fn pass(&self, progress: &mut Progress) -> Result<(), FsError> {
        let each = |known| matches!(known, &FileSystem::Each);
        if self.included.is_empty() && self.file_systems.values().all(each) {
            return Ok(());
        }
        thread::scope(|scope| {
            let (done, wait) = channel::<()>();
            // A limit on processes costs only the log lines.
            let logging = thread::Builder::new().spawn_scoped(scope, move || {
                while wait.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    progress.tick();
                }
            });
            let synced = self.sync();
            drop(done);
            if let Ok(logging) = logging {
                // Joined, so that it has ended before privileges are dropped.
                logging
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            synced
        })
    }

    fn sync(&self) -> Result<(), FsError> {
        let covered = self.file_systems.values().filter_map(|known| match known {
            FileSystem::Each => None,
            FileSystem::Whole { fd, path, .. } => Some((fd, path)),
        });
        let included = self.included.values().map(|(fd, path)| (fd, path));
        for (fd, path) in covered.chain(included) {
            retry(|| syncfs(fd.as_fd()))
                .map_err(|errno| FsError::io("cannot sync", path, errno))?;
        }
        Ok(())
    }
}

impl FileSystem {
    /// Finds out how changes in `dir` are synced.
    fn of(dir: &Dir) -> Result<Self, FsError> {
        let path = dir.path().to_owned();
        // A file system that cannot be identified is like one that is not known.
        let found = retry(|| fstatfs(dir.fd())).map(|found| found.filesystem_type());
        let reports = match found {
            Ok(EXT4_SUPER_MAGIC | XFS_SUPER_MAGIC | BTRFS_SUPER_MAGIC | TMPFS_MAGIC) => true,
            Ok(OVERLAYFS_SUPER_MAGIC) => false,
            _ => return Ok(Self::Each),
        };
        // A descriptor that is only a path is a bad one to a kernel that has the call. It syncs
        // nothing, so this finds out whether a filter refuses the call.
        if syncfs(dir.fd()) != Err(Errno::EBADF) {
            return Ok(Self::Each);
        }
        Ok(Self::Whole {
            fd: dir.reopen()?,
            path,
            reports,
        })
    }
}

fn kernel_reports_errors() -> bool {
    let Ok(name) = uname() else {
        return false;
    };
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= REPORTS_ERRORS,
        _ => false,
    }
}
