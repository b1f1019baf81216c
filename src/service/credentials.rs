//! Gives up root for good, and verifies that nothing of it is left.
//!
//! A call that fails ends the start: the service must not run with privileges of root. The order of
//! the steps in [`drop_to`] matters; comments there give the reasons.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{
    Gid, Uid, fchown, getgroups, getresgid, getresuid, isatty, setegid, seteuid, setfsgid,
    setfsuid, setgroups, setresgid, setresuid,
};

use crate::accounts::Caller;
use crate::error::Error;
use crate::plan::Service;
use crate::sys::capability::{Capability, CapabilitySet};
use crate::sys::{self, Capabilities};

/// Milliseconds to wait for the kernel to remove joined threads, on a busy machine.
const THREAD_EXIT_MILLIS: usize = 1000;

/// The ids that are given up.
const ROOT_UID: Uid = Uid::from_raw(0);
const ROOT_GID: Gid = Gid::from_raw(0);

/// Proof that this process has the service's credentials and nothing of root's.
#[derive(Debug)]
pub(crate) struct Unprivileged(());

/// Changes to the service's uid, gid, groups and capabilities. Changes nothing for an `init`
/// without a user, whose command keeps the credentials that the engine set.
///
/// # Errors
///
/// [`Error::Drop`] if a step fails, or [`Error::NotDropped`] if the kernel reports other
/// credentials afterwards.
pub(crate) fn drop_to(service: &Service, caller: &Caller) -> Result<Unprivileged, Error> {
    if service.credentials_unchanged {
        return Ok(Unprivileged(()));
    }
    // Some of the calls below change only the calling thread (capabilities(7)).
    assert_single_thread()?;
    // First, because fchown(2) needs CAP_CHOWN.
    give_stdio(service, caller);
    // The bounding set needs CAP_SETPCAP, which goes with the uid.
    let dropped = drop_bounding(service)?;
    let kept = service.capabilities;
    match sys::clear_ambient() {
        // A kernel (or gVisor) without an ambient set has nothing to clear, and could keep nothing.
        Err(Errno::EINVAL) if kept == CapabilitySet::EMPTY => {}
        cleared => cleared.map_err(failed("clearing the ambient set"))?,
    }
    if kept != CapabilitySet::EMPTY {
        prctl::set_keepcaps(true).map_err(failed("keeping capabilities (PR_SET_KEEPCAPS)"))?;
    }
    if caller.is_root() {
        set_ids(service, caller)?;
    }
    // Effective, permitted and inheritable in one call, set to what the manifest says: uid 0 would
    // keep all of them, and container engines have set too large an inheritable set before
    // (CVE-2022-24769).
    sys::set_capabilities(kept).map_err(failed("capset"))?;
    for capability in kept.iter() {
        sys::raise_ambient(capability).map_err(failed("raising the ambient set"))?;
    }
    if kept != CapabilitySet::EMPTY {
        prctl::set_keepcaps(false).map_err(failed("keeping capabilities (PR_SET_KEEPCAPS)"))?;
        tracing::debug!("kept {kept}");
    }
    // Last, so that no step above can need what it forbids.
    if service.no_new_privileges {
        prctl::set_no_new_privs().map_err(failed("PR_SET_NO_NEW_PRIVS"))?;
        tracing::debug!("set no_new_privs");
    }
    prove_ids(service, caller)?;
    prove_capabilities(service, dropped)?;
    prove_no_return(service)?;
    tracing::debug!("verified that nothing of root is left");
    Ok(Unprivileged(()))
}

/// Gives up the capabilities that only the service keeps, once it runs: its init needs none.
///
/// # Errors
///
/// [`Error::DropRest`] if some of them are left.
pub(crate) fn drop_remaining(service: &Service, _: Unprivileged) -> Result<(), Error> {
    if service.credentials_unchanged || service.capabilities == CapabilitySet::EMPTY {
        return Ok(());
    }
    // The ambient set goes with the permitted one.
    let refused = |source: Errno| Error::DropRest {
        why: source.to_string(),
    };
    sys::set_capabilities(CapabilitySet::EMPTY).map_err(refused)?;
    let left = sys::capabilities().map_err(refused)?.permitted;
    if left == CapabilitySet::EMPTY {
        Ok(())
    } else {
        Err(Error::DropRest {
            why: format!("{left} is left"),
        })
    }
}

