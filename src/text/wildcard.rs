//! Patterns with stars: those of ssh_config(5), with `*` and `?`, and the shared matcher.

/// Whether `pattern` matches the whole `text`, in time that grows with the length of both, however many stars it has. A
/// star (`is_star`) matches any part, anything else what it `takes`.
pub(crate) fn matches_with<T, P>(
    text: &[T],
    pattern: &[P],
    is_star: impl Fn(&P) -> bool,
    takes: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut next) = (0, 0);
    // Where to continue after the last star: it takes one more each time that what follows it doesn't fit.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(next) {
            Some(star) if is_star(star) => {
                retry = Some((at, next + 1));
                next += 1;
            }
            Some(one) if takes(one, &text[at]) => (at, next) = (at + 1, next + 1),
            _ => {
                let Some((start, after_star)) = retry else { return false };
                retry = Some((start + 1, after_star));
                (at, next) = (start + 1, after_star);
            }
        }
    }
    pattern[next..].iter().all(is_star)
}

/// Whether `pattern` with `*` and `?` matches `text`, byte by byte.
pub(crate) fn matches(text: &[u8], pattern: &[u8]) -> bool {
    matches_with(text, pattern, |one| *one == b'*', |one, byte| *one == b'?' || one == byte)
}

/// Whether one of `patterns` matches and none of the negated ones, which have a true before them.
pub(crate) fn matches_any<'p>(text: &[u8], patterns: impl IntoIterator<Item = (bool, &'p [u8])>) -> bool {
    let mut found = false;
    for (is_negated, _) in patterns.into_iter().filter(|(_, pattern)| matches(text, pattern)) {
        if is_negated {
            return false;
        }
        found = true;
    }
    found
}

/// Whether the pattern of a Host line matches a name: `*` is any text, `?` any character.
pub fn matches_pattern(name: &str, pattern: &str) -> bool {
    matches(name.as_bytes(), pattern.as_bytes())
}
