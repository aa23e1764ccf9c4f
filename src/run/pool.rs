//! The threads that run jobs: a rayon pool used as a container of blocking workers, at most as many as hosts may run at once.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::earlier::Earlier;
use super::queue::{Channels, Queue, Report, Task};
use super::room::Threads;
use super::workers::{Hired, Workers};
use crate::events::event::{Event, EventKind, Outcome};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::plan::failure_limit::FailureCount;
use crate::plan::job::Job;
use crate::plan::retry::RetryPolicy;
use crate::plan::rolling::Rolling;
use crate::system::cancel::Cancel;
use crate::system::panics;
use crate::system::terminal::Terminal;

/// Stack bytes of a worker. It touches 16 KiB; the rest is only address space.
const STACK: usize = 512 * 1024;
/// How many events may wait for the output. Each holds at most one read of 32 KiB, so that they all stay under 4 MiB.
const EVENTS: usize = 128;

/// The result of one attempt at a job.
#[derive(Debug)]
pub enum AttemptResult {
    /// The job has ended.
    Ended(Outcome),
    /// It failed before the command was sent, so another attempt is safe.
    NotSent(Outcome),
}

/// Settings of the pool.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many run at once, at most.
    pub size: usize,
    /// The threads that they need, in case the system refuses some.
    pub threads: Threads,
    /// Time limit for looking up a name.
    pub lookup_limit: Duration,
    /// How failed attempts are repeated.
    pub retry: RetryPolicy,
    /// Time limit for the run; `None` disables it.
    pub total_limit: Option<Duration>,
    /// Batches, order and pace.
    pub rolling: Rolling,
    /// Where the user confirms batches.
    pub terminal: Option<Arc<Terminal>>,
    /// The threads of the client, if it keeps them.
    pub workers: Option<Arc<Workers>>,
}

/// A running run.
#[derive(Debug)]
pub struct Working {
    /// Where the events of all jobs arrive. The channel is closed when every job has ended.
    pub events: Receiver<Event>,
    /// How many workers there are.
    pub workers: usize,
    /// How many threads the system allowed, if fewer than requested. Not all of them are workers then: other threads
    /// look up names and serve proxies.
    pub most_threads: Option<usize>,
}

/// Starts all `jobs` in the order of the list, but those that ended `earlier`: what happened to them is passed on first.
///
/// `work` makes one attempt at one job; its events are passed through. A panic in it becomes that job's outcome. Hosts that
/// fail are counted in `failures`.
///
/// # Errors
/// No thread can be started.
pub fn start<W>(
    jobs: Arc<[Job]>,
    plan: Plan,
    earlier: Earlier,
    (failures, cancel): (&Arc<FailureCount>, &Cancel),
    work: W,
) -> io::Result<Working>
where
    W: Fn(&Job, &mut Task, &Sender<Event>) -> AttemptResult + Send + Sync + 'static,
{
    let work = Arc::new(work);
    let (events, received) = bounded(EVENTS);
    let (report, reports) = unbounded();
    let (mut size, mut most_threads) = (plan.size.min(jobs.len()).max(1), None);
    let (tasks, hired) = loop {
        // A job leaves the queue only for a free worker, so a cancelled run finds all others still there.
        let (tasks, taken) = bounded::<Task>(0);
        let (worker_jobs, worker_events, worker_cancel) = (Arc::clone(&jobs), events.clone(), cancel.clone());
        let (worker_failures, worker_report, work) = (Arc::clone(failures), report.clone(), Arc::clone(&work));
        // Every worker keeps `events` open until it ends, the closure until the last one has.
        let worker = move |_| {
            for task in &taken {
                // The queue may hand a task out in the very moment of a stop.
                let told = if worker_cancel.is_triggered() || worker_failures.may_start().is_err() {
                    Report::Unwanted(Task { login: None, ..task })
                } else {
                    attempt(&worker_jobs, task, &worker_events, &worker_failures, &*work)
                };
                let _ = worker_report.send(told);
            }
        };
        match start_workers(size, plan.workers.as_ref(), worker) {
            Ok(hired) => break (tasks, hired),
            Err(failed) => {
                // Without tasks they end at once.
                drop(tasks);
                let started = failed.started.len() + failed.hired.as_ref().map_or(0, Hired::count);
                failed.started.into_iter().for_each(|worker| drop(worker.join()));
                if started < 2 || most_threads.is_some() {
                    return Err(failed.error);
                }
                // The system lets us have no more (RLIMIT_NPROC, pids.max of the cgroup, memory).
                (size, most_threads) = (plan.threads.hosts(started), Some(started));
            }
        }
    };
    let (cancel, failures) = (cancel.clone(), Arc::clone(failures));
    thread::Builder::new().name("pssh-queue".to_owned()).stack_size(STACK).spawn(move || {
        let channels = Channels { failures: &failures, tasks: &tasks, reports: &reports, events: &events };
        if let Some(recall) = earlier.recall {
            recall(&mut |event| drop(events.send(event)));
        }
        Queue::new(jobs, plan, &earlier.jobs).run(&channels, &cancel);
        // Without tasks the workers are free for another run.
        drop(tasks);
        drop(hired);
    })?;
    Ok(Working { events: received, workers: size, most_threads })
}

