//! Linux capabilities by name, and sets of them.

use std::fmt;

/// The names of `capabilities(7)`: the index is the kernel's number.
pub(crate) const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// One capability, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capability(u8);

impl Capability {
    pub(crate) const CHOWN: Self = Self(0);
    pub(crate) const DAC_OVERRIDE: Self = Self(1);
    pub(crate) const DAC_READ_SEARCH: Self = Self(2);
    const FOWNER: Self = Self(3);
    pub(crate) const SETGID: Self = Self(6);
    pub(crate) const SETUID: Self = Self(7);
    pub(crate) const SETPCAP: Self = Self(8);
    const SYS_MODULE: Self = Self(16);
    const SYS_RAWIO: Self = Self(17);
    const SYS_PTRACE: Self = Self(19);
    const SYS_ADMIN: Self = Self(21);
    const MKNOD: Self = Self(27);
    const SETFCAP: Self = Self(31);
    const MAC_ADMIN: Self = Self(33);
    const BPF: Self = Self(39);

    /// Parses `NET_ADMIN` or `CAP_NET_ADMIN`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("CAP_").unwrap_or(text);
        let number = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Self)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// The name without `CAP_`, as engines take it.
    pub(crate) fn name(self) -> String {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => (*name).into(),
            None => self.0.to_string(),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => write!(f, "CAP_{name}"),
            None => write!(f, "capability {}", self.0),
        }
    }
}

/// A set of capabilities, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySet(pub(crate) u64);

impl CapabilitySet {
    pub(crate) const EMPTY: Self = Self(0);

    /// The capabilities with which a process can change files that their permissions lock, or
    /// become a uid that can.
    const UNLOCKING: [Capability; 13] = [
        Capability::CHOWN,
        Capability::DAC_OVERRIDE,
        Capability::FOWNER,
        Capability::SETGID,
        Capability::SETUID,
        Capability::SYS_MODULE,
        Capability::SYS_RAWIO,
        Capability::SYS_PTRACE,
        Capability::SYS_ADMIN,
        Capability::MKNOD,
        Capability::SETFCAP,
        Capability::MAC_ADMIN,
        Capability::BPF,
    ];

    pub(crate) fn contains(self, capability: Capability) -> bool {
        self.0 >> capability.0 & 1 == 1
    }

    /// Returns the capabilities of this set that are not in `other`.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Capability> {
        (0..64)
            .map(Capability)
            .filter(move |capability| self.contains(*capability))
    }

    /// Returns true if a process with this set can get around file permissions.
    pub(crate) fn unlocks_files(self) -> bool {
        Self::UNLOCKING
            .into_iter()
            .any(|capability| self.contains(capability))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(
            capabilities
                .into_iter()
                .fold(0, |set, capability| set | 1 << capability.0),
        )
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, capability) in self.iter().enumerate() {
            write!(f, "{}{capability}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel() {
        for (capability, name) in [
            (Capability::CHOWN, "CAP_CHOWN"),
            (Capability::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
            (Capability::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
            (Capability::FOWNER, "CAP_FOWNER"),
            (Capability::SETGID, "CAP_SETGID"),
            (Capability::SETUID, "CAP_SETUID"),
            (Capability::SETPCAP, "CAP_SETPCAP"),
            (Capability::SYS_MODULE, "CAP_SYS_MODULE"),
            (Capability::SYS_RAWIO, "CAP_SYS_RAWIO"),
            (Capability::SYS_PTRACE, "CAP_SYS_PTRACE"),
            (Capability::SYS_ADMIN, "CAP_SYS_ADMIN"),
            (Capability::MKNOD, "CAP_MKNOD"),
            (Capability::SETFCAP, "CAP_SETFCAP"),
            (Capability::MAC_ADMIN, "CAP_MAC_ADMIN"),
            (Capability::BPF, "CAP_BPF"),
        ] {
            assert_eq!(capability.to_string(), name);
        }
        let set: CapabilitySet = [Capability::CHOWN, Capability::SETPCAP]
            .into_iter()
            .collect();
        assert_eq!(
            (set.0, set.to_string().as_str()),
            (0x101, "CAP_CHOWN, CAP_SETPCAP")
        );
    }
}
