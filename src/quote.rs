//! Words for a remote shell that may be of any kind.

/// Characters that mean themselves in every shell, outside of quotes and anywhere in a word.
const PLAIN: &[u8] = b"_./:-,@+";

/// `word` as one word of a command line, for the POSIX shells and zsh, and for csh and fish, which read quotes differently:
/// csh takes `!` as its own even within single quotes, fish the backslash. Both stand outside of them here, escaped. Only a
/// line break has no form that csh understands as well.
pub fn quote(word: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(word.len() + 8);
    push(&mut quoted, word);
    quoted
}

/// Appends a blank and `word`, quoted.
pub fn add_word(line: &mut Vec<u8>, word: &[u8]) {
    line.push(b' ');
    push(line, word);
}

fn push(line: &mut Vec<u8>, word: &[u8]) {
    if !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || PLAIN.contains(byte)) {
        line.extend_from_slice(word);
        return;
    }
    if word.is_empty() {
        line.extend_from_slice(b"''");
    }
    let mut rest = word;
    while let Some(byte) = rest.first() {
        if is_special(byte) {
            line.extend_from_slice(&[b'\\', *byte]);
            rest = &rest[1..];
        } else {
            let end = rest.iter().position(is_special).unwrap_or(rest.len());
            line.push(b'\'');
            line.extend_from_slice(&rest[..end]);
            line.push(b'\'');
            rest = &rest[end..];
        }
    }
}

/// Whether some shell gives the character a meaning within single quotes.
fn is_special(byte: &u8) -> bool {
    matches!(byte, b'\'' | b'\\' | b'!')
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What `shell` makes of `word`, quoted; nothing where the shell is not installed.
    fn read_by(shell: &str, word: &[u8]) -> Option<Vec<u8>> {
        let mut line = b"printf %s".to_vec();
        add_word(&mut line, word);
        let output = Command::new(shell).arg("-c").arg(OsStr::from_bytes(&line)).output().ok()?;
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        Some(output.stdout)
    }

    fn comes_through(word: &[u8], shells: &[&str]) {
        for shell in shells {
            match read_by(shell, word) {
                Some(read) => assert_eq!(read, word, "{shell}"),
                None => assert!(!["sh", "bash"].contains(shell), "{shell} is needed"),
            }
        }
    }

    const POSIX: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];

    #[test]
    fn what_shells_treat_specially_comes_through() {
        let words: [&[u8]; 12] = [
            b"",
            b"plain-word_1.2/3:4",
            b"it's 'quoted' \"twice\"",
            b"$HOME ${x} $(id) `id`",
            b"!! !x \\! a\\\\b\\",
            b"* ? [a] {a,b} ~ ~root =ls %1 #no ^a^b",
            b"; & | < > ( )",
            "Gr\u{fc}\u{df}e \u{1f600}".as_bytes(),
            b"\xff\xfe \x01\x7f",
            b"-n",
            b"\t  two blanks ",
            b"'",
        ];
        for word in words {
            comes_through(word, &POSIX);
            comes_through(word, &["csh", "tcsh", "fish"]);
        }
        comes_through(b"two\nlines\n\nand 'more'\n", &POSIX);
        comes_through(b"two\nlines", &["fish"]);
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote(b"/usr/bin/python3"), b"/usr/bin/python3");
        assert_eq!(quote(b"a b"), b"'a b'");
        assert_eq!(quote(b"it's"), b"'it'\\''s'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_word_comes_through(word in prop::collection::vec(1_u8.., 0..40)) {
            comes_through(&word, &["sh", "bash", "dash"]);
        }

        #[test]
        fn every_heap_of_special_characters_comes_through(word in "['\"\\\\!$` \n\t~*=#;&|a-c]{0,24}") {
            comes_through(word.as_bytes(), &["sh", "bash", "dash"]);
        }
    }
}
