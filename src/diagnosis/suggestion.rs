//! "Did you mean": the nearest of a few known names.

/// The candidate that `wrong` was probably meant to be, if one is near enough.
///
/// Near is one edit (swap, insertion, removal, change) for each three characters, case and the
/// difference between `-` and `_` aside.
pub fn suggestion<I>(wrong: &str, candidates: I) -> Option<String>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let wanted = folded(wrong);
    let edits_max = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let edits = strsim::damerau_levenshtein(&wanted, &folded(candidate.as_ref()));
            (edits, candidate.as_ref().to_owned())
        })
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_within_a_third_of_its_length_is_suggested() {
        assert_eq!(suggestion("pth", ["path", "body"]).as_deref(), Some("path"));
        assert_eq!(suggestion("max-inflght", ["max_inflight"]).as_deref(), Some("max_inflight"));
        assert_eq!(suggestion("upstraem", ["upstream", "account"]).as_deref(), Some("upstream"));
        assert_eq!(suggestion("body", ["path", "host"]), None);
    }
}
