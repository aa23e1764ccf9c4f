//! Properties of the queue, over random options and outcomes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::events::batch::BatchNews;
use crate::events::event::Class;
use crate::plan::failure_limit::{Limits, StopMode};
use crate::plan::portion::Portion;
use crate::plan::retry::RetryPolicy;
use crate::plan::rolling::{BatchSizes, Order, Rate, Rolling};
use crate::run::earlier::Earlier;
use crate::run::pool::{self, AttemptResult};
use crate::run::room::Threads;

/// What an attempt at a host comes to.
#[derive(Clone, Copy, Debug)]
enum Try {
    Ok,
    Fails,
    Refused,
    Lost,
    Panics,
}

#[derive(Clone, Debug)]
struct Case {
    /// The attempts at each host; the last repeats.
    tries: Vec<Vec<Try>>,
    pool: usize,
    attempts: u32,
    rolling: Rolling,
    errors: Option<usize>,
    unreached: Option<usize>,
    mode: StopMode,
    /// The run is cancelled at this start.
    cancel_at: Option<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    let attempt = prop_oneof![
        6 => Just(Try::Ok), 2 => Just(Try::Fails), 3 => Just(Try::Refused), 1 => Just(Try::Lost), 1 => Just(Try::Panics)
    ];
    let tries = prop::collection::vec(prop::collection::vec(attempt, 1..4), 1..30);
    let size = prop_oneof![(1_usize..12).prop_map(Portion::Hosts), (1.0..100.0).prop_map(Portion::Percent)];
    let order = prop_oneof![Just(Order::List), Just(Order::Reverse), any::<u64>().prop_map(Order::Shuffle)];
    let rate = prop::option::of((1_u64..300).prop_map(|micros| Rate(Duration::from_micros(micros))));
    let rolling = (prop::collection::vec(size, 0..4), order, prop::option::of(1_usize..4), rate, prop::bool::ANY)
        .prop_map(|(sizes, order, connect_par, rate, pauses)| Rolling {
            batches: BatchSizes(sizes),
            pause: if pauses { Duration::from_millis(1) } else { Duration::ZERO },
            confirm: None,
            order,
            connect_par,
            rate,
        });
    let mode = prop_oneof![Just(StopMode::Now), Just(StopMode::Wait)];
    let limit = || prop::option::of(1_usize..6);
    (tries, 1_usize..9, 1_u32..4, rolling, limit(), limit(), mode, prop::option::weighted(0.2, 0_usize..30)).prop_map(
        |(tries, pool, attempts, rolling, errors, unreached, mode, cancel_at)| Case {
            tries,
            pool,
            attempts,
            rolling,
            errors,
            unreached,
            mode,
            cancel_at,
        },
    )
}

/// Counts what is under way, and its maximum.
#[derive(Default)]
struct Gauge(AtomicUsize, AtomicUsize);

