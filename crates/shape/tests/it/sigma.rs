//! Rules in Sigma's vocabulary match shaped events: for every logsource of SigmaHQ that a pack feeds,
//! one rule and one event of ours.

use super::{Bench, RECEIVED_NS};
use detect::RuleSet;
use event::{DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use shape::{PackSet, Scratch, Shaper};
use std::sync::Arc;

/// Logsource `product/category/service` (empty = not named), detection, the pack whose samples are
/// tried, a piece of the sample line.
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "windows/process_creation/",
        "Image|endswith: '\\net.exe'\n        CommandLine|contains: ' user'",
        "windows",
        "\"event_id\":4688",
    ),
    (
        "windows//security",
        "EventID: 4625\n        TargetUserName: bob\n        IpAddress|startswith: '::ffff:'\n        LogonType: 3",
        "windows",
        "AUDIT_FAILURE",
    ),
    (
        "windows/network_connection/",
        "Image|endswith: '\\a.exe'\n        DestinationPort: 443\n        Initiated: 'true'",
        "windows",
        "198.51.100.4",
    ),
    ("windows/ps_script/", "ScriptBlockText|contains: Get-Service", "windows", "ScriptBlockText"),
    (
        "aws//cloudtrail",
        "eventSource: cloudtrail.amazonaws.com\n        eventName: StopLogging",
        "aws-cloudtrail",
        "StopLogging",
    ),
    (
        "azure//signinlogs",
        "ResultType: 50126\n        properties.authenticationRequirement: singleFactorAuthentication",
        "azure",
        "SignInLogs",
    ),
    (
        "azure//auditlogs",
        "properties.message: Add member to role\n        LoggedByService: Core Directory",
        "azure",
        "\"AuditLogs\"",
    ),
    (
        "azure//activitylogs",
        "operationName|contains: VIRTUALMACHINES/DELETE",
        "azure",
        "\"AuditLogs\"",
    ),
    ("azure//riskdetection", "riskEventType: unfamiliarFeatures", "azure", "UserRiskEvents"),
    ("azure//pim", "riskEventType: unfamiliarFeatures", "azure", "UserRiskEvents"),
    (
        "m365//audit",
        "Operation: New-InboxRule\n        Parameters|contains: ForwardTo",
        "m365",
        "New-InboxRule",
    ),
    (
        "gcp//gcp.audit",
        "gcp.audit.method_name|endswith: CreateServiceAccountKey",
        "gcp-audit",
        "CreateServiceAccountKey",
    ),
    (
        "gcp//google_workspace.login",
        "protoPayload.serviceName: login.googleapis.com\n        protoPayload.metadata.event.eventName: login_failure",
        "gcp-audit",
        "login_failure",
    ),
    (
        "gcp//google_workspace.admin",
        "eventName: GRANT_ADMIN_PRIVILEGE",
        "google-workspace",
        "GRANT_ADMIN",
    ),
    (
        "okta//okta",
        "eventType: user.session.start\n        securityContext.isProxy: 'true'\n        actor.alternateId|contains: alice",
        "okta",
        "user.session.start",
    ),
    (
        "github//audit",
        "action: protected_branch.policy_override",
        "github-audit",
        "policy_override",
    ),
    (
        "kubernetes/application/audit",
        "verb: get\n        objectRef.resource: secrets",
        "kubernetes-audit",
        "secrets",
    ),
    (
        "kubernetes//audit",
        "verb: get\n        responseStatus.code: 403",
        "kubernetes-audit",
        "secrets",
    ),
    (
        "bitbucket//audit",
        "auditType.category: Repositories\n        auditType.action: Secret scanning rule deleted",
        "atlassian",
        "Secret scanning",
    ),
    ("onelogin//onelogin.events", "event_type_id: 6", "onelogin", "event_type_id"),
    ("cisco//duo", "event_type: authentication\n        reason: user_marked_fraud", "duo", "fraud"),
    (
        "linux/process_creation/",
        "Image|endswith: /curl\n        CommandLine|contains: evil.example",
        "sysmon-linux",
        "curl http",
    ),
    (
        "linux/network_connection/",
        "Image|endswith: /curl\n        DestinationPort: 80",
        "sysmon-linux",
        "198.51.100.4",
    ),
    ("linux//auditd", "type: EXECVE\n        a0: id", "auditd", "type=EXECVE"),
    ("linux//sshd", "'Failed password'", "linux-auth", "Failed password"),
    ("zeek//smb_files", "path|endswith: C$\n        name|endswith: .exe", "zeek", "SMB::FILE_OPEN"),
    ("zeek//dns", "query: evil.example\n        id.resp_p: 53", "zeek", "evil.example"),
    ("zeek//http", "uri|contains: id=1\n        method: GET", "zeek", "curl/8"),
    ("/dns/", "query: evil.example\n        record_type: A", "suricata", "\"event_type\":\"dns\""),
    (
        "/dns/",
        "query|startswith: evil.example\n        record_type: TXT",
        "aws-route53-resolver",
        "TXT",
    ),
    (
        "/proxy/",
        "c-uri|contains: a.php\n        c-useragent: sqlmap\n        cs-method: GET",
        "suricata",
        "sqlmap",
    ),
    (
        "/webserver/",
        "cs-uri-query|contains: id=1%27\n        cs-method: GET\n        sc-status: 200",
        "iis",
        "auth.owa",
    ),
    (
        "/webserver/",
        "cs-uri-stem: /login\n        cs-uri-query|contains: next=1",
        "cloudflare",
        "POST",
    ),
    (
        "/webserver/",
        "cs-method: GET\n        cs-uri-query|contains: x=1",
        "web-json",
        "handled request",
    ),
    (
        "/webserver/",
        "cs-uri-query|contains: id=1\n        cs-host: api.example",
        "envoy",
        "via_upstream",
    ),
    ("/firewall/", "dst_port: 22\n        action: REJECT", "aws-vpcflow", "REJECT"),
    ("/firewall/", "dst_port: 22\n        action: DENIED", "gcp-log", "DENIED"),
    ("//nginx", "'wp-login.php'", "nginx-error", "wp-login"),
    ("modsecurity//", "'SQL Injection'", "modsecurity", "SQL Injection"),
    ("/database/", "'DROP TABLE'", "mysql", "DROP TABLE"),
    (
        "windows/process_creation/",
        "Image|endswith: '\\whoami.exe'\n        ParentImage|endswith: '\\cmd.exe'",
        "microsoft-defender",
        "whoami",
    ),
    (
        "windows/process_creation/",
        "Image|endswith: '\\whoami.exe'\n        CommandLine|contains: /all",
        "crowdstrike-fdr",
        "ProcessRollup2",
    ),
];

