//! The SSH session: authentication, channels and their requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, ChannelOpenHandle, Handle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Error, MethodKind, MethodSet, Pty, Sig};
use tokio::net::TcpStream;

use super::channel::{Inbound, Side};
use super::fault::Fault;
use super::log::Event;
use super::process::{self, Login};
use super::script::{self, Behaviour, Step};
use super::wire::Line;
use super::{Shared, exec, relay};

/// russh grants a new window by itself, and the least that it can be made to grant is this.
const CLOSED_WINDOW: u32 = 2;

/// How many channels of a flood are being opened at once.
const FLOODING: usize = 16;
/// The pause of each of them between two channels.
const FLOOD_PAUSE: Duration = Duration::from_millis(5);

/// Opens channels to the client's agent until the connection ends, whatever the client says to it.
async fn open_channels(handle: Handle) {
    // Slow enough that the client has read less than it takes at most when its time is over, however fast the machine is.
    while matches!(handle.channel_open_agent().await, Ok(_) | Err(Error::ChannelOpenFailure(_))) {
        tokio::time::sleep(FLOOD_PAUSE).await;
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, number: usize, shared: &Arc<Shared>) {
    // Without it, answers to small requests wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let line = Line::new(stream);
    let connection = Connection {
        shared: Arc::clone(shared),
        line: line.clone(),
        number,
        peer,
        local,
        user: String::new(),
        round: 0,
        first_factor: false,
        channels: HashMap::new(),
        unanswered: Vec::new(),
    };
    let wire = line.wire();
    drop(line);
    let ended = match russh::server::run_stream(Arc::clone(&shared.transport), wire, connection).await {
        Ok(session) => session.await,
        Err(error) => Err(error),
    };
    // russh tells a disconnect message from a lost connection by the result only, and does not show the message's text.
    let event = if ended.is_ok() { Event::Disconnect } else { Event::Lost };
    shared.log.add(number, event);
}

struct Connection {
    shared: Arc<Shared>,
    line: Line,
    number: usize,
    peer: SocketAddr,
    local: SocketAddr,
    user: String,
    /// The round of keyboard-interactive that the client has to answer.
    round: usize,
    /// A public key was accepted, and a second factor is due.
    first_factor: bool,
    channels: HashMap<ChannelId, Side>,
    /// Kept because dropping one would answer it.
    unanswered: Vec<ChannelOpenHandle>,
}

impl Connection {
    fn log(&self, event: Event) {
        self.shared.log.add(self.number, event);
    }

    fn fault(&self) -> Option<&Fault> {
        self.shared.config.fault_of(self.number)
    }

    async fn delay(&self) {
        let delay = self.shared.config.delay;
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    /// Comes before every answer in authentication.
    async fn before_auth(&self) -> Result<(), Error> {
        if matches!(self.fault(), Some(Fault::StallAuth)) {
            self.line.peer_closed().await;
            return Err(Error::Disconnect);
        }
        self.delay().await;
        Ok(())
    }

    fn knows(&self, user: &str) -> bool {
        let users = &self.shared.config.users;
        users.as_ref().is_none_or(|users| users.iter().any(|known| known == user))
    }

    /// The methods that can continue.
    fn methods(&self) -> MethodSet {
        let mut methods = self.shared.config.methods();
        if self.first_factor {
            methods.remove(MethodKind::PublicKey);
        } else if self.shared.config.second_factor {
            methods.remove(MethodKind::Password);
            methods.remove(MethodKind::KeyboardInteractive);
        }
        methods
    }

    fn judge(&mut self, user: &str, method: &'static str, correct: bool) -> Auth {
        let accepted = correct && self.knows(user);
        self.log(Event::Auth { user: user.to_owned(), method, accepted });
        if accepted && self.shared.config.second_factor && !self.first_factor && method != "none" {
            // Only a public key is offered, and so accepted, as the first factor.
            self.first_factor = true;
            return self.refuse(true);
        }
        if accepted {
            user.clone_into(&mut self.user);
            return Auth::Accept;
        }
        self.refuse(false)
    }

    /// Says which methods can continue: russh would otherwise drop a method after its first failure.
    fn refuse(&self, partial_success: bool) -> Auth {
        Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success }
    }

    fn authorised(&self, key: &russh::keys::PublicKey) -> bool {
        let mut known = self.shared.authorised.iter();
        known.any(|known| known.key_data() == key.key_data())
    }

    /// The prompts of the round that is due.
    fn prompts(&self) -> Auth {
        let rounds = &self.shared.config.keyboard_interactive;
        let prompts = rounds.get(self.round).into_iter().flatten();
        let prompts: Vec<_> = prompts.map(|prompt| (prompt.text.clone().into(), prompt.echo)).collect();
        Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() }
    }

    /// Answers that what was asked for before the command is done, unless the server does not answer such requests.
    fn answer(&self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        if self.shared.config.answers_requests { session.channel_success(id) } else { Ok(()) }
    }

    fn overfull(&self, id: ChannelId) -> bool {
        self.channels.get(&id).is_some_and(Side::overfull)
    }

    fn start_command(&mut self, id: ChannelId, command: &str, session: &mut Session) -> Result<(), Error> {
        let Some(side) = self.channels.get_mut(&id) else {
            return session.channel_failure(id);
        };
        let Some(ends) = side.take_ends() else {
            return session.channel_failure(id);
        };
        let config = &self.shared.config;
        let login = Login { user: &self.user, peer: self.peer, local: self.local };
        let behaviour = config.commands.get(command).unwrap_or(&config.behaviour);
        match behaviour {
            Behaviour::Run => {
                let started = process::spawn(command, &login, &side.env, config, &self.shared.children);
                let Ok((child, group)) = started else {
                    return session.channel_failure(id);
                };
                side.group = Some(group);
                let (outlet, inlet) = ends.split(session);
                tokio::spawn(exec::attend(child, group, outlet, inlet, Arc::clone(&self.shared)));
            }
            Behaviour::Cheap { stdout, status } => {
                session.channel_success(id)?;
                if !stdout.is_empty() {
                    session.data(id, stdout.clone())?;
                }
                session.eof(id)?;
                session.exit_status_request(id, *status)?;
                return session.close(id);
            }
            Behaviour::Name { after: Duration::ZERO } => {
                session.channel_success(id)?;
                session.data(id, script::name(self.local.ip()))?;
                session.eof(id)?;
                session.exit_status_request(id, 0)?;
                return session.close(id);
            }
            Behaviour::Name { after } => {
                tokio::spawn(script::name_after(*after, self.local.ip(), ends.split(session).0));
            }
            Behaviour::Lines { bytes } => {
                tokio::spawn(script::lines(*bytes, ends.split(session).0));
            }
            Behaviour::Script(steps) => {
                let (outlet, inlet) = ends.split(session);
                tokio::spawn(script::play(steps.clone(), outlet, inlet, self.line.clone()));
                match steps.first() {
                    Some(Step::RejectExec) => return session.channel_failure(id),
                    Some(Step::NeverAnswer) => return Ok(()),
                    _ => {}
                }
            }
        }
        // Ahead of all data: the tasks' messages wait in a queue until this returns.
        session.channel_success(id)
    }
}

