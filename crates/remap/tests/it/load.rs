//! What is told when a pack is loaded, and a pack with samples as a user would write it.

use super::{load, set_of, step};
use std::path::Path;
use std::sync::Arc;

/// Scenario: programs with faults in their second line, which is line 10 of the file.
/// Guarantees: line of the file, VRL's own words and its drawing with the same line.
#[test]
fn faults_are_told_with_the_line_of_the_file() {
    for (fault, part) in [
        (".b = nosuch(.a)", "undefined function"),
        (".b = parse_json(.message)", "unhandled"),
        (".b = = 1", "syntax error"),
        (".b = now()", "`now` is not offered"),
        (".b = random_int(0, 5)", "not offered"),
        (".b = uuid_v4()", "not offered"),
        (".b = get_env_var!(\"HOME\")", "undefined function"),
        (".b = get_hostname!()", "undefined function"),
        (".b = dns_lookup!(\"x\")", "undefined function"),
        (".b = get_secret(\"x\")", "undefined function"),
        (".b = http_request!(\"http://x\")", "undefined function"),
        ("log(\"x\")", "`log` is not offered"),
        (".b = parse_syslog!(.message)", "year from the clock"),
        (".b = decode_zstd!(.message)", "packed"),
        (".b = format_timestamp!(t'2026-11-23T00:00:00Z', \"%F\", timezone: \"local\")", "zone"),
        (".b = parse_timestamp!(.message, \"%F\", timezone: .zone)", "time zone as text"),
        (".b = unnest!(.list)", "`unnest` is not offered"),
        (".b = format_number(1.5, scale: int!(.n))", "a number from 0 to 64"),
        (".b = format_number(1.5, scale: 1000000000)", "a number from 0 to 64"),
        (&format!(".b = {}1{}", "[".repeat(70), "]".repeat(70)), "brackets"),
    ] {
        let error = set_of(&step(&format!(".a = 1\n{fault}"))).err().expect(fault);
        assert!(error.message.contains(part), "{fault}: {error}");
        assert_eq!(error.line, 10, "{fault}: {error}");
        assert!(error.file.ends_with("mine/pack.yaml"));
        let drawn = error.message.contains(":10:") || part == "brackets";
        assert!(drawn, "the drawing counts as the file does: {error}");
    }
    assert!(set_of(&step(".b = format_number(1.5, scale: 2)")).is_ok());
    let long = format!("# {}\n.a = 1", "x".repeat(remap::PROGRAM_BYTES_MAX));
    let error = set_of(&step(&long)).err().unwrap();
    assert!(error.message.contains("longer than"), "{error}");
}

/// Scenario: the pack in `tests/packs/acme-proxy`, as `alcedo packs test` runs it.
/// Guarantees: its samples give the events that stand beside them.
#[test]
fn the_sample_pack_holds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packs");
    let packs = Arc::new(load(&dir).unwrap_or_else(|e| panic!("{e}")));
    let folder = dir.join("acme-proxy");
    assert_eq!(shape::testing::run(&packs, &folder), Ok(3));
}

/// Scenario: the same folder in a build without a compiler.
/// Guarantees: the pack is left out, its test says so, all others are there.
#[test]
fn without_a_compiler_the_pack_is_left_out() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packs");
    let packs = Arc::new(shape::PackSet::load(&dir).unwrap());
    let error = &packs.left_out()[0];
    assert!(error.file.ends_with("acme-proxy/pack.yaml") && error.line > 0, "{error}");
    assert!(error.to_string().contains("--features vrl"), "{error}");
    let wrong = shape::testing::run(&packs, &dir.join("acme-proxy")).unwrap_err();
    assert_eq!(wrong, std::slice::from_ref(error));
    assert_eq!(packs.list().len(), shape::packs::ALL.len());
}
