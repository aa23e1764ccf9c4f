//! The hosts: a server that is well on thousands of addresses, and one for each fault.

use std::fs;
use std::io::BufRead;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::plan::{Fault, Options, PRINTED, address};
use super::say;
use crate::embedded::{self, Behaviour, Config, End, Key, KeyKind, Server, Step};

/// Serves until standard input ends. The user's `key` and the hosts' `known_hosts` are written into `directory`.
pub(super) fn main(directory: &Path, options: &Options) -> Result<()> {
    let user = Key::generate(KeyKind::Ed25519);
    user.write(directory, "key");
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let well = Server::try_start(Config {
        addresses: (0..options.hosts).map(|host| IpAddr::V4(address(host))).collect(),
        behaviour: Behaviour::Name { after: Duration::ZERO },
        ..config(&user, threads)
    });
    let well = well.context("the hosts do not start")?;
    let mut known = well.known_hosts();
    let (mut ports, mut servers) = (vec![well.port()], Vec::new());
    for fault in Fault::ALL {
        let address = IpAddr::V4(fault.address());
        if fault == Fault::Refuse {
            ports.push(embedded::refused_address(address)?.port());
            continue;
        }
        let server = Server::try_start(faulty(fault, Config { addresses: vec![address], ..config(&user, 1) }));
        let server = server.with_context(|| format!("the server for {fault:?} does not start"))?;
        known += &match fault {
            Fault::OtherKey => Key::generate(KeyKind::Ed25519).known_hosts_line(&address.to_string(), server.port()),
            _ => server.known_hosts(),
        };
        known += "\n";
        ports.push(server.port());
        servers.push(server);
    }
    fs::write(directory.join("known_hosts"), known).context("cannot write known_hosts")?;
    say(&json!({"ports": ports}))?;
    for line in std::io::stdin().lock().lines() {
        line.context("cannot read what is asked")?;
    }
    Ok(())
}

fn config(user: &Key, threads: usize) -> Config {
    Config {
        authorised: vec![user.public_line()],
        threads,
        only_curve25519: true,
        allow_forwarding: false,
        ..Config::default()
    }
}

fn faulty(fault: Fault, config: Config) -> Config {
    let printed = Step::Stdout(PRINTED.as_bytes().to_vec());
    // Long enough for a busy client to have read it: a reset is not the only way to lose what was sent.
    let pause = Step::Sleep(Duration::from_millis(300));
    match fault {
        Fault::Refuse => config,
        Fault::Reset => Config { fault: Some(embedded::Fault::ResetAfterBanner), ..config },
        Fault::Stall => Config { fault: Some(embedded::Fault::BannerThenSilence), ..config },
        Fault::Cut => {
            let steps = vec![printed, pause, Step::DropConnection(End::Fin)];
            Config { behaviour: Behaviour::Script(steps), ..config }
        }
        Fault::OtherKey => config,
        Fault::NoLogin => Config { authorised: vec![Key::generate(KeyKind::Ed25519).public_line()], ..config },
        Fault::NoStatus => Config { behaviour: Behaviour::Script(vec![printed, Step::Eof, Step::Close]), ..config },
    }
}
