//! The policies that a declaration chooses from, each a word.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::escape::escaped;
use crate::json::nearest;

/// The policies of a later start for differences from the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policies {
    pub(crate) on_drift: OnDrift,
    pub(crate) on_manifest_change: OnManifestChange,
}

/// Declares an enum, with the word for each variant.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $( $(#[$word_meta:meta])* $word:literal => $variant:ident ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
        #[schemars(inline)]
        pub(crate) enum $name { $( $(#[$word_meta])* #[serde(rename = $word)] $variant ),* }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(unknown_word(other, &[$($word),*])),
                }
            }
        }
    };
}

fn unknown_word(word: &str, known: &[&str]) -> String {
    let word_shown = escaped(word);
    match nearest(word, known) {
        Some(near) => format!("unknown value \"{word_shown}\"; did you mean \"{near}\"?"),
        None => format!(
            "unknown value \"{word_shown}\"; known here: {}",
            known.join(", ")
        ),
    }
}

words! {
    /// The policy of a later start for differences between the disk and the seal.
    OnDrift {
        #[default]
        /// Refuses the start.
        "refuse" => Refuse,
        /// Warns and runs the service.
        "warn" => Warn,
        /// Restores the sealed content if the source still has it.
        "restore" => Restore,
    }
}

words! {
    /// The policy of a later start for a mounted manifest that is not the sealed one.
    OnManifestChange {
        #[default]
        /// Warns and runs the sealed configuration.
        "keep" => Keep,
        /// Refuses the start.
        "refuse" => Refuse,
    }
}

words! {
    /// The processes that a signal to sealinit is passed on to.
    SignalTarget {
        #[default]
        /// The service's main process.
        "child" => Child,
        /// The service's process group.
        "group" => Group,
    }
}
