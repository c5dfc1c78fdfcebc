//! Enrichment tables: what they add, and that wrong ones are refused whole.

use super::Bench;
use shape::{Settings, TableConfig, Tables};
use std::fs;

#[test]
fn assets_and_indicators_are_found_by_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let assets = dir.path().join("assets.csv");
    fs::write(
        &assets,
        "host,ip,owner,criticality,host.type\nWEB-1,10.0.0.5,\"Ops, EU\",high,server\n",
    )
    .unwrap();
    let bad = dir.path().join("bad.txt");
    let hash = "a".repeat(64);
    fs::write(
        &bad,
        format!("# list\n203.0.113.7,x\n198.51.100.0/24\nevil.example\n{hash}\n2001:db8::/32\nhttp://Bad.example/Mal.exe#x\n"),
    )
    .unwrap();
    let config = TableConfig { assets: vec![assets], indicators: vec![bad], ..Default::default() };
    let tables = Tables::load(&config).unwrap();
    assert_eq!((tables.asset_count(), tables.indicator_count()), (2, 6));
    let mut bench = Bench::with(tables, Settings::default());
    for (line, indicator) in [
        ("{\"source.ip\":\"203.0.113.7\"}".to_string(), Some("203.0.113.7")),
        ("{\"destination.ip\":\"198.51.100.77\"}".into(), Some("198.51.100.0/24")),
        ("{\"dns.question.name\":\"a.b.EVIL.example.\"}".into(), Some("evil.example")),
        ("{\"dns.question.name\":\"notevil.example\"}".into(), None),
        (format!("{{\"file.hash.sha256\":\"{hash}\"}}"), Some(&*hash)),
        ("{\"source.ip\":\"2001:db8::9\"}".into(), Some("2001:db8::/32")),
        ("{\"source.ip\":\"203.0.113.8\"}".into(), None),
        (
            "{\"url.original\":\"HTTP://BAD.example/Mal.exe\"}".into(),
            Some("http://bad.example/Mal.exe"),
        ),
        ("{\"url.original\":\"http://bad.example/mal.exe\"}".into(), None),
    ] {
        let at = bench.shape(line.as_bytes()).first_row;
        assert_eq!(bench.text(at, "threat.indicator.name").as_deref(), indicator, "{line}");
        assert_eq!(bench.all(at, "tags").contains(&"indicator_match".into()), indicator.is_some());
    }
    let at = bench.shape(b"<34>Nov 23 22:14:15 web-1 x: y").first_row;
    assert_eq!(bench.text(at, "alcedo.asset.owner").as_deref(), Some("Ops, EU"));
    assert_eq!(bench.text(at, "host.type").as_deref(), Some("server"));
    assert_eq!(bench.text(at, "alcedo.asset.criticality").as_deref(), Some("high"));
}

/// Scenario: people with names, domains, ids and addresses of mail; log-ins that name them so or so.
/// Guarantees: the nearest key wins; nobody gets what is known of another.
#[test]
fn people_are_found_by_domain_and_name_id_or_mail() {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people.csv");
    let list = "user,id,email,department,user.full_name\n\
                CORP\\alice,S-1-5-21-7,alice@corp.example,finance,Alice A.\n\
                alice,,,guests,Another Alice\n\
                Jörg,1007,,it,\n";
    fs::write(&people, list).unwrap();
    let config = TableConfig { identities: vec![people.clone()], ..Default::default() };
    let tables = Tables::load(&config).unwrap();
    assert_eq!(tables.identity_count(), 6);
    let mut bench = Bench::with(tables, Settings::default());
    for (event, department) in [
        (r#"{"user.name":"Alice","user.domain":"corp"}"#, Some("finance")),
        (r#"{"user.name":"alice","user.domain":"other"}"#, Some("guests")),
        (r#"{"user.name":"alice@CORP.example"}"#, Some("finance")),
        (r#"{"user.id":"S-1-5-21-7","user.name":"nobody"}"#, Some("finance")),
        (r#"{"user.name":"JÖRG"}"#, Some("it")),
        (r#"{"user.name":"bob"}"#, None),
        (r#"{"user.target.name":"alice"}"#, None),
    ] {
        let at = bench.shape(event.as_bytes()).first_row;
        assert_eq!(bench.text(at, "alcedo.person.department").as_deref(), department, "{event}");
    }
    let at = bench.shape(br#"{"user.name":"alice","user.domain":"CORP"}"#).first_row;
    assert_eq!(bench.text(at, "user.full_name").as_deref(), Some("Alice A."));
    fs::write(&people, "name,department\nalice,x\n").unwrap();
    let errors = Tables::load(&config).err().unwrap();
    assert!(errors[0].to_string().contains("`user`, `id`, `email`"), "{}", errors[0]);
}

/// Scenario: lists of harmless addresses and names beside lists of bad ones.
/// Guarantees: what a list of harmless things covers is no indicator; all else is.
#[test]
fn a_warning_list_wins() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let bad = "8.8.8.8\n203.0.113.7\ncdn.example\nevil.example\n198.51.100.0/24\n";
    let config = TableConfig {
        indicators: vec![file("bad.txt", bad)],
        warnings: vec![file("good.txt", "8.8.8.0/24\ncdn.example\n198.51.100.9\n")],
        ..TableConfig::default()
    };
    let mut bench = Bench::with(Tables::load(&config).unwrap(), Settings::default());
    for (line, found) in [
        (r#"{"source.ip":"8.8.8.8"}"#, false),
        (r#"{"source.ip":"203.0.113.7"}"#, true),
        (r#"{"dns.question.name":"a.cdn.example"}"#, false),
        (r#"{"dns.question.name":"a.evil.example"}"#, true),
        (r#"{"destination.ip":"198.51.100.9"}"#, false),
        (r#"{"destination.ip":"198.51.100.8"}"#, true),
    ] {
        let at = bench.shape(line.as_bytes()).first_row;
        assert_eq!(bench.text(at, "threat.indicator.name").is_some(), found, "{line}");
    }
}

#[test]
fn wrong_lists_name_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.txt");
    fs::write(&list, "10.0.0.1\n!!!\n").unwrap();
    let csv = dir.path().join("a.csv");
    fs::write(&csv, "owner\nme\n").unwrap();
    let missing = dir.path().join("none.mmdb");
    let config = TableConfig {
        mmdb: vec![missing],
        assets: vec![csv],
        indicators: vec![list],
        ..TableConfig::default()
    };
    let errors = Tables::load(&config).err().unwrap();
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().any(|e| e.line == Some(2) && e.message.contains("!!!")));
    assert!(errors[0].to_string().contains("previous table stays"));
}

#[test]
fn geo_databases_answer_for_public_addresses() {
    let Some(data) = testkit::corpus("geoip/test-data") else { return };
    let config = TableConfig {
        mmdb: vec![data.join("GeoIP2-City-Test.mmdb"), data.join("GeoLite2-ASN-Test.mmdb")],
        ..Default::default()
    };
    let mut bench = Bench::with(Tables::load(&config).unwrap(), Settings::default());
    bench.shape(b"{\"source.ip\":\"81.2.69.142\",\"destination.ip\":\"10.0.0.1\"}");
    assert_eq!(bench.text(0, "source.geo.country_iso_code").as_deref(), Some("GB"));
    assert_eq!(bench.text(0, "source.geo.city_name").as_deref(), Some("London"));
    assert_eq!(bench.text(0, "destination.geo.country_iso_code"), None);
    bench.shape(b"{\"source.ip\":\"1.128.0.0\"}");
    assert_eq!(bench.text(1, "source.as.number").as_deref(), Some("1221"));
}
