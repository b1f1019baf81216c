//! The few system calls that no safe wrapper covers (capability sets, `close_range(2)`, signals with the real-time ones, new processes),
//! and the memory of this process.
//!
//! The only module with `unsafe` in it. Never decides anything: each function is one call, and says what the kernel said.
#![allow(unsafe_code)]

pub(crate) mod capability;
pub(crate) mod signal;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dlmalloc::Dlmalloc;
use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_ulong, c_void};

use crate::sys::capability::{Capability, CapabilitySet};
use crate::sys::signal::Signal;

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
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: both pointers are to live, writable values laid out as version 3 wants them: one header, two data.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result)?;
    let join = |half: fn(&Data) -> u32| {
        CapabilitySet(u64::from(half(&data[1])) << 32 | u64::from(half(&data[0])))
    };
    Ok(Capabilities {
        effective: join(|data| data.effective),
        permitted: join(|data| data.permitted),
        inheritable: join(|data| data.inheritable),
    })
}

/// Makes `set` the effective, permitted and inheritable set of this thread.
pub(crate) fn set_capabilities(set: CapabilitySet) -> Result<(), Errno> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| {
        // Truncation to the low 32 bits is the point.
        #[allow(clippy::cast_possible_truncation)]
        let bits = (set.0 >> shift) as u32;
        Data {
            effective: bits,
            permitted: bits,
            inheritable: bits,
        }
    };
    let data = [half(0), half(32)];
    // SAFETY: both pointers are to live values laid out as version 3 wants them; the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Makes `uid` the real, effective, saved and file-system uid of this thread. (The C library's function of that name does it for all
/// threads, which takes it five more calls; the drop of privileges asserts that there is one.)
pub(crate) fn set_uids(uid: u32) -> Result<(), Errno> {
    // SAFETY: the arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Makes `gid` the real, effective, saved and file-system gid of this thread.
pub(crate) fn set_gids(gid: u32) -> Result<(), Errno> {
    // SAFETY: the arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Makes `uid` the effective uid alone: allowed wherever `setuid(2)` would be.
pub(crate) fn set_effective_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: the arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, u32::MAX, uid, u32::MAX) }).map(drop)
}

/// Makes `gid` the effective gid alone: allowed wherever `setgid(2)` would be.
pub(crate) fn set_effective_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: the arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, u32::MAX, gid, u32::MAX) }).map(drop)
}

/// Makes these the supplementary groups of this thread.
pub(crate) fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer is to as many ids as the length says.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
        .map(drop)
}

/// What `CLOCK_MONOTONIC` says. (The C library would first look for the kernel's function that saves a call, which takes longer than
/// the few calls that are made.)
pub(crate) fn monotonic() -> Duration {
    let mut now = [0_i64; 2];
    // SAFETY: on 64-bit machines a timespec is two of these.
    unsafe {
        libc::syscall(
            libc::SYS_clock_gettime,
            libc::CLOCK_MONOTONIC,
            now.as_mut_ptr(),
        )
    };
    let [seconds, nanoseconds] = now.map(i64::unsigned_abs);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds))
}

/// A `prctl(2)` whose arguments are numbers.
fn prctl(option: c_int, argument2: c_ulong, argument3: c_ulong) -> Result<c_int, Errno> {
    // SAFETY: none of the options used here takes a pointer; unused arguments are 0, as the kernel demands.
    let result = unsafe { libc::prctl(option, argument2, argument3, 0 as c_ulong, 0 as c_ulong) };
    Errno::result(result)
}

/// The bounding set, as far as the kernel knows capabilities.
pub(crate) fn bounding() -> Result<CapabilitySet, Errno> {
    let mut set = Vec::new();
    for capability in CapabilitySet(u64::MAX).iter() {
        match bounding_has(capability) {
            Ok(true) => set.push(capability),
            Ok(false) => {}
            // The kernel numbers them without gaps: this is the first that it does not know. It knows the first of all.
            Err(Errno::EINVAL) if capability.number() > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(set.into_iter().collect())
}

/// Whether the bounding set holds `capability`; [`Errno::EINVAL`] where the kernel does not know it.
pub(crate) fn bounding_has(capability: Capability) -> Result<bool, Errno> {
    prctl(libc::PR_CAPBSET_READ, c_ulong::from(capability.number()), 0).map(|held| held == 1)
}

/// Takes `capability` out of the bounding set for good.
pub(crate) fn drop_bounding(capability: Capability) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability.number()), 0).map(drop)
}

