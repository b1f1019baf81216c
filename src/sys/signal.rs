//! Signals by name, the real-time ones included.

use std::fmt;

/// The names of `signal(7)`, in the numbering that x86, arm and most other architectures share: the
/// index plus one is the number.
pub(crate) const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The real-time signals that a program may use. The C library keeps 32 and 33 (musl also 34) to
/// itself; programs see a `SIGRTMIN` of 34 in practice, whatever their C library.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// One signal, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signal(pub(crate) u8);

impl Signal {
    pub(crate) const INT: Self = Self(2);
    pub(crate) const QUIT: Self = Self(3);
    pub(crate) const KILL: Self = Self(9);
    pub(crate) const PIPE: Self = Self(13);
    pub(crate) const TERM: Self = Self(15);
    pub(crate) const CHLD: Self = Self(17);
    pub(crate) const CONT: Self = Self(18);
    const STOP: Self = Self(19);
    const TSTP: Self = Self(20);
    const TTIN: Self = Self(21);
    const TTOU: Self = Self(22);

    /// Returns true if it asks a program to end. SIGHUP does not: services reload on it.
    pub(crate) fn is_termination(self) -> bool {
        [Self::INT, Self::QUIT, Self::TERM].contains(&self)
    }

    /// Returns true if it stops a program that does not handle it.
    pub(crate) fn is_stop(self) -> bool {
        [Self::STOP, Self::TSTP, Self::TTIN, Self::TTOU].contains(&self)
    }

    /// Parses `TERM`, `SIGTERM`, `RTMIN`, `RTMIN+3` or `RTMAX-1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            return u8::try_from(index + 1).ok().map(Self);
        }
        let distance = |digits: &str| match digits {
            "" => None,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u8>().ok(),
            _ => None,
        };
        let number = match name {
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                (Some(digits), _) => distance(digits).and_then(|n| RTMIN.checked_add(n)),
                (_, Some(digits)) => distance(digits).and_then(|n| RTMAX.checked_sub(n)),
                _ => None,
            },
        }?;
        (RTMIN..=RTMAX).contains(&number).then_some(Self(number))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RTMIN => f.write_str("RTMIN"),
            n if n > RTMIN => write!(f, "RTMIN+{}", n - RTMIN),
            n => match NAMES.get(usize::from(n).wrapping_sub(1)) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {n}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for number in (1..=31).chain(RTMIN..=RTMAX) {
            let signal = Signal(number);
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal));
        }
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+30", Some(64)),
        ] {
            assert_eq!(Signal::parse(text).map(|s| s.0), number, "{text}");
        }
        for text in [
            "",
            "SIG",
            "term",
            "15",
            "RTMIN+31",
            "RTMIN+",
            "RTMIN++1",
            "RTMAX-31",
            "RTMIN+300",
        ] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
    }
}
