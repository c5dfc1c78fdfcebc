//! Databases of addresses: every answer of the corpus, a small one of our own, and damaged ones.

use super::Bench;
use serde_json::Value;
use shape::{Settings, TableConfig, Tables};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// A MaxMind database of our own making: an IPv6 tree with records of 24 bits and the data behind
/// it.
struct Made {
    /// Left and right of each node: another node, or what a `Leaf` says.
    nodes: Vec<[Option<Side>; 2]>,
    data: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Side {
    Node(usize),
    Data(usize),
}

impl Made {
    fn new(networks: &[(&str, u32, &str)]) -> Self {
        let mut made = Self { nodes: vec![[None; 2]], data: Vec::new() };
        for (address, prefix, json) in networks {
            let at = made.data.len();
            encode(&serde_json::from_str(json).unwrap(), &mut made.data);
            made.insert(address, *prefix, at);
        }
        made
    }

    fn insert(&mut self, address: &str, prefix: u32, at: usize) {
        let (bits, len) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), prefix + 96),
            IpAddr::V6(v6) => (u128::from(v6), prefix),
        };
        let mut node = 0;
        for depth in 0..len {
            let side = (bits >> (127 - depth)) as usize & 1;
            if depth + 1 == len {
                self.nodes[node][side] = Some(Side::Data(at));
            } else if let Some(Side::Node(next)) = self.nodes[node][side] {
                node = next;
            } else {
                self.nodes.push([None; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[node][side] = Some(Side::Node(next));
                node = next;
            }
        }
    }

    fn bytes(&self, kind: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let count = self.nodes.len();
        for side in self.nodes.iter().flatten() {
            let record = match side {
                None => count,
                Some(Side::Node(node)) => *node,
                Some(Side::Data(at)) => count + 16 + at,
            };
            out.extend_from_slice(&(record as u32).to_be_bytes()[1..]);
        }
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.data);
        out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        encode(
            &serde_json::json!({
                "node_count": count, "record_size": 24, "ip_version": 6, "database_type": kind,
                "languages": ["en"], "binary_format_major_version": 2,
                "binary_format_minor_version": 0, "build_epoch": 1_795_478_400,
                "description": {"en": "made for a test"},
            }),
            &mut out,
        );
        out
    }
}

/// The type in three bits, the length in five; longer ones have a byte more.
fn head(kind: u8, len: usize, out: &mut Vec<u8>) {
    let (short, more) = if len < 29 { (len as u8, None) } else { (29, Some((len - 29) as u8)) };
    match kind {
        0..=7 => out.push(kind << 5 | short),
        _ => out.extend_from_slice(&[short, kind - 7]),
    }
    out.extend(more);
}

/// A whole number of one of the three types that have 2, 4 and 8 bytes.
fn number(kind: u8, n: u64, out: &mut Vec<u8>) {
    let len = match kind {
        5 => 2,
        6 => 4,
        _ => 8,
    };
    head(kind, len, out);
    out.extend_from_slice(&n.to_be_bytes()[8 - len..]);
}

/// The format's types for what JSON has.
fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            head(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Number(n) if n.is_f64() => {
            head(3, 8, out);
            out.extend_from_slice(&n.as_f64().unwrap().to_be_bytes());
        }
        Value::Number(n) => number(6, n.as_u64().unwrap(), out),
        Value::Array(all) => {
            head(11, all.len(), out);
            all.iter().for_each(|one| encode(one, out));
        }
        Value::Object(all) => {
            head(7, all.len(), out);
            for (key, one) in all {
                encode(&Value::from(key.as_str()), out);
                match (&**key, one.as_u64()) {
                    ("build_epoch", Some(n)) => number(9, n, out),
                    (
                        "record_size"
                        | "ip_version"
                        | "binary_format_major_version"
                        | "binary_format_minor_version",
                        Some(n),
                    ) => number(5, n, out),
                    _ => encode(one, out),
                }
            }
        }
        other => panic!("{other}"),
    }
}

