//! The kernel's names for signals and capabilities, with a hint for those that it does not have.

use crate::escape::escaped;
use crate::json::nearest;
use crate::sys::capability::{self, Capability};
use crate::sys::signal::{self, Signal};

/// Parses `TERM`, `SIGTERM`, `RTMIN`, `RTMIN+3` or `RTMAX-1`.
///
/// # Errors
///
/// A message that names the nearest signal.
pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let text = escaped(text);
        match nearest(name, &signal::NAMES) {
            Some(near) => format!("\"{text}\" is not a signal; did you mean \"{near}\"?"),
            None => {
                format!("\"{text}\" is not a signal; write a name such as \"TERM\" or \"RTMIN+3\"")
            }
        }
    })
}

/// Parses `NET_ADMIN` or `CAP_NET_ADMIN`.
///
/// # Errors
///
/// A message that names the nearest capability.
pub(crate) fn capability(text: &str) -> Result<Capability, String> {
    Capability::parse(text).ok_or_else(|| {
        let name = text.strip_prefix("CAP_").unwrap_or(text);
        let hint = match nearest(&name.to_ascii_uppercase(), &capability::NAMES) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "capabilities(7) lists them".into(),
        };
        format!("\"{}\" is not a capability; {hint}", escaped(text))
    })
}
