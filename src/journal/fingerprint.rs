//! What identifies a run: hashes, so that a journal tells whether a run is the same without a secret in it.

use std::fmt::Write as _;

use openssl::sha::Sha256;

/// A hash of several texts: their borders count, so that `a b` and `ab` differ.
#[derive(Default)]
pub struct Hash(Sha256);

impl Hash {
    /// Adds a text.
    pub fn add(mut self, text: &[u8]) -> Hash {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text);
        self
    }

    /// Adds several texts, and their number.
    pub fn add_all<T: AsRef<[u8]>>(mut self, texts: impl IntoIterator<Item = T>) -> Hash {
        let mut count: u64 = 0;
        for text in texts {
            self = self.add(text.as_ref());
            count += 1;
        }
        self.0.update(&count.to_be_bytes());
        self
    }

    /// Returns it as the journal has it: `sha256:` and 64 digits.
    pub fn finish(self) -> String {
        let mut text = String::from("sha256:");
        for byte in self.0.finish() {
            // Writing to memory does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// What a run is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The program, such as `pscp`.
    pub program: String,
    /// How many hosts the whole list has.
    pub hosts: usize,
    /// The hash of the whole list: `[user@]host[:port]` of each host, in order.
    pub list: String,
    /// Which share of the list it is, if not all of it: `2/4`.
    pub shard: Option<String>,
    /// The hash of what is done on all hosts.
    pub command: String,
    /// The hash of the values for each host; `None` if there are none.
    pub arguments: Option<String>,
}

/// Why a run is not the one of a journal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// Another program.
    #[error("that run was by {recorded}, not by {given}")]
    Program {
        /// The one of the journal.
        recorded: String,
        /// The one that runs now.
        given: String,
    },
    /// The lists do not have the same length.
    #[error("the list of hosts differs: it has {given} hosts, that run had {recorded}")]
    Count {
        /// How many the journal has.
        recorded: usize,
        /// How many there are now.
        given: usize,
    },
    /// The lists have the same length.
    #[error("the list of hosts differs: other hosts, or another order")]
    List,
    /// Another share of the list.
    #[error("the share of the list differs: it is {given}, that run had {recorded}")]
    Shard {
        /// The one of the journal.
        recorded: String,
        /// The one of this run.
        given: String,
    },
    /// Another command.
    #[error("the command differs")]
    Command,
    /// The same command with other values.
    #[error("the values for hosts differ")]
    Arguments,
}

impl Fingerprint {
    /// Returns the hash of a list, of its entries.
    pub fn of_list<T: AsRef<[u8]>>(entries: impl IntoIterator<Item = T>) -> String {
        Hash::default().add_all(entries).finish()
    }

    /// Checks that a run has the hosts of the one in the journal.
    ///
    /// # Errors
    /// It does not.
    pub fn check_hosts(&self, recorded: &Fingerprint) -> Result<(), Difference> {
        let all = || "all of it".to_owned();
        if self.program != recorded.program {
            let (recorded, given) = (recorded.program.clone(), self.program.clone());
            return Err(Difference::Program { recorded, given });
        }
        if self.hosts != recorded.hosts {
            return Err(Difference::Count { recorded: recorded.hosts, given: self.hosts });
        }
        if self.list != recorded.list {
            return Err(Difference::List);
        }
        if self.shard != recorded.shard {
            let [recorded, given] = [recorded, self].map(|of| of.shard.clone().unwrap_or_else(all));
            return Err(Difference::Shard { recorded, given });
        }
        Ok(())
    }

    /// Checks that it does the same, too.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, recorded: &Fingerprint) -> Result<(), Difference> {
        self.check_hosts(recorded)?;
        if self.command != recorded.command {
            return Err(Difference::Command);
        }
        if self.arguments != recorded.arguments {
            return Err(Difference::Arguments);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_borders_of_texts_count() {
        let hash = |texts: &[&str]| Fingerprint::of_list(texts);
        let all = [
            hash(&[]),
            hash(&[""]),
            hash(&["", ""]),
            hash(&["ab"]),
            hash(&["a", "b"]),
            hash(&["b", "a"]),
            hash(&["a\nb"]),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(all[place + 1..].iter().all(|other| other != one), "{place}");
        }
        assert_eq!(all[0].len(), "sha256:".len() + 64);
        assert_eq!(hash(&["ab"]), all[3], "and they are the same for the same list");
    }

    #[test]
    fn the_first_difference_is_named() {
        let one = Fingerprint {
            program: "pssh".to_owned(),
            hosts: 2,
            list: "l".to_owned(),
            shard: None,
            command: "c".to_owned(),
            arguments: None,
        };
        let told = |change: fn(&mut Fingerprint)| {
            let mut other = one.clone();
            change(&mut other);
            other.check(&one).expect_err("it differs").to_string()
        };
        assert_eq!(one.check(&one), Ok(()));
        assert_eq!(told(|run| run.program = "pscp".to_owned()), "that run was by pssh, not by pscp");
        assert_eq!(told(|run| run.hosts = 3), "the list of hosts differs: it has 3 hosts, that run had 2");
        assert_eq!(told(|run| run.list.clear()), "the list of hosts differs: other hosts, or another order");
        let shard = told(|run| run.shard = Some("1/2".to_owned()));
        assert_eq!(shard, "the share of the list differs: it is 1/2, that run had all of it");
        assert_eq!(told(|run| run.command.clear()), "the command differs");
        assert_eq!(told(|run| run.arguments = Some(String::new())), "the values for hosts differ");
        let mut other = one.clone();
        other.command.clear();
        assert_eq!(other.check_hosts(&one), Ok(()), "a repetition may run another command");
    }
}
