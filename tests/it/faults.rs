//! The fault matrix: in every phase of a job everything that can go wrong with a connection, each on a host of its own beside
//! healthy ones. `docs/faults.md` is its table.

mod cells;
mod library;
mod names;
mod packets;
mod proxy;
mod table;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use crate::sshd::marked;
use world::{End, MARK, World, ends, problem};

#[test]
fn every_fault_in_every_phase() {
    let world = World::new();
    let found: Mutex<BTreeMap<String, End>> = Mutex::default();
    let problems: Mutex<Vec<String>> = Mutex::default();
    thread::scope(|scope| {
        for (status, copies) in [(0, false), (3, false), (4, false), (0, true), (4, true)] {
            let (world, found, problems) = (&world, &found, &problems);
            scope.spawn(move || {
                let name = format!("{}-{status}-{copies}", std::process::id());
                let hosts = world.group(status, copies);
                let run = world.run(&name, &hosts, copies, &name).run();
                let ends = ends(&run, &hosts);
                let mut wrong: Vec<String> = Vec::new();
                for host in &hosts {
                    let end = &ends[&host.label];
                    wrong.extend(problem(host, end).map(|problem| format!("{}: {problem}", host.label)));
                    if copies && wrong.is_empty() {
                        world.check_copy(host, end, &run);
                    }
                }
                // Where the outcome is the kernel's choice, the exit status follows it.
                let status = if ends.values().any(|end| end.outcome.starts_with("timeout")) { 3 } else { status };
                if run.status.code() != Some(status) {
                    wrong.push(format!("exit status {:?} instead of {status}", run.status));
                }
                let left = marked(&format!("{MARK}={name}"));
                if !left.is_empty() {
                    wrong.push(format!("processes are left here: {left:?}"));
                }
                problems.lock().expect("whole").extend(wrong);
                found.lock().expect("whole").extend(ends);
            });
        }
    });
    let problems = problems.into_inner().expect("whole");
    let found = found.into_inner().expect("whole");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    // What pssh has told to stop has stopped.
    world.sshd.wait_for_processes("c=output-flood", 0);
    world.leave();
    table::check(&found);
}