/// Whether the ambient set holds `capability`; `None` where the kernel does not know it.
pub(crate) fn ambient_has(capability: Capability) -> Option<bool> {
    let is_set = libc::PR_CAP_AMBIENT_IS_SET as c_ulong;
    prctl(
        libc::PR_CAP_AMBIENT,
        is_set,
        c_ulong::from(capability.number()),
    )
    .ok()
    .map(|held| held == 1)
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> Result<(), Errno> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong,
        0,
    )
    .map(drop)
}

/// Puts `capability`, which must be permitted and inheritable, into the ambient set: it outlives an exec.
pub(crate) fn raise_ambient(capability: Capability) -> Result<(), Errno> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
    prctl(
        libc::PR_CAP_AMBIENT,
        raise,
        c_ulong::from(capability.number()),
    )
    .map(drop)
}

/// Whether the permitted set outlives a change from uid 0 to another.
pub(crate) fn set_keep_capabilities(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, c_ulong::from(keep), 0).map(drop)
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: all three arguments are numbers; nothing is closed now, so no owner of a descriptor is betrayed.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
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

/// Gives every signal its default disposition, whatever was inherited.
pub(crate) fn default_signals() {
    for number in 1..=64 {
        default_signal(Signal(number));
    }
}

/// Gives one signal its default disposition. KILL and STOP refuse, which is fine: nobody can have ignored them.
pub(crate) fn default_signal(signal: Signal) {
    // A zeroed `struct sigaction` as the kernel lays it out: SIG_DFL, no flags, no restorer, an empty mask. The C library's
    // wrapper would leave out the signals that it keeps for itself, which can have been ignored by whoever started us.
    let default = [0_u64; 4];
    let (old, set_size) = (ptr::null_mut::<u64>(), size_of::<u64>());
    // SAFETY: the pointer is to as many bytes as the kernel reads, the old action is not asked for, and SIG_DFL installs no
    // handler.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            c_int::from(signal.0),
            default.as_ptr(),
            old,
            set_size,
        )
    };
}

/// A second process like this one: gives its pid here, and `None` there.
pub(crate) fn fork() -> Result<Option<i32>, Errno> {
    // SAFETY: this process has one thread (the drop of privileges asserts it), so no lock is held by a thread that the
    // copy lacks, and the copy may do whatever the original may.
    match Errno::result(unsafe { libc::fork() })? {
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// A program to be started as a child.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// Which variable is to be `LISTEN_PID` with the child's own pid.
    pub(crate) listen_pid: Option<usize>,
    /// Whether the child takes the terminal behind standard input.
    pub(crate) foreground: bool,
    /// What the child sends itself before it executes anything. A signal that stops it would stop us too, who wait for that.
    pub(crate) signals: &'a [Signal],
}

/// What the child of [`spawn`] needs, in memory that it shares with its parent.
struct Child {
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    listen_pid: ListenPid,
    foreground: bool,
    signals: *const [Signal],
    /// Why the program was not executed.
    errno: Option<Errno>,
}

/// `LISTEN_PID=`, ten digits at most, and a NUL.
type ListenPid = [u8; 24];
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// Starts a program as a child of this process: in a process group of its own, with no signal blocked, and otherwise as this process is.
/// Returns when the exec has succeeded or failed. Nothing of this process is copied for it, as fork(2) would, which took a fifth of a start.
pub(crate) fn spawn(program: &Program<'_>) -> Result<i32, Errno> {
    /// For a handful of system calls, 16 KiB; aligned as both architectures want it.
    type Stack = [u128; 1024];
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, mut environment) = (pointers(program.arguments), pointers(program.environment));
    let mut child = Child {
        path: program.path.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: ptr::null(),
        listen_pid: [0; 24],
        foreground: program.foreground,
        signals: program.signals,
        errno: None,
    };
    if let Some(variable) = program
        .listen_pid
        .and_then(|index| environment.get_mut(index))
    {
        *variable = (&raw const child.listen_pid).cast();
    }
    child.environment = environment.as_ptr();
    let mut stack = MaybeUninit::<Stack>::uninit();
    // SAFETY: one past the end, as the stack grows down.
    let top = unsafe { stack.as_mut_ptr().add(1) };
    // CLONE_VFORK: this thread, the only one, goes on when the child has left this memory.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is aligned and nobody else's; `child`, all that it points to and the stack outlive the child's use of them,
    // for this thread waits until the child has executed the program or ended.
    let pid = Errno::result(unsafe {
        libc::clone(become_program, top.cast(), flags, (&raw mut child).cast())
    })?;
    // SAFETY: a live value; the child has written it behind the compiler's back.
    match unsafe { (&raw const child.errno).read_volatile() } {
        None => Ok(pid),
        Some(errno) => {
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            Err(errno)
        }
    }
}

