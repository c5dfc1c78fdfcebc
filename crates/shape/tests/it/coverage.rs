//! How much of real corpora is recognised and read right: the table of docs/coverage.md.
//!
//! `UPDATE=1 cargo test -p shape coverage` rewrites the table; without it the floors are held.
//! `SHOW=vendor` (or `grok`) prints what is missed.

use super::Bench;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

fn records(path: &str) -> Option<Vec<Value>> {
    let (folder, file) = path.split_once('/').unwrap();
    let text = fs::read_to_string(testkit::corpus(folder)?.join(file)).ok()?;
    Some(text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}

fn shows(what: &str) -> bool {
    std::env::var("SHOW").is_ok_and(|s| s == what)
}

/// A row of the table: corpus, what is counted, right, of.
struct Score(&'static str, &'static str, usize, usize);

impl Score {
    fn percent(&self) -> f64 {
        100.0 * self.2 as f64 / self.3.max(1) as f64
    }
}

/// What the other project calls a message, and how our vendor and product have to read. The first
/// line whose start fits counts.
const PRODUCTS: &[(&str, &str, &str)] = &[
    ("cisco:asa", "Cisco", "ASA"),
    ("cisco:ftd", "Cisco", "FTD"),
    ("cisco:pix", "Cisco", "PIX"),
    ("cisco:fwsm", "Cisco", "FWSM"),
    ("cisco:firepower", "Cisco", ""),
    ("cisco:wsa", "Cisco", "WSA"),
    ("cisco:esa:cef", "Cisco", ""),
    ("cisco:esa", "Cisco", "ESA"),
    ("cisco:ise", "Cisco", "ISE"),
    ("cisco:acs", "Cisco", "ACS"),
    ("cisco:viptela", "Cisco", "SD-WAN"),
    ("cisco:cimc", "Cisco", "CIMC"),
    ("cisco:ucs:hx", "Cisco", "HyperFlex"),
    ("cisco:ucs", "Cisco", "UCS"),
    ("cisco:", "Cisco", ""),
    ("meraki", "Cisco", "Meraki"),
    ("cp_log", "Check Point", ""),
    ("f5:", "F5", ""),
    ("fgt_", "Fortinet", "FortiGate"),
    ("fwb_", "Fortinet", "FortiWeb"),
    ("fml:", "Fortinet", "FortiMail"),
    ("pan:", "Palo Alto Networks", "PAN-OS"),
    ("juniper:", "Juniper", ""),
    ("netscreen:", "Juniper", "NetScreen"),
    ("infoblox:", "Infoblox", ""),
    ("isc:bind", "ISC", "BIND"),
    ("citrix:", "Citrix", "NetScaler"),
    ("zscaler", "Zscaler", ""),
    ("symantec:ep", "Symantec", "Endpoint Protection"),
    ("symantec:dlp", "Symantec", "Data Loss Prevention"),
    ("symantec:smg", "Symantec", "Messaging Gateway"),
    ("bluecoat:", "Symantec", "ProxySG"),
    ("mcafee:epo", "Trellix", "ePolicy"),
    ("mcafee:nsp", "Trellix", "Network Security"),
    ("deepsecurity", "Trend Micro", "Deep Security"),
    ("aruba:clearpass", "Aruba", "ClearPass"),
    ("aruba:silverpeak", "Aruba", "EdgeConnect"),
    ("aruba:", "Aruba", "ArubaOS"),
    ("vmware:cb:protect", "VMware", "App Control"),
    ("vmware:nsx", "VMware", "NSX"),
    ("vmware:horizon", "VMware", "Horizon"),
    ("vmware:", "VMware", ""),
    ("dell:poweredge", "Dell", ""),
    ("dell:emc:powerstore", "Dell", "PowerStore"),
    ("dell:emc:powerswitch", "Dell", "PowerSwitch"),
    ("dell:", "Dell", ""),
    ("rsa:securid", "RSA", "SecurID"),
    ("hpe:procurve", "HPE", "ProCurve"),
    ("hpe:ilo", "HPE", "iLO"),
    ("vectra:", "Vectra", ""),
    ("cohesity:", "Cohesity", ""),
    ("brocade:", "Brocade", ""),
    ("ossec", "OSSEC", ""),
    ("tenable:", "Tenable", ""),
    ("pulse:", "Ivanti", "Connect Secure"),
    ("kaspersky:", "Kaspersky", ""),
    ("imperva:", "Imperva", ""),
    ("cyberark:", "Cyber", ""),
    ("netscout:", "NETSCOUT", ""),
    ("haproxy:", "HAProxy", "HAProxy"),
    ("routeros", "MikroTik", "RouterOS"),
    ("darktrace", "Darktrace", ""),
    ("pps_", "Proofpoint", ""),
    ("splunkd", "Splunk", ""),
    ("StealthINTERCEPT", "Netwrix", "StealthINTERCEPT"),
    ("syslogng:loggen", "One Identity", "loggen"),
    ("websense:", "Forcepoint", ""),
    ("hx_json", "", "HX"),
    ("fe_", "FireEye", ""),
    ("hx_cef", "fireeye", ""),
    ("github:enterprise", "", "GitHub"),
    ("alcatel:", "Alcatel", ""),
    ("alsid:", "Tenable", ""),
    ("avaya:", "Avaya", ""),
    ("avi:", "VMware", "Avi"),
    ("barracuda:", "Barracuda", ""),
    ("beyondtrust:", "BeyondTrust", ""),
    ("broadcom:", "Broadcom", ""),
    ("syslog_exploit", "BlackBerry", "Cylance"),
    ("epic:", "Epic", ""),
    ("guardicore:", "Guardicore", ""),
    ("ibm:datapower", "IBM", "DataPower"),
    ("netapp:", "NetApp", "ONTAP"),
    ("netmotion:", "Absolute", ""),
    ("nutanix:", "Nutanix", ""),
    ("opswat:", "OPSWAT", ""),
    ("polycom:", "Poly", ""),
    ("qumulo:", "Qumulo", ""),
    ("ricoh:", "Ricoh", ""),
    ("riverbed:", "Riverbed", ""),
    ("ruckus:", "Ruckus", ""),
    ("secureauth:", "SecureAuth", ""),
    ("semperis:", "Semperis", ""),
    ("solace:", "Solace", ""),
    ("spectracom:", "Safran", ""),
    ("tintri", "Tintri", ""),
    ("varonis:", "Varonis", ""),
    ("veeam:", "Veeam", ""),
];

/// Whether a message of `sourcetype` was told for what it is; `None` = it has no product.
fn is_found(bench: &Bench, sourcetype: &str) -> Option<bool> {
    let pack = bench.text(0, "alcedo.pack").unwrap_or_default();
    let vendor = bench.text(0, "observer.vendor").unwrap_or_default();
    let product = bench.text(0, "observer.product").unwrap_or_default();
    if sourcetype.is_empty() || sourcetype.starts_with("sc4s:") || sourcetype == "nix:syslog" {
        return None;
    }
    if sourcetype == "cef" {
        return Some(pack == "cef");
    }
    if sourcetype.starts_with("LEEF") {
        return Some(pack == "leef");
    }
    if sourcetype.starts_with("WinEventLog") {
        return Some(pack == "windows");
    }
    let (_, v, p) = PRODUCTS
        .iter()
        .find(|(start, ..)| sourcetype.starts_with(start))
        .unwrap_or_else(|| panic!("{sourcetype} stands in no line of PRODUCTS"));
    let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
    Some(has(&vendor, v) && has(&product, p) && !pack.is_empty())
}

fn vendor_scores() -> Option<Vec<Score>> {
    let records = records("vendor-syslog/sc4s.ndjson")?;
    let mut bench = Bench::new();
    let (mut found, mut total, mut known) = (0, 0, 0);
    let mut by_type: BTreeMap<String, bool> = BTreeMap::new();
    for record in &records {
        let line = record["message"].as_str().unwrap();
        bench.clear();
        bench.shape(line.trim_end_matches('\n').as_bytes());
        let pack = bench.text(0, "alcedo.pack").unwrap();
        known += usize::from(!["text", "syslog", "kv"].contains(&pack.as_str()));
        let sourcetype = record["expect_sourcetype"][0].as_str().unwrap_or_default();
        let Some(right) = is_found(&bench, sourcetype) else { continue };
        total += 1;
        found += usize::from(right);
        let all = by_type.entry(sourcetype.to_owned()).or_insert(true);
        *all &= right;
        if !right && shows("vendor") {
            let vendor = bench.text(0, "observer.vendor").unwrap_or_default();
            let product = bench.text(0, "observer.product").unwrap_or_default();
            let line = line.chars().take(200).collect::<String>();
            println!("{sourcetype}: {pack} {vendor}/{product} | {line:?}");
        }
    }
    let types = by_type.values().filter(|v| **v).count();
    Some(vec![
        Score("vendor-syslog", "messages whose product is found", found, total),
        Score("vendor-syslog", "products found in every message", types, by_type.len()),
        Score("vendor-syslog", "messages of a known product or format", known, records.len()),
    ])
}

fn flat(value: &Value, name: String, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flat(value, name, out);
            }
        }
        Value::String(text) => out.push((name, text.clone())),
        other => out.push((name, other.to_string())),
    }
}