fn load(files: Vec<PathBuf>) -> Result<Bench, String> {
    let config = TableConfig { mmdb: files, ..TableConfig::default() };
    match Tables::load(&config) {
        Ok(tables) => Ok(Bench::with(tables, Settings::default())),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

/// What an event says of its source's address.
fn answer(bench: &mut Bench, address: IpAddr) -> Vec<(String, String)> {
    bench.clear();
    bench.shape(format!("{{\"source.ip\":\"{address}\"}}").as_bytes());
    let row = bench.batch.row(0);
    let told =
        row.cells().map(|(field, value)| (bench.batch.name(field), value.text().into_owned()));
    let told =
        told.filter(|(name, _)| name.starts_with("source.geo.") || name.starts_with("source.as."));
    let mut told: Vec<_> = told.map(|(name, text)| (name.to_owned(), text)).collect();
    told.sort();
    told
}

/// What a record of a database has to become.
fn wanted(record: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let region = record["subdivisions"][0]["iso_code"].as_str();
    let country = record["country"]["iso_code"].as_str();
    let location = &record["location"];
    let place = location["latitude"].as_f64().zip(location["longitude"].as_f64());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    for (name, value) in [
        ("as.number", record["autonomous_system_number"].as_u64().map(|n| n.to_string())),
        ("as.organization.name", text(&record["autonomous_system_organization"])),
        ("geo.continent_code", text(&record["continent"]["code"])),
        ("geo.continent_name", text(&record["continent"]["names"]["en"])),
        ("geo.country_iso_code", text(&record["country"]["iso_code"])),
        ("geo.country_name", text(&record["country"]["names"]["en"])),
        ("geo.city_name", text(&record["city"]["names"]["en"])),
        ("geo.postal_code", text(&record["postal"]["code"])),
        ("geo.timezone", text(&location["time_zone"])),
        ("geo.region_name", text(&record["subdivisions"][0]["names"]["en"])),
        ("geo.region_iso_code", country.zip(region).map(|(c, r)| format!("{c}-{r}"))),
        ("geo.location", place.map(|(lat, lon)| format!("{lat},{lon}"))),
    ] {
        out.extend(value.map(|value| (format!("source.{name}"), value)));
    }
    out.sort();
    out
}

/// First address of a network as the sources write it (`::1.2.0.0/112` is 1.2.0.0/16), as bits, and
/// its length.
fn network(text: &str) -> (u128, u32) {
    let (address, len) = text.split_once('/').unwrap();
    let len: u32 = len.parse().unwrap();
    match address.parse().unwrap() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), len + 96),
        IpAddr::V6(v6) => (u128::from(v6), len),
    }
}

