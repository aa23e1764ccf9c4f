//! The thread of one connection to a jump host: the login, then the channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{HEAD_START, JumpHost, Slot, Underlay};
use crate::events::host_error::HostError;
use crate::ssh::proxy::connection::{Connection, pair};
use crate::ssh::proxy::direct_tcpip::DirectTcpip;
use crate::ssh::watch::Watch;
use crate::system::lock::lock;

/// The thread of one connection. Its end is recorded whatever the cause, even a panic.
pub(super) struct Login {
    pub(super) host: Arc<JumpHost>,
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) settled: bool,
}

impl Login {
    pub(super) fn run(mut self, time: Duration) {
        let host = Arc::clone(&self.host);
        let begun = Instant::now();
        let limit = host.host().connect_timeout;
        let time = time.saturating_sub(HEAD_START.min(limit / 20));
        let mut watch = Watch::within(&host.plan.cancel, time, limit);
        let made = host.log_in(&mut watch).and_then(|session| match pair() {
            Ok((wake, woken)) => Ok((session, wake, woken)),
            Err(error) => Err(HostError::local("creating a socket pair", &error).into()),
        });
        let ((session, carrier), wake, woken) = match made {
            Ok(made) => made,
            Err(outcome) => {
                self.settled = true;
                return host.login_failed(&mut lock(&host.state), outcome);
            }
        };
        let (command, before) = match carrier {
            Underlay::Network => (None, None),
            Underlay::Command(command) => (Some(command), None),
            Underlay::Hop(through) => (None, Some(through)),
        };
        let connection = Arc::new(Connection::new(before, wake));
        {
            let mut state = lock(&host.state);
            let name = host.to_string();
            state.notices.extend(watch.take_notices().into_iter().map(|notice| notice.of_jump_host(&name)));
            state.connecting -= 1;
            state.failure = None;
            state.login = begun.elapsed();
            state.live.push(Slot { connection: Arc::clone(&connection), opening: None, opened: 0 });
        }
        self.connection = Some(Arc::clone(&connection));
        DirectTcpip::new(session, &host, connection, woken, &host.plan).run();
        // After the session that it carries, and before the threads that wait for the end of the connection.
        drop(command);
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        match &self.connection {
            Some(connection) => {
                connection.set_dead(None);
                self.host.leave(connection);
            }
            None if self.settled => {}
            None => {
                let detail = "the thread of a proxy connection ended".to_owned();
                let outcome = HostError::Local { doing: "a fault in pssh itself", detail, hint: None };
                self.host.login_failed(&mut lock(&self.host.state), outcome.into());
            }
        }
    }
}
