//! Users and groups: names, ids, and the identities of the service and the caller.

mod caller;
mod identity;
mod passwd;
mod resolver;
mod user_spec;

pub(crate) use self::caller::Caller;
pub(crate) use self::identity::{Identities, ServiceIdentity};
pub(crate) use self::passwd::Accounts;
pub(crate) use self::user_spec::UserSpec;
