//! Real logs: how many are recognised, and whether what they say is read right.

use super::Bench;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

fn unpack(path: &Path) -> Vec<u8> {
    zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|c| *c == b'\n')
        .map(|l| l.strip_suffix(b"\r").unwrap_or(l))
        .filter(|l| !l.is_empty())
}

/// The address and the user are taken from the line by plain text search, apart from our parsers.
#[test]
fn every_failed_and_accepted_ssh_login_is_read_right() {
    let Some(dir) = testkit::corpus("auth") else { return };
    let text = unpack(&dir.join("ssh-bruteforce-auth.log.zst"));
    let mut bench = Bench::new();
    let (mut checked, mut meant, mut total) = (0, 0, 0);
    for line in lines(&text) {
        total += 1;
        bench.clear();
        let at = bench.shape(line).first_row;
        meant += usize::from(bench.text(at, "event.action").is_some());
        let text = std::str::from_utf8(line).unwrap();
        if !text.contains(" sshd[") {
            continue;
        }
        let body = text.split_once("]: ").unwrap().1;
        let (count, body) = match body.strip_prefix("message repeated ") {
            Some(rest) => {
                let (count, rest) = rest.split_once(" times: [ ").unwrap();
                (count.parse().unwrap(), rest)
            }
            None => (1u32, body),
        };
        let outcome = match body.split(' ').next() {
            Some("Failed") => "failure",
            Some("Accepted") => "success",
            _ => continue,
        };
        let (head, tail) = body.rsplit_once(" from ").unwrap();
        let user = head.split_once(" for ").unwrap().1;
        let user = user.strip_prefix("invalid user ").unwrap_or(user);
        let ip = tail.split(' ').next().unwrap();
        let expect = [
            ("event.outcome", outcome),
            ("event.action", "ssh_login"),
            ("event.category", "authentication"),
            ("source.ip", ip),
            ("process.name", "sshd"),
        ];
        for (field, value) in expect {
            assert_eq!(bench.text(at, field).as_deref(), Some(value), "{field}: {text}");
        }
        let got = bench.text(at, "user.name").unwrap_or_default();
        assert_eq!(got, user.trim_end(), "{text}");
        assert_eq!(bench.batch.row(at).weight(), count, "{text}");
        assert!(bench.all(at, "alcedo.logsource").contains(&"linux//sshd".into()));
        assert!(bench.text(at, "host.name").is_some());
        checked += 1;
    }
    println!("auth: {checked} log-ins right, {meant} of {total} lines have a meaning");
    assert!(checked >= 890, "{checked}");
    assert!(meant * 100 >= total * 85, "{meant} of {total}");
}

/// NXLog, winlogbeat 6 and plain exports.
#[test]
fn windows_events_of_collectors_are_recognised_and_routed() {
    let Some(dir) = testkit::corpus("windows/otrf") else { return };
    let (mut total, mut windows, mut routed, mut hosts) = (0, 0, 0, 0);
    let mut other: HashMap<String, usize> = HashMap::new();
    let mut bench = Bench::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "zst") {
            continue;
        }
        // A slice of each file: dev builds are slow, and the shapes do not change within a file.
        let text = unpack(&path);
        for line in lines(&text).take(60) {
            bench.clear();
            let at = bench.shape(line).first_row;
            total += 1;
            if bench.text(at, "alcedo.pack").as_deref() != Some("windows") {
                *other.entry(path.file_name().unwrap().to_string_lossy().into()).or_default() += 1;
                continue;
            }
            windows += 1;
            routed +=
                usize::from(bench.all(at, "alcedo.logsource").iter().any(|l| l != "windows//"));
            hosts += usize::from(bench.text(at, "host.name").is_some());
            assert!(bench.text(at, "EventID").unwrap().parse::<u32>().is_ok());
        }
    }
    println!(
        "otrf: {windows} of {total} windows, {routed} routed, {hosts} with a host; not: {other:?}"
    );
    assert!(windows * 1000 >= total * 990, "{windows} of {total}: {other:?}");
    assert!(routed * 1000 >= windows * 950 && hosts * 1000 >= windows * 900);
}

/// evtx_dump events that SigmaHQ's rules must find: each needs the logsource of its rule's folder.
#[test]
fn sigma_regression_events_have_their_rules_logsource() {
    let Some(dir) = testkit::corpus("sigma/regression_data") else { return };
    let mut stack = vec![dir];
    let (mut total, mut right) = (0, 0);
    let mut wrong = Vec::new();
    let mut bench = Bench::new();
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
                continue;
            }
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let rule = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            let Some((_, want)) = FOLDERS.iter().find(|(prefix, _)| rule.starts_with(prefix))
            else {
                panic!("{rule}");
            };
            let body = fs::read(&path).unwrap();
            for record in parse::records::split_json(&body) {
                total += 1;
                bench.clear();
                let at = bench.shape(record.unwrap().bytes).first_row;
                let has = bench.all(at, "alcedo.logsource").iter().any(|l| l == want);
                right += usize::from(has);
                if !has {
                    wrong.push((rule.clone(), bench.all(at, "alcedo.logsource")));
                }
            }
        }
    }
    println!("sigma regression: {right} of {total} routed to their rule's logsource; {wrong:?}");
    assert!(right * 100 >= total * 98 && total > 150, "{right} of {total}: {wrong:?}");
}

