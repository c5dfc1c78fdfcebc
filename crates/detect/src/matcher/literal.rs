//! Literals that must occur wherever a regular expression matches.

use super::witness;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Single characters that are rare enough in log values to stand for an expression.
const RARE: &[u8] = b"`^{}|<~+";
/// Most alternatives before an expression is simply tried whenever its field is present.
const ALTERNATIVES_MAX: usize = 256;

/// Most letters of a class that are taken one by one, and most texts that a run of such classes and fixed
/// text may come to: each is looked for.
const LETTERS_MAX: usize = 4;
const RUNS_MAX: usize = 16;

/// Folded literals of which one occurs in the folded form of every **ASCII** value that `source`
/// matches; `None` if there is no useful set. (Classes such as `(?i)k` also take in characters
/// outside ASCII whose folding differs, so the promise ends there.)
pub(crate) fn required(source: &str) -> Option<Vec<Vec<u8>>> {
    let hir = ParserBuilder::new().utf8(false).build().parse(source).ok()?;
    let set = any_of(&hir)?;
    set.iter().all(|l| is_selective(l)).then_some(set)
}

/// Whether a literal is worth being looked for: one letter hits nearly always.
fn is_selective(literal: &[u8]) -> bool {
    match literal {
        [] => false,
        [one] => RARE.contains(one),
        _ => true,
    }
}

fn any_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => fixed(hir).map(|l| vec![l]),
        HirKind::Capture(capture) => any_of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min >= 1 => any_of(&repetition.sub),
        HirKind::Concat(parts) => best_of_concat(parts),
        HirKind::Alternation(parts) => {
            let mut out = Vec::new();
            for part in parts {
                out.extend(any_of(part)?);
                if out.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
            Some(out)
        }
        _ => None,
    }
}

/// The best set among runs of fixed text and the parts between them.
fn best_of_concat(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut run: Vec<Vec<u8>> = Vec::new();
    // Nearly every path ends with `.exe`: two letters that few texts have tell more.
    let worth = |text: &Vec<u8>| if witness::is_common(text) { 1 } else { text.len() };
    let rank = |set: &[Vec<u8>]| set.iter().map(worth).min().unwrap_or(0);
    let mut offer = |set: Vec<Vec<u8>>| {
        if best.as_ref().is_none_or(|b| rank(&set) > rank(b)) {
            best = Some(set);
        }
    };
    for part in parts {
        if matches!(part.kind(), HirKind::Look(_) | HirKind::Empty) {
            continue;
        }
        let few = fixed(part).map(|text| vec![text]).or_else(|| few_letters(part));
        match few {
            Some(texts) if run.is_empty() => run = texts,
            Some(texts) if run.len() * texts.len() <= RUNS_MAX => {
                let joined = |head: &Vec<u8>| -> Vec<Vec<u8>> {
                    texts.iter().map(|text| [head.as_slice(), text].concat()).collect()
                };
                run = run.iter().flat_map(joined).collect();
            }
            Some(texts) => offer(std::mem::replace(&mut run, texts)),
            None => {
                if !run.is_empty() {
                    offer(std::mem::take(&mut run));
                }
                if let Some(set) = any_of(part) {
                    offer(set);
                }
            }
        }
    }
    if !run.is_empty() {
        offer(run);
    }
    best
}

/// The letters, folded, that a class of a few takes in, of ASCII.
fn few_letters(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let HirKind::Class(class) = hir.kind() else { return None };
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => {
            class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect()
        }
        Class::Bytes(class) => {
            class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect()
        }
    };
    let mut out: Vec<Vec<u8>> = Vec::new();
    for c in ranges.into_iter().flat_map(|(from, to)| from..=to.min(0x7f)) {
        let letter = vec![(c as u8).to_ascii_lowercase()];
        if !out.contains(&letter) {
            out.push(letter);
        }
        if out.len() > LETTERS_MAX {
            return None;
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The folded text if the expression matches only one text up to ASCII case.
fn fixed(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.is_ascii() => Some(literal.0.to_ascii_lowercase()),
        HirKind::Class(class) => {
            let mut only = None;
            let mut add = |from: u32, to: u32| {
                for c in from..=to.min(0x7f) {
                    let folded = (c as u8).to_ascii_lowercase();
                    if *only.get_or_insert(folded) != folded {
                        return false;
                    }
                }
                true
            };
            let single = match class {
                Class::Unicode(class) => {
                    class.iter().all(|r| add(u32::from(r.start()), u32::from(r.end())))
                }
                Class::Bytes(class) => {
                    class.iter().all(|r| add(u32::from(r.start()), u32::from(r.end())))
                }
            };
            only.filter(|_| single).map(|b| vec![b])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Option<Vec<String>> {
        let set = required(source)?;
        Some(set.into_iter().map(|l| String::from_utf8(l).unwrap()).collect())
    }

    #[test]
    fn the_longest_fixed_run_is_found() {
        assert_eq!(of(r"(?i)a+FooBar.*x"), Some(vec!["foobar".into()]));
        assert_eq!(of(r"(?i)kiss"), Some(vec!["kiss".into()]));
        assert_eq!(of(r"^(?:abc|defg)\d+$"), Some(vec!["abc".into(), "defg".into()]));
        assert_eq!(of(r"(abc)+"), Some(vec!["abc".into()]));
        assert_eq!(of(r"\bcmd\.exe\b"), Some(vec!["cmd.exe".into()]));
        assert_eq!(of(r"\s-c\s"), Some(vec!["-c".into()]));
        assert_eq!(of(r"\{.*\{"), Some(vec!["{".into()]));
        assert_eq!(
            of(r"(?i)^7z.*\.exe$"),
            Some(vec!["7z".into()]),
            "what every path ends with tells little"
        );
        let mut ends = of(r#"\\\w+\.\w{1,6}\.[ "']{1}"#).unwrap();
        ends.sort();
        assert_eq!(ends, [". ", ".\"", ".'"]);
        let many = of(r"[ab][ab][ab][ab][ab]x").unwrap();
        assert!(many.len() == RUNS_MAX && many.iter().all(|text| text.len() == 4), "{many:?}");
        for none in [r"a?b?", r"\d+", r"ab|x", r"(abc)*", r".*"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
