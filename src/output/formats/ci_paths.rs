//! The ways to read a stream in which a CI system may find a command.
//!
//! A reader of a log drops what has no width before it compares, or while it compares: .NET, in which GitHub's runner is written,
//! ignores control characters and format characters; viewers remove control sequences. Since readers differ,
//! all ways are followed at once, as sets of places: how far a text has come in a command, for each state of a control sequence
//! that the reader may think it is in.

/// A set of places in a text: a bit for each.
pub type Places = u32;

/// The places to which the ways to read a stream lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Of those that read text.
    text: Places,
    /// After an ESC.
    escape: Places,
    /// Within `ESC [ ...`, up to its final byte.
    control: Places,
    /// Within a string such as a window's title, up to BEL or `ESC \`.
    string: Places,
    /// Within `ESC ( ...` and the like, up to its final byte.
    designation: Places,
}

impl Paths {
    /// Creates a single way, which reads text.
    pub fn at(text: Places) -> Paths {
        Paths { text, escape: 0, control: 0, string: 0, designation: 0 }
    }

    /// Returns the places of the ways that read the next byte as text.
    pub fn text(&self) -> Places {
        self.text
    }

    /// Follows all ways past `byte`. A line begins at the places `start`; `advance` follows text.
    ///
    /// Control sequences are those of ECMA-48, and what simpler readers take for one: ESC and the byte after it.
    pub fn pass(&mut self, byte: u8, start: Places, advance: impl FnOnce(Places, u8) -> Places) {
        let Paths { text, escape, control, string, designation } = *self;
        let sequences = escape | control | designation;
        match byte {
            b'\n' => *self = Paths::at(start),
            b'\x1b' => *self = Paths { text: text | escape, escape: text | sequences | string, ..*self },
            // Some of them end a line or a string. None has a width.
            ..b' ' | b'\x7f' => self.text = text | escape | string | start,
            b' '..=b'~' => {
                let is_final = matches!(byte, b'@'..=b'~');
                let ends_designation = matches!(byte, b'0'..=b'~');
                let open = |is_open: bool, places: Places| if is_open { places } else { 0 };
                *self = Paths {
                    text: advance(text, byte) | escape | open(is_final, control) | open(ends_designation, designation),
                    escape: 0,
                    control: open(!is_final, control) | open(byte == b'[', escape),
                    string: string | open(matches!(byte, b']' | b'P' | b'X' | b'^' | b'_'), escape),
                    designation: open(matches!(byte, b' '..=b'/'), escape | designation),
                };
            }
            // A part of a character that may have no width, be a blank or the end of a line. A control character of 8 bits, as a byte of
            // its own or as the second one of its character, begins a sequence or a string as its pair of ESC and another does.
            0x80.. => {
                self.text = text | sequences | start | if byte == 0x9c { string } else { 0 };
                match byte {
                    0x9b => self.control |= text,
                    0x90 | 0x98 | 0x9d..=0x9f => self.string |= text,
                    _ => {}
                }
            }
        }
    }
}