impl russh::server::Handler for Connection {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(self.shared.config.banner.clone())
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Error> {
        self.before_auth().await?;
        Ok(self.judge(user, "none", self.shared.config.allow_none))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Error> {
        self.before_auth().await?;
        let correct = self.shared.config.password.as_deref() == Some(password);
        Ok(self.judge(user, "password", correct))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        self.before_auth().await?;
        if self.knows(user) && self.authorised(offer.public_key) {
            return Ok(Auth::Accept);
        }
        Ok(self.judge(user, "publickey", false))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        self.before_auth().await?;
        let correct = self.authorised(key.public_key);
        Ok(self.judge(user, "publickey", correct))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Error> {
        let answers: Option<Vec<Vec<u8>>> = response.map(|answers| answers.map(|answer| answer.to_vec()).collect());
        self.before_auth().await?;
        let rounds = &self.shared.config.keyboard_interactive;
        let (Some(answers), Some(round)) = (answers, rounds.get(self.round)) else {
            self.round = 0;
            return Ok(if rounds.is_empty() { self.refuse(false) } else { self.prompts() });
        };
        let expected = round.iter().map(|prompt| prompt.answer.as_bytes());
        let correct = expected.eq(answers.iter().map(Vec::as_slice));
        self.round += 1;
        if correct && self.round < rounds.len() {
            return Ok(self.prompts());
        }
        Ok(self.judge(user, "keyboard-interactive", correct))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Error> {
        self.log(Event::LoggedIn { user: self.user.clone() });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.log(Event::ChannelOpen);
        if matches!(self.fault(), Some(Fault::StallChannelOpen | Fault::FloodOfChannels)) {
            self.unanswered.push(reply);
            if matches!(self.fault(), Some(Fault::FloodOfChannels)) {
                (0..FLOODING).for_each(|_| drop(tokio::spawn(open_channels(session.handle()))));
            }
            return Ok(());
        }
        self.delay().await;
        if let Some(reason) = &self.shared.config.reject_channel_open {
            reply.reject(reason.clone()).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), Side::new(channel));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.log(Event::DirectTcpip { host: host.to_owned(), port });
        if matches!(self.fault(), Some(Fault::StallChannelOpen)) {
            self.unanswered.push(reply);
            return Ok(());
        }
        self.delay().await;
        let Some(target) = relay::target(host, port, &self.shared.config) else {
            // Dropping `reply` answers "administratively prohibited", as sshd does.
            return Ok(());
        };
        let id = channel.id();
        let mut side = Side::new(channel);
        if let Some(ends) = side.take_ends() {
            let (outlet, inlet) = ends.split(session);
            tokio::spawn(relay::run(target, reply, outlet, inlet, self.shared.config.noise));
        }
        self.channels.insert(id, side);
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Error> {
        if let Some(side) = self.channels.get_mut(&id) {
            side.receive(Inbound::Data(data.to_vec()));
        }
        if data.len() <= CLOSED_WINDOW as usize && self.overfull(id) {
            // Keeps a client that has to send two bytes at a time from doing so at full speed.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, _current: u32) -> u32 {
        if self.overfull(id) { CLOSED_WINDOW } else { self.shared.config.window_size }
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        if let Some(side) = self.channels.get_mut(&id) {
            let bytes = side.received();
            side.receive(Inbound::Eof);
            self.log(Event::StdinEof { bytes });
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.log(Event::ChannelClose);
        self.channels.remove(&id);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.log(Event::Env { name: name.to_owned(), value: value.to_owned() });
        if let Some(side) = self.channels.get_mut(&id) {
            side.env.push((name.to_owned(), value.to_owned()));
        }
        self.answer(id, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        // Commands get pipes all the same: a test asserts the request, and what a pty does is the kernel's business.
        self.log(Event::Pty { term: term.to_owned(), columns, rows });
        self.answer(id, session)
    }

    async fn window_change_request(
        &mut self,
        _id: ChannelId,
        columns: u32,
        rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.log(Event::WindowChange { columns, rows });
        Ok(())
    }

    async fn agent_request(&mut self, _id: ChannelId, _session: &mut Session) -> Result<bool, Error> {
        self.log(Event::AgentForwarding);
        Ok(self.shared.config.allow_agent_forwarding)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.log(Event::Shell);
        session.channel_failure(id)
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Error> {
        self.log(Event::Subsystem { name: name.to_owned() });
        match self.shared.config.sftp_server.as_ref().and_then(|program| program.to_str()) {
            Some(program) if name == "sftp" => self.start_command(id, &format!("exec {program}"), session),
            _ => session.channel_failure(id),
        }
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Error> {
        let command = String::from_utf8_lossy(command).into_owned();
        self.log(Event::Exec { command: command.clone() });
        self.delay().await;
        self.start_command(id, &command, session)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _session: &mut Session) -> Result<(), Error> {
        let name = process::sig_name(&signal);
        let group = self.channels.get(&id).and_then(|side| side.group);
        if let (Some(group), Some(signal)) = (group, process::signal_named(&name)) {
            self.shared.children.signal(group, signal);
        }
        self.log(Event::Signal { name });
        Ok(())
    }
}
