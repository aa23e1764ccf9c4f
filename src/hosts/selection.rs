//! Evaluates the lists of [`super::nodeset::list`]: to hosts, or as filters on hosts.

use std::collections::{HashMap, HashSet};

use super::hosts_file::Found;
use super::nodeset::MOST_NAMES;
use super::nodeset::list::{self, Item, Operator, Pattern, Term};
use super::problem::{Advice, Problem};
use super::{HostSpec, Origin, Parts};

/// How many hosts all operators of a list except the comma may compare: ten thousand hosts, a thousand times.
const MOST_STEPS: usize = 10_000_000;
/// The most patterns of filter lists: each is compared with every host.
const MOST_PATTERNS: usize = 10_000;
/// Characters of a list to show in a message.
const SHOWN: usize = 60;

impl Found<'_> {
    /// Adds the hosts of lists that are not there yet, each list with the place where it begins. The result is a set, as
    /// in pdsh and clush: `a,a` is one host.
    pub(super) fn add_lists<'t>(&mut self, lists: impl IntoIterator<Item = (&'t str, Origin)>) {
        let mut lists = lists.into_iter().peekable();
        if lists.peek().is_none() {
            return;
        }
        let mut all = Set::of(std::mem::take(&mut self.hosts));
        for (text, place) in lists {
            let complaints = self.bad.len();
            let listed = self.evaluate(text, &place);
            if self.bad.len() > complaints {
                continue;
            }
            if all.hosts.is_empty() {
                all = listed;
            } else {
                self.add_to(&mut all, listed.hosts, text, &place);
            }
        }
        self.hosts = all.hosts;
    }

    /// Parses a list and reports its problems.
    fn terms<'t>(&mut self, text: &'t str, place: &Origin) -> Vec<Term<'t>> {
        list::parse(text).unwrap_or_else(|error| {
            let text = &excerpt(text, error.column);
            self.refuse(text, place.after(error.column), error.problem);
            Vec::new()
        })
    }

    /// Evaluates a list from left to right.
    fn evaluate(&mut self, text: &str, place: &Origin) -> Set {
        let mut set = Set::default();
        let mut steps = 0;
        for term in self.terms(text, place) {
            let origin = place.after(term.column);
            if term.operator != Operator::And {
                steps += set.hosts.len();
                if steps > MOST_STEPS {
                    let problem = "too many hosts up to here for ! & ^ to compare";
                    self.reject(term.text, origin, problem);
                    return set;
                }
            }
            let mut chosen = Choice::default();
            let mut named = Vec::new();
            match term.item {
                Item::Pattern(pattern) => {
                    if matches!(term.operator, Operator::And | Operator::Either) {
                        let problem =
                            Problem::with("a pattern names no hosts, it chooses among them", Advice::PatternChooses);
                        self.refuse(term.text, origin.clone(), problem);
                    }
                    chosen.add_pattern(pattern, 0);
                }
                Item::Hosts | Item::Group => named = self.named(term.text, &origin),
            }
            if matches!(term.operator, Operator::Without | Operator::Common) {
                named.iter().for_each(|host| chosen.add(host, 0));
            }
            match term.operator {
                Operator::And => {}
                Operator::Without => set.retain(|host| !chosen.has(host)),
                Operator::Common => set.retain(|host| chosen.has(host)),
                Operator::Either => {
                    // As in a union, the same name with another user or port is another host.
                    let keys: HashSet<Parts> = named.iter().map(key).collect();
                    named.retain(|host| !set.there.contains(&key(host)));
                    set.retain(|host| !keys.contains(&key(host)));
                }
            }
            if matches!(term.operator, Operator::And | Operator::Either) {
                self.add_to(&mut set, named, term.text, &origin);
            }
        }
        set
    }

    /// Adds hosts to a set, unless there are too many.
    fn add_to(&mut self, set: &mut Set, more: Vec<HostSpec>, text: &str, origin: &Origin) {
        if !set.add(more) {
            self.too_many(&excerpt(text, 0), origin);
        }
    }

    /// Returns the hosts of one item that is not a pattern.
    fn named(&mut self, item: &str, origin: &Origin) -> Vec<HostSpec> {
        let before = std::mem::take(&mut self.hosts);
        self.add(item, origin.clone());
        std::mem::replace(&mut self.hosts, before)
    }

    /// Parses filter lists, which messages call `name`; `None` if there are none.
    pub(super) fn filter(&mut self, name: &'static str, lists: &[String]) -> Option<Filter> {
        let mut filter = Filter { choice: Choice::default(), items: Vec::new() };
        let (mut names, mut patterns) = (0, 0);
        for list in lists {
            let place = Origin::List { name, column: 1 };
            for term in self.terms(list, &place) {
                let origin = place.after(term.column);
                if term.operator != Operator::And {
                    let problem = format!("{name} takes items separated by commas, without ! & ^");
                    self.reject(term.text, origin.clone(), &problem);
                }
                let item = filter.items.len();
                match term.item {
                    Item::Pattern(pattern) => {
                        patterns += pattern.count();
                        if patterns > MOST_PATTERNS {
                            let problem = format!("more than {MOST_PATTERNS} patterns");
                            self.reject(term.text, origin, &problem);
                            return None;
                        }
                        filter.choice.add_pattern(pattern, item);
                    }
                    Item::Hosts | Item::Group => {
                        let hosts = self.named(term.text, &origin);
                        names += hosts.len() as u64;
                        if names > MOST_NAMES {
                            self.too_many(&excerpt(term.text, 0), &origin);
                            return None;
                        }
                        hosts.iter().for_each(|host| filter.choice.add(host, item));
                    }
                }
                filter.items.push(Used { text: term.text.to_owned(), origin, is_used: false });
            }
        }
        (!lists.is_empty()).then_some(filter)
    }
}

