//! "Did you mean ...?" for misspelt words.

/// Most typos in a word of up to this length: of four letters, two are half the word.
const SHORT: usize = 5;

/// Returns the known word that `word` probably means: one letter wrong, missing, added or swapped with its neighbour,
/// two in longer words. Upper case and underscores count as typos too.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let near = known.into_iter().filter_map(|known| {
        let most = if known.chars().count().min(word.chars().count()) <= SHORT { 1 } else { 2 };
        let distance = strsim::osa_distance(&word, known);
        (distance <= most).then_some((distance, known))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Returns [`suggest`] as the end of a sentence; empty without a suggestion.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggest(word, known).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["user", "port", "identity", "num-retries", "timeout"];
        for (slip, meant) in [
            ("prot", "port"),
            ("Port", "port"),
            ("ports", "port"),
            ("usr", "user"),
            ("num_retires", "num-retries"),
            ("idnetitty", "identity"),
            ("time-out", "timeout"),
        ] {
            assert_eq!(suggest(slip, known), Some(meant));
        }
        for other in ["", "role", "path", "pool", "rack", "zone", "time", "weight"] {
            assert_eq!(suggest(other, known), None);
        }
    }
}
