//! Locks between threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. A poisoned one only means that another thread panicked; its data is consistent after every statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
