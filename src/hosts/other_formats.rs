//! Host lists of other programs that partly look like a hosts file: how to recognize them, and how to make a hosts
//! file of them.
//!
//! A valid line of a hosts file is never taken for anything else because of one odd word: users and arguments may have any
//! name, and comments any text. If a line is not a host anyway, a guess costs nothing.

use std::net::IpAddr;
use std::path::Path;

use super::line::{Field, split};
use super::problem::{Advice, Problem};

/// The format of a text that is not a hosts file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherFormat {
    /// Ansible's `[group]` lines and `ansible_...` variables.
    AnsibleInventory,
    /// Mappings and list items of YAML, such as an Ansible inventory.
    Yaml,
    /// JSON, such as an inventory or the state of Terraform.
    Json,
    /// Keys of servers.
    KnownHosts,
    /// The configuration of ssh.
    SshConfig,
    /// Values below the names of their columns.
    Table(Table),
}

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The separator of columns; a blank for any blanks.
    delimiter: char,
    /// Whether the names of the columns are quoted.
    is_quoted: bool,
    /// The column with the hosts, from 1.
    column: usize,
}

/// Keywords of ssh_config(5) that are unlikely host names.
const KEYWORDS: [&str; 40] = [
    "addkeystoagent",
    "addressfamily",
    "batchmode",
    "canonicalizehostname",
    "certificatefile",
    "checkhostip",
    "connectionattempts",
    "connecttimeout",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "exitonforwardfailure",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "globalknownhostsfile",
    "gssapiauthentication",
    "hashknownhosts",
    "hostkeyalgorithms",
    "hostkeyalias",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "kexalgorithms",
    "localforward",
    "loglevel",
    "passwordauthentication",
    "preferredauthentications",
    "proxycommand",
    "proxyjump",
    "pubkeyauthentication",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "serveraliveinterval",
    "stricthostkeychecking",
    "tcpkeepalive",
    "userknownhostsfile",
    "visualhostkey",
];
/// Keywords that are English words: a host may have this name, and a user. The first two begin blocks.
const PLAIN_KEYWORDS: [&str; 9] =
    ["host", "match", "ciphers", "compression", "hostname", "include", "macs", "port", "user"];
/// Names of columns with hosts, in lower case.
pub const HOST_COLUMNS: [&str; 21] = [
    "host",
    "hosts",
    "hostname",
    "host_name",
    "host name",
    "name",
    "node",
    "nodename",
    "server",
    "servername",
    "server_name",
    "machine",
    "fqdn",
    "dns",
    "dns_name",
    "ip",
    "ip_address",
    "address",
    "addr",
    "inventory_hostname",
    "ansible_host",
];
/// Those of them that are unlikely host names.
const ONLY_COLUMNS: [&str; 6] = ["hostname", "host_name", "fqdn", "ip_address", "inventory_hostname", "ansible_host"];
/// Names of columns with ports.
const PORT_COLUMNS: [&str; 3] = ["port", "ssh_port", "ssh-port"];

/// The evidence of one line about its text.
enum Evidence {
    None,
    /// It is of this format.
    Sure(OtherFormat),
    /// It may be a line of ssh_config with this keyword, and a host.
    Keyword(usize),
    /// It may name the columns of a table, if the next lines look so.
    Header(Table, Column),
}

/// The content of a table's second column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    /// No second column.
    Missing,
    Addresses,
    Ports,
}

impl OtherFormat {
    /// Returns the first line of `text` that cannot be one of a hosts file, from 0, and the format of the text.
    pub fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<(usize, &'a str, OtherFormat)> {
        let mut is_first = true;
        let mut header: Option<(usize, &str, Table, Column)> = None;
        let mut keyword: Option<(usize, &str, usize)> = None;
        for (number, line) in lines.enumerate() {
            let Ok(line) = str::from_utf8(line) else { continue };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some((number, header, table, column)) = header.take()
                && Column::has(column, line)
            {
                return Some((number, header, OtherFormat::Table(table)));
            }
            match Evidence::of(line, is_first) {
                Evidence::None => {}
                Evidence::Sure(format) => return Some((number, line, format)),
                Evidence::Header(table, column) => header = Some((number, line, table, column)),
                Evidence::Keyword(new) => match keyword {
                    // Two different keywords, of which one begins a block.
                    Some((number, line, old)) if new != old && new.min(old) < 2 => {
                        return Some((number, line, OtherFormat::SshConfig));
                    }
                    Some(_) => {}
                    None => keyword = Some((number, line, new)),
                },
            }
            is_first = false;
        }
        None
    }

    /// Returns the problem of `file`, whose line `number`, from 0, is the first that cannot be one of a hosts file.
    pub(super) fn problem(self, file: &Path, number: usize) -> Problem {
        Problem::with(self.not_hosts(), Advice::Convert { format: self, recipe: self.recipe(file, number) })
    }