/// The child of [`spawn`]: only system calls, for the memory is the parent's.
extern "C" fn become_program(child: *mut c_void) -> c_int {
    let child: *mut Child = child.cast();
    // SAFETY: the parent has passed a live `Child` and does not touch it while this function runs; the pointers in it are to
    // NUL-terminated strings and null-terminated arrays of them. The calls take numbers and pointers to live values.
    unsafe {
        let pid = libc::getpid();
        libc::setpgid(0, 0);
        if (*child).foreground {
            // SIGTTOU, which this is about, is blocked.
            libc::tcsetpgrp(libc::STDIN_FILENO, pid);
        }
        write_listen_pid(&mut (*child).listen_pid, pid.unsigned_abs());
        for signal in &*(*child).signals {
            libc::kill(pid, c_int::from(signal.0));
        }
        // Ctrl-Z, typed now, would stop the parent too, who waits for the exec and hears nothing; the exec takes the handler away.
        libc::signal(
            libc::SIGTSTP,
            hear as extern "C" fn(c_int) as libc::sighandler_t,
        );
        let (none, old) = (0_u64, ptr::null_mut::<u64>());
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            old,
            size_of::<u64>(),
        );
        libc::execve((*child).path, (*child).arguments, (*child).environment);
        (&raw mut (*child).errno).write_volatile(Some(Errno::last()));
        libc::_exit(127)
    }
}

/// Does nothing about a signal.
extern "C" fn hear(_: c_int) {}

/// Writes the variable without asking for memory.
fn write_listen_pid(variable: &mut ListenPid, pid: u32) {
    let digits = pid.checked_ilog10().unwrap_or(0);
    let digits = (0..=digits)
        .rev()
        .map(|place| b'0' + u8::try_from(pid / 10_u32.pow(place) % 10).unwrap_or(0));
    for (byte, written) in variable
        .iter_mut()
        .zip(LISTEN_PID.iter().copied().chain(digits).chain([0]))
    {
        *byte = written;
    }
}