fn rule(number: usize, logsource: &str, detection: &str) -> String {
    let mut parts = logsource.split('/');
    let mut source = String::new();
    for key in ["product", "category", "service"] {
        if let Some(value) = parts.next().filter(|v| !v.is_empty()) {
            source.push_str(&format!("    {key}: {value}\n"));
        }
    }
    let detection = match detection.starts_with('\'') {
        true => format!("    keywords:\n        - {detection}\n    condition: keywords\n"),
        false => format!("    selection:\n        {detection}\n    condition: selection\n"),
    };
    format!(
        "title: case {number}\nid: 00000000-0000-4000-8000-{number:012}\nstatus: test\n\
         level: low\nlogsource:\n{source}detection:\n{detection}"
    )
}

#[test]
fn rules_of_every_logsource_match_shaped_events() {
    let mut rules = Vec::new();
    for (number, (logsource, detection, ..)) in CASES.iter().enumerate() {
        let text = rule(number, logsource, detection);
        let (mut loaded, problems) = detect::load_text(&text);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        rules.append(&mut loaded);
    }
    let packs = Arc::new(PackSet::builtin().unwrap());
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    for rule in &rules {
        for field in rule.plan().unwrap().fields() {
            packs.register_rule_field(&mut names, rule.logsource.parts(), field);
        }
    }
    RuleSet::register(&rules, &mut names);
    let dict = names.build();
    let rules = RuleSet::build(rules, &dict);
    let shaper = Shaper::new(packs, dict.clone(), Default::default(), Default::default());
    let mut wrong = Vec::new();
    for (number, (logsource, _, pack, needle)) in CASES.iter().enumerate() {
        let mut batch = EventBatch::new(dict.clone());
        let mut headers = shape::Headers::default();
        let mut scratch = Scratch::default();
        let envelope = Arc::new(Envelope::of("test", Protocol::File));
        for (offset, line) in lines_of(pack).iter().enumerate() {
            let with_header = headers.take(&envelope, line);
            if memchr::memmem::find(line, needle.as_bytes()).is_none() {
                continue;
            }
            let head = RowHead {
                id: EventId::at(offset as u64),
                received_ns: RECEIVED_NS,
                stream_ns: 0,
                envelope: with_header.unwrap_or_else(|| envelope.clone()),
            };
            shaper.shape(head, line, &mut batch, &mut scratch);
        }
        assert!(!batch.is_empty(), "{pack}: no sample has {needle}");
        let mut matches = Vec::new();
        rules.match_batch(&batch, &mut detect::Scratch::new(), &mut matches);
        if !matches.iter().any(|m| m.rule as usize == number) {
            wrong.push(format!("{number} {logsource} {pack}"));
        }
    }
    assert!(wrong.is_empty(), "no match: {wrong:#?}");
}

pub(crate) fn lines_of(pack: &str) -> Vec<Vec<u8>> {
    let dir = testkit::workspace_root().join("packs").join(pack).join("samples");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        out.extend(text.split(|c| *c == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec));
    }
    out
}

/// Every name that SigmaHQ's rules use for a logsource must be answered by some field that a pack
/// of that logsource writes; those of sources that no pack feeds are listed.
#[test]
fn names_of_sigmas_taxonomy_are_answered() {
    let Some(dir) = testkit::corpus("sigma") else { return };
    let text = std::fs::read(dir.join("logsource.json")).unwrap();
    let taxonomy: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let bench = Bench::new();
    let windows = &taxonomy["legit"]["windows"];
    let (mut total, mut missing) = (0, Vec::new());
    let lists = windows["category"].as_object().unwrap().values();
    let services = windows["service"].as_object().unwrap().values();
    for name in lists.chain(services).flat_map(|l| l.as_array().unwrap()) {
        let name = name.as_str().unwrap();
        total += 1;
        let known = bench.dict.answers(name).iter().any(|id| {
            let field = bench.dict.name(*id);
            field.contains('.') && !field.starts_with("alcedo")
        });
        if !known && bench.dict.id(&format!("winlog.event_data.{name}")).is_none() {
            missing.push(name.to_owned());
        }
    }
    missing.sort();
    missing.dedup();
    println!("sigma taxonomy: {total} names, not listed (found by prefix): {}", missing.len());
}