fn same(got: &str, want: &str) -> bool {
    got.trim() == want.trim()
        || got.eq_ignore_ascii_case(want)
        || matches!((got.parse::<f64>(), want.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
        || matches!((got.parse::<IpAddr>(), want.parse::<IpAddr>()), (Ok(a), Ok(b)) if a == b)
        // DOMAIN\user is two ECS fields here.
        || want.rsplit_once('\\').is_some_and(|(_, user)| user == got)
}

fn grok_scores() -> Option<Vec<Score>> {
    let records = records("grok/cases.ndjson")?;
    let ecs = event::Dictionary::ecs();
    let mut bench = Bench::new();
    let (mut right, mut total, mut core, mut core_total) = (0, 0, 0, 0);
    for (number, record) in records.iter().enumerate() {
        if record["match"] != true {
            continue;
        }
        let line = record["message"].as_str().unwrap();
        let mut want = Vec::new();
        flat(&record["expected"], String::new(), &mut want);
        // The text itself and captured times are not fields of ours (the time is @timestamp).
        want.retain(|(n, _)| {
            !(n.contains("timestamp") || n == "message" || n.starts_with("@metadata"))
        });
        bench.clear();
        bench.shape(line.as_bytes());
        let mut missed = Vec::new();
        for (name, value) in &want {
            let got = bench.all(0, name);
            let fits = got.iter().any(|g| same(g, value));
            total += 1;
            right += usize::from(fits);
            if ecs.id(name).is_some() {
                core_total += 1;
                core += usize::from(fits);
            }
            if !fits {
                missed.push(format!("{name}={value:?} got {got:?}"));
            }
        }
        if !missed.is_empty() && shows("grok") {
            let pack = bench.text(0, "alcedo.pack").unwrap_or_default();
            println!("{number} {} [{pack}] {:?}", record["pattern"], &line[..line.len().min(160)]);
            for miss in missed {
                println!("      {miss}");
            }
        }
    }
    Some(vec![
        Score("grok", "fields right, ECS and product's own", right, total),
        Score("grok", "ECS fields right", core, core_total),
    ])
}

fn text_scores(folder: &'static str, floor_name: &'static str) -> Option<Vec<Score>> {
    let dir = testkit::corpus(folder)?;
    let mut bench = Bench::new();
    let (mut known, mut total) = (0, 0);
    let mut stack = vec![dir];
    while let Some(dir) = stack.pop() {
        for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                stack.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_log = name.contains("log") || name.contains(".0") || name.contains("json");
            if !is_log || name.ends_with(".csv.zst") || name.ends_with(".md") {
                continue;
            }
            let bytes = match name.ends_with(".zst") {
                true => zstd::decode_all(fs::File::open(&path).unwrap()).unwrap(),
                false => fs::read(&path).unwrap(),
            };
            for line in bytes.split(|c| *c == b'\n').filter(|l| !l.is_empty()).take(300) {
                bench.clear();
                let shaped = bench.shape(line);
                // Nothing is dropped: every row's bytes are the line's.
                let kept: usize = (0..shaped.rows).map(|r| bench.batch.row(r).raw().len()).sum();
                assert!(kept <= line.len() && shaped.rows > 0, "{name}");
                let received = super::RECEIVED_NS + parse::timestamp::AHEAD_MAX_NS;
                for row in bench.batch.rows() {
                    assert!(row.event_ns() <= received, "{name}: {line:?}");
                }
                total += 1;
                known += usize::from(bench.text(0, "alcedo.pack").unwrap() != "text");
            }
        }
    }
    Some(vec![Score(folder, floor_name, known, total)])
}

/// Lowest share in percent that each line of the table may have.
const FLOORS: &[(&str, &str, f64)] = &[
    ("vendor-syslog", "messages whose product is found", 90.0),
    ("vendor-syslog", "products found in every message", 90.0),
    ("grok", "fields right, ECS and product's own", 95.0),
];

#[test]
fn coverage_of_real_corpora_stays_above_its_floors() {
    let parts = [
        vendor_scores(),
        grok_scores(),
        text_scores("loghub", "lines that are more than text"),
        text_scores("lnav", "lines that are more than text"),
    ];
    if parts.iter().any(Option::is_none) {
        return;
    }
    let scores: Vec<Score> = parts.into_iter().flatten().flatten().collect();
    let mut table = String::from(
        "# Coverage of real corpora\n\nWritten by `UPDATE=1 cargo test -p shape coverage`. Nothing is \
         configured: every line is told by itself.\n\n| corpus | counted | right | of | share |\n\
         |---|---|---|---|---|\n",
    );
    for score in &scores {
        let Score(corpus, what, right, of) = score;
        let share = score.percent();
        println!("{corpus}: {what}: {right} of {of} ({share:.1} %)");
        table.push_str(&format!("| {corpus} | {what} | {right} | {of} | {share:.1} % |\n"));
    }
    let path = testkit::workspace_root().join("docs/coverage.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &table).unwrap();
    }
    for (corpus, what, floor) in FLOORS {
        let score = scores.iter().find(|s| s.0 == *corpus && s.1 == *what).unwrap();
        assert!(score.percent() >= *floor, "{corpus}: {what}: {:.1} %", score.percent());
    }
}