/// Closes every descriptor from `first` on, for good.
pub(crate) fn close_from(first: u32) {
    // SAFETY: the caller has dropped what it owned, and what was inherited is nobody's here. A kernel without the call
    // leaves inherited descriptors open, which is untidy and no danger.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// All signals, as the kernel lays out a set: bit n - 1 is signal n. The C library's own sets leave out those that it keeps to itself.
const ALL_SIGNALS: u64 = u64::MAX;

/// Blocks every signal that can be blocked: none is lost, each waits until it is asked for.
pub(crate) fn block_signals() -> Result<(), Errno> {
    let (all, old) = (ALL_SIGNALS, ptr::null_mut::<u64>());
    // SAFETY: the pointer is to as many bytes as the size says, and the old mask is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            old,
            size_of::<u64>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Blocks no signal any more.
pub(crate) fn unblock_signals() -> Result<(), Errno> {
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// The blocked signals that have come, and that somebody waits for sooner or later.
pub(crate) fn pending_signals() -> Vec<Signal> {
    let mut set = 0_u64;
    // SAFETY: the pointer is to as many bytes as the size says.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, size_of::<u64>()) };
    (1..=64)
        .filter(|number| set >> (number - 1) & 1 == 1)
        .map(Signal)
        .collect()
}

/// A signal that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// Sent by a process, and not by the kernel because something happened.
    pub(crate) sent: bool,
}

/// Waits for a blocked signal, for ever or for as long as `timeout` says; `None` when that has passed.
pub(crate) fn wait_signal(timeout: Option<Duration>) -> Result<Option<Received>, Errno> {
    let all = ALL_SIGNALS;
    // A timespec of a 64-bit machine.
    let limit = timeout.map(|timeout| {
        [
            i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            i64::from(timeout.subsec_nanos()),
        ]
    });
    let limit = limit.as_ref().map_or(ptr::null(), |limit| limit.as_ptr());
    // SAFETY: zeroes are a valid siginfo_t, a plain structure of numbers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as the size says, the info is a live siginfo_t, and the limit is null or a live timespec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const all,
            &raw mut info,
            limit,
            size_of::<u64>(),
        )
    };
    match Errno::result(result) {
        Ok(number) => {
            let signal = Signal(u8::try_from(number).unwrap_or(0));
            // SI_USER is 0 and what other functions send is below it; what the kernel reports is above.
            Ok(Some(Received {
                signal,
                sent: info.si_code <= 0,
            }))
        }
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Takes a blocked signal away, if it has come.
pub(crate) fn forget_signal(signal: Signal) {
    let set = 1_u64 << (signal.0 - 1);
    let (info, at_once) = (ptr::null_mut::<libc::siginfo_t>(), [0_u64; 2]);
    // SAFETY: the set is as large as the size says, the information is not asked for, and a zeroed timespec is two numbers.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            info,
            at_once.as_ptr(),
            size_of::<u64>(),
        )
    };
}

/// Sends `signal` to a process, to a process group (negative), or to everybody who may be sent one (-1).
pub(crate) fn send(pid: i32, signal: Signal) -> Result<(), Errno> {
    // SAFETY: kill(2) takes numbers.
    Errno::result(unsafe { libc::kill(pid, c_int::from(signal.0)) }).map(drop)
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It ended, with this exit code: 128 + n for signal n.
    Ended(u8),
    Stopped,
    Continued,
}

/// What became of some child, without waiting: `None` if nothing did.
///
/// # Errors
/// [`Errno::ECHILD`] when there are no children.
pub(crate) fn child_change() -> Result<Option<(i32, Change)>, Errno> {
    let mut status: c_int = 0;
    let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: the pointer is to a live int.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, options) })?;
    if pid == 0 {
        return Ok(None);
    }
    let code = |number: c_int| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    let change = if libc::WIFSTOPPED(status) {
        Change::Stopped
    } else if libc::WIFCONTINUED(status) {
        Change::Continued
    } else if libc::WIFSIGNALED(status) {
        Change::Ended(128_u8.saturating_add(code(libc::WTERMSIG(status))))
    } else {
        Change::Ended(code(libc::WEXITSTATUS(status)))
    };
    Ok(Some((pid, change)))
}

