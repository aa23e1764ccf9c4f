//! The script that runs on the host of an upload: it decides where files go, has `scp -t` write them into a private
//! directory next to the target, and moves them into place when pssh says that all have arrived.

/// The command of an upload, up to its arguments (see [`super::upload::command`]). It runs in any login shell, even csh
/// or fish: its single-quoted text contains no other single quotes, exclamation marks or newlines, and a backslash only
/// before a letter.
///
/// It answers in lines of `pssh:WORD`, a path and a reason, with tabs between:
/// * `stop`: nothing can be copied; `shut`: since the directory of the file that is there takes no new one;
/// * `ready`, with `new` (into a directory that has just been made for this) or `direct`, and behind a blank `in` where things go into the target,
///   or the number of bytes of the file that is there: here scp begins. It ends at an `E` without a `D`, and leaves what comes behind it
///   on standard input to the script;
/// * `end`: scp has ended. With `new`, lines are expected here: `drop PATH` for what has not arrived as it should, then `keep`. The end of
///   the input instead of `keep` means that the copy has failed, wherever the connection was cut;
/// * `fail`: this file could not be moved into place; `held`: since the file that is there may not be replaced;
/// * `done`.
///
/// Names of functions and variables are short, since all of this is sent to every host:
/// t: target; o: options; s: options of scp; x: things go into the target; r: the new name otherwise; p: the directory that they come
/// to stand in; q: something has failed; w: our own directory, in it; z, y: the name of a temporary file in other directories, and such a file that may be
/// there.
pub const SCRIPT: &str = concat!(
    "exec sh -c '",
    "LC_ALL=C; export LC_ALL; d= e= h= k= m= q= r= v= w= x= y= c=0; ",
    "tell() { printf \"pssh:%s\\t%s\\t%s\\n\" \"$1\" \"$2\" \"$3\"; }; ",
    "stop() { tell ${3:-stop} \"$1\" \"${2##*: }\"; exit 1; }; ",
    "fail() { q=1; tell ${3:-fail} \"$1\" \"${2##*: }\"; }; ",
    // The dot keeps newlines at the end of a name.
    "decode() { d=$(printf %b. \"$1\"); d=${d%.}; }; ",
    // The end of the chain of links from $r.
    "follow() { k=; case $r in */*) ;; *) r=./$r;; esac; while [ -h \"$r\" ]; do ",
    "k=.$k; case $k in .........................................*) return 1;; esac; ",
    "e=$(readlink -n \"$r\" 2>/dev/null && echo .) || return 1; e=${e%.}; ",
    "case $e in /*) r=$e;; *) r=${r%/*}/$e;; esac; done; }; ",
    // Removes what was not moved, whenever and however this ends.
    "clean() { trap \"\" 1 2 13 15; case $y in \"\") ;; *) rm -rf \"$y\";; esac; ",
    "case $m in \"\") ;; *) rm -rf \"$w\" 2>/dev/null || { chmod -R u+rwx \"$w\"; rm -rf \"$w\"; } 2>/dev/null;; esac; }; ",
    // $1 gets the mode of $2, without setuid; where chmod cannot, ls knows it.
    "mode() { if chmod --reference=\"$2\" \"$1\" 2>/dev/null; then ",
    "if [ -u \"$1\" ] || [ -g \"$1\" ]; then chmod ug-s \"$1\"; fi; ",
    "else ls -ld \"$2\" | { read -r a b; a=${a#?}; b=${a#???}; g=${b#???}; ",
    "a=$(printf \"u=%s,g=%.3s,o=%.3s\" \"${a%\"$b\"}\" \"$b\" \"$g\" | tr st xx | tr -d ST-); chmod \"$a\" \"$1\"; }; fi; }; ",
    // $1 gets the owner of $2, if that is allowed.
    "owner() { chown --reference=\"$2\" \"$1\" 2>/dev/null || ",
    "ls -ldn \"$2\" 2>/dev/null | { read -r a b u g a; chown \"$u:$g\" \"$1\" 2>/dev/null; }; }; ",
    // Moves $1 to $2, which is not a directory; $3 is its name in messages. Another directory may be another file system: there the
    // bytes go to a temporary name first.
    "place() { if [ \"${2%/*}\" = \"$p\" ]; then e=$(mv -f \"$1\" \"$2\" 2>&1); ",
    "else y=${2%/*}/$z; e=$(mv -f \"$1\" \"$y\" 2>&1 && mv -f \"$y\" \"$2\" 2>&1); fi && y= || ",
    "{ [ -f \"$2\" ] && fail \"$3\" \"$e\" held || fail \"$3\" \"$e\"; case $y in \"\") ;; *) rm -rf \"$y\";; esac; y=; return 1; }; }; ",
    // The file $1 replaces $2.
    "file() { r=$2; follow || { fail \"$3\" \"the link there leads nowhere\"; return; }; set -- \"$1\" \"$r\" \"$3\"; ",
    "if [ -d \"$2\" ]; then fail \"$3\" \"Is a directory\"; ",
    "elif [ -f \"$2\" ]; then owner \"$1\" \"$2\"; case $o in *p*) ;; *) mode \"$1\" \"$2\";; esac; place \"$@\"; ",
    "elif [ -e \"$2\" ]; then e=$( { cat \"$1\" >\"$2\" && rm \"$1\"; } 2>&1) || fail \"$3\" \"$e\"; ",
    "else place \"$@\"; fi; }; ",
    // The directory $1 becomes $2. Moving a directory needs write permission on the directory itself too.
    "enter() { v=; [ -w \"$1\" ] || { v=1; chmod u+w \"$1\"; }; place \"$@\" && case $v in 1) chmod u-w \"$2\";; esac; }; ",
    // The contents of the directory $1 go into the directory $2. Moving them changes the times, so read those first.
    "merge() { c=$((c+1)); set -- \"$1\" \"$2\" \"$3\" \"$w/$z-$c\"; ",
    "case $o in *p*) mkdir \"$4\" && mode \"$4\" \"$1\" && touch -r \"$1\" \"$4\";; esac; ",
    "[ -r \"$1\" ] && [ -w \"$1\" ] && [ -x \"$1\" ] || chmod u+rwx \"$1\"; walk \"$1\" \"$2\" \"$3/\"; ",
    "case $o in *p*) { mode \"$2\" \"$4\" && touch -r \"$4\" \"$2\"; } 2>/dev/null || ",
    "fail \"$3\" \"its mode and times cannot be set\"; rmdir \"$4\";; esac; rmdir \"$1\" 2>/dev/null; }; ",
    "item() { if [ -d \"$1\" ]; then ",
    "if [ -d \"$2\" ]; then merge \"$@\"; elif [ -e \"$2\" ] || [ -h \"$2\" ]; then fail \"$3\" \"Not a directory\"; ",
    "else enter \"$@\"; fi; else file \"$@\"; fi; }; ",
    "walk() { for f in \"$1\"/* \"$1\"/.*; do case ${f##*/} in .|..) continue;; esac; ",
    "[ -e \"$f\" ] && item \"$f\" \"$2/${f##*/}\" \"$3${f##*/}\"; done; }; ",
    // The start.
    "command -v scp >/dev/null 2>&1 || stop \"\" \"no scp\"; ",
    "decode \"$1\"; t=$d; o=$3; s=$4; decode \"$5\"; w=$d; decode \"$6\"; z=$d; ",
    "case $2 in \"\") ;; *) eval \"h=$2\"; case $h in \"~\"*) stop \"$2\" \"no such user\";; esac; t=$h/$t;; esac; ",
    "case $t in */) x=1;; esac; case $o in *n*) x=1;; esac; ",
    "if [ -d \"$t\" ]; then x=1; p=$t; ",
    "elif [ -n \"$x\" ]; then p=$t; e=$(mkdir -p \"$t\" 2>&1) || stop \"$t\" \"$e\"; ",
    "else r=$t; follow || stop \"$t\" \"the link there leads nowhere\"; p=${r%/*}; decode \"$7\"; w=$d; ",
    "[ -d \"$p/\" ] || e=$(mkdir -p \"$p/\" 2>&1) || stop \"$p\" \"$e\"; ",
    "if [ -e \"$r\" ]; then case $o in *d*) stop \"$t\" \"Not a directory\";; esac; [ -f \"$r\" ] || o=i$o; fi; fi; ",
    // The size of the replaced file.
    "case $x in 1) k=in;; *) k=; [ -f \"$r\" ] && k=$(ls -ldn \"$r\" 2>/dev/null | { read -r a b u g c d; printf %s \"$c\"; });; esac; ",
    "case $o in *i*) tell ready \"direct $k\"; scp $s -t \"$t\"; tell end $?; tell done; exit 0;; esac; ",
    "w=$p/$w; trap clean 0; trap \"exit 1\" 1 2 13 15; ",
    "e=$(mkdir -m 700 \"$w\" 2>&1) || { case $k in in|\"\") ;; *) k=shut;; esac; stop \"$t\" \"$e\" \"${k#in}\"; }; m=1; ",
    "tell ready \"new $k\"; scp $s -t \"$w\"; tell end $?; k=; ",
    "while IFS= read -r l; do case $l in keep) k=1; break;; \"drop \"*) decode \"${l#drop }\"; rm -f \"$w/$d\";; esac; done; ",
    "case $k in \"\") exit 1;; esac; ",
    "if [ -n \"$x\" ]; then walk \"$w\" \"$p\" \"\"; else t=$r; for f in \"$w\"/* \"$w\"/.*; do ",
    "case ${f##*/} in .|..) continue;; esac; [ -e \"$f\" ] && item \"$f\" \"$t\" \"${f##*/}\"; done; fi; ",
    // Whatever remains must have been reported as failed.
    "if rmdir \"$w\" 2>/dev/null; then m=; elif [ -z \"$q\" ]; then ",
    "fail \"\" \"not all of it could be moved into place\"; fi; tell done'"
);