/// Returns true if the bounding set holds, or may hold, more than the service keeps.
pub(crate) fn surplus_bounding(service: &Service) -> bool {
    sys::bounding().map_or(true, |bounding| {
        bounding.without(service.capabilities) != CapabilitySet::EMPTY
    })
}

fn failed(step: &'static str) -> impl Fn(nix::Error) -> Error {
    move |source| Error::Drop { step, source }
}

fn not_dropped(what: impl Into<String>) -> Error {
    Error::NotDropped { what: what.into() }
}

fn assert_single_thread() -> Result<(), Error> {
    // A directory has two links and one more for each directory in it, here a thread. Without /proc
    // the number is taken for 1: no thread outlives the function that starts it.
    let threads =
        || std::fs::metadata("/proc/self/task").map_or(1, |tasks| tasks.nlink().saturating_sub(2));
    // A join may return before the kernel has removed the thread.
    for _ in 0..THREAD_EXIT_MILLIS {
        if threads() <= 1 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    match threads() {
        0 | 1 => Ok(()),
        threads => Err(not_dropped(format!("{threads} threads are running"))),
    }
}

/// Gives the pipes and terminals behind descriptors 0, 1 and 2 to the service, as runc does for its
/// user: otherwise the service cannot open /dev/stdout (moby/moby#31243). Errors are ignored: the
/// service can still read and write the open descriptors.
fn give_stdio(service: &Service, caller: &Caller) {
    if !caller.is_root() || service.uid == caller.uid {
        return;
    }
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for descriptor in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        // A closed descriptor.
        let Ok(found) = fstat(descriptor) else {
            continue;
        };
        // A regular file is a redirection of the operator's, and other devices are shared: neither
        // changes its owner.
        let is_stream = match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFIFO => true,
            SFlag::S_IFCHR => isatty(descriptor).unwrap_or(false),
            _ => false,
        };
        if is_stream && found.st_uid != service.uid {
            let _ = fchown(descriptor, Some(Uid::from_raw(service.uid)), None);
        }
    }
}

/// Removes everything from the bounding set that the service does not keep. Returns what was
/// removed.
fn drop_bounding(service: &Service) -> Result<CapabilitySet, Error> {
    let sets = sys::capabilities().map_err(failed("capget"))?;
    if sets.effective.contains(Capability::SETPCAP) {
        // The set is read first: engines leave about a third of the capabilities, and each drop
        // copies the credentials, whether it is needed or not.
        let surplus = sys::bounding()
            .map_err(failed("reading the bounding set"))?
            .without(service.capabilities);
        for capability in surplus.iter() {
            sys::drop_bounding(capability).map_err(failed("emptying the bounding set"))?;
        }
        let count = surplus.iter().count();
        tracing::debug!("dropped {count} capabilities from the bounding set");
        return Ok(surplus);
    } else if surplus_bounding(service) {
        if !service.no_new_privileges {
            return Err(not_dropped(
                "the bounding set cannot be emptied without CAP_SETPCAP, and no_new_privileges is false",
            ));
        }
        // The bounding set has no effect where an exec gives no new privileges.
        tracing::debug!(
            "kept the bounding set: CAP_SETPCAP is missing; no_new_privileges makes it ineffective"
        );
    }
    Ok(CapabilitySet::EMPTY)
}

