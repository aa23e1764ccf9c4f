//! Wildcards in remote paths, as in shells: `*`, `?`, `[a-z]`, `[!x]`, `[[:digit:]]`, and a backslash that quotes the
//! next character.

use crate::text::wildcard::matches_with;

/// A name or a component of a pattern, by characters. Bytes that are not UTF-8 count as one character each.
struct Characters<'a>(&'a [u8]);

/// Numbers for bytes that are not UTF-8, beyond all characters.
const BYTES: u32 = 0x11_0000;

impl Iterator for Characters<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let first = *self.0.first()?;
        let length = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        let bytes = self.0.get(..length).unwrap_or_default();
        let character = std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next());
        self.0 = &self.0[character.map_or(1, char::len_utf8)..];
        Some(character.map_or(BYTES + u32::from(first), u32::from))
    }
}

/// A part of a component of a pattern.
#[derive(Clone, Debug)]
enum Token {
    /// This character.
    One(u32),
    /// `?`: any character.
    Any,
    /// `*`: any characters, or none.
    Run,
    /// `[...]`: one of these; or any other, if it starts with `!` or `^`.
    Class { negated: bool, members: Vec<Member> },
}

#[derive(Clone, Debug)]
enum Member {
    Range(u32, u32),
    /// `[:digit:]` and the like.
    Named(fn(char) -> bool),
}

impl Member {
    fn contains(&self, character: u32) -> bool {
        match self {
            Member::Range(first, last) => (*first..=*last).contains(&character),
            Member::Named(is) => char::from_u32(character).is_some_and(is),
        }
    }
}

impl Token {
    fn takes(&self, character: u32) -> bool {
        match self {
            Token::One(wanted) => *wanted == character,
            Token::Any | Token::Run => true,
            Token::Class { negated, members } => members.iter().any(|member| member.contains(character)) != *negated,
        }
    }
}

/// A component of a path that is matched against the names in a directory.
#[derive(Clone, Debug)]
pub struct Pattern(Vec<Token>);

impl Pattern {
    /// Parses a component. An invalid wildcard, such as a bracket that is never closed, is literal.
    pub fn new(component: &[u8]) -> Pattern {
        let (mut tokens, mut rest) = (Vec::new(), Characters(component));
        while let Some(character) = rest.next() {
            tokens.push(match char::from_u32(character) {
                // Several in a row act as one.
                Some('*') if matches!(tokens.last(), Some(Token::Run)) => continue,
                Some('*') => Token::Run,
                Some('?') => Token::Any,
                Some('[') => match class(rest.0) {
                    Some((class, after)) => {
                        rest.0 = after;
                        class
                    }
                    None => Token::One(character),
                },
                Some('\\') => Token::One(rest.next().unwrap_or(character)),
                _ => Token::One(character),
            });
        }
        Pattern(tokens)
    }

    /// Whether it may match more than one name.
    pub fn is_wild(&self) -> bool {
        self.0.iter().any(|token| !matches!(token, Token::One(_)))
    }

    /// Whether a name matches. The pattern must contain a leading dot of the name.
    pub fn matches(&self, name: &[u8]) -> bool {
        let wants_dot = matches!(self.0.first(), Some(Token::One(dot)) if *dot == u32::from('.'));
        if name.first() == Some(&b'.') && !wants_dot {
            return false;
        }
        let name: Vec<u32> = Characters(name).collect();
        matches_with(&name, &self.0, |token| matches!(token, Token::Run), |token, character| token.takes(*character))
    }
}