/// Removes the access control lists of an open file or directory (acl(5)), the one that is inherited by what is made in it included.
pub(crate) fn remove_acls(file: impl AsFd) -> Result<(), Errno> {
    for name in [c"system.posix_acl_access", c"system.posix_acl_default"] {
        // SAFETY: the name is a NUL-terminated string that outlives the call.
        let result = unsafe { libc::fremovexattr(file.as_fd().as_raw_fd(), name.as_ptr()) };
        match Errno::result(result) {
            // There is none; the file system has none; a regular file has no default; and where a seccomp profile or
            // another kernel knows no attributes, there are none.
            Ok(_)
            | Err(
                Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EACCES | Errno::EINVAL | Errno::ENOSYS,
            ) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Where memory comes from. A start is over in less than a millisecond, and what it frees it needs again: musl's own allocator, made for
/// small memory, would go to the kernel for that each time.
#[derive(Debug)]
pub struct Heap;

/// The allocator behind a lock that is two instructions: it is taken some thousand times in a start, and hardly ever by two threads.
struct Locked {
    taken: AtomicBool,
    dlmalloc: UnsafeCell<Dlmalloc>,
}

static HEAP: Locked = Locked {
    taken: AtomicBool::new(false),
    dlmalloc: UnsafeCell::new(Dlmalloc::new()),
};

// SAFETY: what is in the cell is reached in `with` alone, by one thread at a time.
unsafe impl Sync for Locked {}

impl Locked {
    fn with<T>(&self, act: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        while self.taken.swap(true, Ordering::Acquire) {
            // A thread that hashes has it for a moment, or has lost the processor in that moment.
            thread::yield_now();
        }
        // SAFETY: the lock is ours, and nothing that is done with it held takes it again.
        let done = act(unsafe { &mut *self.dlmalloc.get() });
        self.taken.store(false, Ordering::Release);
        done
    }
}

// SAFETY: the allocator is one that keeps the contract, all of this goes to the same one, and one at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        HEAP.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        HEAP.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        HEAP.with(|heap| unsafe { heap.free(pointer, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        HEAP.with(|heap| unsafe { heap.realloc(pointer, layout.size(), layout.align(), size) })
    }
}

/// The smallest page of the machines that this is for; where pages are larger, what is not aligned to them is refused and stays.
const PAGE: usize = 4096;

/// Gives back what a start has used and a long sleep does not need: free memory of the heap, the stack below us, and the pages of the
/// program itself, which the kernel brings back when they are needed. It is a saving and cannot fail in any other way than to save nothing.
pub(crate) fn give_memory_back() {
    /// More than any start has used.
    const STACK: usize = 128 * 1024;
    HEAP.with(|heap| {
        heap.set_granularity(PAGE);
        // SAFETY: only what is free is given back.
        unsafe { heap.trim(0) };
    });
    let here = 0_u8;
    // A page is left for the calls below.
    let unused = ((&raw const here).addr() & !(PAGE - 1)).saturating_sub(PAGE);
    let below = ptr::without_provenance_mut::<c_void>(unused.saturating_sub(STACK));
    // SAFETY: what is below the stack's end is nobody's, and what is below the stack, by the kernel's guard gap of 1 MiB, is not there.
    unsafe { libc::madvise(below, STACK, libc::MADV_DONTNEED) };
    // SAFETY: the function below keeps what is asked of a callback, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_program), ptr::null_mut()) };
}

/// Has the kernel forget which pages of the program we have used.
unsafe extern "C" fn forget_program(
    object: *mut libc::dl_phdr_info,
    _: usize,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the C library passes a live description of the program, with as many headers as it says.
    let (base, headers) = unsafe {
        (
            (*object).dlpi_addr,
            std::slice::from_raw_parts((*object).dlpi_phdr, (*object).dlpi_phnum.into()),
        )
    };
    for header in headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
    {
        let begin = usize::try_from(base + header.p_vaddr).unwrap_or(0);
        let offset = begin % PAGE;
        let length = usize::try_from(header.p_memsz).unwrap_or(0) + offset;
        let segment = ptr::without_provenance_mut::<c_void>(begin - offset);
        // SAFETY: a private mapping of a file that was never written to has the same content again when it is read again.
        unsafe { libc::madvise(segment, length, libc::MADV_DONTNEED) };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_of_socket_activation_is_written_in_decimal() {
        for pid in [1, 7, 10, 4_194_304, 2_147_483_647] {
            let mut variable = [b'x'; 24];
            write_listen_pid(&mut variable, pid);
            let written = CStr::from_bytes_until_nul(&variable).map(CStr::to_bytes);
            assert_eq!(written, Ok(format!("LISTEN_PID={pid}").as_bytes()));
        }
    }
}