/// Sets groups, gid and uid in this order: each call needs privileges that the next gives up.
fn set_ids(service: &Service, caller: &Caller) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(service.uid), Gid::from_raw(service.gid));
    if !caller.has_groups(&service.groups) {
        let groups: Vec<Gid> = service.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(failed("setgroups"))?;
        tracing::debug!("set groups {:?}", service.groups);
    }
    setresgid(gid, gid, gid).map_err(failed("setresgid"))?;
    tracing::debug!("set gid {gid}");
    setresuid(uid, uid, uid).map_err(failed("setresuid"))?;
    tracing::debug!("set uid {uid}");
    Ok(())
}

/// Reads every id back and compares it with the one that was set.
fn prove_ids(service: &Service, caller: &Caller) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(service.uid), Gid::from_raw(service.gid));
    let uids = getresuid().map_err(failed("getresuid"))?;
    let gids = getresgid().map_err(failed("getresgid"))?;
    if [uids.real, uids.effective, uids.saved] != [uid; 3] {
        return Err(not_dropped(format!("the uids are {uids:?}, not {uid}")));
    }
    if [gids.real, gids.effective, gids.saved] != [gid; 3] {
        return Err(not_dropped(format!("the gids are {gids:?}, not {gid}")));
    }
    // An invalid id is not set: the call returns the present one (setfsuid(2)).
    let (fs_uid, fs_gid) = (
        setfsuid(Uid::from_raw(u32::MAX)),
        setfsgid(Gid::from_raw(u32::MAX)),
    );
    if (fs_uid, fs_gid) != (uid, gid) {
        return Err(not_dropped(format!(
            "the file-system ids are {fs_uid}:{fs_gid}, not {uid}:{gid}"
        )));
    }
    let groups: BTreeSet<u32> = getgroups()
        .map_err(failed("getgroups"))?
        .iter()
        .map(|gid| gid.as_raw())
        .collect();
    // Without root the engine chose the groups, and they stay.
    if caller.is_root() && groups != service.groups {
        return Err(not_dropped(format!(
            "the groups are {groups:?}, not {:?}",
            service.groups
        )));
    }
    Ok(())
}

/// Reads every capability set and `no_new_privs` back. `dropped` was removed from the bounding set,
/// to which nothing can be added.
fn prove_capabilities(service: &Service, dropped: CapabilitySet) -> Result<(), Error> {
    let kept = service.capabilities;
    let expected = Capabilities {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    let found = sys::capabilities().map_err(failed("capget"))?;
    if found != expected {
        return Err(not_dropped(format!(
            "the capability sets are {found:?}, not {kept}"
        )));
    }
    if let Some(left) = dropped
        .iter()
        .find(|capability| sys::bounding_has(*capability) != Ok(false))
    {
        return Err(not_dropped(format!("{left} is in the bounding set")));
    }
    // The kernel keeps the ambient set within the two sets above, so it cannot hold more; it could
    // hold less.
    if kept
        .iter()
        .any(|capability| sys::ambient_has(capability) != Ok(true))
    {
        return Err(not_dropped(format!("the ambient set is not {kept}")));
    }
    if service.no_new_privileges
        && !prctl::get_no_new_privs().map_err(failed("PR_GET_NO_NEW_PRIVS"))?
    {
        return Err(not_dropped("no_new_privs is not set"));
    }
    Ok(())
}

/// Tries to set root's ids again, which only a service that keeps the capability may do.
fn prove_no_return(service: &Service) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(service.uid), Gid::from_raw(service.gid));
    let may_change_uid = service.capabilities.contains(Capability::SETUID);
    let may_change_gid = service.capabilities.contains(Capability::SETGID);
    if uid != ROOT_UID && !may_change_uid && seteuid(ROOT_UID).is_ok() {
        return Err(not_dropped("uid 0 could be taken back"));
    }
    if gid != ROOT_GID && !may_change_gid && setegid(ROOT_GID).is_ok() {
        return Err(not_dropped("gid 0 could be taken back"));
    }
    if uid != ROOT_UID && !may_change_gid && setgroups(&[ROOT_GID]).is_ok() {
        return Err(not_dropped("group 0 could be taken back"));
    }
    Ok(())
}
