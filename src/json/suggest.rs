//! The nearest known word for one that is unknown.

/// Returns the known word that `word` was most likely meant to be.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let length = word.chars().count();
    let distance = |candidate: &&'k str| {
        let limit = 1 + candidate.chars().count() / 4;
        // The lengths alone rule most out, and a word of any length is compared with few.
        if candidate.chars().count().abs_diff(length) > limit {
            return None;
        }
        let distance = strsim::damerau_levenshtein(word, candidate);
        (distance <= limit).then_some((distance, *candidate))
    };
    known
        .iter()
        .filter_map(distance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
