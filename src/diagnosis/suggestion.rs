//! "Did you mean": the nearest of a few known names.

/// The candidate that `wrong` was probably meant to be, if one is near enough.
///
/// Near is one edit (swap, insertion, removal, change) for each three characters, or a beginning in
/// common of a word cut short; case and the difference between `-` and `_` aside.
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
            let known = folded(candidate.as_ref());
            let edits = strsim::damerau_levenshtein(&wanted, &known);
            let near = edits <= edits_max || strsim::jaro_winkler(&wanted, &known) >= ALIKE;
            (near, edits, candidate.as_ref().to_owned())
        })
        .filter(|(near, _, _)| *near)
        .min_by_key(|(_, edits, _)| *edits)
        .map(|(_, _, candidate)| candidate)
}

/// From which Jaro-Winkler likeness on a word is taken for another: `listn` and `listeners` have
/// 0.91, `pass` and `path` 0.87.
const ALIKE: f64 = 0.88;

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
        assert_eq!(suggestion("listn", ["limits", "listeners"]).as_deref(), Some("listeners"));
        assert_eq!(suggestion("pass", ["path"]), None);
        assert_eq!(suggestion("body", ["path", "host"]), None);
    }
}
