//! Wildcard patterns and lists of them (match.c).

use crate::text::wildcard::matches_any;

/// A list with an item of this length or more matches nothing from there on (the buffer of `match_pattern_list`).
const ITEM_LIMIT: usize = 1023;

/// A pattern that may be negated with `!`.
#[derive(Debug, Clone)]
struct Item {
    negated: bool,
    pattern: Box<[u8]>,
}

/// The patterns of a Host line, in their original case.
#[derive(Debug)]
pub(super) struct HostPatterns(Vec<Item>);

impl HostPatterns {
    pub(super) fn new(words: impl Iterator<Item = String>) -> HostPatterns {
        let item = |word: String| match word.strip_prefix('!') {
            Some(pattern) => Item { negated: true, pattern: pattern.as_bytes().into() },
            None => Item { negated: false, pattern: word.into_bytes().into() },
        };
        HostPatterns(words.map(item).collect())
    }

    /// Whether one of them matches and no negated one does.
    pub(super) fn matches(&self, host: &str) -> bool {
        decide(&self.0, host.as_bytes())
    }
}

/// A list of patterns with commas (`match_pattern_list`).
#[derive(Debug, Clone)]
pub(super) struct PatternList {
    items: Vec<Item>,
    /// An item is too long for ssh: it answers no at that point.
    cut: bool,
}

impl PatternList {
    pub(super) fn new(list: &str, lower_case: bool) -> PatternList {
        let mut items = Vec::new();
        // A comma at the very end adds no empty item.
        for item in list.strip_suffix(',').unwrap_or(list).split(',').take_while(|_| !list.is_empty()) {
            let (negated, pattern) = item.strip_prefix('!').map_or((false, item), |pattern| (true, pattern));
            if pattern.len() >= ITEM_LIMIT {
                return PatternList { items, cut: true };
            }
            let pattern = if lower_case { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
            items.push(Item { negated, pattern: pattern.into_bytes().into() });
        }
        PatternList { items, cut: false }
    }

    /// Whether one of them matches and no negated one does.
    pub(super) fn matches(&self, text: &str) -> bool {
        !self.cut && decide(&self.items, text.as_bytes())
    }
}

fn decide(items: &[Item], text: &[u8]) -> bool {
    matches_any(text, items.iter().map(|item| (item.negated, &*item.pattern)))
}