/// Parses a class after its `[`; returns also the text after its `]`. `None` without one.
fn class(text: &[u8]) -> Option<(Token, &[u8])> {
    let mut rest = Characters(text);
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    if negated {
        rest.next();
    }
    let mut members = Vec::new();
    loop {
        let mut first = rest.next()?;
        match char::from_u32(first) {
            // As the first character it is literal.
            Some(']') if !members.is_empty() => return Some((Token::Class { negated, members }, rest.0)),
            Some('[') if rest.0.first() == Some(&b':') => {
                if let Some((member, after)) = named(rest.0) {
                    members.push(member);
                    rest.0 = after;
                    continue;
                }
            }
            Some('\\') => first = rest.next()?,
            _ => {}
        }
        let mut last = first;
        if let [b'-', after, ..] = rest.0
            && *after != b']'
        {
            rest.next();
            last = rest.next()?;
            if last == u32::from('\\') {
                last = rest.next()?;
            }
        }
        members.push(Member::Range(first, last));
    }
}

/// Reads `:digit:]`.
fn named(text: &[u8]) -> Option<(Member, &[u8])> {
    let end = text.windows(2).position(|pair| pair == b":]").filter(|end| *end > 0)?;
    let is: fn(char) -> bool = match &text[1..end] {
        b"alnum" => char::is_alphanumeric,
        b"alpha" => char::is_alphabetic,
        b"blank" => |character| matches!(character, ' ' | '\t'),
        b"cntrl" => char::is_control,
        b"digit" => |character| character.is_ascii_digit(),
        b"graph" => |character| !character.is_control() && !character.is_whitespace(),
        b"lower" => char::is_lowercase,
        b"print" => |character| !character.is_control(),
        b"punct" => |character| character.is_ascii_punctuation(),
        b"space" => char::is_whitespace,
        b"upper" => char::is_uppercase,
        b"xdigit" => |character| character.is_ascii_hexdigit(),
        _ => return None,
    };
    Some((Member::Named(is), &text[end + 2..]))
}

