//! Threads that stay between the runs of a client: a command on a kept session costs little more than starting one does.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::system::lock::lock;
use crate::system::panics;

/// How long a thread waits for another run.
const IDLE: Duration = Duration::from_secs(2);

/// What a thread does in a run.
type Work = Box<dyn FnOnce() + Send>;

/// The threads of a client. Those that wait end when it is dropped.
#[derive(Default)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    /// How many threads there are.
    alive: usize,
    /// How many threads the runs that are going on have hired.
    hired: usize,
    is_over: bool,
}

/// The threads of a run, which may go to another one once this is dropped.
pub struct Hired {
    workers: Arc<Workers>,
    count: usize,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("alive", &lock(&self.shared.state).alive).finish_non_exhaustive()
    }
}

impl Hired {
    /// Hires none yet.
    pub fn from(workers: &Arc<Workers>) -> Hired {
        Hired { workers: Arc::clone(workers), count: 0 }
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Gives `work` to a thread that has no run or is about to have none, or else to a new one with a stack of so many bytes.
    ///
    /// # Errors
    /// The system lets us have no more threads.
    pub fn start(&mut self, stack: usize, work: Work) -> io::Result<()> {
        let shared = &self.workers.shared;
        let mut state = lock(&shared.state);
        if state.alive == state.hired {
            let others = Arc::clone(shared);
            let builder = thread::Builder::new().name(panics::WORKER_NAME.to_owned()).stack_size(stack);
            builder.spawn(move || others.serve())?;
            state.alive += 1;
        }
        state.hired += 1;
        self.count += 1;
        state.waiting.push_back(work);
        shared.changed.notify_one();
        Ok(())
    }
}

impl Drop for Hired {
    fn drop(&mut self) {
        lock(&self.workers.shared.state).hired -= self.count;
    }
}

impl Shared {
    /// Works until there has been nothing to do for a while. Runs on each thread.
    fn serve(&self) {
        let (mut state, mut is_late) = (lock(&self.state), false);
        loop {
            if let Some(work) = state.waiting.pop_front() {
                drop(state);
                work();
                (state, is_late) = (lock(&self.state), false);
                continue;
            }
            if (is_late || state.is_over) && state.alive > state.hired {
                state.alive -= 1;
                return;
            }
            let waited = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            (state, is_late) = (waited.0, waited.1.timed_out());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // No run has hired any of them: it would have an `Arc` of this.
        lock(&self.shared.state).is_over = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;
    use std::thread::ThreadId;
    use std::time::Instant;

    use super::*;

    fn alive(workers: &Arc<Workers>) -> usize {
        lock(&workers.shared.state).alive
    }

    /// Hires so many threads, which all work at the same time, and returns them.
    fn run(workers: &Arc<Workers>, count: usize) -> HashSet<ThreadId> {
        let (mut hired, (tell, told)) = (Hired::from(workers), mpsc::channel());
        let meeting = Arc::new(std::sync::Barrier::new(count));
        for _ in 0..count {
            let (tell, meeting) = (tell.clone(), Arc::clone(&meeting));
            let work = move || {
                meeting.wait();
                let _ = tell.send(thread::current().id());
            };
            hired.start(64 << 10, Box::new(work)).expect("a thread");
        }
        told.iter().take(count).collect()
    }

    #[test]
    fn the_next_run_has_the_same_threads() {
        let workers = Arc::<Workers>::default();
        let first = run(&workers, 4);
        assert_eq!((first.len(), alive(&workers)), (4, 4));
        assert!(run(&workers, 3).is_subset(&first));
        // Two runs at once share none.
        let mut other = Hired::from(&workers);
        let (release, held) = mpsc::channel::<()>();
        let wait = move || {
            let _ = held.recv();
        };
        other.start(64 << 10, Box::new(wait)).expect("a thread");
        assert_eq!(run(&workers, 4).len(), 4);
        assert_eq!(alive(&workers), 5);
        drop(release);
    }

    #[test]
    fn threads_end_without_runs_and_without_their_client() {
        let workers = Arc::<Workers>::default();
        run(&workers, 2);
        let wait = |what: &str, is_so: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while !is_so() {
                assert!(Instant::now() < end, "{what}");
                thread::sleep(Duration::from_millis(5));
            }
        };
        wait("nothing to do", &|| alive(&workers) == 0);
        run(&workers, 2);
        let (shared, begun) = (Arc::clone(&workers.shared), Instant::now());
        drop(workers);
        wait("no client", &|| lock(&shared.state).alive == 0);
        assert!(begun.elapsed() < IDLE, "at once");
    }
}
