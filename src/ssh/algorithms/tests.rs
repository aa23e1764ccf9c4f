use super::*;
use crate::ssh::wire::put_string;
use crate::ssh_config;

fn algorithms() -> Algorithms {
    Algorithms {
        key_exchanges: offered::<ssh_config::KeyExchanges>(Kind::KeyExchange, None).expect("defaults"),
        host_keys: offered::<ssh_config::KeyTypes>(Kind::HostKey, None).expect("defaults"),
        orders_host_keys: false,
        ciphers: offered::<ssh_config::Ciphers>(Kind::Cipher, None).expect("defaults"),
        macs: offered::<ssh_config::Macs>(Kind::Mac, None).expect("defaults"),
        authorities: Vec::new(),
        compression: false,
    }
}

/// Returns the message for a server that offers these: key exchanges, host key types, then ciphers and MACs in each
/// direction.
fn said(lists: [&str; 6]) -> Option<Disagreement> {
    let mut payload = vec![0, 20];
    payload.extend([7; 16]);
    for list in lists.into_iter().chain(["none", "none", "", ""]) {
        put_string(&mut payload, list.as_bytes());
    }
    let mut opening = b"SSH-2.0-x\r\n".to_vec();
    put_string(&mut opening, &payload);
    let algorithms = algorithms();
    disagreement(&algorithms, &algorithms.host_keys, &opening)
}

const KEX: &str = "curve25519-sha256";
const KEY: &str = "ssh-ed25519";

#[test]
fn a_common_offer_is_no_disagreement() {
    assert_eq!(said([KEX, KEY, "aes128-ctr", "aes128-ctr", "hmac-sha2-256", "hmac-sha2-256"]), None);
    // These ciphers need no MAC.
    let (chacha, gcm) = ("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com");
    assert_eq!(said([KEX, KEY, chacha, gcm, "umac-64@openssh.com", ""]), None);
}

#[test]
fn the_first_list_without_anything_in_common_is_named() {
    let detail = |lists| said(lists).expect("nothing in common").detail;
    let mac = detail([KEX, KEY, "aes128-ctr", "aes128-gcm@openssh.com", "umac-64@openssh.com", ""]);
    assert!(
        mac.starts_with("no matching MAC found: the server offers umac-64@openssh.com; pssh offers hmac-"),
        "{mac}"
    );
    let cipher = detail([KEX, KEY, "aes128-ctr", "aes128-cbc", "", ""]);
    assert!(
        cipher.starts_with("no matching cipher found: the server offers aes128-cbc; pssh offers chacha20"),
        "{cipher}"
    );
    let nothing = said([KEX, "", "", "", "", ""]).expect("nothing in common");
    assert!(nothing.detail.starts_with("no matching host key type found: the server offers nothing; "), "{nothing:?}");
    assert_eq!(nothing.hint, Remedy::NothingOffered);
}

#[test]
fn a_hint_says_what_would_help() {
    let hint = |kex| said([kex, "", "", "", "", ""]).expect("nothing in common").hint;
    let lacking = |reason, is_sha1| Remedy::LackingAlgorithm { reason, is_sha1 };
    assert_eq!(hint("sntrup761x25519-sha512"), lacking("this build has no sntrup761", false));
    assert_eq!(hint("x@example.com"), lacking("this build lacks it", false));
    let cbc = said([KEX, KEY, "3des-cbc,aes256-cbc", "aes128-ctr", "", ""]).expect("nothing in common").hint;
    assert_eq!(cbc, Remedy::AllowAlgorithm { keyword: "Ciphers", name: "aes256-cbc" });
}

#[test]
fn a_servers_list_is_cut() {
    let endless = "é".repeat(1000);
    let detail = said([&endless, "", "", "", "", ""]).expect("nothing in common").detail;
    assert!(detail.contains("é\"...; pssh offers"), "{detail}");
    assert!(detail.len() < 1000, "{} bytes", detail.len());
}

#[test]
fn reasons_for_what_is_missing() {
    assert_eq!(reasons(&[]), None);
    let names = ["ssh-dss", "umac-64@openssh.com", "sk-ssh-ed25519@openssh.com", "umac-128@openssh.com"];
    let said = "this build has no DSA (ssh-dss); this build has no UMAC (umac-64@openssh.com, umac-128@openssh.com); \
                pssh does not verify signatures of security keys (sk-ssh-ed25519@openssh.com)";
    assert_eq!(reasons(&names).as_deref(), Some(said));
    for (name, reason) in [
        ("diffie-hellman-group14-sha1", "this build has no SHA-1 key exchanges"),
        ("hmac-sha1-96-etm@openssh.com", "this build has no SHA-1 MACs"),
        ("ssh-rsa-cert-v01@openssh.com", "this build has no SHA-1 signatures"),
        ("hmac-md5", "this build has no MD5"),
        ("3des-cbc", "this build has no 3DES"),
        ("mlkem768x25519-sha256", "it needs OpenSSL 3.5 or newer"),
    ] {
        assert_eq!(super::reason(name), reason);
    }
}

#[test]
fn nothing_old_is_offered_unasked() {
    for kind in Kind::ALL {
        let offered = kind.offered();
        assert!(!offered.is_empty(), "{kind:?}");
        let old = |name: &&&str| is_sha1(name) || name.ends_with("-cbc") || name.contains("md5");
        assert_eq!(offered.iter().find(old), None, "{kind:?}");
    }
}
