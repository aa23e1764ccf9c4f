//! Handles the server's replies in a download.

use super::*;

/// Why a file of another type is not copied.
const SPECIAL: &str = "not a regular file";

impl Downloading {
    /// Handles the reply to one request.
    pub(super) fn take(&mut self, tag: Tag, reply: Reply) {
        match tag {
            Tag::Limits => return self.limit(&reply),
            Tag::Find(tag) => {
                if let Stage::Finding(finding) = &mut self.stage {
                    finding.hear(tag, reply);
                }
                return;
            }
            Tag::Stat(..) | Tag::Real(..) => self.asking = self.asking.saturating_sub(1),
            Tag::OpenDirectory(id) | Tag::List(id) => self.directories.answered(id),
            _ => {}
        }
        if !matches!(self.stage, Stage::Copying) {
            return;
        }
        match (tag, reply) {
            (Tag::Stat(parent, entry), Reply::Attributes(attributes)) => self.told(parent, *entry, attributes),
            (Tag::Real(parent, entry), Reply::Path(real)) => self.located(parent, *entry, real),
            (Tag::Stat(parent, entry) | Tag::Real(parent, entry), reply) => {
                let remote = self.directories.remote(parent, &entry);
                self.failed(parent, &remote, reply.reason(), None);
            }
            (Tag::OpenDirectory(id), Reply::Handle(handle)) => self.opened_directory(id, handle),
            (Tag::OpenDirectory(id), reply) => self.directory_failed(id, reply.reason()),
            (Tag::List(id), reply) => self.listed(id, reply),
            (Tag::Open(id), Reply::Handle(handle)) => self.opened_file(id, handle),
            (Tag::Size(id), Reply::Attributes(attributes)) => self.sized(id, Some(attributes)),
            // Not every server has FSTAT.
            (Tag::Size(id), Reply::Status(_)) => self.sized(id, None),
            (Tag::SizeAgain(id), reply) => {
                let attributes = if let Reply::Attributes(attributes) = reply { Some(attributes) } else { None };
                self.went_on(id, |file, _| file.sized_again(attributes));
            }
            (Tag::Read { file, offset, length }, Reply::Data(data)) => {
                self.went_on(file, |file, _| file.heard(offset, length, Some(data)));
            }
            (Tag::Read { file, offset, length }, Reply::Status(Status { code: Status::EOF, .. })) => {
                self.went_on(file, |file, _| file.heard(offset, length, None));
            }
            (Tag::Open(id) | Tag::Size(id) | Tag::Read { file: id, .. }, reply) => {
                self.file_failed(id, Failure::Remote(reply.reason()));
            }
            (Tag::Close | Tag::Find(_) | Tag::Limits, _) => {}
        }
    }

    /// Applies the server's limits.
    fn limit(&mut self, reply: &Reply) {
        if let Reply::Limits(limits) = reply
            && limits.handles > 0
        {
            self.handles = usize::try_from(limits.handles).unwrap_or(usize::MAX);
            self.directories.limit(self.handles);
            if let Stage::Finding(finding) = &mut self.stage {
                finding.limit(self.handles);
            }
        }
    }

    /// Requests the attributes of an open file, and its first data.
    fn opened_file(&mut self, id: u64, handle: Vec<u8>) {
        let Some(file) = self.files.get_mut(&id) else { return };
        let length = file.opened(handle);
        let handle = file.handle().unwrap_or_default();
        self.client.request(&Request::Fstat(handle), Tag::Size(id));
        let tag = Tag::Read { file: id, offset: 0, length };
        self.client.request(&Request::Read { handle, offset: 0, length }, tag);
    }

    /// Continues with a requested path, or the target of a link, whose type is known.
    fn told(&mut self, parent: u64, mut entry: Entry, attributes: Attributes) {
        entry.attributes = attributes;
        let remote = self.directories.remote(parent, &entry);
        if attributes.is_directory() {
            if !self.download.options.recursive {
                return self.failed(parent, &remote, "it is a directory".to_owned(), Some(Remedy::CopyDirectories));
            }
            // It may be one of its own parents.
            self.asking += 1;
            self.client.request(&Request::Realpath(&remote), Tag::Real(parent, Box::new(entry)));
        } else if attributes.mode.is_some() && !attributes.is_file() {
            self.failed(parent, &remote, SPECIAL.to_owned(), None);
        } else if entry.name.is_none() {
            self.failed(parent, &remote, "it is not a directory".to_owned(), None);
        } else {
            self.count(&attributes);
            self.open_file(parent, entry);
        }
    }

