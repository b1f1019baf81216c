//! The decisions of a start. They are pure: everything that they need was read before.

pub(crate) mod first_start;
pub(crate) mod later_start;