/// Returns the part of a list to show: from a column on, if it is long.
fn excerpt(text: &str, column: usize) -> String {
    let from = if text.chars().count() <= SHOWN { 0 } else { column };
    text.chars().skip(from).take(SHOWN).collect()
}

/// Hosts in the order of their first mention. The same name with another user or port is another host.
#[derive(Default)]
struct Set {
    hosts: Vec<HostSpec>,
    there: HashSet<Parts>,
}

impl Set {
    /// Creates a set of these, which may contain duplicates.
    fn of(hosts: Vec<HostSpec>) -> Set {
        Set { there: hosts.iter().map(key).collect(), hosts }
    }

    /// Adds those that are not there yet. Returns false if there are too many.
    fn add(&mut self, more: Vec<HostSpec>) -> bool {
        let there = &mut self.there;
        self.hosts.extend(more.into_iter().filter(|host| there.insert(key(host))));
        self.hosts.len() as u64 <= MOST_NAMES
    }

    fn retain(&mut self, is_meant: impl Fn(&HostSpec) -> bool) {
        let before = self.hosts.len();
        self.hosts.retain(is_meant);
        if self.hosts.len() == before {
            return;
        }
        self.there = self.hosts.iter().map(key).collect();
    }
}

fn key(host: &HostSpec) -> Parts {
    (host.user.clone(), host.name.clone(), host.port)
}

/// Hosts that items match, with the caller's item numbers.
#[derive(Default)]
struct Choice {
    by_name: HashMap<String, Vec<Named>>,
    patterns: Vec<(Pattern, usize)>,
}

/// User and port of an item.
struct Named {
    user: Option<String>,
    port: Option<u16>,
    item: usize,
}

impl Choice {
    fn add(&mut self, host: &HostSpec, item: usize) {
        let named = Named { user: host.user.clone(), port: host.port, item };
        self.by_name.entry(host.name.clone()).or_default().push(named);
    }

    fn add_pattern(&mut self, pattern: Pattern, item: usize) {
        self.patterns.push((pattern, item));
    }

    /// Returns the items that match a host: by its name or alias, and by user and port if they have any.
    fn items<'a>(&'a self, host: &'a HostSpec, alias: Option<&'a str>) -> impl Iterator<Item = usize> + 'a {
        let alias = alias.filter(|alias| *alias != host.name);
        std::iter::once(host.name.as_str()).chain(alias).flat_map(move |name| self.items_of_name(host, name))
    }

    fn items_of_name<'a>(&'a self, host: &'a HostSpec, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        let says = |named: &&Named| {
            (named.user.is_none() || named.user == host.user) && (named.port.is_none() || named.port == host.port)
        };
        let named = self.by_name.get(name).into_iter().flatten().filter(says).map(|named| named.item);
        let matching = self.patterns.iter().filter(move |(pattern, _)| pattern.matches(name)).map(|(_, item)| *item);
        named.chain(matching)
    }

    /// Whether an item matches the name of a host. Operators of a list compare names only: they name hosts, with or without an alias.
    fn has(&self, host: &HostSpec) -> bool {
        self.items(host, None).next().is_some()
    }
}

/// The lists of `--only` or `--exclude`.
pub(super) struct Filter {
    choice: Choice,
    items: Vec<Used>,
}

/// An item, and whether it matched any host.
struct Used {
    text: String,
    origin: Origin,
    is_used: bool,
}

impl Filter {
    /// Whether a host matches, by its name or by its alias.
    pub(super) fn has(&mut self, host: &HostSpec, alias: Option<&str>) -> bool {
        let mut found = false;
        for item in self.choice.items(host, alias) {
            self.items[item].is_used = true;
            found = true;
        }
        found
    }

    /// Returns warnings about items that match no host: a host that should be excluded may run.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let unused = self.items.iter().filter(|item| !item.is_used);
        unused.map(|item| format!("{}: {:?} matches no host", item.origin, item.text))
    }
}
