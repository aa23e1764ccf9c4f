//! The patterns of ssh_config(5): `*` and `?`.

/// Whether `*` and `?` in `pattern` can stand for parts of `text`, byte by byte.
pub(crate) fn matches(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    // Where to go on after the last `*`: it takes one byte more each time that what follows it doesn't fit.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(next) {
            Some(b'*') => {
                retry = Some((at, next + 1));
                next += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[at] => (at, next) = (at + 1, next + 1),
            _ => {
                let Some((start, after_star)) = retry else { return false };
                retry = Some((start + 1, after_star));
                (at, next) = (start + 1, after_star);
            }
        }
    }
    pattern[next..].iter().all(|&byte| byte == b'*')
}

/// Whether a name is one that the pattern of a Host line stands for: `*` is any text, `?` any character.
pub fn matches_pattern(name: &str, pattern: &str) -> bool {
    matches(name.as_bytes(), pattern.as_bytes())
}
