//! A signal that stops a run: the stage of each host, and the message to the user, which appears once: from the
//! output or, if a reader blocks that, from the signal thread.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::event::HostStage;
use crate::text::message::hosts;

/// How long the output may take to print it.
const PATIENCE: Duration = Duration::from_millis(250);

/// The stage of each host of a run. Every change costs one store.
#[derive(Clone, Debug)]
pub struct Stages(Arc<[AtomicU8]>);

/// The host has ended, though its command may still run.
const ENDED: u8 = 100;
const UNSTOPPED: u8 = 101;

impl Stages {
    /// Creates the stages of that many hosts, all waiting.
    pub fn new(hosts: usize) -> Stages {
        Stages((0..hosts).map(|_| AtomicU8::new(HostStage::Waiting as u8)).collect())
    }

    /// Sets the stage of a host.
    pub fn set(&self, job: usize, stage: HostStage) {
        self.0[job].store(stage as u8, Ordering::SeqCst);
    }

    /// Marks a host as ended. If `unstopped`, its command may still run.
    pub fn end(&self, job: usize, unstopped: bool) {
        self.0[job].store(if unstopped { UNSTOPPED } else { ENDED }, Ordering::SeqCst);
    }

    /// Returns how many hosts are connecting or running.
    pub fn count_started(&self) -> usize {
        let started = [HostStage::Connecting as u8, HostStage::Running as u8];
        self.0.iter().filter(|stage| started.contains(&stage.load(Ordering::SeqCst))).count()
    }

    /// Returns the numbers of the jobs whose command may be running.
    pub fn may_run(&self) -> Vec<usize> {
        let running = [HostStage::Running as u8, UNSTOPPED];
        (0..self.0.len()).filter(|job| running.contains(&self.0[*job].load(Ordering::SeqCst))).collect()
    }
}

/// The effect of a signal on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The first one: running hosts are asked to stop, and waited for.
    Stop,
    /// The second one: no host is waited for. The commands of these jobs may still run.
    Abandon {
        /// Their numbers.
        may_run: Vec<usize>,
    },
}

/// A signal that stops a run, for the user.
#[derive(Debug)]
pub struct Interruption {
    /// Its number.
    pub signal: i32,
    /// Returns how many hosts are connecting or running.
    pub hosts: usize,
    /// What it does.
    pub effect: Effect,
    is_told: AtomicBool,
}

impl Interruption {
    /// Claims the message: only the first caller gets true and prints it.
    pub fn claim(&self) -> bool {
        !self.is_told.swap(true, Ordering::SeqCst)
    }

    /// Returns the signal's name without `SIG`.
    pub fn signal_name(&self) -> &'static str {
        signal_name(self.signal)
    }

    /// Returns the message; `names` folds the labels of the jobs with these numbers, `task` is what hosts do.
    pub fn text(&self, task: &str, names: impl Fn(&[usize]) -> String) -> String {
        let them = if self.hosts == 1 { "it" } else { "them" };
        let hosts = hosts(self.hosts);
        let mut text = String::new();
        match &self.effect {
            Effect::Stop if self.signal == signal_hook::consts::SIGINT => {
                let _ = write!(text, "stopping {hosts}; press Ctrl-C again to abandon {them}");
            }
            Effect::Stop => {
                let name = self.signal_name();
                let _ = write!(text, "stopping {hosts} (SIG{name}); another signal abandons {them}");
            }
            Effect::Abandon { may_run } if may_run.is_empty() => {
                let _ = write!(text, "abandoned {hosts}; {task} runs on none of them");
            }
            Effect::Abandon { may_run } => {
                let _ = write!(text, "abandoned {hosts}; {task} may still be running on {}", names(may_run));
            }
        }
        text
    }
}

/// The sending end of interruptions, at the signal thread.
#[derive(Debug)]
pub struct Teller {
    interruptions: Sender<Arc<Interruption>>,
    told: Receiver<()>,
}

/// The receiving end, at the output.
#[derive(Debug)]
pub struct Listener {
    /// The channel.
    pub interruptions: Receiver<Arc<Interruption>>,
    told: Sender<()>,
}

