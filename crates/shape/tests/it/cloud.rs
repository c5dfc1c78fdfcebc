//! Cloud and SaaS audit events of real services: recognised, and their core fields filled.

use super::Bench;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn unpack(path: &Path) -> Vec<u8> {
    zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
}

/// Log types of the corpus and the packs that may take them. Types that no audit log has (states of
/// cloud resources, made-up queries) are not in it.
const TYPES: &[(&str, &str)] = &[
    ("AWS.CloudTrail", "aws-cloudtrail"),
    ("AWS.GuardDuty", "aws-guardduty"),
    ("AWS.WAFWebACL", "aws-waf"),
    ("AWS.SecurityFindingFormat", "aws-securityhub"),
    ("Azure.MonitorActivity", "azure"),
    ("Azure.Audit", "azure"),
    ("GCP.AuditLog", "gcp-audit"),
    ("GSuite.ActivityEvent", "google-workspace"),
    ("GitHub.Audit", "github-audit"),
    ("Slack.AuditLogs", "slack-audit"),
    ("Okta.SystemLog", "okta"),
    ("Auth0.Events", "auth0"),
    ("OneLogin.Events", "onelogin"),
    ("OnePassword.SignInAttempt", "1password"),
    ("OnePassword.ItemUsage", "1password"),
    ("Box.Event", "box"),
    ("Zoom.Operation", "zoom"),
    ("Atlassian.Audit", "atlassian"),
    ("Duo.Authentication", "duo"),
    ("Duo.Administrator", "duo"),
    ("Amazon.EKS.Audit", "kubernetes-audit"),
    ("Crowdstrike.FDREvent", "crowdstrike-fdr"),
    ("Crowdstrike.EventStreams", "crowdstrike-fdr"),
    ("Osquery.Differential", "osquery"),
    ("Salesforce.LoginAs", "salesforce"),
    ("Cloudflare.Firewall", "cloudflare"),
    ("Cloudflare.HttpRequest", "cloudflare"),
    ("Microsoft365.Audit.SharePoint", "m365"),
    ("Microsoft365.Audit.AzureActiveDirectory", "m365"),
    ("Snowflake.QueryHistory", "snowflake"),
];

#[test]
fn services_are_recognised_by_their_events() {
    let Some(dir) = testkit::corpus("cloud/panther") else { return };
    let text = unpack(&dir.join("rule-tests.ndjson.zst"));
    let mut bench = Bench::new();
    let mut by_type: BTreeMap<&str, (usize, usize, BTreeMap<String, usize>)> = BTreeMap::new();
    for line in text.split(|c| *c == b'\n').filter(|l| !l.is_empty()) {
        let case: serde_json::Value = serde_json::from_slice(line).unwrap();
        let types = case["log_types"].as_array().unwrap();
        let [kind] = types.as_slice() else { continue };
        let Some((kind, pack)) = TYPES.iter().find(|(t, _)| kind == t) else { continue };
        bench.start();
        let raw = serde_json::to_vec(&case["log"]).unwrap();
        let at = bench.shape(&raw).first_row;
        let got = bench.text(at, "alcedo.pack").unwrap_or_default();
        let entry = by_type.entry(kind).or_default();
        entry.0 += 1;
        match got == *pack {
            true => entry.1 += 1,
            false => *entry.2.entry(got).or_default() += 1,
        }
    }
    let total: usize = by_type.values().map(|v| v.0).sum();
    let right: usize = by_type.values().map(|v| v.1).sum();
    for (kind, (total, right, other)) in by_type.iter().filter(|(_, v)| v.0 != v.1) {
        println!("  {kind}: {right} of {total}, else {other:?}");
    }
    println!("cloud and SaaS events: {right} of {total} recognised");
    // Many of these cases are cut down to the fields that one rule reads.
    assert!(right * 100 >= total * 85, "{right} of {total}");
}

#[test]
fn microsoft_365_exports_are_read() {
    let Some(dir) = testkit::corpus("cloud/m365-azure") else { return };
    let mut bench = Bench::new();
    let (mut total, mut right, mut users, mut ips) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let body = fs::read(&path).unwrap();
        let is_csv = path.extension().is_some_and(|e| e == "csv");
        if !is_csv && path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let records: Vec<Vec<u8>> = match is_csv {
            true => csv_records(&body),
            false => parse::records::split_json(&body).map(|r| r.unwrap().bytes.to_vec()).collect(),
        };
        for record in records {
            bench.start();
            let shaped = bench.shape(&record);
            for at in shaped.first_row..shaped.first_row + shaped.rows {
                total += 1;
                let is = bench.text(at, "alcedo.pack").as_deref() == Some("m365");
                right += usize::from(is);
                users += usize::from(bench.text(at, "user.name").is_some());
                ips += usize::from(bench.text(at, "source.ip").is_some());
                if !is && wrong.len() < 5 {
                    wrong.push(
                        String::from_utf8_lossy(&record[..record.len().min(120)]).into_owned(),
                    );
                }
            }
        }
    }
    println!(
        "m365: {right} of {total} recognised, {users} with a user, {ips} with an address; {wrong:?}"
    );
    assert!(right * 100 >= total * 97 && users * 100 >= total * 97, "{right} {users} of {total}");
}

/// Records of a CSV file: quoted fields may hold line ends. The header line is left out.
fn csv_records(body: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut open, mut from) = (Vec::new(), false, 0);
    for (at, c) in body.iter().enumerate() {
        match c {
            b'"' => open = !open,
            b'\n' if !open => {
                out.push(body[from..at].trim_ascii().to_vec());
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(body[from..].trim_ascii().to_vec());
    out.into_iter().skip(1).filter(|r| !r.is_empty()).collect()
}

#[test]
fn linux_and_cloud_tables_of_a_siem_are_read() {
    let mut bench = Bench::new();
    if let Some(dir) = testkit::corpus("cloud/otrf") {
        for (file, pack) in [
            ("AADAuditEvents", "azure"),
            ("Microsoft365DefenderEvents", "microsoft-defender"),
            ("OfficeActivityEvents", "m365"),
            ("ec2_proxy_s3_exfiltration_2020-09-14011940", "aws-cloudtrail"),
        ] {
            let text = unpack(&dir.join(format!("{file}.ndjson.zst")));
            for line in text.split(|c| *c == b'\n').filter(|l| !l.is_empty()).take(50) {
                bench.start();
                let at = bench.shape(line).first_row;
                assert_eq!(bench.text(at, "alcedo.pack").as_deref(), Some(pack), "{file}");
                assert!(bench.text(at, "event.action").is_some(), "{file}");
            }
        }
    }
    let Some(dir) = testkit::corpus("linux/otrf") else { return };
    let syslog = "2022-05-11181020.ndjson.zst";
    let name = format!("syslog_sysmon_log4shell_cve2021_44228_jndi_reference_{syslog}");
    let text = unpack(&dir.join(name));
    for line in text.split(|c| *c == b'\n').filter(|l| !l.is_empty()).take(60) {
        bench.start();
        let at = bench.shape(line).first_row;
        // A message that the collector cut is no XML any more: kept whole, and marked.
        if memchr::memmem::find(line, b"/Event\\u003e\"").is_none() {
            assert_eq!(bench.all(at, "tags"), ["parse_failed"]);
            continue;
        }
        assert_eq!(bench.text(at, "alcedo.pack").as_deref(), Some("sysmon-linux"));
        assert!(bench.text(at, "host.name").is_some());
    }
}
