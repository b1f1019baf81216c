//! The capability sets of this process (capabilities(7)).

use nix::errno::Errno;
use rustix::thread;

use crate::sys::capability::{Capability, CapabilitySet};

/// The three sets that `capget(2)` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) effective: CapabilitySet,
    pub(crate) permitted: CapabilitySet,
    pub(crate) inheritable: CapabilitySet,
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// The set of `capability` alone, as `rustix` takes it.
fn single(capability: Capability) -> thread::CapabilitySet {
    thread::CapabilitySet::from_bits_retain(1 << capability.number())
}

/// Returns the capability sets of this thread.
pub(crate) fn capabilities() -> Result<Capabilities, Errno> {
    let sets = thread::capabilities(None).map_err(errno)?;
    Ok(Capabilities {
        effective: CapabilitySet(sets.effective.bits()),
        permitted: CapabilitySet(sets.permitted.bits()),
        inheritable: CapabilitySet(sets.inheritable.bits()),
    })
}

/// Makes `set` the effective, permitted and inheritable set of this thread.
pub(crate) fn set_capabilities(set: CapabilitySet) -> Result<(), Errno> {
    let set = thread::CapabilitySet::from_bits_retain(set.0);
    let sets = thread::CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: set,
    };
    thread::set_capabilities(None, sets).map_err(errno)
}

/// Returns the bounding set, as far as the kernel knows capabilities.
pub(crate) fn bounding() -> Result<CapabilitySet, Errno> {
    let mut set = Vec::new();
    for capability in CapabilitySet(u64::MAX).iter() {
        match bounding_has(capability) {
            Ok(true) => set.push(capability),
            Ok(false) => {}
            // The kernel numbers capabilities without gaps: this is the first that it does not
            // know. Every kernel knows the first of all.
            Err(Errno::EINVAL) if capability.number() > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(set.into_iter().collect())
}

/// Returns true if the bounding set holds `capability`; [`Errno::EINVAL`] if the kernel does not
/// know it.
pub(crate) fn bounding_has(capability: Capability) -> Result<bool, Errno> {
    thread::capability_is_in_bounding_set(single(capability)).map_err(errno)
}

/// Removes `capability` from the bounding set for good.
pub(crate) fn drop_bounding(capability: Capability) -> Result<(), Errno> {
    thread::remove_capability_from_bounding_set(single(capability)).map_err(errno)
}

/// Returns true if the ambient set holds `capability`; [`Errno::EINVAL`] if the kernel does not
/// know it.
pub(crate) fn ambient_has(capability: Capability) -> Result<bool, Errno> {
    thread::capability_is_in_ambient_set(single(capability)).map_err(errno)
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> Result<(), Errno> {
    thread::clear_ambient_capability_set().map_err(errno)
}

/// Adds `capability`, which must be permitted and inheritable, to the ambient set, which survives
/// an exec.
pub(crate) fn raise_ambient(capability: Capability) -> Result<(), Errno> {
    thread::configure_capability_in_ambient_set(single(capability), true).map_err(errno)
}
