//! Reports of panics: their place, and their message if it is the program's own.
//!
//! The messages of most panics are made at run time, and may contain secrets: slicing a string within a character
//! quotes the string, `expect` quotes the error. So only text from the source is reported.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{PanicHookInfo, set_hook};

/// The name of the threads whose panics are outcomes of hosts.
pub const WORKER_NAME: &str = "pssh-worker";

thread_local! {
    /// Where this thread last panicked.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A part of the report of a panic.
pub enum Told<'t> {
    /// The message.
    Line(&'t str),
    /// The backtrace, in lines of its own.
    Trace(&'t str),
}

/// Reports panics from now on. That of a worker is the outcome of its host; others go to standard error, with a
/// backtrace if `RUST_BACKTRACE` is set.
///
/// `tell` prints it: a line of pssh, or text that is printed unchanged.
pub fn install(tell: impl Fn(Told<'_>) + Send + Sync + 'static) {
    set_hook(Box::new(move |panic| {
        let place = place(panic);
        PLACE.with(|last| last.replace(Some(place)));
        if std::thread::current().name() == Some(WORKER_NAME) {
            return;
        }
        tell(Told::Line(&format!("a fault in pssh itself: {}; please report it", words(panic.payload()))));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            tell(Told::Trace(&format!("{trace}\n")));
        }
    }));
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default()
}

/// Returns the report of a panic of this thread.
pub fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().copied().unwrap_or("a panic");
    match PLACE.with(|last| last.borrow_mut().take()) {
        Some(place) => format!("{text} ({place})"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn values_are_not_told() {
        let secret = format!("{}r2é", "hunte");
        let told = |panic: Box<dyn Any + Send>| words(panic.as_ref());
        let cut = catch_unwind(|| secret[..8].len()).expect_err("it cuts a character");
        let quoted = cut.downcast_ref::<String>().expect("made at run time");
        assert!(quoted.contains("hunter2"), "which is why: {quoted}");
        assert_eq!(told(cut), "a panic");
        let path = format!("/nonexistent/{secret}");
        let expected = catch_unwind(|| std::ffi::CString::new(path + "\0").expect("no NUL")).expect_err("there is one");
        assert_eq!(told(expected), "a panic");
        let plain = catch_unwind(|| panic!("as it stands in the source")).expect_err("a panic");
        assert_eq!(told(plain), "as it stands in the source");
    }
}
