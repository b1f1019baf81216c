//! Starts the service: becomes it, or supervises it.

pub(crate) mod config_test;
pub(crate) mod credentials;
pub(crate) mod exec;
pub(crate) mod launch;
pub(crate) mod program;

mod environment;
mod interpreter;
mod remaining;
mod supervise;

pub(crate) use self::launch::{Launched, launch};
