//! What the tests need to know of a Markdown file: its code blocks, its headings, and its links.

use std::collections::BTreeMap;

use regex_lite::Regex;

/// A fenced code block: ```` ```LANGUAGE [NAME[=VALUE]]... ````.
pub(crate) struct Block {
    /// The number of the line with the opening fence.
    pub(crate) line: usize,
    pub(crate) language: String,
    attributes: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether its lines are commands.
    pub(crate) fn has_commands(&self) -> bool {
        ["console", "sh"].contains(&self.language.as_str())
    }
}

impl Block {
    /// The command lines of our programs in a block of another language: a step of a workflow, a line of a crontab.
    pub(crate) fn commands(&self) -> Vec<String> {
        let line =
            Regex::new(r"^\s*(?:- |\$ )?(?:(?:\S+ ){5} *)?((?:pssh|pscp|pslurp|prsync|pnuke) .*)$").expect("a pattern");
        let lines = if ["text", "rust"].contains(&self.language.as_str()) { "" } else { &self.text };
        lines.lines().filter_map(|text| Some(line.captures(text)?[1].to_owned())).collect()
    }
}

/// The lines outside of fenced blocks, with their numbers from 1, and the blocks.
fn parts(text: &str) -> (Vec<(usize, &str)>, Vec<Block>) {
    let (mut outside, mut blocks) = (Vec::new(), Vec::new());
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let body = line.trim_start();
        match &mut open {
            Some(_) if body.trim_end() == "```" => blocks.extend(open.take().map(|(_, block)| block)),
            Some((indent, block)) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            None => match body.strip_prefix("```") {
                Some(info) => {
                    let mut words = info.split_whitespace();
                    let language = words.next().unwrap_or_default().to_owned();
                    let attributes = words.map(|word| word.split_once('=').unwrap_or((word, "")));
                    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                    let block = Block { line: number, language, attributes, text: String::new() };
                    open = Some((line.len() - body.len(), block));
                }
                None => outside.push((number, line)),
            },
        }
    }
    assert!(open.is_none(), "a code block has no end: {text}");
    (outside, blocks)
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    parts(text).1
}

/// The numbers of lines that begin a code block by indentation alone.
pub(crate) fn indented_blocks(text: &str) -> Vec<usize> {
    let (outside, _) = parts(text);
    let pairs = outside.windows(2).filter(|pair| pair[0].1.is_empty() && pair[1].1.starts_with("    "));
    pairs.map(|pair| pair[1].0).collect()
}

/// The anchors that GitHub and mdBook give to the headings.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let (outside, _) = parts(text);
    let titles = outside
        .iter()
        .filter_map(|(_, line)| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let mut anchors: Vec<String> = Vec::new();
    for title in titles {
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let earlier = anchors.iter().filter(|known| **known == anchor).count();
        anchors.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
    }
    anchors
}

/// The targets of links and pictures, with the numbers of their lines; not what is in code.
pub(crate) fn links(text: &str) -> Vec<(usize, String)> {
    let code = Regex::new("`+[^`]*`+").expect("a pattern");
    let target =
        Regex::new(r#"\]\(([^)\s]+)[^)]*\)|(?:src|srcset|href)="([^"]+)"|^\[[^\]]+\]:\s*(\S+)"#).expect("a pattern");
    let mut links = Vec::new();
    for (number, line) in parts(text).0 {
        let line = code.replace_all(line, "``");
        for found in target.captures_iter(&line) {
            let target = found.iter().skip(1).flatten().next().expect("one of three");
            links.push((number, target.as_str().to_owned()));
        }
    }
    links
}