    /// Continues with a directory whose real path is known.
    fn located(&mut self, parent: u64, mut entry: Entry, real: Vec<u8>) {
        entry.real = Some(real);
        self.directories.wait(parent, entry);
        self.directories.child_over(parent);
    }

    fn opened_directory(&mut self, id: u64, handle: Vec<u8>) {
        let made = match self.directories.get(id) {
            Some(directory) => self.place.make_directory(&directory.local),
            None => return,
        };
        match made {
            Ok(is_new) => self.directories.opened(id, handle, is_new),
            Err(error) => {
                self.client.request(&Request::Close(&handle), Tag::Close);
                self.directories.listed(id);
                self.failed_here(error);
                self.over(id);
            }
        }
    }

    /// Handles entries of a directory, or the end of its list.
    fn listed(&mut self, id: u64, reply: Reply) {
        let is_listed = self.directories.get(id).is_none_or(|directory| directory.listed);
        match reply {
            // It has failed, and this answers the second of two requests.
            _ if is_listed => {}
            Reply::Names(names) if !self.directories.count(id, names.len()) => {
                self.directory_failed(id, "the host sends an endless list of it".to_owned());
            }
            Reply::Names(names) => {
                for name in names {
                    if !self.entry(id, name) {
                        break;
                    }
                }
            }
            Reply::Status(Status { code: Status::EOF, .. }) => self.directories.ended(id),
            reply => self.directory_failed(id, reply.reason()),
        }
        self.close_directory(id);
    }

    /// Handles one entry of a directory; returns whether more may come.
    fn entry(&mut self, id: u64, Name { name, attributes, .. }: Name) -> bool {
        if matches!(name.as_slice(), b"." | b"..") {
            return true;
        }
        let entry = Entry { name: Some(name), path: None, attributes, real: None };
        let name = entry.name.as_deref().unwrap_or_default();
        let refusal = match check_name(name) {
            Err(reason) => format!("refused: {reason}"),
            Ok(()) => match self.directories.admit(id, name) {
                Ok(true) if attributes.mode.is_none() || attributes.is_link() || attributes.is_directory() => {
                    self.directories.wait(id, entry);
                    return true;
                }
                Ok(true) if attributes.is_file() => {
                    self.count(&attributes);
                    self.directories.wait(id, entry);
                    return true;
                }
                Ok(true) => SPECIAL.to_owned(),
                Ok(false) => "refused: something with the same name was already copied".to_owned(),
                Err(reason) => {
                    self.directory_failed(id, reason);
                    return false;
                }
            },
        };
        let remote = self.directories.remote(id, &entry);
        self.failures.add(&remote, refusal, None);
        true
    }

    /// Ends the list of a directory.
    fn directory_failed(&mut self, id: u64, reason: String) {
        if let Some(directory) = self.directories.get(id) {
            self.failures.add(&directory.remote, reason, None);
        }
        self.directories.listed(id);
        self.close_directory(id);
    }

    /// Closes a directory whose list is complete; it may be finished then.
    fn close_directory(&mut self, id: u64) {
        if let Some(handle) = self.directories.take_handle(id) {
            self.client.request(&Request::Close(&handle), Tag::Close);
        }
        self.over(id);
    }

    /// Handles the attributes of an open file, or their absence.
    fn sized(&mut self, id: u64, attributes: Option<Attributes>) {
        self.went_on(id, |file, progress| {
            let size = file.sized(attributes.unwrap_or_else(|| file.attributes()))?.unwrap_or(0);
            progress.total = progress.total.saturating_sub(file.counted).saturating_add(size);
            file.counted = size;
            Ok(())
        });
    }

    /// Applies a step of a file and its consequences: a file that ended before its size is stat'ed again.
    fn went_on(&mut self, id: u64, step: impl FnOnce(&mut Transfer, &mut Progress) -> Result<(), Failure>) {
        let Some(file) = self.files.get_mut(&id) else { return };
        if let Err(failure) = step(file, &mut self.progress) {
            return self.file_failed(id, failure);
        }
        if file.asks_again() {
            self.client.request(&Request::Fstat(file.handle().unwrap_or_default()), Tag::SizeAgain(id));
        }
        self.settle(id);
    }

    fn count(&mut self, attributes: &Attributes) {
        self.progress.total = self.progress.total.saturating_add(attributes.size.unwrap_or(0));
    }
}
