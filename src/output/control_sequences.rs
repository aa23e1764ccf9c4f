//! Remote bytes on a terminal: all control sequences but colour are made visible, so that a host can neither move the cursor, nor
//! change what others have printed, nor make the terminal answer. Pipes and files never see any of this.

/// Bytes of the longest unbroken line. Every host may have one pending in each stream.
pub const LONGEST_LINE: usize = 512 << 10;
/// Bytes of the longest colour sequence that is passed on: 256 colours and true colour for foreground and background need 40.
const LONGEST_COLOUR: usize = 64;
/// Resets all colours.
const RESET: &[u8] = b"\x1b[0m";

/// Escapes control sequences in a text that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub struct Guard {
    is_on: bool,
    /// The beginning of a line that has not ended yet.
    open: Vec<u8>,
    harmless: Vec<u8>,
}

impl Guard {
    /// Creates a guard that passes text unchanged unless it `is_on`.
    pub fn new(is_on: bool) -> Guard {
        Guard { is_on, ..Guard::default() }
    }

    /// Appends all finished lines, escaped. Cuts a line that grows too long.
    pub fn pass(&mut self, bytes: &[u8], put: &mut dyn FnMut(&[u8])) {
        if !self.is_on {
            return put(bytes);
        }
        self.open.extend_from_slice(bytes);
        let end = self.open.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end = if self.open.len() - end > LONGEST_LINE { self.open.len() } else { end };
        self.put(end, put);
    }

    /// Appends the rest at the end of the text.
    pub fn finish(&mut self, put: &mut dyn FnMut(&[u8])) {
        self.put(self.open.len(), put);
    }

    fn put(&mut self, end: usize, put: &mut dyn FnMut(&[u8])) {
        if end > 0 {
            self.harmless.clear();
            append(&self.open[..end], &mut self.harmless);
            put(&self.harmless);
            self.open.drain(..end);
        }
    }
}

/// Appends lines, of which the last may lack its newline.
///
/// * `ESC [ ... m` (SGR of ECMA-48) is passed on, and undone at the end of its line.
/// * Tabs, and carriage returns before a newline, are passed on. A lone carriage return is `^M`: what follows would otherwise cover
///   the label of its host.
/// * Other control characters are in the notation of cat -v: `^[` for ESC, `^?` for DEL, `M-^[` for the C1 control CSI, as a
///   character (U+009B) or as a single byte that is not UTF-8.
/// * Other bytes that are not UTF-8 are passed on: the terminal's encoding is unknown.
pub fn append(lines: &[u8], buffer: &mut Vec<u8>) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = if text.len() < line.len() { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        if text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            buffer.extend_from_slice(text);
        } else if append_text(text, buffer) {
            buffer.extend_from_slice(RESET);
        }
        buffer.extend_from_slice(&line[text.len()..]);
    }
}

/// Appends part of a line; returns whether it changed a colour.
fn append_text(text: &[u8], buffer: &mut Vec<u8>) -> bool {
    let mut is_coloured = false;
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
            buffer.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at..];
            let length = colour(rest.as_bytes());
            if length > 0 {
                is_coloured = true;
                buffer.extend_from_slice(&rest.as_bytes()[..length]);
                rest = &rest[length..];
            } else if let Some(control) = rest.chars().next() {
                // A control character is below U+0100.
                caret(control as u32 as u8, buffer);
                rest = &rest[control.len_utf8()..];
            }
        }
        buffer.extend_from_slice(rest.as_bytes());
        for byte in chunk.invalid() {
            match byte {
                0x80..=0x9f => caret(*byte, buffer),
                _ => buffer.push(*byte),
            }
        }
    }
    is_coloured
}

/// Returns the length of the colour sequence at the start of `bytes`, or 0.
fn colour(bytes: &[u8]) -> usize {
    let Some(parameters) = bytes.strip_prefix(b"\x1b[") else { return 0 };
    let end = parameters.iter().take(LONGEST_COLOUR).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
    match end {
        Some(end) if parameters[end] == b'm' => b"\x1b[".len() + end + 1,
        _ => 0,
    }
}

