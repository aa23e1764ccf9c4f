//! An example of the library: limits the time of a command, and stops a run before its end.
//!
//! ```text
//! cargo run --example cancel_and_timeout -- 'web1 web2'
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to the user")]

use std::time::Duration;

use pssh::{Client, Error, Settings};

fn main() -> Result<(), Error> {
    let hosts = std::env::args().nth(1).unwrap_or_default();
    let settings = Settings::for_library()?.connect_timeout(Duration::from_secs(10)).retry(1, Duration::ZERO);
    let client = Client::new([hosts], settings)?;
    // After two seconds the command is stopped on the host.
    let late = client.command("sleep 60").timeout(Duration::from_secs(2)).run()?;
    println!("{}", late.join(None)?);
    // The program decides to wait no longer.
    let run = client.run_command("sleep 60")?;
    if let Err(error) = run.join(Some(Duration::from_secs(2))) {
        println!("{error}");
        run.cancel();
    }
    println!("{}", run.join(None)?);
    Ok(())
}
