//! An example of the library: shows what happens on all hosts, as it happens.
//!
//! ```text
//! cargo run --example live_events -- 'web1 web2' 'vmstat 1 5'
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to the user")]

use pssh::{Client, Error, Happening, Settings};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (hosts, command) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let run = Client::new([hosts], Settings::for_library()?)?.run_command(command)?;
    for event in run.events() {
        let host = event.host.label();
        match event.what {
            Happening::Output { stream, bytes } => println!("{host} {stream:?}: {}", String::from_utf8_lossy(&bytes)),
            Happening::Retrying { reason, .. } => println!("{host}: {reason}; it is tried again"),
            Happening::Ended => {
                println!("{host}: {}", event.host.outcome().map(ToString::to_string).unwrap_or_default())
            }
            what => println!("{host}: {what:?}"),
        }
    }
    Ok(())
}