fn caret(control: u8, buffer: &mut Vec<u8>) {
    if control >= 0x80 {
        buffer.extend_from_slice(b"M-");
    }
    buffer.extend_from_slice(&[b'^', (control & 0x7f) ^ 0x40]);
}

#[cfg(test)]
mod tests {
    use super::{Guard, LONGEST_LINE, append};

    fn shown(bytes: &[u8]) -> String {
        let mut buffer = Vec::new();
        append(bytes, &mut buffer);
        String::from_utf8_lossy(&buffer).into_owned()
    }

    #[test]
    fn colour_is_passed_on_and_undone_at_the_end_of_its_line() {
        assert_eq!(shown(b"\x1b[1;31mred\nplain\n"), "\x1b[1;31mred\x1b[0m\nplain\n");
        assert_eq!(shown(b"\x1b[38:2::1:2:3mx\r\n"), "\x1b[38:2::1:2:3mx\x1b[0m\r\n");
        assert_eq!(shown(b"\x1b[m"), "\x1b[m\x1b[0m");
    }

    #[test]
    fn whatever_else_a_terminal_would_act_on_is_visible() {
        for (bytes, expected) in [
            (&b"\x1b[2J\x1b[H"[..], "^[[2J^[[H"),
            (b"\x1b]0;title\x07", "^[]0;title^G"),
            (b"\x1b[6n\x1bc", "^[[6n^[c"),
            (b"\x1b[>4;1m\x1b[?1m\x1b[1 m", "^[[>4;1m^[[?1m^[[1 m"),
            (b"10%\r20%\r\n", "10%^M20%\r\n"),
            (b"10%\r", "10%^M"),
            (b"a\x08\x0b\x0c\x00\x7f\tb\n", "a^H^K^L^@^?\tb\n"),
            ("\u{9b}2J\u{85}é\u{15b}".as_bytes(), "M-^[2JM-^Eéś"),
            (b"\x9b2J\x90", "M-^[2JM-^P"),
            (b"\x1b[3\n1mx", "^[[3\n1mx"),
            (b"\x1b", "^["),
            (b"\x1b[", "^[["),
        ] {
            assert_eq!(shown(bytes), expected, "{bytes:?}");
        }
        let long = [&b"\x1b["[..], &b"1;"[..].repeat(40), b"m"].concat();
        assert!(shown(&long).starts_with("^[[1;"));
    }

    #[test]
    fn a_sequence_may_be_cut_anywhere() {
        let text = b"\x1b[31mred\n\x1b[2Jx\r\nno newline\x07";
        let pass = |pieces: &[&[u8]], is_on| {
            let (mut guard, mut shown) = (Guard::new(is_on), Vec::new());
            pieces.iter().for_each(|piece| guard.pass(piece, &mut |bytes| shown.extend_from_slice(bytes)));
            guard.finish(&mut |bytes| shown.extend_from_slice(bytes));
            shown
        };
        for cut in 0..=text.len() {
            let pieces = [&text[..cut], &text[cut..]];
            assert_eq!(pass(&pieces, true), b"\x1b[31mred\x1b[0m\n^[[2Jx\r\nno newline^G", "cut at {cut}");
            assert_eq!(pass(&pieces, false), text, "cut at {cut}");
        }
        let long = vec![b'x'; LONGEST_LINE + 1];
        assert_eq!(pass(&[&long, b"y"], true).len(), LONGEST_LINE + 2);
    }

    #[test]
    fn other_bytes_are_as_they_came() {
        let mut buffer = Vec::new();
        append(b"caf\xe9 \xc2\xff\n", &mut buffer);
        assert_eq!(buffer, b"caf\xe9 \xc2\xff\n");
        // A character cut in two never becomes a control character.
        buffer.clear();
        append(b"\xc2", &mut buffer);
        append(b"\x9b1A", &mut buffer);
        assert_eq!(buffer, b"\xc2M-^[1A");
    }
}
