//! A name server that answers badly, for runs that have it as their only one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::cells::Fault;
use super::proxy::DELAY;

/// The port of name servers: resolv.conf(5) has no other.
const PORT: u16 = 53;
/// How often it is looked whether it is over.
const TICK: Duration = Duration::from_millis(100);
/// Where names end that this server knows.
pub(super) const DOMAIN: &str = "faults.test";

/// The server. Dropping it ends it.
pub(super) struct Names {
    pub(super) address: Ipv4Addr,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Names {
    /// A server on an address of its own, which needs root. All names have the address `answer`.
    pub(super) fn start(answer: Ipv4Addr) -> Names {
        let (address, udp, tcp) = bind();
        let over = Arc::new(AtomicBool::new(false));
        let threads = vec![
            thread::spawn({
                let over = Arc::clone(&over);
                move || serve(&udp, answer, &over)
            }),
            thread::spawn({
                let over = Arc::clone(&over);
                move || {
                    while !over.load(Ordering::SeqCst) {
                        match tcp.accept() {
                            Ok((client, _)) => end(client),
                            Err(_) => thread::sleep(TICK),
                        }
                    }
                }
            }),
        ];
        Names { address, over, threads }
    }

    /// Returns a resolv.conf(5) with this server, with a timeout longer than any run: pssh must give up first.
    pub(super) fn resolv_conf(&self) -> String {
        format!("nameserver {}\noptions timeout:30 attempts:1\n", self.address)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Tests that run at the same time use another address.
fn bind() -> (Ipv4Addr, UdpSocket, TcpListener) {
    for number in std::process::id().. {
        let [.., third, fourth] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, 53, third, fourth.clamp(1, 254));
        let both = UdpSocket::bind((address, PORT)).and_then(|udp| Ok((udp, TcpListener::bind((address, PORT))?)));
        match both {
            Ok((udp, tcp)) => {
                udp.set_read_timeout(Some(TICK)).expect("a timeout");
                tcp.set_nonblocking(true).expect("a mode");
                return (address, udp, tcp);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("no name server on {address}: {error}"),
        }
    }
    unreachable!("there are as many addresses as processes")
}

fn serve(udp: &UdpSocket, answer: Ipv4Addr, over: &AtomicBool) {
    let mut buffer = [0; 512];
    while !over.load(Ordering::SeqCst) {
        let Ok((length, client)) = udp.recv_from(&mut buffer) else { continue };
        let query = &buffer[..length];
        if let Some((fault, kind, end)) = asked(query) {
            reply(udp, client, fault, kind, &query[..end], answer);
        }
    }
}

/// The fault in the name that is asked for, the type of the record, and where the question ends. The name begins with the label
/// of a cell, which ends in the word of its fault.
fn asked(query: &[u8]) -> Option<(Fault, u16, usize)> {
    let mut place = 12;
    let mut labels = Vec::new();
    while let Some(length) = query.get(place).map(|length| usize::from(*length)).filter(|length| *length > 0) {
        labels.push(String::from_utf8_lossy(query.get(place + 1..=place + length)?).into_owned());
        place += 1 + length;
    }
    let kind = u16::from_be_bytes([*query.get(place + 1)?, *query.get(place + 2)?]);
    let fault = Fault::ALL.into_iter().find(|fault| labels[0].ends_with(fault.word()))?;
    Some((fault, kind, place + 5))
}

/// Bits of the flags (RFC 1035 section 4.1.1): an answer by who knows; cut off, so that TCP should be used; no such name.
const ANSWER: u16 = 0x8400;
const CUT_OFF: u16 = 0x0200;
const NO_SUCH_NAME: u16 = 3;

fn reply(udp: &UdpSocket, client: SocketAddr, fault: Fault, kind: u16, query: &[u8], answer: Ipv4Addr) {
    let send = |bytes: &[u8]| drop(udp.send_to(bytes, client));
    // Other types than addresses of IPv4 have no records.
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4][..], &answer.octets()].concat();
    let records = u16::from(kind == 1);
    let good = [message(query, ANSWER, records), if kind == 1 { record.clone() } else { Vec::new() }].concat();
    match fault {
        Fault::Refuse => send(&message(query, ANSWER | NO_SUCH_NAME, 0)),
        Fault::Stall | Fault::Vanish => {}
        Fault::Reset | Fault::Close => send(&message(query, ANSWER | CUT_OFF, 0)),
        Fault::Garbage => send(&[0xa5; 100]),
        Fault::Truncate => send(&[message(query, ANSWER, 1), record[..record.len() - 2].to_vec()].concat()),
        Fault::Delay => {
            let udp = udp.try_clone().expect("a socket");
            thread::spawn(move || {
                thread::sleep(DELAY);
                drop(udp.send_to(&good, client));
            });
        }
        Fault::Flood => {
            let mut other = good.clone();
            for number in 0..1000_u16 {
                // Another identifier, and so the answer to another question.
                let id = u16::from_be_bytes([query[0], query[1]]).wrapping_add(1 + number);
                other[..2].copy_from_slice(&id.to_be_bytes());
                send(&other);
            }
            // One that comes while the queue is full is lost.
            let udp = udp.try_clone().expect("a socket");
            thread::spawn(move || {
                for _ in 0..50 {
                    thread::sleep(TICK);
                    drop(udp.send_to(&good, client));
                }
            });
        }
    }
}

/// A message with the question of `query`, and `records` answers to come.
fn message(query: &[u8], flags: u16, records: u16) -> Vec<u8> {
    let counts = [1_u16, records, 0, 0].map(u16::to_be_bytes).concat();
    [&query[..2], &flags.to_be_bytes(), &counts, &query[12..]].concat()
}

/// Handles a client that asks by TCP: the connection ends once the question was read.
fn end(mut client: TcpStream) {
    // It is a socket of its own, whatever the listener's mode is.
    let (mut buffer, timeout) = ([0; 512], Some(Duration::from_secs(1)));
    let read = client.set_nonblocking(false).and_then(|()| client.set_read_timeout(timeout));
    let length = read.and_then(|()| client.read(&mut buffer)).unwrap_or(0);
    // Behind the length of the message.
    if length > 2 && asked(&buffer[2..length]).is_some_and(|(fault, ..)| fault == Fault::Reset) {
        let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
    let _ = client.flush();
}
