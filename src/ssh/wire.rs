//! The data types of RFC 4251 section 5 in keys, signatures and agent messages.

/// Appends a `string`: its length as 32 bits, then its bytes.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends an `mpint`: a non-negative number given as big-endian bytes, without superfluous zeros.
pub fn put_mpint(out: &mut Vec<u8>, number: &[u8]) {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let number = &number[start..];
    // A set top bit would make the number negative.
    let sign = number.first().is_some_and(|byte| byte & 0x80 != 0);
    out.extend_from_slice(&((number.len() + usize::from(sign)) as u32).to_be_bytes());
    if sign {
        out.push(0);
    }
    out.extend_from_slice(number);
}

/// Reads values off the front of a message. Every method returns `None` if the message is too short.
pub struct WireReader<'a>(pub &'a [u8]);

impl<'a> WireReader<'a> {
    /// A `byte`.
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// A `uint32`.
    pub fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    /// A `uint64`.
    pub fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    /// A `string`.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mpints_are_the_examples_of_rfc_4251() {
        let encoded = |number: &[u8]| {
            let mut out = Vec::new();
            put_mpint(&mut out, number);
            out
        };
        assert_eq!(encoded(&[]), [0, 0, 0, 0]);
        assert_eq!(encoded(&[0, 0]), [0, 0, 0, 0]);
        assert_eq!(encoded(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(
            encoded(&[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7]),
            [0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7]
        );
    }

    #[test]
    fn a_reader_never_reads_past_the_end() {
        let mut message = Vec::new();
        put_string(&mut message, b"ssh-ed25519");
        message.push(7);
        let mut reader = WireReader(&message);
        assert_eq!(reader.string(), Some(&b"ssh-ed25519"[..]));
        assert_eq!(reader.byte(), Some(7));
        assert_eq!(reader.byte(), None);
        for length in 0..message.len() - 1 {
            assert_eq!(WireReader(&message[..length]).string(), None);
        }
    }
}
