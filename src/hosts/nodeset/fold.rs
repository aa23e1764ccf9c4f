//! Folds many names into one text, the reverse of [`super::Names`]: `web[01-20,22]`, like ClusterShell's `nodeset --fold`.
//!
//! Names that differ only in their numbers form one group. With one number in each name, the numbers are a sorted list of
//! ranges. With more, names are joined into blocks, such as `r[1-2]n[1-8]`, as long as a block means exactly its names.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// Folds names. Each appears once in the result, the groups in alphabetical order and joined by commas: text that
/// parses back to the same names.
///
/// Numbers with leading zeros differ from those without, and sort by their length first, as in nodeset. Names that
/// contain brackets or commas stay unchanged.
///
/// Blocks are sorted by their number of names, and then by number; where nodeset can choose among blocks that do not form a grid
/// together, the choice here may differ.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    fold_to_items(names).join(",")
}

/// The same, as the items between the commas.
pub fn fold_to_items<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    // The texts between the numbers, and the numbers of each name.
    let mut groups: BTreeMap<Vec<&'a str>, HashSet<Vec<Number>>> = BTreeMap::new();
    for name in names {
        let (texts, numbers) = take_apart(name);
        groups.entry(texts).or_default().insert(numbers);
    }
    let mut items = Vec::new();
    for (texts, numbers) in groups {
        items.extend(blocks(numbers).iter().map(|block| block.text(&texts)));
    }
    items
}

/// The digits of a name that make a number; by length first, and so that `9` < `10` and `10` < `010`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Number {
    digits: usize,
    value: u64,
}

impl Number {
    /// Whether it has leading zeros.
    fn is_padded(self) -> bool {
        self.digits > 1 && self.value.checked_ilog10().map_or(1, |log| log as usize + 1) < self.digits
    }

    /// Whether `next` continues the range from `first` to here.
    fn goes_on(self, next: Number, first: Number) -> bool {
        let same_form = if first.is_padded() { next.digits == first.digits } else { !next.is_padded() };
        same_form && self.value.checked_add(1) == Some(next.value)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.value.to_string();
        // Not by the width of a format, which has a limit.
        (digits.len()..self.digits).try_for_each(|_| f.write_str("0"))?;
        f.write_str(&digits)
    }
}

/// The texts of a name, one more than its numbers, and the numbers between them.
fn take_apart(name: &str) -> (Vec<&str>, Vec<Number>) {
    if name.contains(['[', ']', ',']) {
        return (vec![name], Vec::new());
    }
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    // The start of the current text, and the position in the name.
    let (mut start, mut at) = (0, 0);
    while let Some(found) = name[at..].find(|c: char| c.is_ascii_digit()) {
        let first = at + found;
        let rest = &name[first..];
        at = first + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        // A number that is too large is text.
        if let Ok(value) = name[first..at].parse() {
            numbers.push(Number { digits: at - first, value });
            texts.push(&name[start..first]);
            start = at;
        }
    }
    texts.push(&name[start..]);
    (texts, numbers)
}

/// Names that differ only in their numbers: all combinations of the numbers at each place.
#[derive(Clone, Debug)]
struct Block {
    /// The numbers at each place of the names, sorted and without duplicates.
    axes: Vec<Vec<Number>>,
}

impl Block {
    fn count(&self) -> usize {
        self.axes.iter().map(Vec::len).product()
    }

    /// Returns the only axis on which the other block has other numbers.
    fn only_difference(&self, other: &Block) -> Option<usize> {
        let mut differences = (0..self.axes.len()).filter(|axis| self.axes[*axis] != other.axes[*axis]);
        let axis = differences.next()?;
        differences.next().is_none().then_some(axis)
    }

    /// Merges another block, with no name in common, along an axis.
    fn take_in(&mut self, axis: usize, other: Block) {
        let Some(more) = other.axes.into_iter().nth(axis) else { return };
        let numbers = &mut self.axes[axis];
        let in_order = numbers.last() < more.first();
        numbers.extend(more);
        if !in_order {
            numbers.sort_unstable();
        }
    }

    /// Orders blocks: the largest first, then those with the most numbers at their first place, then by number.
    fn order(&self, other: &Block) -> Ordering {
        let axes = self.axes.iter().zip(&other.axes).map(|(mine, others)| {
            let by_length = others.len().cmp(&mine.len());
            by_length.then_with(|| mine.first().cmp(&others.first())).then_with(|| mine.last().cmp(&others.last()))
        });
        axes.fold(other.count().cmp(&self.count()), Ordering::then)
    }

    fn text(&self, texts: &[&str]) -> String {
        let mut folded = String::new();
        for (place, text) in texts.iter().enumerate() {
            folded.push_str(text);
            match self.axes.get(place).map(Vec::as_slice) {
                None => {}
                Some([number]) => folded.push_str(&number.to_string()),
                Some(numbers) => {
                    folded.push('[');
                    write_ranges(numbers, &mut folded);
                    folded.push(']');
                }
            }
        }
        folded
    }
}

