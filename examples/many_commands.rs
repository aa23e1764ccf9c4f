//! An example of the library: runs several commands one after the other. Each host is logged in to once.
//!
//! ```text
//! cargo run --example many_commands -- 'web1 web2' 'apt-get update' 'apt-get -y upgrade' 'uptime'
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to the user")]

use std::time::Duration;

use pssh::{Client, Error, Settings};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let hosts = arguments.next().unwrap_or_default();
    // Unused sessions stay connected for ten minutes, and at most 100 of them.
    let settings = Settings::for_library()?.idle_timeout(Duration::from_secs(600)).kept_sessions(100);
    let client = Client::new([hosts], settings)?;
    for command in arguments {
        let run = client.run_command(command.clone())?;
        println!("{command}: {}", run.join(None)?);
        for (host, outcome) in run.hosts().iter().filter_map(|host| Some((host, host.exception()?))) {
            println!(
                "  {}: {outcome}{}",
                host.label(),
                host.hint().map(|hint| format!(" ({hint})")).unwrap_or_default()
            );
        }
    }
    client.close();
    Ok(())
}
