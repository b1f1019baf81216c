//! The view of a container from outside, below its root directory.

use std::path::{Path, PathBuf};

use crate::accounts::Caller;
use crate::error::Error;
use crate::fs::mounts::mount_points;
use crate::start::resolve::View;
use crate::sys::capability::CapabilitySet;

/// The root directory of the container that this process is in.
const OWN_ROOT: &str = "/";

/// Returns the caller of a start in the container below `root`: this process, or root with all
/// capabilities if it is another container, whose privileges are not known from outside.
///
/// # Errors
/// Those of [`Caller::of_this_process`].
pub(crate) fn caller_in(root: &Path) -> Result<Caller, Error> {
    if root == Path::new(OWN_ROOT) {
        return Caller::of_this_process();
    }
    Ok(Caller {
        uid: 0,
        gid: 0,
        groups: vec![0],
        capabilities: CapabilitySet(u64::MAX),
    })
}

/// Returns the view of the container below `root`.
pub(crate) fn view_of<'a>(root: &Path, caller: &'a Caller) -> View<'a> {
    if root == Path::new(OWN_ROOT) {
        return View::Inside { caller };
    }
    View::Outside {
        caller,
        mount_points: mount_points_below(root),
    }
}

/// Returns the mount points below `root`, as paths from there.
fn mount_points_below(root: &Path) -> Vec<PathBuf> {
    let Ok(root) = root.canonicalize() else {
        return Vec::new();
    };
    let mounted = mount_points().into_iter();
    mounted
        .filter_map(|mounted| {
            mounted
                .strip_prefix(&root)
                .ok()
                .map(|below| Path::new("/").join(below))
        })
        .collect()
}
