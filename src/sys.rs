//! The few system calls that no safe wrapper covers: capability sets, `close_range(2)`, signal dispositions.
//!
//! The only module with `unsafe` in it. Never decides anything: each function is one call, and says what the kernel said.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};

use crate::capability::{Capability, CapabilitySet};

/// The three sets of a process that `capget(2)` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) effective: CapabilitySet,
    pub(crate) permitted: CapabilitySet,
    pub(crate) inheritable: CapabilitySet,
}

/// `struct __user_cap_header_struct` of linux/capability.h.
#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct`: 32 capabilities; two of them make the 64 of version 3.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`, since Linux 2.6.26.
const VERSION_3: u32 = 0x2008_0522;

/// The capability sets of this thread.
pub(crate) fn capabilities() -> Result<Capabilities, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: both pointers are to live, writable values laid out as version 3 wants them: one header, two data.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result)?;
    let join = |half: fn(&Data) -> u32| CapabilitySet(u64::from(half(&data[1])) << 32 | u64::from(half(&data[0])));
    Ok(Capabilities {
        effective: join(|data| data.effective),
        permitted: join(|data| data.permitted),
        inheritable: join(|data| data.inheritable),
    })
}

/// Makes `set` the effective, permitted and inheritable set of this thread.
pub(crate) fn set_capabilities(set: CapabilitySet) -> Result<(), Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| {
        // Truncation to the low 32 bits is the point.
        #[allow(clippy::cast_possible_truncation)]
        let bits = (set.0 >> shift) as u32;
        Data { effective: bits, permitted: bits, inheritable: bits }
    };
    let data = [half(0), half(32)];
    // SAFETY: both pointers are to live values laid out as version 3 wants them; the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(result).map(drop)
}

/// A `prctl(2)` whose arguments are numbers.
fn prctl(option: c_int, argument2: c_ulong, argument3: c_ulong) -> Result<c_int, Errno> {
    // SAFETY: none of the options used here takes a pointer; unused arguments are 0, as the kernel demands.
    let result = unsafe { libc::prctl(option, argument2, argument3, 0 as c_ulong, 0 as c_ulong) };
    Errno::result(result)
}

/// Whether the bounding set holds `capability`; `None` where the kernel does not know the capability.
pub(crate) fn bounding_has(capability: Capability) -> Option<bool> {
    prctl(libc::PR_CAPBSET_READ, c_ulong::from(capability.number()), 0).ok().map(|held| held == 1)
}

/// Takes `capability` out of the bounding set for good.
pub(crate) fn drop_bounding(capability: Capability) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability.number()), 0).map(drop)
}

/// Whether the ambient set holds `capability`; `None` where the kernel does not know it.
pub(crate) fn ambient_has(capability: Capability) -> Option<bool> {
    let is_set = libc::PR_CAP_AMBIENT_IS_SET as c_ulong;
    prctl(libc::PR_CAP_AMBIENT, is_set, c_ulong::from(capability.number())).ok().map(|held| held == 1)
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, 0).map(drop)
}

/// Puts `capability`, which must be permitted and inheritable, into the ambient set: it outlives an exec.
pub(crate) fn raise_ambient(capability: Capability) -> Result<(), Errno> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
    prctl(libc::PR_CAP_AMBIENT, raise, c_ulong::from(capability.number())).map(drop)
}

/// Whether the permitted set outlives a change from uid 0 to another.
pub(crate) fn set_keep_capabilities(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, c_ulong::from(keep), 0).map(drop)
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: all three arguments are numbers; nothing is closed now, so no owner of a descriptor is betrayed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).map(drop)
}

/// Marks one descriptor to be closed by exec. One that is not open is no error.
pub(crate) fn close_on_exec(descriptor: c_int) {
    // SAFETY: F_SETFD changes a flag of the descriptor, if there is one; nothing is closed now.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Lets one descriptor pass an exec. One that is not open is no error.
pub(crate) fn keep_on_exec(descriptor: c_int) {
    // SAFETY: F_SETFD changes a flag of the descriptor, if there is one.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
}

/// Gives every signal its default disposition and unblocks all of them, whatever was inherited.
pub(crate) fn default_signals() -> Result<(), Errno> {
    // A zeroed `struct sigaction` as the kernel lays it out: SIG_DFL, no flags, no restorer, an empty mask. The C library's
    // wrapper would leave out the signals that it keeps for itself, which can have been ignored by whoever started us.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        let (old, set_size) = (std::ptr::null_mut::<u64>(), size_of::<u64>());
        // SAFETY: the pointer is to as many bytes as the kernel reads, the old action is not asked for, and SIG_DFL
        // installs no handler. KILL and STOP refuse, which is fine: nobody can have ignored them.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, set_size) };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}