/// How SigmaHQ names a rule, and the logsource such a rule has.
const FOLDERS: &[(&str, &str)] = &[
    ("proc_creation", "windows/process_creation/"),
    ("file_event", "windows/file_event/"),
    ("image_load", "windows/image_load/"),
    ("registry_set", "windows/registry_set/"),
    ("registry_delete", "windows/registry_delete/"),
    ("registry_add", "windows/registry_add/"),
    ("registry_event", "windows/registry_event/"),
    ("pipe_created", "windows/pipe_created/"),
    ("dns_query", "windows/dns_query/"),
    ("net_connection", "windows/network_connection/"),
    ("create_remote_thread", "windows/create_remote_thread/"),
    ("create_stream_hash", "windows/create_stream_hash/"),
    ("posh_ps", "windows/ps_script/"),
    ("posh_pm", "windows/ps_module/"),
    ("win_security", "windows//security"),
    ("win_system", "windows//system"),
    ("win_taskscheduler", "windows//taskscheduler"),
    ("win_defender", "windows//windefend"),
    ("win_", "windows//application"),
    ("driver_load", "windows/driver_load/"),
    ("file_delete", "windows/file_delete/"),
    ("proc_access", "windows/process_access/"),
];

#[test]
fn cloudtrail_records_are_recognised() {
    let Some(dir) = testkit::corpus("cloud") else { return };
    let mut bench = Bench::new();
    let text = unpack(&dir.join("cloudtrail-invictus/records.ndjson.zst"));
    let (mut total, mut right, mut user) = (0, 0, 0);
    for line in lines(&text).take(2_000) {
        bench.clear();
        let at = bench.shape(line).first_row;
        total += 1;
        right += usize::from(bench.all(at, "alcedo.logsource") == ["aws//cloudtrail"]);
        user += usize::from(bench.text(at, "user.name").is_some());
        assert!(bench.text(at, "eventName").is_some());
        assert!(bench.text(at, "@timestamp").unwrap().starts_with("2023-07-10"));
    }
    println!("cloudtrail: {right} of {total}, {user} with a user");
    assert_eq!(right, total);
    for entry in fs::read_dir(dir.join("cloudtrail-stratus")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            bench.clear();
            let shaped = bench.shape(&fs::read(&path).unwrap());
            assert_eq!(shaped.failed, 0, "{}", path.display());
            for at in 0..shaped.rows {
                assert!(bench.text(at, "eventName").is_some(), "{}", path.display());
            }
        }
    }
}

#[test]
fn access_logs_are_read() {
    let Some(dir) = testkit::corpus("web") else { return };
    let mut bench = Bench::new();
    let (mut total, mut right) = (0, 0);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "zst") {
            continue;
        }
        for line in lines(&unpack(&path)).take(3_000) {
            bench.clear();
            let at = bench.shape(line).first_row;
            total += 1;
            let fields = ["source.address", "http.request.method", "sc-status", "url.path"];
            right += usize::from(fields.iter().all(|f| bench.text(at, f).is_some()));
        }
    }
    println!("web: {right} of {total}");
    assert!(right * 1000 >= total * 995, "{right} of {total}");
}

/// 2,000 lines of each system: how many got more than "text of which nothing is known".
#[test]
fn loghub_and_vendor_lines_never_fail() {
    let Some(dir) = testkit::corpus("loghub") else { return };
    let mut bench = Bench::new();
    let (mut total, mut known) = (0, 0);
    let mut packs: HashMap<String, usize> = HashMap::new();
    for system in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        for path in fs::read_dir(system).unwrap().map(|e| e.unwrap().path()) {
            let text = match path.file_name().unwrap().to_str().unwrap() {
                name if name.ends_with("_2k.log") => fs::read(&path).unwrap(),
                name if name.ends_with("_2k.log.zst") => unpack(&path),
                _ => continue,
            };
            for line in lines(&text).take(500) {
                bench.clear();
                let shaped = bench.shape(line);
                assert_eq!(shaped.failed, 0, "{}", String::from_utf8_lossy(line));
                total += 1;
                let pack = bench.text(0, "alcedo.pack").unwrap();
                known += usize::from(pack != "text");
                *packs.entry(pack).or_default() += 1;
            }
        }
    }
    println!("loghub: {known} of {total} known; {packs:?}");
    assert!(total > 3_000 && known * 100 >= total * 15, "{known} of {total}");
}
