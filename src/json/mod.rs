//! Strict JSON, with all problems reported at once.
//!
//! Every key is known and given once, and every value has its type.

mod problem;
mod reader;
mod structs;
mod suggest;
mod values;

pub(crate) use self::problem::Problem;
pub(crate) use self::reader::{FromJson, Value, parse};
pub(crate) use self::structs::object;
pub(crate) use self::suggest::nearest;
pub(crate) use self::values::Located;
