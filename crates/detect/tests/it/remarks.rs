//! What is odd in rules that are in force is told with its place, and nothing fails for it.

use detect::{load_text, remarks};

fn told(head: &str, detection: &str) -> Vec<String> {
    let text = format!("title: t\n{head}detection:\n{detection}  condition: s\n");
    let (rules, problems) = load_text(&text);
    assert!(problems.is_empty(), "{text}: {problems:?}");
    assert_eq!(rules.len(), 1, "the rule is in force");
    remarks(&rules[0]).iter().map(ToString::to_string).collect()
}

const PLAIN: &str = "  s: {F: x}\n";

/// Scenario: metadata that the reference implementation takes.
/// Guarantees: nothing is said.
#[test]
fn nothing_is_said_of_what_is_right() {
    for head in [
        "",
        "id: 12345678-1234-4abc-8def-1234567890AB\nstatus: Test\ndate: 2024-02-29\n",
        "date: 2024/2/9\nmodified: 2024/02/09\nstatus: unsupported\n",
        "tags: [attack.t1059, cve.2024-1, custom.a.b]\nreferences: [x]\nfalsepositives: [y]\n",
        "related: [{id: 12345678-1234-4abc-8def-1234567890ab, type: derived}]\nauthor: a\n",
        "status:\ndate: ~\ntags: []\n",
        "logsource: {product: Windows, category: process_creation, service: Sysmon}\n",
        "logsource: {product: acme, category: acme_login, service: acmed}\n",
        "logsource: {service: ssh}\n",
    ] {
        assert_eq!(told(head, PLAIN), Vec::<String>::new(), "{head}");
    }
}

/// Scenario: metadata that the reference implementation refuses, and what other rules are said to be.
/// Guarantees: the rule is in force, each is told with its place and what to do.
#[test]
fn odd_metadata_is_told() {
    for (head, at, reason) in [
        ("id: my_rule\n", "2:5", "`id` is no UUID"),
        ("id: 12345678-1234-4abc-8def-1234567890aX\n", "2:5", "`id` is no UUID"),
        ("status: stabel\n", "2:9", "unknown status `stabel` (did you mean `stable`?)"),
        ("date: 2023-02-29\n", "2:7", "`date` is no date"),
        ("date: 12/31/2023\n", "2:7", "`date` is no date"),
        ("date: 2024-1-2\n", "2:7", "`date` is no date"),
        ("modified: today\n", "2:11", "`modified` is no date"),
        ("tags: [attack.t1, lateral]\n", "2:19", "the tag `lateral` has no namespace"),
        ("tags: attack.t1\n", "2:7", "`tags` is text"),
        ("references: x\n", "2:13", "`references` is text"),
        ("falsepositives: none\n", "2:17", "`falsepositives` is text"),
        (
            "logsource: {product: windwos}\n",
            "2:22",
            "no usual product is called `windwos` (did you mean `windows`?)",
        ),
        (
            "logsource: {product: windows, category: process_creatoin}\n",
            "2:41",
            "no usual category is called `process_creatoin` (did you mean `process_creation`?)",
        ),
        (
            "logsource: {product: windows, service: process_creation}\n",
            "2:40",
            "`process_creation` is known as a category, not as a service",
        ),
        (
            "logsource: {product: windows, category: security}\n",
            "2:41",
            "`security` is known as a service, not as a category",
        ),
        ("author: [a, b]\n", "2:9", "`author` is a list"),
        ("description: 5\n", "2:14", "`description` is a number"),
        ("related: {id: x}\n", "2:10", "`related` is a map"),
        ("related: [{id: x, type: derived}]\n", "2:11", "no UUID as its `id`"),
        (
            "related: [{id: 12345678-1234-4abc-8def-1234567890ab, type: similiar}]\n",
            "2:11",
            "unknown relation `similiar` (did you mean `similar`?)",
        ),
    ] {
        let remarks = told(head, PLAIN);
        assert_eq!(remarks.len(), 1, "{head}: {remarks:?}");
        assert!(remarks[0].starts_with(&format!(":{at}: ")), "{head}: {remarks:?}");
        assert!(remarks[0].contains(reason), "{head}: {remarks:?}");
    }
    let title = "x".repeat(257);
    let (rules, _) = load_text(&format!("title: {title}\ndetection:\n{PLAIN}  condition: s\n"));
    assert!(remarks(&rules[0])[0].reason.contains("longer than 256"), "{:?}", remarks(&rules[0]));
}

/// Scenario: a backslash and a wildcard in double quotes, where YAML takes one of two backslashes; the same in
/// other quotes, twice escaped, in expressions.
/// Guarantees: only the first is told, where it stands.
#[test]
fn a_wildcard_that_double_quotes_made_plain_is_told() {
    for (line, at) in [
        (r#"F: "C:\\Users\\*""#, Some("4:8")),
        (r#"F|endswith: ["\\a.exe", "\\?.exe"]"#, Some("4:29")),
        (r#"F: "C:\\Users\\\\*""#, None),
        (r"F: 'C:\Users\*'", None),
        (r#"F: "C:\\Users\\x*""#, None),
        (r#"F|re: "a\\*b""#, None),
        (r"F: C:\Users\*", None),
    ] {
        let remarks = told("", &format!("  s:\n    {line}\n"));
        let places: Vec<&str> = remarks.iter().map(|r| r.split(": `").next().unwrap()).collect();
        let want: Vec<String> = at.iter().map(|at| format!(":{at}")).collect();
        assert_eq!(places, want, "{line}: {remarks:?}");
    }
}

/// Guarantees: no logsource of SigmaHQ's rules, nor of our own, is taken for a slip.
#[test]
fn logsources_in_use_are_no_slips() {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
    let sigmahq = crate::corpus::sigmahq();
    let folders = sigmahq.iter().map(|f| f.path().to_path_buf()).chain([own]).collect::<Vec<_>>();
    let rules = detect::load_paths(&folders).0;
    assert!(rules.len() > 100);
    let slips: Vec<String> = (rules.iter().flat_map(remarks))
        .map(|remark| remark.to_string())
        .filter(|told| told.contains("no usual") || told.contains("is known as"))
        .collect();
    assert_eq!(slips, Vec::<String>::new());
}
