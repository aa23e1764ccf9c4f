//! A signal that stops a run: how far the hosts have come, and what the user is told. Whoever is told of it hears it once, from the
//! output or, where that is held up by a reader, from the thread that has the signal.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::event::HostStage;

/// How long the output may take to say it.
const PATIENCE: Duration = Duration::from_millis(250);

/// How far each host of a run is now. Every change costs one store.
#[derive(Clone, Debug)]
pub struct Stages(Arc<[AtomicU8]>);

/// The host has ended; the command may run on all the same.
const ENDED: u8 = 3;
const UNSTOPPED: u8 = 4;

impl Stages {
    /// Of so many hosts, which all wait.
    pub fn new(hosts: usize) -> Stages {
        Stages((0..hosts).map(|_| AtomicU8::new(HostStage::Waiting as u8)).collect())
    }

    /// A host is there now.
    pub fn set(&self, job: usize, stage: HostStage) {
        self.0[job].store(stage as u8, Ordering::SeqCst);
    }

    /// A host has ended. Its command may still run if it is `unstopped`.
    pub fn end(&self, job: usize, unstopped: bool) {
        self.0[job].store(if unstopped { UNSTOPPED } else { ENDED }, Ordering::SeqCst);
    }

    /// How many hosts are connected to or run something.
    pub fn count_started(&self) -> usize {
        let started = [HostStage::Connecting as u8, HostStage::Running as u8];
        self.0.iter().filter(|stage| started.contains(&stage.load(Ordering::SeqCst))).count()
    }

    /// The numbers of the jobs whose command may be running.
    pub fn may_run(&self) -> Vec<usize> {
        let running = [HostStage::Running as u8, UNSTOPPED];
        (0..self.0.len()).filter(|job| running.contains(&self.0[*job].load(Ordering::SeqCst))).collect()
    }
}

/// What a signal does to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The first one: all that runs is told to stop, and waited for.
    Stop,
    /// The second one: nobody is waited for. The commands of these jobs may still run.
    Abandon {
        /// Their numbers.
        may_run: Vec<usize>,
    },
}

/// A signal that stops a run, to be told to the user.
#[derive(Debug)]
pub struct Interruption {
    /// Its number.
    pub signal: i32,
    /// How many hosts are connected to or run something.
    pub hosts: usize,
    /// What it does.
    pub effect: Effect,
    is_told: AtomicBool,
}

impl Interruption {
    /// Whether the caller is to tell it: nobody else has, and nobody else will.
    pub fn claim(&self) -> bool {
        !self.is_told.swap(true, Ordering::SeqCst)
    }

    /// The signal without `SIG`.
    pub fn signal_name(&self) -> &'static str {
        match signal_hook::low_level::signal_name(self.signal) {
            Some(name) => name.strip_prefix("SIG").unwrap_or(name),
            None => "?",
        }
    }

    /// The sentence for the user; `names` folds the labels of the jobs with these numbers, `task` is what hosts do.
    pub fn text(&self, task: &str, names: impl Fn(&[usize]) -> String) -> String {
        let Interruption { hosts, .. } = *self;
        let (plural, them) = if hosts == 1 { ("", "it") } else { ("s", "them") };
        let mut text = String::new();
        match &self.effect {
            Effect::Stop if self.signal == signal_hook::consts::SIGINT => {
                let _ = write!(text, "stopping {hosts} host{plural}; press Ctrl-C again to abandon {them}");
            }
            Effect::Stop => {
                let name = self.signal_name();
                let _ = write!(text, "stopping {hosts} host{plural} (SIG{name}); another signal abandons {them}");
            }
            Effect::Abandon { may_run } if may_run.is_empty() => {
                let _ = write!(text, "abandoned {hosts} host{plural}; {task} runs on none of them");
            }
            Effect::Abandon { may_run } => {
                let _ =
                    write!(text, "abandoned {hosts} host{plural}; {task} may still be running on {}", names(may_run));
            }
        }
        text
    }
}

/// Where interruptions are told: by whoever has the signal.
#[derive(Debug)]
pub struct Teller {
    interruptions: Sender<Arc<Interruption>>,
    told: Receiver<()>,
}

/// Where they are heard: by the output.
#[derive(Debug)]
pub struct Listener {
    /// They come here.
    pub interruptions: Receiver<Arc<Interruption>>,
    told: Sender<()>,
}

/// A way from the signals to the output.
pub fn interruptions() -> (Teller, Listener) {
    let (interruptions, heard) = bounded(2);
    let (tell, told) = bounded(2);
    (Teller { interruptions, told }, Listener { interruptions: heard, told: tell })
}

impl Teller {
    /// Has the output tell that `signal` has this effect on `hosts` hosts, before what it hears of from now on.
    pub fn tell(&self, signal: i32, hosts: usize, effect: Effect) -> Arc<Interruption> {
        // What was told too late for the last one.
        self.told.try_iter().for_each(drop);
        let interruption = Arc::new(Interruption { signal, hosts, effect, is_told: AtomicBool::new(false) });
        let _ = self.interruptions.try_send(Arc::clone(&interruption));
        interruption
    }

    /// Waits until it is told. Gives whether the output has not done so soon, so that the caller is to tell it.
    pub fn is_untold(&self, interruption: &Interruption) -> bool {
        if self.told.recv_timeout(PATIENCE).is_ok() {
            return false;
        }
        let is_untold = interruption.claim();
        if !is_untold {
            // It is being told just now.
            let _ = self.told.recv_timeout(PATIENCE);
        }
        is_untold
    }
}

impl Listener {
    /// It was told.
    pub fn done(&self) {
        let _ = self.told.try_send(());
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
