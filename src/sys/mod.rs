//! The system calls that no safe function covers, and the kernel's numbers by name.
//!
//! The only folder with `unsafe` code. Each function is one call and returns the kernel's answer.
#![allow(unsafe_code)]

pub(crate) mod capability;
pub(crate) mod signal;

mod capabilities;
mod descriptors;
mod signals;
mod spawn;

pub(crate) use self::capabilities::{
    Capabilities, ambient_has, bounding, bounding_has, capabilities, clear_ambient, drop_bounding,
    raise_ambient, set_capabilities,
};
pub(crate) use self::descriptors::{
    close_from, close_on_exec, close_on_exec_from, keep_on_exec, remove_acls,
};
pub(crate) use self::signals::{
    Received, block_signals, default_signal, default_signals, forget_signal, pending_signals, send,
    unblock_signals, wait_signal,
};
pub(crate) use self::spawn::{Change, Program, child_change, fork, spawn};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("signal sets, sigaction and timespec are passed as 64-bit kernels lay them out");
