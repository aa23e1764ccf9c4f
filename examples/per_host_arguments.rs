//! An example of the library: each host gets a value of its own, quoted for the shell.
//!
//! ```text
//! cargo run --example per_host_arguments -- web1=1.2 'web2=1.3 (beta)'
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to the user")]

use pssh::{Arguments, Client, Error, Settings};

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pairs: Vec<(&str, &str)> = words.iter().filter_map(|word| word.split_once('=')).collect();
    let client = Client::new(pairs.iter().map(|(host, _)| *host), Settings::for_library()?)?;
    let values = pairs.iter().map(|(_, value)| Arguments::in_order([*value]));
    let run = client.command("echo the version is %q").host_args(values).run()?;
    for host in &run {
        for line in host.stdout() {
            println!("{}: {}", host.label(), String::from_utf8_lossy(&line?));
        }
    }
    run.join(None)?;
    Ok(())
}