fn write_ranges(numbers: &[Number], folded: &mut String) {
    let mut rest = numbers;
    while let Some(&first) = rest.first() {
        let length = 1 + rest.windows(2).take_while(|pair| pair[0].goes_on(pair[1], first)).count();
        if rest.len() < numbers.len() {
            folded.push(',');
        }
        folded.push_str(&first.to_string());
        if length > 1 {
            folded.push('-');
            folded.push_str(&rest[length - 1].to_string());
        }
        rest = &rest[length..];
    }
}

/// Returns blocks with exactly these numbers in their names.
fn blocks(names: HashSet<Vec<Number>>) -> Vec<Block> {
    let axes = names.iter().next().map_or(0, Vec::len);
    if axes == 1 {
        let mut numbers: Vec<Number> = names.into_iter().flatten().collect();
        numbers.sort_unstable();
        return vec![Block { axes: vec![numbers] }];
    }
    let single = |name: Vec<Number>| Block { axes: name.into_iter().map(|number| vec![number]).collect() };
    let mut blocks: Vec<Block> = names.into_iter().map(single).collect();
    loop {
        let before = blocks.len();
        blocks.sort_unstable_by(Block::order);
        blocks = join_neighbours(blocks);
        if blocks.len() == before {
            blocks = join_along_axes(blocks);
        }
        if blocks.len() == before {
            return blocks;
        }
    }
}

/// Joins each block with those that follow it, up to the first with which it cannot be joined.
fn join_neighbours(blocks: Vec<Block>) -> Vec<Block> {
    let mut joined: Vec<Block> = Vec::new();
    for block in blocks {
        let last = joined.last_mut().and_then(|last| Some((last.only_difference(&block)?, last)));
        match last {
            Some((axis, last)) => last.take_in(axis, block),
            None => joined.push(block),
        }
    }
    joined
}