/// Whether a path contains anything that a shell would expand or unquote.
pub fn is_special(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Returns a text without the backslashes that quote the next character.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.iter());
    while let Some(byte) = rest.next() {
        out.push(if *byte == b'\\' { *rest.next().unwrap_or(byte) } else { *byte });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(name.as_bytes())
    }

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, matching, others) in [
            ("*", &["a", "abc", "ä", "*", " "][..], &[".a"][..]),
            ("?", &["a", "ä", "*"], &["ab", ".", ""]),
            ("a*c", &["ac", "abc", "abcbc"], &["acb", "bac", "a"]),
            ("*.log", &["x.log", "x.y.log"], &[".log", "x.log.1", "xlog"]),
            (".*", &[".a", ".a.b"], &["a"]),
            ("*a*b*c*", &["abc", "xaxbxcx", "aabbcc"], &["acb", "ab"]),
            ("[abc]x", &["ax", "cx"], &["dx", "x", "aax"]),
            ("[a-cx-z]", &["a", "b", "y"], &["d", "-"]),
            ("[!a-c]", &["d", "ä", "!"], &["a", "c"]),
            ("[^a]", &["b"], &["a"]),
            ("[]a]", &["]", "a"], &["[", "b"]),
            ("[!]a]", &["b"], &["]", "a"]),
            ("[a-]", &["a", "-"], &["b"]),
            (r"[\]a]", &["]", "a"], &["\\"]),
            ("[[:digit:]x]", &["5", "x"], &["a", ":"]),
            ("[[:upper:][:space:]]", &["A", " "], &["a"]),
            ("[ä-ö]", &["ä", "å"], &["a", "\u{7b}"]),
            ("[z-a]", &[], &["a", "z", "-"]),
            ("[", &["["], &["a"]),
            ("[a", &["[a"], &["a"]),
            ("a[", &["a["], &["a"]),
            (r"\*", &["*"], &["a"]),
            (r"a\?", &["a?"], &["ab"]),
            (r"\a", &["a"], &["\\a"]),
            ("\\", &["\\"], &["a"]),
            ("[.]a", &[], &[".a"]),
            ("-*", &["-r"], &["r"]),
        ] {
            for name in matching {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in others {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
        assert!(Pattern::new(b"a?\xff").matches(b"a\xfe\xff"));
        assert!(Pattern::new(b"[\xfe]").matches(b"\xfe"));
    }

    #[test]
    fn no_pattern_takes_long() {
        let name = "a".repeat(255);
        assert!(!matches(&format!("{}b", "a*".repeat(127)), &name));
    }

    #[test]
    fn what_is_special() {
        for (pattern, special, wild) in [
            ("a", false, false),
            ("~/ä b$c", false, false),
            ("[", true, false),
            (r"a\*", true, false),
            ("a*", true, true),
        ] {
            assert_eq!(is_special(pattern.as_bytes()), special, "{pattern}");
            assert_eq!(Pattern::new(pattern.as_bytes()).is_wild(), wild, "{pattern}");
        }
        assert_eq!(unescape(br"a\*\\b\"), br"a*\b\");
    }

    /// Returns bash's expansion of a pattern among these names.
    fn bash(directory: &std::path::Path, patterns: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
        let mut script = b"shopt -s nullglob; cd \"$1\" || exit 1\n".to_vec();
        for pattern in patterns {
            // A pattern that is a word as it is: only its wildcards and backslashes have a meaning.
            script.extend_from_slice(b"for name in ");
            script.extend_from_slice(pattern);
            script.extend_from_slice(b"; do printf '%s\\0' \"$name\"; done; printf '\\0'\n");
        }
        let mut bash = Command::new("bash");
        bash.env("LC_ALL", "C.UTF-8").arg("-c").arg(std::ffi::OsStr::from_bytes(&script)).arg("bash").arg(directory);
        let ran = bash.output().expect("bash");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let mut found = vec![Vec::new()];
        for word in ran.stdout.strip_suffix(b"\0").unwrap_or_default().split(|byte| *byte == 0) {
            match word {
                b"" => found.push(Vec::new()),
                word => found.last_mut().expect("one").push(word.to_vec()),
            }
        }
        found
    }

    #[test]
    fn bash_finds_the_same() {
        let directory = tempfile::tempdir().expect("directory");
        let names = [
            "a", "b", "ab", "abc", "a-b", "a]b", "a[b", "a*b", "a\\b", ".a", ".ab", "B", "1", "a1", "ä", "äb", "!",
            "^", "a.b",
        ];
        for name in names {
            fs::write(directory.path().join(name), "").expect("file");
        }
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let piece = prop::sample::select(vec![
            "*",
            "?",
            "[",
            "]",
            "!",
            "^",
            "-",
            "a",
            "b",
            "B",
            "1",
            "ä",
            ".",
            r"\a",
            r"\*",
            r"\[",
            r"\]",
            "[a-b]",
            "[!a]",
            "[[:alpha:]]",
            "[^b1]",
        ]);
        let patterns = prop::collection::vec(prop::collection::vec(piece, 1..6), 400);
        let patterns = patterns.new_tree(&mut runner).expect("patterns").current();
        // Elsewhere, bash treats `!` and `^` as in scripts; a word without a wildcard is not looked up.
        let patterns: Vec<Vec<u8>> = patterns.into_iter().map(|pieces| pieces.concat().into_bytes()).collect();
        let patterns: Vec<Vec<u8>> = patterns.into_iter().filter(|pattern| Pattern::new(pattern).is_wild()).collect();
        assert!(patterns.len() > 200);
        for (pattern, mut theirs) in patterns.iter().zip(bash(directory.path(), &patterns)) {
            theirs.sort();
            let parsed = Pattern::new(pattern);
            let mut ours: Vec<Vec<u8>> =
                names.iter().map(|name| name.as_bytes().to_vec()).filter(|name| parsed.matches(name)).collect();
            ours.sort();
            assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(pattern));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_pattern(pattern: Vec<u8>, name: Vec<u8>) {
            Pattern::new(&pattern).matches(&name);
            let escaped: Vec<u8> = name.iter().flat_map(|byte| match byte { 0..0x80 => vec![b'\\', *byte], _ => vec![*byte] }).collect();
            prop_assert!(Pattern::new(&escaped).matches(&name) && !Pattern::new(&escaped).is_wild());
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
