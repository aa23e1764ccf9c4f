//! The machine on which it was measured, as far as it can be told.

use std::fs;
use std::thread;

/// The machine.
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// Processes that wanted to run in the last minute, in the mean.
    pub(crate) load: f64,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str, separator: char| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(separator));
            line.map_or_else(|| "?".to_owned(), |value| value.trim().trim_matches('"').to_owned())
        };
        let kib = value(&read("/proc/meminfo"), "MemTotal", ':');
        let kib = kib.strip_suffix(" kB").and_then(|kib| kib.parse::<f64>().ok());
        Machine {
            processor: value(&read("/proc/cpuinfo"), "model name", ':'),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory: kib.map_or_else(|| "?".to_owned(), |kib| format!("{:.0} GB", kib * 1024.0 / 1e9)),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: value(&read("/etc/os-release"), "PRETTY_NAME", '='),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Machine { processor, cores, memory, kernel, system, .. } = self;
        format!("{processor}, {cores} cores, {memory}; {system}, Linux {kernel}")
    }
}
