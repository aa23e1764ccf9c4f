//! An example of the library: copies a file to all hosts, and back from each into a directory of its own.
//!
//! ```text
//! cargo run --example copy -- 'web1 web2' motd /tmp/motd back
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to the user")]

use pssh::{Client, Error, Happening, Settings};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (hosts, local, remote, back) = (next(), next(), next(), next());
    let client = Client::new([hosts], Settings::for_library()?)?;
    let run = client.upload(local, &remote).preserve().checksum().run()?;
    for event in run.events() {
        match event.what {
            Happening::Copied(progress) => {
                println!("{}: {} of {} bytes", event.host.label(), progress.done, progress.total);
            }
            Happening::Ended => println!("{}: {:?}", event.host.label(), event.host.outcome()),
            _ => {}
        }
    }
    let run = client.copy_remote_file(&remote, back)?;
    println!("{}", run.join(None)?);
    for directory in run.hosts().iter().filter_map(|host| host.directory()) {
        println!("{}", directory.display());
    }
    Ok(())
}
