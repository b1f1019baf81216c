//! The service after the drop of privileges, as the kernel reports it.

mod capabilities;
mod credentials;
mod drop;
mod program;
mod surroundings;
mod without_root;

const STATUS: &[&str] = &["cat", "/proc/self/status"];
/// Bit 10 of capabilities(7).
const NET_BIND_SERVICE: &str = "0000000000000400";
