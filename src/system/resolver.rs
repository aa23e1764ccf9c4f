//! Resolves host names without using a slot of the pool: getaddrinfo(3) blocks, and cannot be interrupted.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, unbounded};

use super::cancel::Cancel;
use super::files::bounded;
use super::poll::catching_up;

/// Most lookups at the same time. A silent name server blocks a thread for 10 s or more per name.
const MAX_THREADS: usize = 32;
/// Stack size in bytes of a lookup thread. NSS modules such as sss or winbind need more than getaddrinfo itself.
const STACK: usize = 512 * 1024;

/// The answer to a lookup: the job, and its addresses or why there are none.
pub struct Answer {
    /// Number of the job.
    pub job: usize,
    /// The addresses in the order to try them, never empty. Their ports mean nothing; a link-local one has its zone.
    pub addresses: Result<Vec<SocketAddr>, LookupError>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LookupError {
    /// The resolver's message.
    pub reason: String,
    /// Whether a name server answered: the name does not exist, or has no address. Otherwise there was no answer
    /// (EAI_AGAIN).
    pub is_final: bool,
}

impl LookupError {
    /// Creates an error without an answer.
    pub fn unanswered(reason: impl Into<String>) -> LookupError {
        LookupError { reason: reason.into(), is_final: false }
    }

    fn answered(reason: impl Into<String>) -> LookupError {
        LookupError { reason: reason.into(), is_final: true }
    }
}

/// The words of gai_strerror(3) for EAI_NONAME and EAI_NODATA: glibc's, musl's, and those of the BSDs and macOS. std gives no number.
const NO_SUCH_NAME: [&str; 6] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "nodename nor servname provided, or not known",
    "Name does not resolve to any address",
];

/// A few threads that resolve names, started as needed. They end when the resolver is dropped and their last lookup is
/// over, without being waited for.
pub struct Resolver {
    questions: Sender<(usize, String)>,
    waiting: Receiver<(usize, String)>,
    answer: Sender<Answer>,
    answers: Receiver<Answer>,
    threads: usize,
}

impl Default for Resolver {
    /// Creates a resolver without threads.
    fn default() -> Resolver {
        let (questions, waiting) = unbounded();
        let (answer, answers) = unbounded();
        Resolver { questions, waiting, answer, answers, threads: 0 }
    }
}

impl Resolver {
    /// Looks up the addresses of `name` for `job`.
    pub fn ask(&mut self, job: usize, name: String) {
        // A thread per lookup up to the limit: whether the others are busy cannot be known without a race.
        if self.threads < MAX_THREADS {
            let (waiting, answer) = (self.waiting.clone(), self.answer.clone());
            let work = move || {
                for (job, name) in waiting {
                    if answer.send(Answer { job, addresses: lookup(&name) }).is_err() {
                        return;
                    }
                }
            };
            match thread::Builder::new().name("pssh-resolve".to_owned()).stack_size(STACK).spawn(work) {
                Ok(_) => self.threads += 1,
                Err(error) if self.threads == 0 => {
                    let addresses =
                        Err(LookupError::unanswered(format!("cannot start a thread to look it up: {error}")));
                    let _ = self.answer.send(Answer { job, addresses });
                    return;
                }
                Err(_) => {}
            }
        }
        let _ = self.questions.send((job, name));
    }

    /// Where the answers arrive.
    pub fn answers(&self) -> Receiver<Answer> {
        self.answers.clone()
    }
}

/// Resolves one name, until `until` or the cancel.
///
/// # Errors
/// Why there is no address.
pub fn lookup_within(name: &str, until: Instant, cancel: &Cancel) -> Result<Vec<SocketAddr>, LookupError> {
    if let Some(address) = literal(name) {
        return Ok(vec![address]);
    }
    let mut resolver = Resolver::default();
    let answers = resolver.answers();
    resolver.ask(0, name.to_owned());
    let mut select = Select::new();
    let answered = select.recv(&answers);
    select.recv(cancel.channel());
    match select.select_deadline(until) {
        Ok(operation) if operation.index() == answered => match operation.recv(&answers) {
            Ok(answer) => answer.addresses,
            Err(_) => Err(LookupError::unanswered("the lookup ended without an answer")),
        },
        Ok(operation) => {
            let _ = operation.recv(cancel.channel());
            Err(LookupError::unanswered("cancelled"))
        }
        // After a stop we notice the end of the time late, and the thread with the answer may be as late.
        Err(_) => match answers.recv_timeout(catching_up(until, Instant::now())) {
            Ok(answer) => answer.addresses,
            Err(_) => Err(LookupError::unanswered("no answer from the resolver in time")),
        },
    }
}

/// Returns the address that a name is. One with a zone (`fe80::1%eth0`) is not: the resolver knows the number of the
/// interface.
pub fn literal(name: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(name.parse::<IpAddr>().ok()?, 0))
}

/// The name of an interface that has IPv6 addresses, by its number, where the system lists them in a file.
pub fn interface(number: u32) -> Option<String> {
    // Address, number and three others, all hexadecimal, and the name.
    let list = bounded::read(Path::new("/proc/net/if_inet6"), bounded::LIST).ok()?;
    let list = String::from_utf8_lossy(&list);
    list.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let own = u32::from_str_radix(words.next()?, 16).ok()?;
        words.nth(3).filter(|_| own == number).map(str::to_owned)
    })
}

/// Resolves a name in this thread: for an address with a zone this does not wait.
///
/// # Errors
/// Why there is no address.
pub fn lookup(name: &str) -> Result<Vec<SocketAddr>, LookupError> {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        // Remove std's words before the resolver's.
        let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        LookupError { reason: reason.to_owned(), is_final: NO_SUCH_NAME.contains(&reason) }
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(LookupError::answered("the name has no address")) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_exist_is_a_final_answer_of_this_system() {
        // The resolver asks no name server for a name with an empty label.
        let error = lookup("no..such.name").expect_err("no name");
        assert!(error.is_final, "{error}");
        assert!(!LookupError::unanswered("Temporary failure in name resolution").is_final);
    }
}
