//! Paths that can be installed to, and destinations that exclude each other.

use std::path::Path;

use crate::declaration::place::Place;
use crate::escape::escaped;

/// The prefix of the names of temporary files.
pub(crate) const TEMPORARY_PREFIX: &str = ".sealinit.";

/// `PATH_MAX` of limits.h, without the terminating NUL.
pub(crate) const MAX_PATH: usize = 4095;

/// `NAME_MAX` of limits.h.
pub(crate) const MAX_NAME: usize = 255;

/// Returns why `text` cannot be a destination: one is absolute, in normal form, and not too long.
pub(crate) fn defect(text: &str) -> Option<String> {
    let Some(relative) = text.strip_prefix('/') else {
        return Some("is not absolute; begin it with /".into());
    };
    if relative.is_empty() {
        return Some("is the root directory; name something in it".into());
    }
    if text.contains('\0') {
        return Some("holds a NUL character; remove it".into());
    }
    if text.len() > MAX_PATH {
        return Some(format!("is longer than {MAX_PATH} bytes; shorten it"));
    }
    relative.split('/').find_map(|name| match name {
        "" => Some("has an empty component; write each / once and none at the end".into()),
        "." | ".." => Some(format!("contains \"{name}\"; write the path without it")),
        _ if name.len() > MAX_NAME => Some(format!(
            "has a name longer than {MAX_NAME} bytes; shorten it"
        )),
        _ if name.starts_with(TEMPORARY_PREFIX) => Some(format!(
            "uses the prefix {TEMPORARY_PREFIX} of sealinit's temporary files; choose another name"
        )),
        _ => None,
    })
}

/// A destination, as far as others can exclude it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) dest: &'a Path,
    pub(crate) is_directory: bool,
    pub(crate) place: Place,
}

/// Finds destinations that are claimed twice, or are below one that is not a directory.
pub(crate) fn conflicts(mut claims: Vec<Claim<'_>>) -> Vec<(Place, String)> {
    // By components, so that what is below a destination follows it; of equal ones the first given
    // comes first.
    claims.sort_by_key(|claim| claim.dest);
    let mut conflicts = Vec::new();
    // The claims that the current one may be below, from the top down.
    let mut above: Vec<Claim<'_>> = Vec::new();
    for claim in claims {
        while above
            .last()
            .is_some_and(|above| !claim.dest.starts_with(above.dest))
        {
            above.pop();
        }
        let shown = escaped(claim.dest);
        if let Some(first) = above.last().filter(|above| above.dest == claim.dest) {
            let message = format!("{shown} is declared already at {}; keep one", first.place);
            conflicts.push((claim.place, message));
            // Replaced by this one, so that any number of equal claims stays one.
            above.pop();
        }
        let file = above.iter().rfind(|above| !above.is_directory);
        if let Some(file) = file {
            let message = format!(
                "{shown} is below {}, which is not a directory according to {}; remove one",
                escaped(file.dest),
                file.place
            );
            conflicts.push((claim.place, message));
        }
        above.push(claim);
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_excludes_itself_and_what_is_below_a_file() {
        let claims = [
            ("/a", true),
            ("/a/b", false),
            ("/a-b", false),
            ("/a/b/c/d", true),
            ("/a/b/c", true),
            ("/a/b", false),
            ("/a/bc", false),
        ];
        let claims = claims
            .iter()
            .enumerate()
            .map(|(index, (dest, is_directory))| Claim {
                dest: Path::new(dest),
                is_directory: *is_directory,
                place: Place::key("files", 0).index(index),
            });
        let found: Vec<String> = conflicts(claims.collect())
            .into_iter()
            .map(|(place, message)| format!("{place}: {message}"))
            .collect();
        assert_eq!(
            found,
            [
                "$.files[5]: /a/b is declared already at $.files[1]; keep one",
                "$.files[4]: /a/b/c is below /a/b, which is not a directory according to $.files[5]; remove one",
                "$.files[3]: /a/b/c/d is below /a/b, which is not a directory according to $.files[5]; remove one",
            ]
        );
    }
}