/// Joins all blocks that differ only on one axis, in any position, on the last axis that has any.
fn join_along_axes(blocks: Vec<Block>) -> Vec<Block> {
    let before = blocks.len();
    let axes = blocks.first().map_or(0, |block| block.axes.len());
    let mut blocks = blocks;
    for axis in (0..axes).rev() {
        let mut joined: Vec<Block> = Vec::with_capacity(blocks.len());
        let mut place_of: HashMap<Vec<Vec<Number>>, usize> = HashMap::new();
        for mut block in blocks {
            let numbers = std::mem::take(&mut block.axes[axis]);
            let place = *place_of.entry(block.axes.clone()).or_insert(joined.len());
            match joined.get_mut(place) {
                Some(first) => first.axes[axis].extend(numbers),
                None => {
                    block.axes[axis] = numbers;
                    joined.push(block);
                }
            }
        }
        joined.iter_mut().for_each(|block| block.axes[axis].sort_unstable());
        blocks = joined;
        if blocks.len() < before {
            break;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::hosts::nodeset::Names;

    /// Returns the names of a folded text.
    fn expand(folded: &str) -> Vec<String> {
        let mut depth = 0;
        let is_end = |c: char| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ',' && depth == 0
        };
        let texts: Vec<&str> = folded.split(is_end).collect();
        texts.iter().flat_map(|text| Names::parse(text).expect("a text").iter().collect::<Vec<_>>()).collect()
    }

    /// The output of `nodeset --fold` of ClusterShell 1.9.1.
    #[test]
    fn folds_as_nodeset_does() {
        for (names, folded) in [
            ("web1", "web1"),
            ("web1 web2 web3", "web[1-3]"),
            ("web3 web1 web2 web1 web3", "web[1-3]"),
            ("web01 web02 web03 web22", "web[01-03,22]"),
            ("web1 web01 web2 web02", "web[1-2,01-02]"),
            ("web9 web10 web11", "web[9-11]"),
            ("web09 web10 web11", "web[09-11]"),
            ("web8 web9 web09 web10", "web[8-9,09-10]"),
            ("web98 web99 web100 web101", "web[98-101]"),
            ("web098 web099 web100 web101", "web[098-101]"),
            ("n99 n100 n098 n099", "n[99,098-100]"),
            ("n1 n3 n5 n7", "n[1,3,5,7]"),
            ("n0 n00 n000 n1 n01", "n[0-1,00-01,000]"),
            ("web1 web01 web2 web02 web10 web09 web9 web011", "web[1-2,9,01-02,09-10,011]"),
            ("db web1 Web2 web web-a1 a.b1.c web1a", "Web2,a.b1.c,db,web,web1,web1a,web-a1"),
            ("web1.example.com web2.example.com web3.example.org", "web[1-2].example.com,web3.example.org"),
            ("web1-ib0 web2-ib0 web1-ib1 web2-ib1", "web[1-2]-ib[0-1]"),
            ("n1-p1 n1-p2 n2-p1", "n1-p[1-2],n2-p1"),
            ("n1-p1 n2-p1 n2-p2", "n[1-2]-p1,n2-p2"),
            ("n1-p1 n2-p2 n3-p3", "n1-p1,n2-p2,n3-p3"),
            ("n1-p01 n1-p02 n2-p01 n2-p02 n2-p1", "n2-p[1,01-02],n1-p[01-02]"),
            ("r1n1 r1n2 r1n3 r2n1 r2n2 r2n3 r3n1", "r[1-2]n[1-3],r3n1"),
            ("r1n1 r1n2 r2n2 r2n3", "r1n[1-2],r2n[2-3]"),
            ("r1n1 r1n2 r2n1 r2n2 r3n3 r3n4 r4n3 r4n4", "r[1-2]n[1-2],r[3-4]n[3-4]"),
            ("r1n1s1 r1n1s2 r1n2s1 r1n2s2 r2n1s1 r2n1s2 r2n2s1 r2n2s2", "r[1-2]n[1-2]s[1-2]"),
            ("r1n1s1 r1n1s2 r1n2s1 r1n2s2 r2n1s1", "r1n[1-2]s[1-2],r2n1s1"),
            ("10.0.0.1 10.0.0.2 10.0.1.1 10.0.1.2 10.0.2.1", "10.0.[0-1].[1-2],10.0.2.1"),
            ("192.168.0.9 192.168.0.10 192.168.0.11", "192.168.0.[9-11]"),
            ("1 2 3 a", "[1-3],a"),
            ("a b c a", "a,b,c"),
            ("n1-a n2-a n1-b n2-b", "n[1-2]-a,n[1-2]-b"),
            ("root@web1:22 root@web2:22 web2:2222", "root@web[1-2]:22,web2:2222"),
            ("web1 web2 db1 db2 db3 gw", "db[1-3],gw,web[1-2]"),
            ("node-1 node-2 node_1 node_2", "node-[1-2],node_[1-2]"),
            ("x5y x6y x7 x8 x10z", "x[7-8],x[5-6]y,x10z"),
        ] {
            assert_eq!(fold(names.split(' ')), folded, "{names}");
        }
    }

    #[test]
    fn what_is_no_name_with_numbers_stays() {
        assert_eq!(fold([]), "");
        assert_eq!(fold(["[fe80::1]:22", "a,b", "[fe80::2]:22"]), "[fe80::1]:22,[fe80::2]:22,a,b");
        assert_eq!(fold(["n99999999999999999999-1", "n99999999999999999999-2"]), "n99999999999999999999-[1-2]");
        assert_eq!(fold(["n18446744073709551615", "n0"]), "n[0,18446744073709551615]");
        // Blocks of one size are in the order of their numbers; nodeset compares them as text.
        assert_eq!(fold(["n2-p1", "n10-p2", "n1-p3"]), "n1-p3,n2-p1,n10-p2");
    }

    #[test]
    fn ten_thousand_names_fold_at_once() {
        let folds = |names: Vec<String>, folded: Option<&str>| {
            let started = std::time::Instant::now();
            let result = fold(names.iter().map(String::as_str));
            assert!(started.elapsed().as_secs() < 5, "{:?} for {}", started.elapsed(), names[1]);
            folded.map_or_else(|| assert_eq!(expand(&result).len(), 10_000), |folded| assert_eq!(result, folded));
        };
        let names = |name: &dyn Fn(usize) -> String| (0..10_000).rev().map(name).collect::<Vec<_>>();
        folds(names(&|n| format!("web{n:05}")), Some("web[00000-09999]"));
        folds(names(&|n| format!("r{}n{}", n / 100, n % 100)), Some("r[0-99]n[0-99]"));
        folds(names(&|n| format!("10.{}.{}.{}", n / 2500, n / 50 % 50, n % 50)), Some("10.[0-3].[0-49].[0-49]"));
        folds(names(&|n| format!("r{n}n{n}")), None);
        folds(names(&|n| format!("10.{}.{}.{}", n * 7919 % 251, n * 104_729 % 241, n)), None);
        folds(names(&|n| format!("r{}n{}", n / 200, n * n % 40_009)), None);
    }

    proptest! {
        #[test]
        fn folded_names_expand_to_the_same(names in prop::collection::vec("[ab]?[0-9]{0,2}(-[0-3]{1,2}){0,2}z?", 0..40)) {
            let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
            let folded = fold(names.iter().copied());
            let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let expanded = if folded.is_empty() { Vec::new() } else { expand(&folded) };
            prop_assert_eq!(expanded.len(), set.len(), "{}", &folded);
            prop_assert_eq!(expanded.into_iter().collect::<BTreeSet<_>>(), set);
        }

        #[test]
        fn any_text_folds(names in prop::collection::vec("\\PC{0,8}", 0..10)) {
            fold(names.iter().map(String::as_str));
        }
    }
}