    /// Returns the problem of a command that has printed this format.
    pub(super) fn printed(self) -> Problem {
        self.not_hosts().into()
    }

    fn not_hosts(self) -> String {
        format!("this looks like {}, not like a hosts file with [user@]host[:port] on each line", self.name())
    }

    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            OtherFormat::AnsibleInventory => "an inventory of Ansible",
            OtherFormat::Yaml => "YAML",
            OtherFormat::Json => "JSON",
            OtherFormat::KnownHosts => "a known_hosts file",
            OtherFormat::SshConfig => "an ssh_config file",
            OtherFormat::Table(_) => "a table with a header",
        }
    }

    /// Returns a shell command that prints the hosts of `file` from the line `number` on.
    fn recipe(self, file: &Path, number: usize) -> String {
        let is_file = file.as_os_str() != "-" && !file.starts_with("/dev") && !file.starts_with("/proc");
        let name = if is_file { word(&file.to_string_lossy()) } else { "FILE".to_owned() };
        match self {
            OtherFormat::AnsibleInventory | OtherFormat::Yaml => {
                format!("ansible all -i {name} --list-hosts | tail -n +2")
            }
            OtherFormat::Json => format!("jq -r '.[]' {name}"),
            OtherFormat::KnownHosts => {
                format!("awk '!/^[#|@]/ {{ split($1, name, \",\"); print name[1] }}' {name}")
            }
            OtherFormat::SshConfig => format!(
                "awk '{{ gsub(/[=\"]/, \" \") }} tolower($1) == \"host\" && !/[*?!]/ {{ for (i = 2; i <= NF; i++) print $i }}' {name}"
            ),
            OtherFormat::Table(table) => table.recipe(&name, number),
        }
    }
}

impl Evidence {
    fn of(line: &str, is_first: bool) -> Evidence {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { return Evidence::None };
        let second = words.next().filter(|word| !word.starts_with('#'));
        let sure = |format| Evidence::Sure(format);
        if line.starts_with('[') && is_section(line) {
            return sure(OtherFormat::AnsibleInventory);
        }
        if is_first && (line.starts_with('{') || line == "[" || line.starts_with("[{") || line.starts_with("[\"")) {
            return sure(OtherFormat::Json);
        }
        if line == "---"
            || first == "-"
            || first.ends_with(':') && first.len() > 1 && !first[..first.len() - 1].contains(':')
        {
            return sure(OtherFormat::Yaml);
        }
        if ["@cert-authority", "@revoked"].contains(&first) || first.starts_with("|1|") {
            return sure(OtherFormat::KnownHosts);
        }
        let third = words.next();
        if second.is_some_and(is_key_type) && third.is_some_and(is_key) {
            return sure(OtherFormat::KnownHosts);
        }
        // The rest needs the fields of the line, without its comment. Most lines are just a host.
        let may_be_header = is_first && (second.is_some() || first.contains([',', ';', '"']) || is_column(first));
        let keyword = first.split('=').next().unwrap_or_default();
        let is_keyword = (second.is_some() || first.contains('=')) && is_in(keyword, &KEYWORDS);
        let plain = PLAIN_KEYWORDS.iter().position(|known| known.eq_ignore_ascii_case(keyword));
        let plain = plain.filter(|_| second.is_some() || first.contains('='));
        if !(may_be_header || is_keyword || plain.is_some() || line.contains("ansible_")) {
            return Evidence::None;
        }
        let Ok(fields) = split(line) else { return Evidence::None };
        if fields.iter().any(|field| field.text.starts_with("ansible_") && field.text.contains('=')) {
            return sure(OtherFormat::AnsibleInventory);
        }
        if may_be_header {
            match Evidence::of_table(line, &fields) {
                Evidence::None => {}
                evidence => return evidence,
            }
        }
        if is_keyword && !matches!(&fields[..], [_, Field { value: Some(_), .. }, ..]) {
            return sure(OtherFormat::SshConfig);
        }
        plain.map_or(Evidence::None, |plain| Evidence::of_keyword(plain, &fields))
    }

