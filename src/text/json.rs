//! JSON objects on lines of their own (JSON Lines), harmless on a terminal.

use std::io::Write;
use std::time::Duration;

use super::sanitize::is_harmful;

/// Builds an object on one line.
pub struct Object<'a> {
    buffer: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `buffer`.
    pub fn new(buffer: &'a mut Vec<u8>, event: &str) -> Object<'a> {
        buffer.push(b'{');
        Object { buffer, is_first: true }.text("event", event)
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.buffer.push(b',');
        }
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
    }

    /// Adds a text.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        let start = self.buffer.len();
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.buffer, text);
        if text.bytes().any(|byte| byte >= 0x7f) && text.contains(is_harmful) {
            // It may be read on a terminal, so control characters that JSON allows are escaped too.
            let written = self.buffer.split_off(start);
            for c in String::from_utf8_lossy(&written).chars() {
                if !is_harmful(c) {
                    let _ = write!(self.buffer, "{c}");
                    continue;
                }
                // Beyond U+FFFF it takes two of them (RFC 8259 section 7).
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self.buffer, "\\u{unit:04x}");
                }
            }
        }
        self
    }

    /// Adds a text, or null.
    pub fn maybe_text(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self.plain(name, "null"),
        }
    }

    /// Adds a number.
    pub fn number(self, name: &str, number: impl std::fmt::Display) -> Self {
        self.plain(name, number)
    }

    /// Adds a number, or null.
    pub fn maybe_number(self, name: &str, number: Option<u32>) -> Self {
        match number {
            Some(number) => self.plain(name, number),
            None => self.plain(name, "null"),
        }
    }

    /// Adds true or false.
    pub fn flag(self, name: &str, flag: bool) -> Self {
        self.plain(name, flag)
    }

    /// Adds seconds with microseconds.
    pub fn seconds(self, name: &str, time: Option<Duration>) -> Self {
        match time {
            Some(time) => self.plain(name, format_args!("{:.6}", time.as_secs_f64())),
            None => self.plain(name, "null"),
        }
    }

    fn plain(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.name(name);
        let _ = write!(self.buffer, "{value}");
        self
    }

    /// Begins an object within it.
    pub fn object(mut self, name: &str) -> Self {
        self.name(name);
        self.buffer.push(b'{');
        self.is_first = true;
        self
    }

    /// Adds an array of numbers.
    pub fn numbers(mut self, name: &str, numbers: impl Iterator<Item = usize>) -> Self {
        self.name(name);
        self.buffer.push(b'[');
        for (place, number) in numbers.enumerate() {
            let _ = write!(self.buffer, "{}{number}", if place == 0 { "" } else { "," });
        }
        self.buffer.push(b']');
        self
    }

    /// Begins an array of objects within it.
    pub fn array(mut self, name: &str) -> Self {
        self.name(name);
        self.buffer.push(b'[');
        self.is_first = true;
        self
    }

    /// Begins the next object of an array.
    pub fn element(mut self) -> Self {
        if !std::mem::replace(&mut self.is_first, true) {
            self.buffer.push(b',');
        }
        self.buffer.push(b'{');
        self
    }

    /// Ends the array.
    pub fn end_array(mut self) -> Self {
        self.buffer.push(b']');
        self.is_first = false;
        self
    }

    /// Ends the inner object, or element.
    pub fn end_object(mut self) -> Self {
        self.buffer.push(b'}');
        self.is_first = false;
        self
    }

    /// Ends the object and its line.
    pub fn end(self) {
        self.buffer.extend_from_slice(b"}\n");
    }
}