impl Gauge {
    fn up(&self) {
        self.1.fetch_max(self.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    }

    fn down(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the workers saw.
#[derive(Default)]
struct Seen {
    running: Gauge,
    logins: Gauge,
    starts: AtomicUsize,
    /// How often the command of each host was sent.
    sent: Mutex<HashMap<usize, usize>>,
    /// Hosts whose command was sent although nothing more was to start.
    late: AtomicUsize,
}

fn attempt(
    case: &Case,
    seen: &Seen,
    failures: &FailureCount,
    job: usize,
    task: &mut Task,
    cancel: &Cancel,
) -> AttemptResult {
    if Some(seen.starts.fetch_add(1, Ordering::SeqCst)) == case.cancel_at {
        cancel.trigger(Reason::Signal(2));
    }
    seen.logins.up();
    thread::sleep(Duration::from_micros(200));
    seen.logins.down();
    task.login = None;
    let tries = &case.tries[job];
    let what = tries[(task.attempt as usize - 1).min(tries.len() - 1)];
    if matches!(what, Try::Refused) {
        return AttemptResult::NotSent(HostError::Connect { tried: Vec::new() }.into());
    }
    let was_halted = failures.halted().is_some();
    if let Err(why) = failures.may_start() {
        return AttemptResult::Ended(Outcome::Cancelled { stage: HostStage::Connecting, why: Some(why) });
    }
    seen.late.fetch_add(usize::from(was_halted), Ordering::SeqCst);
    *seen.sent.lock().expect("lock").entry(job).or_default() += 1;
    thread::sleep(Duration::from_micros(100));
    match what {
        Try::Ok | Try::Refused => AttemptResult::Ended(Outcome::Exited(0)),
        Try::Fails => AttemptResult::Ended(Outcome::Exited(1)),
        Try::Lost => AttemptResult::Ended(HostError::Lost { detail: String::new(), hint: None }.into()),
        Try::Panics => panic!("on purpose"),
    }
}

fn check(case: Case) -> Result<(), TestCaseError> {
    let hosts = case.tries.len();
    let list: Vec<String> = (0..hosts).map(|host| format!("10.0.0.{host}")).collect();
    let jobs = crate::plan::job::of_list(&list.join(" "));
    let cancel = Cancel::new().expect("a pipe");
    let limits = Limits { errors: case.errors, unreached: case.unreached, mode: case.mode };
    let failures = Arc::new(FailureCount::new(limits, &cancel));
    let plan = Plan {
        size: case.pool,
        threads: Threads { per_host: 1, besides: 1 },
        lookup_limit: Duration::from_secs(30),
        retry: RetryPolicy { attempts: case.attempts, delay: Duration::from_millis(1) },
        total_limit: None,
        rolling: case.rolling.clone(),
        terminal: None,
        workers: None,
    };
    let seen = Arc::new(Seen::default());
    let work = {
        let (case, seen, failures, cancel) = (case.clone(), Arc::clone(&seen), Arc::clone(&failures), cancel.clone());
        move |job: &Job, task: &mut Task, _: &Sender<Event>| {
            struct Down<'a>(&'a Gauge);
            impl Drop for Down<'_> {
                fn drop(&mut self) {
                    self.0.down();
                }
            }
            seen.running.up();
            let _down = Down(&seen.running);
            attempt(&case, &seen, &failures, job.number, task, &cancel)
        }
    };
    let working = pool::start(jobs, plan, Earlier::default(), (&failures, &cancel), work).expect("threads");

    let batches = case.rolling.batches.of(hosts);
    let order = case.rolling.order.of(hosts);
    let batch_of = |job: usize| {
        let place = order.iter().position(|other| *other == job).expect("it is in the order");
        batches.iter().position(|places| places.contains(&place)).expect("it is in a batch")
    };
    let (mut ended, mut started): (HashMap<usize, Class>, Vec<usize>) = (HashMap::new(), Vec::new());
    let (mut begun, mut over) = (0, 0);
    let mut running_stopped = 0;
    for event in working.events {
        match event.kind {
            EventKind::Batch(BatchNews::Started { batch }) => {
                begun += 1;
                prop_assert_eq!((batch.number, batch.of), (begun, batches.len()));
                prop_assert_eq!(&*batch.jobs, &order[batches[begun - 1].clone()]);
            }
            EventKind::Batch(BatchNews::Ended { batch, .. }) => {
                over += 1;
                prop_assert_eq!(batch.number, over);
                prop_assert!(batch.jobs.iter().all(|job| ended.contains_key(job)), "all its hosts have ended");
            }
            EventKind::Started => {
                started.push(event.job);
                let batch = batch_of(event.job);
                prop_assert!(case.rolling.batches.is_empty() || batch + 1 == begun, "no host of another batch");
                let before = &order[..batches[batch].start];
                prop_assert!(before.iter().all(|job| ended.contains_key(job)), "the batch before has ended");
            }
            EventKind::Finished { outcome, .. } => {
                running_stopped += usize::from(matches!(outcome, Outcome::Cancelled { stage: HostStage::Running, .. }));
                prop_assert!(ended.insert(event.job, outcome.class()).is_none(), "{} ended twice", event.job);
            }
            _ => {}
        }
    }
    prop_assert_eq!(ended.len(), hosts);
    prop_assert_eq!(begun, over);
    let sent = seen.sent.lock().expect("lock");
    prop_assert!(sent.values().all(|count| *count == 1), "{:?}", sent);
    started.sort_unstable();
    let count = started.len();
    started.dedup();
    prop_assert_eq!(started.len(), count, "no host starts twice, but for its retries");
    prop_assert_eq!(seen.late.load(Ordering::SeqCst), 0);
    prop_assert!(seen.running.1.load(Ordering::SeqCst) <= case.pool);
    if let Some(most) = case.rolling.connect_par {
        prop_assert!(seen.logins.1.load(Ordering::SeqCst) <= most);
    }
    prop_assert!(case.mode == StopMode::Now || running_stopped == 0);
    let failed = |unreached: bool| {
        let is_unreached = |class: &Class| *class == Class::Connect && case.unreached.is_some();
        let bad = ended.values().filter(|class| !matches!(class, Class::Ok | Class::Cancelled));
        bad.filter(|class| is_unreached(class) == unreached).count()
    };
    // Those that were under way when the last allowed one failed may fail too, and so do those in a pause before a retry.
    if let Some(limit) = case.errors
        && case.attempts == 1
    {
        prop_assert!(failed(false) < limit + case.pool, "{ended:?}");
    }
    let is_stopped = case.errors.is_some_and(|limit| failed(false) >= limit)
        || case.unreached.is_some_and(|limit| failed(true) >= limit)
        || cancel.is_triggered();
    let cancelled = ended.values().filter(|class| **class == Class::Cancelled).count();
    prop_assert!(is_stopped || cancelled == 0, "nothing is left out without a reason: {ended:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every host starts at most once, ends exactly once, and all bounds are kept.
    #[test]
    fn any_mixture_of_options_keeps_its_bounds(case in case()) {
        check(case)?;
    }
}

#[test]
fn hosts_start_in_their_order() {
    let tries = vec![vec![Try::Ok]; 20];
    for order in [Order::List, Order::Reverse, Order::Shuffle(7)] {
        let rolling = Rolling { order, ..Rolling::default() };
        let jobs = crate::plan::job::of_list(&(0..20).map(|host| format!("10.0.0.{host} ")).collect::<String>());
        let cancel = Cancel::new().expect("a pipe");
        let failures = Arc::new(FailureCount::new(Limits::default(), &cancel));
        let plan = Plan {
            size: 1,
            threads: Threads { per_host: 1, besides: 1 },
            lookup_limit: Duration::from_secs(30),
            retry: RetryPolicy { attempts: 1, delay: Duration::ZERO },
            total_limit: None,
            rolling,
            terminal: None,
            workers: None,
        };
        let work = |_: &Job, _: &mut Task, _: &Sender<Event>| AttemptResult::Ended(Outcome::Exited(0));
        let events = pool::start(jobs, plan, Earlier::default(), (&failures, &cancel), work).expect("threads").events;
        let started = events.iter().filter(|event| matches!(event.kind, EventKind::Started)).map(|event| event.job);
        assert_eq!(started.collect::<Vec<_>>(), order.of(tries.len()), "{order}");
    }
}