fn address_of(bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(v4) if v4 > 0xffff => IpAddr::V4(v4.into()),
        _ => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

/// Scenario: the first, a middle and the last address of every network of the corpus' databases.
/// Guarantees: what an event says is what the most specific network's record says, all of it and
/// nothing else; nothing is said of addresses that are not on the internet.
#[test]
fn every_answer_of_the_corpus_is_given() {
    let Some(data) = testkit::corpus("geoip") else { return };
    for name in
        ["GeoLite2-City-Test", "GeoIP2-City-Test", "GeoLite2-Country-Test", "GeoLite2-ASN-Test"]
    {
        let file = std::fs::File::open(data.join(format!("source-data/{name}.json.zst")));
        let Ok(file) = file else { continue };
        let text = zstd::decode_all(file).unwrap();
        let networks: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(&text).unwrap();
        let all: Vec<(u128, u32, Value)> = networks
            .into_iter()
            .flatten()
            .map(|(text, record)| {
                let (bits, len) = network(&text);
                (bits, len, record)
            })
            .collect();
        let mut bench = load(vec![data.join(format!("test-data/{name}.mmdb"))]).unwrap();
        let (mut asked, mut told) = (0, 0);
        for (first, len, _) in &all {
            let size = u128::MAX.checked_shr(*len).unwrap_or(0);
            for bits in [*first, first + size / 2, first + size] {
                let contains = |(from, len, _): &&(u128, u32, Value)| {
                    let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
                    bits & mask == from & mask
                };
                // Where two are as specific, the later one was written over the earlier.
                let best = all.iter().filter(contains).max_by_key(|(_, len, _)| *len).unwrap();
                let address = address_of(bits);
                let found = answer(&mut bench, address);
                asked += 1;
                if found.is_empty() {
                    continue;
                }
                told += 1;
                assert_eq!(found, wanted(&best.2), "{name}: {address}");
            }
        }
        println!("{name}: {asked} addresses asked, {told} told");
        assert!(told * 10 >= asked * 7, "{name}: of {asked} addresses {told} are told");
    }
}

/// Scenario: a city and a network database of our own making, with a network in another, IPv4 and
/// IPv6.
/// Guarantees: each address has the answer of its most specific network; neighbours have none.
#[test]
fn a_small_database_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (city, asn) = (dir.path().join("city.mmdb"), dir.path().join("asn.mmdb"));
    let place = r#"{"country":{"iso_code":"NL","names":{"en":"Netherlands"}},"city":{"names":{"en":"Utrecht"}},"subdivisions":[{"iso_code":"UT","names":{"en":"Utrecht"}}],"location":{"latitude":52.09,"longitude":5.12,"time_zone":"Europe/Amsterdam"},"postal":{"code":"3511"}}"#;
    let other = r#"{"country":{"iso_code":"PT","names":{"en":"Portugal"}},"continent":{"code":"EU","names":{"en":"Europe"}}}"#;
    let made = Made::new(&[("81.2.70.0", 24, place), ("2a02:40::", 32, other)]);
    std::fs::write(&city, made.bytes("Small-City")).unwrap();
    let number =
        r#"{"autonomous_system_number":64500,"autonomous_system_organization":"Example Net"}"#;
    std::fs::write(&asn, Made::new(&[("81.2.70.128", 25, number)]).bytes("Small-ASN")).unwrap();
    let mut bench = load(vec![city, asn]).unwrap();
    let of = |text: &str| wanted(&serde_json::from_str(text).unwrap());
    let both = [of(number), of(place)].concat();
    for (address, wanted) in [
        ("81.2.70.0", of(place)),
        ("81.2.70.127", of(place)),
        ("81.2.70.128", both.clone()),
        ("81.2.70.255", both),
        ("81.2.69.255", Vec::new()),
        ("81.2.71.0", Vec::new()),
        ("2a02:40::1", of(other)),
        ("2a02:40:ffff:ffff:ffff:ffff:ffff:ffff", of(other)),
        ("2a02:41::", Vec::new()),
        ("10.0.0.1", Vec::new()),
    ] {
        assert_eq!(answer(&mut bench, address.parse().unwrap()), wanted, "{address}");
    }
}

/// Scenario: every damaged file of the corpus; our own one cut at every length and with every byte
/// turned.
/// Guarantees: each is refused with its name and what to do, or answers as a database may; none
/// ends the process.
#[test]
fn damaged_databases_say_what_to_do() {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut stack: Vec<PathBuf> = testkit::corpus("geoip/bad-data").into_iter().collect();
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => stack.push(path),
                false if path.extension().is_some_and(|e| e == "mmdb") => files.push(path),
                false => {}
            }
        }
    }
    let says_what_to_do = |path: &Path, error: &str| {
        assert!(error.contains(&*path.display().to_string()), "{error}");
        assert!(error.contains("download it again") && error.contains("`mmdb`"), "{error}");
    };
    for path in &files {
        let error = load(vec![path.clone()]).err().unwrap_or_else(|| panic!("{}", path.display()));
        says_what_to_do(path, &error);
    }
    println!("{} damaged databases of the corpus", files.len());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.mmdb");
    let own = Made::new(&[("81.2.70.0", 24, r#"{"country":{"iso_code":"NL"}}"#)]).bytes("Own-City");
    let mut refused = 0;
    let (cuts, turned) = (0..own.len(), 0..own.len());
    let cut = cuts.step_by(7).map(|len| own[..len].to_vec());
    let turned = turned.step_by(5).map(|at| {
        let mut bytes = own.clone();
        bytes[at] ^= 0xff;
        bytes
    });
    for bytes in cut.chain(turned) {
        std::fs::write(&path, bytes).unwrap();
        let config = TableConfig { mmdb: vec![path.clone()], ..TableConfig::default() };
        if let Err(errors) = Tables::load(&config) {
            refused += 1;
            says_what_to_do(&path, &errors[0].to_string());
        }
    }
    assert!(refused > own.len() / 8, "{refused}");
}
