//! The soak in its short form. `cargo run --release --example soak` is the long one.

use std::path::Path;
use std::process::Command;

use pssh::internal::Program;

use crate::bin::path_of;
use crate::soak::{self, Options};

/// The test that is every process of the soak but this one.
const ROLE: &str = "soaking::a_process_of_the_soak";

#[test]
fn every_host_is_accounted_for_in_every_run_and_nothing_grows() {
    let options = Options { hosts: 200, seconds: 8, percent: 10.0, seed: 7, pool: 100 };
    let program = std::env::current_exe().expect("this program");
    let again = || {
        let mut command = Command::new(&program);
        command.args(["--ignored", "--exact", ROLE, "--nocapture"]);
        command
    };
    let mut said = Vec::new();
    let soaked =
        soak::soak(&options, Path::new(path_of(Program::Pssh)), &again, &mut |line| said.push(line.to_owned()));
    if let Err(error) = soaked {
        panic!("{error:#}\n{}", said.join("\n"));
    }
}

#[test]
#[ignore = "the soak starts it in processes of its own"]
fn a_process_of_the_soak() {
    assert!(soak::role().expect("it does what it was started for"), "the soak starts it");
}
