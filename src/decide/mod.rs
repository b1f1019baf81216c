//! The decisions of a start. Pure: everything that they need was read before.

pub(crate) mod first_start;
pub(crate) mod later_start;