/// Some workers could not be started.
struct TooFew {
    /// Those that were.
    started: Vec<thread::JoinHandle<()>>,
    /// Those of the client.
    hired: Option<Hired>,
    error: io::Error,
}

/// Starts `size` threads that run `worker`, or takes those of the client, which it returns.
fn start_workers(
    size: usize,
    workers: Option<&Arc<Workers>>,
    worker: impl Fn(usize) + Send + Sync + 'static,
) -> Result<Option<Hired>, TooFew> {
    let (mut started, mut hired) = (Vec::new(), workers.map(Hired::from));
    // One rayon thread per worker, each busy with its loop until the end. rayon's own scheduling would start the hosts out of
    // order, and threads of it that look for work cost more the more there are: at 500 they took more than all connections
    // together. So the loop is what a thread does before it would look for any, and by then the pool is over.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(size)
        .start_handler(worker)
        .spawn_handler(|thread| {
            if let Some(hired) = &mut hired {
                return hired.start(STACK, Box::new(move || thread.run()));
            }
            let builder = thread::Builder::new().name(panics::WORKER_NAME.to_owned()).stack_size(STACK);
            started.push(builder.spawn(move || thread.run())?);
            Ok(())
        })
        .build();
    match pool {
        Ok(pool) => {
            drop(pool);
            Ok(hired)
        }
        Err(error) => Err(TooFew { started, hired, error: io::Error::other(error) }),
    }
}

fn attempt<W>(jobs: &[Job], mut task: Task, events: &Sender<Event>, failures: &FailureCount, work: &W) -> Report
where
    W: Fn(&Job, &mut Task, &Sender<Event>) -> AttemptResult,
{
    let job = task.job;
    let send = |kind| {
        let _ = events.send(Event::now(job, kind));
    };
    send(if task.attempt == 1 { EventKind::Started } else { EventKind::Resumed });
    let outcome = match catch_unwind(AssertUnwindSafe(|| work(&jobs[job], &mut task, events))) {
        Ok(AttemptResult::NotSent(outcome)) => return Report::Failed(Task { login: None, ..task }, outcome),
        Ok(AttemptResult::Ended(outcome)) => outcome,
        Err(panic) => panicked(panic.as_ref()),
    };
    failures.note(&outcome);
    send(EventKind::Finished { outcome, attempts: task.attempt });
    Report::Ended
}

fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    HostError::Local { doing: "a fault in pssh itself", detail: panics::words(panic), hint: Some(Remedy::Report) }
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::events::event::Class;
    use crate::plan::failure_limit::Limits;
    use crate::run::earlier::Recall;
    use crate::system::cancel::Reason;

    fn jobs(count: usize) -> Arc<[Job]> {
        let list = (0..count).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect::<Vec<_>>().join(" ");
        crate::plan::job::of_list(&list)
    }

    fn tolerant(cancel: &Cancel) -> Arc<FailureCount> {
        Arc::new(FailureCount::new(Limits::default(), cancel))
    }

    fn plan(size: usize, attempts: u32) -> Plan {
        let retry = RetryPolicy { attempts, delay: Duration::from_millis(50) };
        let threads = Threads { per_host: 1, besides: 1 };
        Plan {
            size,
            threads,
            lookup_limit: Duration::from_secs(30),
            retry,
            total_limit: None,
            rolling: Rolling::default(),
            terminal: None,
            workers: None,
        }
    }

    /// Runs `count` jobs and returns the class of each; fails if one ends twice or never.
    fn classes(
        count: usize,
        size: usize,
        cancel: &Cancel,
        work: impl Fn(usize) -> Outcome + Send + Sync + 'static,
    ) -> HashMap<usize, Class> {
        let work = move |job: &Job, _: &mut Task, _: &Sender<Event>| AttemptResult::Ended(work(job.number));
        let events = start(jobs(count), plan(size, 1), Earlier::default(), (&tolerant(cancel), cancel), work)
            .expect("threads")
            .events;
        let mut ended = HashMap::new();
        for event in events {
            if let EventKind::Finished { outcome, .. } = event.kind {
                assert!(ended.insert(event.job, outcome.class()).is_none(), "job {} ended twice", event.job);
            }
        }
        assert_eq!(ended.len(), count);
        ended
    }

    #[test]
    fn jobs_that_have_ended_are_told_first_and_not_started() {
        let cancel = Cancel::new().expect("a pipe");
        let started = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&started);
        let work = move |job: &Job, _: &mut Task, _: &Sender<Event>| {
            log.lock().expect("lock").push(job.number);
            AttemptResult::Ended(Outcome::Exited(0))
        };
        let known = |job: usize| job.is_multiple_of(2);
        let recall: Recall = Box::new(move |emit| {
            for job in (0..6).filter(|job| known(*job)) {
                emit(Event::now(job, EventKind::Finished { outcome: Outcome::Exited(7), attempts: 2 }));
            }
        });
        let earlier = Earlier { jobs: (0..6).map(known).collect(), recall: Some(recall) };
        let events = start(jobs(6), plan(1, 1), earlier, (&tolerant(&cancel), &cancel), work).expect("threads").events;
        let ended = |event: Event| match event.kind {
            EventKind::Finished { outcome, .. } => Some((event.job, outcome.exit_status())),
            _ => None,
        };
        let ends: Vec<_> = events.into_iter().filter_map(ended).collect();
        let (seven, none) = (Some(7), Some(0));
        assert_eq!(ends, [(0, seven), (2, seven), (4, seven), (1, none), (3, none), (5, none)]);
        assert_eq!(*started.lock().expect("lock"), [1, 3, 5]);
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
        let order = order.lock().expect("lock");
        // A worker that the system has put aside in this very moment comes late, with its one job.
        let late = order.iter().enumerate().filter(|(place, job)| job.abs_diff(*place) >= 4).count();
        assert!(late <= 3, "{order:?}");
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
            // Even if the thread of that job is slow.
            while job > 10 && !trigger.is_triggered() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Outcome::Exited(0)
        });
        let started = ended.values().filter(|class| **class == Class::Ok).count();
        assert!((9..=13).contains(&started), "{started} were started");
    }

    #[test]
    fn names_that_do_not_resolve_hold_nobody_up() {
        let cancel = Cancel::new().expect("pipe");
        let jobs: Arc<[Job]> = crate::plan::job::of_list("no-such-host.invalid 127.0.0.1");
        let work = |_: &Job, _: &mut Task, _: &Sender<Event>| AttemptResult::Ended(Outcome::Exited(0));
        let events =
            start(jobs, plan(1, 1), Earlier::default(), (&tolerant(&cancel), &cancel), work).expect("threads").events;
        let ended: HashMap<usize, Class> = events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Finished { outcome, .. } => Some((event.job, outcome.class())),
                _ => None,
            })
            .collect();
        assert_eq!(ended[&0], Class::Dns);
        assert_eq!(ended[&1], Class::Ok);
    }

    fn refused() -> Outcome {
        HostError::Connect { tried: Vec::new() }.into()
    }

    #[test]
    fn failed_attempts_are_repeated_without_holding_the_slot() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&order);
        let cancel = Cancel::new().expect("pipe");
        let work = move |job: &Job, task: &mut Task, _: &Sender<Event>| {
            started.lock().expect("lock").push((job.number, task.attempt));
            match (job.number, task.attempt) {
                (0, 1 | 2) => AttemptResult::NotSent(refused()),
                (1, _) => AttemptResult::NotSent(refused()),
                _ => AttemptResult::Ended(Outcome::Exited(0)),
            }
        };
        let events = start(jobs(4), plan(1, 3), Earlier::default(), (&tolerant(&cancel), &cancel), work)
            .expect("threads")
            .events;
        let mut ended = HashMap::new();
        for event in events {
            if let EventKind::Finished { outcome, attempts } = event.kind {
                assert!(ended.insert(event.job, (outcome.class(), attempts)).is_none());
            }
        }
        assert_eq!(ended[&0], (Class::Ok, 3));
        assert_eq!(ended[&1], (Class::Connect, 3));
        assert_eq!(ended[&2], (Class::Ok, 1));
        // With one slot, the later hosts ran while the first two paused.
        assert_eq!(order.lock().expect("lock")[..4], [(0, 1), (1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn cancelling_ends_a_pause_with_the_outcome_of_the_last_attempt() {
        let cancel = Cancel::new().expect("pipe");
        let plan = Plan { retry: RetryPolicy { attempts: 3, delay: Duration::from_secs(3600) }, ..plan(2, 3) };
        let (trigger, failed) = (cancel.clone(), AtomicUsize::new(0));
        let work = move |job: &Job, _: &mut Task, _: &Sender<Event>| {
            while job.number == 2 && failed.load(Ordering::SeqCst) < 2 {
                thread::sleep(Duration::from_millis(1));
            }
            if failed.fetch_add(1, Ordering::SeqCst) == 2 {
                trigger.trigger(Reason::OutputClosed);
            }
            AttemptResult::NotSent(refused())
        };
        let events =
            start(jobs(3), plan, Earlier::default(), (&tolerant(&cancel), &cancel), work).expect("threads").events;
        let ended: Vec<(Class, u32)> = events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Finished { outcome, attempts } => Some((outcome.class(), attempts)),
                _ => None,
            })
            .collect();
        assert_eq!(ended, [(Class::Connect, 1); 3]);
    }
}
