//! The threads that run jobs: a rayon pool used as a container of blocking workers, at most as many as hosts may run at once.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cancel::Cancel;
use crate::error::HostError;
use crate::event::{Event, EventKind, Outcome};
use crate::jobs::Job;
use crate::queue::{Queue, Task};

/// Bytes of stack of a worker. 16 KiB are really touched; the rest is only address space.
const STACK: usize = 512 * 1024;
/// How many events may wait for the output. Each holds at most one read of 32 KiB, so that they all stay under 4 MiB.
const EVENTS: usize = 128;

/// Starts all `jobs`, at most `size` at a time and in the order of the list, and returns where their events arrive. The
/// channel is closed when every job has ended.
///
/// `work` runs one job and gives its outcome; what it sends before is passed through. A panic in it is that job's outcome.
///
/// # Errors
/// The threads cannot be started.
pub fn start<W>(
    jobs: Arc<[Job]>,
    size: usize,
    lookup_limit: Duration,
    cancel: &Cancel,
    work: W,
) -> io::Result<Receiver<Event>>
where
    W: Fn(&Job, &Task, &Sender<Event>) -> Outcome + Send + Sync + 'static,
{
    let (events, received) = bounded(EVENTS);
    // Nothing is handed out before a worker is free for it: a cancelled run finds every other job still in the queue.
    let (tasks, taken) = bounded::<Task>(0);

    // One rayon thread per worker, each busy with its loop until the end. rayon's own scheduling would start the hosts out of
    // order, and its idle threads cost more the more there are.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(size.min(jobs.len()).max(1))
        .stack_size(STACK)
        .thread_name(|_| WORKER_NAME.to_owned())
        .build()
        .map_err(io::Error::other)?;
    let worker_jobs = Arc::clone(&jobs);
    let worker_events = events.clone();
    // Every worker keeps `events` open until it ends, the closure until the last one has.
    pool.spawn_broadcast(move |_| {
        for task in &taken {
            let job = &worker_jobs[task.job];
            let _ = worker_events.send(Event::now(task.job, EventKind::Started));
            let outcome = match catch_unwind(AssertUnwindSafe(|| work(job, &task, &worker_events))) {
                Ok(outcome) => outcome,
                Err(panic) => panicked(panic.as_ref()),
            };
            let _ = worker_events.send(Event::now(task.job, EventKind::Finished(outcome)));
        }
    });
    let cancel = cancel.clone();
    thread::Builder::new().name("pssh-queue".to_owned()).stack_size(STACK).spawn(move || {
        Queue::new(jobs, lookup_limit).run(&tasks, &events, &cancel);
    })?;
    Ok(received)
}

/// The name of the threads that run jobs: a panic in one of them is reported as its host's outcome, not by the panic hook.
pub const WORKER_NAME: &str = "pssh-worker";

fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    HostError::Local {
        doing: "a fault in pssh itself",
        detail: words.to_owned(),
        hint: Some("please report this, with the command line".to_owned()),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cancel::Reason;
    use crate::event::Class;
    use crate::hosts::gather;

    fn jobs(count: usize) -> Arc<[Job]> {
        let list = (0..count).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect::<Vec<_>>().join(" ");
        let command: Arc<[u8]> = Arc::from(&b"true"[..]);
        crate::jobs::make(gather(&[], &[list]).expect("hosts"), &command).into()
    }

    /// Runs `count` jobs and gives the class of each; fails if one ends twice or never.
    fn classes(
        count: usize,
        size: usize,
        cancel: &Cancel,
        work: impl Fn(usize) -> Outcome + Send + Sync + 'static,
    ) -> HashMap<usize, Class> {
        let limit = Duration::from_secs(5);
        let events = start(jobs(count), size, limit, cancel, move |job, _, _| work(job.number)).expect("threads");
        let mut ended = HashMap::new();
        for event in events {
            if let EventKind::Finished(outcome) = event.kind {
                assert!(ended.insert(event.job, outcome.class()).is_none(), "job {} ended twice", event.job);
            }
        }
        assert_eq!(ended.len(), count);
        ended
    }

    #[test]
    fn starts_in_list_order_and_never_more_than_the_pool_size() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let order = Arc::new(Mutex::new(Vec::new()));
        let (count, highest, started) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&order));
        let cancel = Cancel::new().expect("pipe");
        classes(40, 4, &cancel, move |job| {
            // The push comes before the count so that a worker that overtakes another is seen as out of order.
            started.lock().expect("lock").push(job);
            highest.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(10));
            count.fetch_sub(1, Ordering::SeqCst);
            Outcome::Exited(0)
        });
        assert_eq!(most.load(Ordering::SeqCst), 4);
        for (place, job) in order.lock().expect("lock").iter().enumerate() {
            assert!(job.abs_diff(place) < 4, "job {job} started as number {place}");
        }
    }

    #[test]
    fn a_panic_is_the_outcome_of_its_host_alone() {
        let cancel = Cancel::new().expect("pipe");
        let ended = classes(6, 2, &cancel, |job| {
            assert_ne!(job, 3, "on purpose");
            Outcome::Exited(0)
        });
        for (job, class) in ended {
            assert_eq!(class, if job == 3 { Class::Local } else { Class::Ok });
        }
    }

    #[test]
    fn cancelling_reports_every_job_that_never_started() {
        let cancel = Cancel::new().expect("pipe");
        let trigger = cancel.clone();
        let ended = classes(500, 3, &cancel, move |job| {
            if job == 10 {
                trigger.trigger(Reason::OutputClosed);
            }
            Outcome::Exited(0)
        });
        let started = ended.values().filter(|class| **class == Class::Ok).count();
        assert!((11..=14).contains(&started), "{started} were started");
    }

    #[test]
    fn names_that_do_not_resolve_hold_nobody_up() {
        let hosts = gather(&[], &["no-such-host.invalid 127.0.0.1".to_owned()]).expect("hosts");
        let command: Arc<[u8]> = Arc::from(&b"true"[..]);
        let cancel = Cancel::new().expect("pipe");
        let jobs: Arc<[Job]> = crate::jobs::make(hosts, &command).into();
        let events = start(jobs, 1, Duration::from_secs(30), &cancel, |_, _, _| Outcome::Exited(0)).expect("threads");
        let ended: HashMap<usize, Class> = events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Finished(outcome) => Some((event.job, outcome.class())),
                _ => None,
            })
            .collect();
        assert_eq!(ended[&0], Class::Dns);
        assert_eq!(ended[&1], Class::Ok);
    }
}
