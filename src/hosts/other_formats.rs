//! Lists of hosts that other programs keep, which look like a hosts file here and there: what gives them away, and how a hosts
//! file is made of them.

/// What a text is, if it is no hosts file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherFormat {
    /// Ansible's `[group]` lines and `ansible_...` variables.
    AnsibleInventory,
    /// Mappings and list items of YAML, such as an inventory of Ansible.
    Yaml,
    /// JSON, such as an inventory or the state of Terraform.
    Json,
    /// Keys of servers.
    KnownHosts,
    /// The configuration of ssh.
    SshConfig,
    /// Values between commas, below the names of the columns.
    Csv,
}

/// Keywords that begin blocks of ssh_config(5) or stand first in them. As the name of a host with a user behind it none is likely.
const SSH_CONFIG: [&str; 7] = ["host", "hostname", "identityfile", "include", "match", "proxycommand", "proxyjump"];
/// Column names that say which hosts the rows are for.
const COLUMNS: [&str; 8] = ["address", "fqdn", "host", "host_name", "hostname", "ip", "name", "node"];

impl OtherFormat {
    /// The first line of `text` that cannot be one of a hosts file, counted from 0, and what the text is then.
    pub fn of<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<(usize, &'a str, OtherFormat)> {
        let mut is_first = true;
        lines.by_ref().enumerate().find_map(|(number, line)| {
            let line = str::from_utf8(line).ok()?.trim();
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let found = OtherFormat::of_line(line, is_first);
            is_first = false;
            found.map(|format| (number, line, format))
        })
    }

    fn of_line(line: &str, is_first: bool) -> Option<OtherFormat> {
        let mut words = line.split_ascii_whitespace();
        let first = words.next()?;
        let second = words.next();
        if line.starts_with('[') && line.ends_with(']') && is_section(&line[1..line.len() - 1]) {
            return Some(OtherFormat::AnsibleInventory);
        }
        if line.split_ascii_whitespace().any(|word| word.starts_with("ansible_") && word.contains('=')) {
            return Some(OtherFormat::AnsibleInventory);
        }
        if is_first && (line.starts_with('{') || line == "[" || line.starts_with("[{") || line.starts_with("[\"")) {
            return Some(OtherFormat::Json);
        }
        if line == "---"
            || first == "-"
            || first.ends_with(':') && first.len() > 1 && !first[..first.len() - 1].contains(':')
        {
            return Some(OtherFormat::Yaml);
        }
        let is_marker = ["@cert-authority", "@revoked"].contains(&first);
        if is_marker || first.starts_with("|1|") || second.is_some_and(is_key_type) {
            return Some(OtherFormat::KnownHosts);
        }
        let keyword = first.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if (second.is_some() || first.contains('=')) && SSH_CONFIG.contains(&keyword.as_str()) {
            return Some(OtherFormat::SshConfig);
        }
        let mut columns = line.split([',', ';', '\t']).map(|name| name.trim().trim_matches('"').to_ascii_lowercase());
        let has_column = line.contains([',', ';', '\t']) && columns.any(|name| COLUMNS.contains(&name.as_str()));
        (is_first && has_column).then_some(OtherFormat::Csv)
    }

    /// What it looks like, and what makes a hosts file of it.
    pub fn advice(self) -> &'static str {
        match self {
            OtherFormat::AnsibleInventory => {
                "this looks like an inventory of Ansible, not like a hosts file with [user@]host[:port] on each line; \
                 ansible all -i FILE --list-hosts | tail -n +2 | pssh -h - ... takes its hosts"
            }
            OtherFormat::Yaml => {
                "this looks like YAML, not like a hosts file with [user@]host[:port] on each line; of an inventory of Ansible \
                 ansible all -i FILE --list-hosts | tail -n +2 | pssh -h - ... takes the hosts"
            }
            OtherFormat::Json => {
                "this looks like JSON, not like a hosts file with [user@]host[:port] on each line; jq -r '.[]' FILE | pssh -h - ... \
                 takes the strings of a list"
            }
            OtherFormat::KnownHosts => {
                "this looks like a known_hosts file, not like a hosts file with [user@]host[:port] on each line; \
                 awk '!/^[#|@]/ { split($1, name, \",\"); print name[1] }' FILE | pssh -h - ... takes the names that are not hashed"
            }
            OtherFormat::SshConfig => {
                "this looks like an ssh_config file, which is given with -F; -h takes a hosts file with [user@]host[:port] on each \
                 line, and awk 'tolower($1) == \"host\" && !/[*?!]/ { for (i = 2; i <= NF; i++) print $i }' FILE | pssh -h - ... \
                 takes the names of it"
            }
            OtherFormat::Csv => {
                "this looks like a table with a header, not like a hosts file with [user@]host[:port] on each line; \
                 tail -n +2 FILE | cut -d, -f1 | pssh -h - ... takes its first column, and --host-args the others"
            }
        }
    }
}

/// Whether it can stand between the brackets of a section: a name with a letter, and perhaps `:children` or `:vars`. `[1-3]` is
/// a range, `[::1]` an address.
fn is_section(inside: &str) -> bool {
    let name = inside.strip_suffix(":children").or_else(|| inside.strip_suffix(":vars")).unwrap_or(inside);
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.contains(char::is_alphabetic) && name.chars().all(good)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(usize, OtherFormat)> {
        OtherFormat::of(text.split('\n').map(str::as_bytes)).map(|(line, _, format)| (line, format))
    }

    #[test]
    fn other_lists_are_told_apart() {
        use OtherFormat::{AnsibleInventory, Csv, Json, KnownHosts, SshConfig, Yaml};
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
            ("Match all", 0, SshConfig),
            ("hostname,ip,role\nweb1,10.0.0.1,db", 0, Csv),
            ("\"Name\";\"IP\"\nweb1;10.0.0.1", 0, Csv),
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
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
