//! Shell patterns like Python's `fnmatch`, as in the `--host-glob` of pssh 2.3: `*`, `?`, `[a-z]` and `[!a-z]`. Only a
//! class can quote, `[*]`.

use super::wildcard::matches_with;

/// Whether the pattern matches the whole `name`.
pub fn fnmatch(name: &str, pattern: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let pieces = pieces(&pattern.chars().collect::<Vec<_>>());
    matches_with(&name, &pieces, |piece| matches!(piece, Piece::Any), |piece, c| piece.has(*c))
}

enum Piece {
    /// `*`
    Any,
    /// `?`
    One,
    Literal(char),
    /// Characters from the first to the last of each pair, or, if it is false, all others.
    Class(bool, Vec<(char, char)>),
}

impl Piece {
    fn has(&self, c: char) -> bool {
        match self {
            Piece::Any | Piece::One => true,
            Piece::Literal(literal) => *literal == c,
            Piece::Class(is_in, ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) == *is_in,
        }
    }
}

fn pieces(pattern: &[char]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let [first, after @ ..] = rest {
        rest = after;
        pieces.push(match first {
            '*' => Piece::Any,
            '?' => Piece::One,
            '[' => match class(after) {
                Some((class, after)) => {
                    rest = after;
                    class
                }
                // Without an end the bracket is an ordinary character.
                None => Piece::Literal('['),
            },
            c => Piece::Literal(*c),
        });
    }
    pieces
}

/// Parses the class whose bracket is before `text`; returns also what follows it. A `]` is literal as the first
/// character.
fn class(text: &[char]) -> Option<(Piece, &[char])> {
    let negated = text.first() == Some(&'!');
    let text = &text[usize::from(negated)..];
    let end = 1 + text.iter().skip(1).position(|c| *c == ']')?;
    let (mut inside, after) = (&text[..end], &text[end + 1..]);
    let mut ranges = Vec::new();
    while let [first, more @ ..] = inside {
        let (range, more) = match more {
            ['-', last, more @ ..] => ((*first, *last), more),
            _ => ((*first, *first), more),
        };
        ranges.push(range);
        inside = more;
    }
    Some((Piece::Class(!negated, ranges), after))
}

#[cfg(test)]
mod tests {
    use super::fnmatch;

    /// The expected results are Python's.
    #[test]
    fn patterns_are_those_of_python() {
        for (name, pattern, expected) in [
            ("web1", "web1", true),
            ("web1", "web", false),
            ("web1", "WEB1", false),
            ("web1", "*", true),
            ("", "*", true),
            ("", "", true),
            ("web1", "", false),
            ("web1", "w*1", true),
            ("web12", "w*1", false),
            ("aXbXc", "a*X*c", true),
            ("web1", "web?", true),
            ("web", "web?", false),
            ("web1", "web[0-9]", true),
            ("webx", "web[!0-9]", true),
            ("web1", "web[!0-9]", false),
            ("web^", "web[^0-9]", true),
            ("web-", "web[a-]", true),
            ("web-", "web[-a]", true),
            ("web]", "web[]a]", true),
            ("web]", "web[!]a]", false),
            ("web[", "web[", true),
            ("web[]", "web[]", true),
            ("web[!]", "web[!]", true),
            ("webb", "web[c-a]", false),
            ("webb", "web[!c-a]", true),
            ("web-", "web[a-c-e]", true),
            ("webd", "web[a-c-e]", false),
            ("a\\b", "a\\b", true),
            ("a\\*", "a\\*", true),
            ("a*", "a\\*", false),
            ("a*b", "a[*]b", true),
            ("axb", "a[*]b", false),
            ("10.0.0.1", "10.0.?.*", true),
            ("web1", "web1,web2", false),
            ("é", "?", true),
        ] {
            assert_eq!(fnmatch(name, pattern), expected, "{name:?} {pattern:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_decided(name in "[ab*-]{0,9}", pattern in "[ab*?!\\[\\]-]{0,9}") {
            fnmatch(&name, &pattern);
        }
    }
}
