//! Test results in the XML that build servers read (JUnit).

use super::TestResult;
use std::fmt::Write as _;

/// The tests of one rule.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Title of the rule.
    pub title: String,
    /// Its file and line.
    pub place: String,
    /// What became of its tests.
    pub results: Vec<TestResult>,
}

/// One `<testsuites>` document with a suite per rule.
pub fn report(suites: &[Suite]) -> String {
    let all = suites.iter().flat_map(|s| &s.results);
    let (total, failed) = counts(all);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"rules\" tests=\"{total}\" failures=\"{failed}\">");
    for suite in suites {
        let (total, failed) = counts(suite.results.iter());
        let title = escaped(&suite.title);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{title}\" tests=\"{total}\" failures=\"{failed}\" file=\"{}\">",
            escaped(&suite.place)
        );
        for result in &suite.results {
            let name = escaped(&result.name);
            let _ = write!(out, "    <testcase classname=\"{title}\" name=\"{name}\"");
            match result.passed {
                true => out.push_str("/>\n"),
                false => {
                    let why = escaped(&result.why);
                    let _ = writeln!(out, "><failure message=\"{why}\"/></testcase>");
                }
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn counts<'a>(results: impl Iterator<Item = &'a TestResult>) -> (usize, usize) {
    results.fold((0, 0), |(all, failed), r| (all + 1, failed + usize::from(!r.passed)))
}

/// Text for an attribute. What XML 1.0 cannot hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_escapes() {
        let result = |passed: bool| TestResult {
            name: "a<b \u{1}".into(),
            passed,
            expected: true,
            found: 0,
            why: if passed { String::new() } else { "said \"no\"\nand & more".into() },
            outcome: None,
        };
        let suite = Suite {
            title: "T".into(),
            place: "f.yml:1".into(),
            results: vec![result(true), result(false)],
        };
        let text = report(&[suite]);
        assert!(text.contains("<testsuites name=\"rules\" tests=\"2\" failures=\"1\">"));
        assert!(text.contains("name=\"a&lt;b \u{fffd}\"/>"));
        assert!(text.contains("<failure message=\"said &quot;no&quot;&#10;and &amp; more\"/>"));
    }
}