    /// Whether a line that begins with an English keyword is one of ssh_config, not a host of that name.
    fn of_keyword(plain: usize, fields: &[Field<'_>]) -> Evidence {
        let sure = |format| Evidence::Sure(format);
        match fields {
            [Field { text, .. }, ..] if text.contains('=') => sure(OtherFormat::SshConfig),
            [_, Field { value: Some(_), .. }, ..] | [] | [_] => Evidence::None,
            // Not a user name, or not a line of a hosts file.
            [_, Field { text, .. }, ..] if text.contains(['*', '?', '/', '~', '=', '"']) => {
                sure(OtherFormat::SshConfig)
            }
            [_, _, third, ..] if third.value.is_none() => sure(OtherFormat::SshConfig),
            [_, Field { text, .. }] if PLAIN_KEYWORDS[plain] == "compression" && ["yes", "no"].contains(text) => {
                sure(OtherFormat::SshConfig)
            }
            [_, _] => Evidence::Keyword(plain),
            _ => Evidence::None,
        }
    }

    /// Whether the first line of a text names the columns of a table. Without `fields` the line cannot be parsed.
    fn of_table(line: &str, fields: &[Field<'_>]) -> Evidence {
        if fields.iter().any(|field| field.value.is_some()) {
            return Evidence::None;
        }
        let end = fields
            .last()
            .map_or(line.len(), |field| field.text.as_ptr() as usize - line.as_ptr() as usize + field.text.len());
        let line = &line[..end];
        let first = fields.first().map_or(line, |field| field.text);
        // A comma is not part of a host name, but of a range. A user name may contain one.
        let has_commas = first.split(['[', ']']).step_by(2).any(|part| part.contains(',')) || fields.len() > 2;
        let delimiter = match line {
            line if line.contains(';') => ';',
            line if line.contains(',') && has_commas => ',',
            line if line.contains('\t') => '\t',
            _ => ' ',
        };
        let is_blank = delimiter == ' ';
        let names: Vec<&str> = match is_blank {
            true => line.split_ascii_whitespace().collect(),
            false => line.split(delimiter).map(str::trim).collect(),
        };
        let is_quoted = names.iter().any(|name| name.len() > 1 && name.starts_with('"') && name.ends_with('"'));
        let names: Vec<&str> = names.iter().map(|name| name.trim_matches('"').trim()).collect();
        let Some(column) = names.iter().position(|name| is_column(name)) else { return Evidence::None };
        let table = Table { delimiter, is_quoted, column: column + 1 };
        let is_a_host = !is_quoted && (is_blank || delimiter == '\t');
        let is_known = |name: &&str| is_column(name) || is_in(name, &PORT_COLUMNS) || is_in(name, &["user"]);
        // A line of ssh_config: Host web1 web2.
        let is_block = is_blank && is_in(names[0], &PLAIN_KEYWORDS[..2]) && !names[1..].iter().any(is_known);
        match names[..] {
            // Not a line of a hosts file anyway.
            [_, _, ..] if !is_block && (!is_a_host || fields.len() > 2) => Evidence::Sure(OtherFormat::Table(table)),
            [_] if is_quoted => Evidence::Sure(OtherFormat::Table(table)),
            [name] if is_in(name, &ONLY_COLUMNS) => Evidence::Header(table, Column::Missing),
            [name, other] if is_in(name, &ONLY_COLUMNS) && (is_column(other) || is_in(other, &PORT_COLUMNS)) => {
                Evidence::Sure(OtherFormat::Table(table))
            }
            [name, other] if is_column(name) && is_in(other, &PORT_COLUMNS) => Evidence::Header(table, Column::Ports),
            [name, other] if is_column(name) && is_column(other) => Evidence::Header(table, Column::Addresses),
            _ => Evidence::None,
        }
    }
}

impl Column {
    /// Whether a row could have this column's content, so that its second word is not a user.
    fn has(self, row: &str) -> bool {
        let second = row.split_ascii_whitespace().nth(1);
        match self {
            Column::Missing => second.is_none(),
            Column::Ports => second.is_some_and(|port| port.parse::<u16>().is_ok()),
            Column::Addresses => second.is_some_and(|address| address.parse::<IpAddr>().is_ok()),
        }
    }
}

impl Table {
    /// Returns the command that prints the hosts of the table in `file`, whose header is the line `number`, from 0.
    fn recipe(self, file: &str, number: usize) -> String {
        let (column, first) = (self.column, number + 2);
        let cut = match self.delimiter {
            ' ' => return format!("awk 'NR >= {first} {{ print ${column} }}' {file}"),
            '\t' => format!("cut -f{column}"),
            ',' => format!("cut -d, -f{column}"),
            other => format!("cut -d'{other}' -f{column}"),
        };
        let quotes = if self.is_quoted { " | tr -d '\"'" } else { "" };
        format!("tail -n +{first} {file} | {cut}{quotes}")
    }
}

/// Returns `text` as one shell word, quoted if needed.
fn word(text: &str) -> String {
    // Not an option of the program that gets it.
    let text = if text.starts_with('-') { format!("./{text}") } else { text.to_owned() };
    let is_plain = |c: char| c.is_alphanumeric() || "_-./+:,@%".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn is_in(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn is_column(name: &str) -> bool {
    is_in(name, &HOST_COLUMNS)
}

/// Whether it is a section line: a name with a letter in brackets, and perhaps `:children` or `:vars`. `[1-3]` is a range,
/// `[::1]` an address.
fn is_section(line: &str) -> bool {
    let line = line.find(" #").map_or(line, |comment| line[..comment].trim_end());
    let Some(inside) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) else { return false };
    let name = inside.strip_suffix(":children").or_else(|| inside.strip_suffix(":vars")).unwrap_or(inside);
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.contains(char::is_alphabetic) && name.chars().all(good)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
}

/// Whether it is the base64 of a public key, which begins with the length of a short name.
fn is_key(word: &str) -> bool {
    let body = word.trim_end_matches('=');
    body.starts_with("AAAA") && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(usize, OtherFormat)> {
        OtherFormat::of(text.split('\n').map(str::as_bytes)).map(|(line, _, format)| (line, format))
    }

    #[test]
    fn other_lists_are_told_apart() {
        use OtherFormat::{AnsibleInventory, Json, KnownHosts, SshConfig, Yaml};
        let table = |delimiter, is_quoted, column| OtherFormat::Table(Table { delimiter, is_quoted, column });
        for (text, line, format) in [
            ("# all\nweb1\n[db]\ndb1", 2, AnsibleInventory),
            ("[web:children]\nx", 0, AnsibleInventory),
            ("web1 ansible_host=10.0.0.1", 0, AnsibleInventory),
            ("web1\nansible_user=root", 1, AnsibleInventory),
            ("---\nall:", 0, Yaml),
            ("all:\n  hosts:\n    web1:", 0, Yaml),
            ("- web1\n- web2", 0, Yaml),
            ("{\"all\": {}}", 0, Json),
            ("[\n  \"web1\"\n]", 0, Json),
            ("[\"web1\"]", 0, Json),
            ("web1,10.0.0.1 ssh-ed25519 AAAA", 0, KnownHosts),
            ("|1|abc=|def= ecdsa-sha2-nistp256 AAAA", 0, KnownHosts),
            ("@cert-authority *.example ssh-rsa AAAA", 0, KnownHosts),
            ("Host web1\n  HostName 10.0.0.1", 0, SshConfig),
            ("# mine\nhost=web1", 1, SshConfig),
            ("Match all\nUser joe", 0, SshConfig),
            ("Host web*", 0, SshConfig),
            ("Host web1 web2 # both", 0, SshConfig),
            ("host = web1", 0, SshConfig),
            ("Compression yes\nHost *", 0, SshConfig),
            ("web1\nIdentityFile ~/.ssh/id", 1, SshConfig),
            ("Include ~/.ssh/other", 0, SshConfig),
            ("web1 ssh-rsa AAAAB3NzaC1yc2E= joe@web", 0, KnownHosts),
            ("[db] # the databases", 0, AnsibleInventory),
            ("hostname,ip,role\nweb1,10.0.0.1,db", 0, table(',', false, 1)),
            ("role, Host Name # all\ndb, web1", 0, table(',', false, 2)),
            ("\"Name\";\"IP\"\nweb1;10.0.0.1", 0, table(';', true, 1)),
            ("\"hostname\"\n\"web1\"", 0, table(' ', true, 1)),
            ("hostname\nweb1", 0, table(' ', false, 1)),
            ("hostname\tip\nweb1\t10.0.0.1", 0, table('\t', false, 1)),
            ("hostname\trole\tip\nweb1\tdb\t10.0.0.1", 0, table('\t', false, 1)),
            ("# all\nhost port\nweb1 2222", 1, table(' ', false, 1)),
            ("name ip\nweb1 10.0.0.1", 0, table(' ', false, 1)),
        ] {
            assert_eq!(of(text), Some((line, format)), "{text}");
        }
    }

    #[test]
    fn hosts_files_are_none_of_them() {
        for text in [
            "",
            "web1\nroot@web2:22 # ssh-rsa\n",
            "web[1-3]\n[::1]:22\n[web1]:2200\nfe80::1%eth0\n[1-3]",
            "host\nmatch\nname port=22",
            "host1 root",
            "@web\n@src:db",
            "web1 deploy port=22 note=\"a: b\" arg.ansible=1",
            "a:22\nb:23 root",
            "web1 ssh-admin\nweb2 ssh-user AAAA=x\nweb3 sk-ssh-user # AAAA",
            "web1 # was ansible_host=10.0.0.1\nweb2 note=\"no ansible_host=x\"",
            "web1 # primary, node",
            "web1 #note; host",
            "web1\tnode",
            "web1 note=\"a, name\"",
            "web1 a,node",
            "web[1,2]\tnode",
            "hostname user=joe\nweb1",
            "hostname joe\nweb1",
            "hostname",
            "host joe\nhost ann",
            "host port\nweb1 joe",
            "name ip\nweb1 joe",
            "port joe\nuser ann",
            "compression joe",
            "node admin",
            "proxyjump user=joe",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
