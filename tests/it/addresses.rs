//! Addresses of every kind: with a zone, several of one name, some that cannot be used here.

use std::fs;
use std::io::copy;
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::thread;

use pssh::internal::Program;

use crate::bin::Env;
use crate::sshd::{Setup, Sshd};

/// The link-local addresses of this machine, each with the number and the name of its interface.
fn link_local() -> Vec<(Ipv6Addr, u32, String)> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, number, _, _, _, name] = fields[..] else { return None };
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        Some((address, u32::from_str_radix(number, 16).ok()?, name.to_owned()))
    };
    table.lines().filter_map(line).filter(|(address, ..)| address.is_unicast_link_local()).collect()
}

/// Listens at `address` and passes the bytes of one connection after the other on to `target`.
fn forward(address: SocketAddr, target: SocketAddr) -> u16 {
    let listener = TcpListener::bind(address).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.expect("a connection");
            let far = TcpStream::connect(target).expect("the server");
            for (mut from, mut to) in [(&near, &far), (&far, &near)]
                .map(|(from, to)| (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor")))
            {
                thread::spawn(move || {
                    let _ = copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    port
}

#[test]
fn the_zone_of_an_address_reaches_the_socket() {
    let env = Env::new();
    // No host has that address, and only with its zone can it be tried.
    let run = env.pssh().args(["--num-retries", "1", "-H", "[fe80::7%lo]:22", "-H", "[fe80::7]:22", "true"]).run();
    run.ends("fe80::7%lo", "connect: fe80::7%1 port 22: ")
        .ends("fe80::7", "connect: fe80::7 port 22: Invalid argument");
    let run = env.pssh().args(["-H", "[fe80::7%nowhere0]:22", "--num-retries", "1", "true"]).run();
    run.ends("fe80::7%nowhere0", "dns: fe80::7%nowhere0: ");
    let run = env.pssh().args(["-H", "127.0.0.1:1", "-O", "BindAddress=fe80::7%nowhere0", "true"]).run();
    run.exits(2).stderr_has("BindAddress fe80::7%nowhere0: ");
}

#[test]
fn a_link_local_address_is_a_host_everywhere() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: "AllowTcpForwarding yes", ..Setup::default() });
    let target: SocketAddr = sshd.hosts()[0].parse().expect("an address");
    let key = sshd.known_hosts().split_once(' ').expect("a line").1.to_owned();
    for (address, number, interface) in link_local() {
        let port = forward(SocketAddrV6::new(address, 0, 0, number).into(), target);
        let (name, place) = (format!("{address}%{interface}"), format!("[{address}%{interface}]:{port}"));
        env.trust(&format!("{place} {key}"));
        let list = env.file("list", format!("{place} timeout=20\n"));
        env.pssh().args(["-H", &place, "echo it"]).run().exits(0).ends(&name, "ok");
        env.pssh().args(["-w", &place, "echo it"]).run().exits(0).ends(&name, "ok");
        // The number of the interface is another way to write its name, under which the key is known.
        let numbered = format!("[{address}%{number}]:{port}");
        env.pssh().args(["-H", &numbered, "echo it"]).run().exits(0).ends(&format!("{address}%{number}"), "ok");
        let run = env.pssh().args(["-H", &format!("{name}:{port}"), "echo it"]).run();
        run.exits(2).stderr_has(&format!("a port needs brackets around the IPv6 address: {place}"));
        env.pssh().arg("-h").arg(&list).arg("echo it").run().exits(0).ends(&name, "ok");
        env.pssh().args(["-J", &place, "-H", &sshd.hosts()[0], "echo it"]).run().exits(0);
        let own = format!("BindAddress={name}");
        env.pssh().args(["-O", &own, "-H", &place, "echo it"]).run().exits(0);
        let there = format!("HostName={address}%%{interface}");
        env.pssh().args(["-O", &there, "-H", &format!("web:{port}"), "echo it"]).run().exits(0).ends("web", "ok");
        for program in [Program::Pscp, Program::Pslurp, Program::Prsync] {
            let (from, to) = (env.file("from", "it\n"), env.path(&format!("{program:?}")));
            let run = env.run_of(program).args(["-H", &place]);
            let is_slurp = program == Program::Pslurp;
            let run = if is_slurp { run.arg("-L").arg(&to).arg(from).arg("name") } else { run.arg(from).arg(&to) };
            run.run().exits(0);
            let copied = if is_slurp { to.join(&place).join("name") } else { to };
            assert_eq!(fs::read(copied).expect("a copy"), b"it\n");
        }
    }
}

#[test]
fn an_address_that_cannot_be_used_here_is_no_fault_of_this_machine_s() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    // An address for documentation never belongs to this machine.
    let run =
        env.pssh().args(["-O", "BindAddress=192.0.2.1", "--num-retries", "1", "-H", &sshd.hosts()[0], "true"]).run();
    run.exits(4).ends("127.0.1.1", "connect: 127.0.1.1 port ");
    run.stderr_has("Cannot assign requested address").hints("127.0.1.1", "BindAddress");
    run.stderr_has(": from BindAddress 192.0.2.1: ").stderr_lacks("is sshd running there");
    // Of another family, or with no way there.
    for (own, host) in
        [("::1", "127.0.1.1"), ("127.0.0.1", "[::1]"), ("127.0.0.1", "192.0.2.1"), ("::1", "[fe80::1%lo]")]
    {
        let bind = format!("BindAddress={own}");
        let run = env.pssh().args(["-O", &bind, "--num-retries", "1", "-H", &format!("{host}:22"), "true"]).run();
        run.exits(4)
            .stderr_has(&format!(": from BindAddress {own}: "))
            .stderr_has("hint: the host cannot be reached from that address");
    }
    let run = env.pssh().args(["-4", "--num-retries", "1", "-H", "[::1]:22", "true"]).run();
    run.ends("::1", "dns: ::1: it has no IPv4 address");
}