/// Creates the channel from the signal thread to the output.
pub fn interruptions() -> (Teller, Listener) {
    let (interruptions, heard) = bounded(2);
    let (tell, told) = bounded(2);
    (Teller { interruptions, told }, Listener { interruptions: heard, told: tell })
}

impl Teller {
    /// Sends the output the message that `signal` has this effect on `hosts` hosts, ahead of later events.
    pub fn tell(&self, signal: i32, hosts: usize, effect: Effect) -> Arc<Interruption> {
        // Late confirmations of the previous one.
        self.told.try_iter().for_each(drop);
        let interruption = Arc::new(Interruption { signal, hosts, effect, is_told: AtomicBool::new(false) });
        let _ = self.interruptions.try_send(Arc::clone(&interruption));
        interruption
    }

    /// Waits for the output to print it. Returns true if the output is too slow and the caller must print it.
    pub fn is_untold(&self, interruption: &Interruption) -> bool {
        if self.told.recv_timeout(PATIENCE).is_ok() {
            return false;
        }
        let is_untold = interruption.claim();
        if !is_untold {
            // The output is printing it now.
            let _ = self.told.recv_timeout(PATIENCE);
        }
        is_untold
    }
}

impl Listener {
    /// Confirms that it was printed.
    pub fn done(&self) {
        let _ = self.told.try_send(());
    }
}

/// Returns the name of a signal without `SIG`.
pub fn signal_name(signal: i32) -> &'static str {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.strip_prefix("SIG").unwrap_or(name),
        None => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interruption(signal: i32, hosts: usize, effect: Effect) -> Interruption {
        Interruption { signal, hosts, effect, is_told: AtomicBool::new(false) }
    }

    #[test]
    fn stages_say_who_runs() {
        let stages = Stages::new(5);
        assert_eq!((stages.count_started(), stages.may_run()), (0, vec![]));
        stages.set(0, HostStage::Connecting);
        stages.set(1, HostStage::Running);
        stages.set(2, HostStage::Running);
        stages.set(4, HostStage::Running);
        assert_eq!((stages.count_started(), stages.may_run()), (4, vec![1, 2, 4]));
        stages.end(1, false);
        stages.end(2, true);
        assert_eq!((stages.count_started(), stages.may_run()), (2, vec![2, 4]), "one is given up, and may run on");
        stages.set(4, HostStage::Waiting);
        assert_eq!((stages.count_started(), stages.may_run()), (1, vec![2]));
    }

    #[test]
    fn sentences_name_what_helps() {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let names = |jobs: &[usize]| format!("web{jobs:?}");
        let text = |signal, hosts, effect| interruption(signal, hosts, effect).text("the command", names);
        let abandon = |may_run: &[usize]| Effect::Abandon { may_run: may_run.to_vec() };
        assert_eq!(text(SIGINT, 5, Effect::Stop), "stopping 5 hosts; press Ctrl-C again to abandon them");
        assert_eq!(text(SIGINT, 1, Effect::Stop), "stopping 1 host; press Ctrl-C again to abandon it");
        assert_eq!(text(SIGTERM, 2, Effect::Stop), "stopping 2 hosts (SIGTERM); another signal abandons them");
        assert_eq!(
            text(SIGINT, 3, abandon(&[1, 2])),
            "abandoned 3 hosts; the command may still be running on web[1, 2]"
        );
        assert_eq!(text(SIGINT, 3, abandon(&[])), "abandoned 3 hosts; the command runs on none of them");
    }

    #[test]
    fn an_output_that_is_held_up_leaves_it_to_the_caller() {
        let (teller, listener) = interruptions();
        let given_back = teller.tell(2, 1, Effect::Stop);
        assert!(teller.is_untold(&given_back), "nobody listens");
        let late = listener.interruptions.recv().expect("it is there");
        assert!(Arc::ptr_eq(&late, &given_back) && !late.claim(), "and nobody tells it twice");
        let told = std::thread::spawn(move || {
            let next = listener.interruptions.recv().expect("another one");
            assert!(next.claim());
            listener.done();
        });
        assert!(!teller.is_untold(&teller.tell(2, 1, Effect::Stop)));
        told.join().expect("it was told");
    }
}
