//! Checks that a placeholder in shell text is where a quoted value stays one word: outside of the text's own quotes. Inside of them
//! the value's quotes would end them, and the shell would interpret the value.

/// Scans shell text byte by byte, following POSIX (Shell Command Language, 2.2 and 2.6.3).
///
/// It knows the syntax of commands on a command line. At a here-document (2.7.4) it gives up and accepts everything.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The open quotes, the innermost last. Empty outside of quotes.
    open: Vec<Open>,
    /// Whether the last byte was a backslash.
    escaped: bool,
    /// Whether a comment runs until the end of the line.
    comment: bool,
    previous: Option<u8>,
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// `'...'`
    Single,
    /// `$'...'`
    Dollar,
    /// `"..."`
    Double,
    /// `$(...)` or `(...)`, in which quoting begins anew.
    Parenthesis,
    /// `` `...` ``, in which backslashes are read twice.
    Backquote,
}

impl Scanner {
    /// Scans more text.
    pub fn read(&mut self, text: &[u8]) {
        text.iter().for_each(|byte| self.step(*byte));
    }

    /// Skips a value.
    pub fn pass(&mut self) {
        self.escaped = false;
        self.previous = Some(b'x');
    }

    /// Whether a quoted value is one word here.
    pub fn is_safe(&self) -> bool {
        let inside = |open: &Open| !matches!(open, Open::Parenthesis);
        self.lost || self.comment || !(self.escaped || self.open.last().is_some_and(inside) || self.in_backquotes())
    }

    fn in_backquotes(&self) -> bool {
        self.open.contains(&Open::Backquote)
    }

    fn step(&mut self, byte: u8) {
        let previous = self.previous.replace(byte);
        if std::mem::take(&mut self.escaped) {
            // A literal byte, which begins nothing.
            self.previous = Some(b'x');
            return;
        }
        if self.comment {
            self.comment = byte != b'\n';
            return;
        }
        let after_dollar = previous == Some(b'$');
        match (self.open.last(), byte) {
            (Some(Open::Single | Open::Dollar), b'\'') | (Some(Open::Double), b'"') => {
                self.open.pop();
            }
            (Some(Open::Single), _) => {}
            (_, b'\\') => self.escaped = true,
            (Some(Open::Dollar), _) => {}
            (Some(Open::Backquote), b'`') | (Some(Open::Parenthesis), b')') => {
                self.open.pop();
            }
            (_, b'`') => self.open.push(Open::Backquote),
            (Some(Open::Double), b'(') if after_dollar => self.open.push(Open::Parenthesis),
            (Some(Open::Double), _) => {}
            (_, b'\'') => self.open.push(if after_dollar { Open::Dollar } else { Open::Single }),
            (_, b'"') => self.open.push(Open::Double),
            (_, b'(') => self.open.push(Open::Parenthesis),
            (_, b'<') if previous == Some(b'<') => self.lost = true,
            (_, b'#') if previous.is_none_or(|byte| b" \t\n;&|()".contains(&byte)) => self.comment = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    /// Whether a value may replace each `@`.
    fn safe(text: &str) -> Vec<bool> {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for (number, piece) in text.split('@').enumerate() {
            if number > 0 {
                found.push(scanner.is_safe());
                scanner.pass();
            }
            scanner.read(piece.as_bytes());
        }
        found
    }

    #[test]
    fn outside_of_quotes() {
        for text in [
            "@",
            "echo @ x@y --name=@",
            "echo 'a b'@'c' \"d\"@",
            "echo it\\'s @",
            "echo \"a\\\"b\" @",
            "echo \"$(cat @)\"",
            "(cd @ && ls) $((1 + 2)) @",
            "echo # don't\necho @",
            "echo a#'b' $'it\\'s' @",
            "sh -c 'echo \"$1\"' sh @",
            "cat <<END\ndon't\nEND\necho @",
            "echo \\\\@",
            "case $x in a) echo @;; esac",
        ] {
            assert!(safe(text).iter().all(|safe| *safe), "{text}");
        }
    }

    #[test]
    fn inside_of_quotes() {
        for text in [
            "sh -c 'echo @'",
            "echo \"@\"",
            "echo \"a 'b @\"",
            "echo \\@",
            "echo $'@'",
            "echo `cat @`",
            "echo \"$(echo \"@\")\"",
            "echo '\\' '@'",
            "echo `echo $(cat @)`",
            "echo \"'\" '@'",
        ] {
            assert!(safe(text).iter().all(|safe| !*safe), "{text}");
        }
        assert_eq!(safe("echo @ '@' @ \"@\" @"), [true, false, true, false, true]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a'\"\\\\`$()#<@ \n]{0,30}") {
            safe(&text);
        }
    }
}
