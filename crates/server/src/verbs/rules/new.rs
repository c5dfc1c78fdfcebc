//! `alcedo rules new`: a rule to start from.

use super::super::say;
use crate::exit::{Exit, Failure, Outcome};

/// Prints a rule with an id of its own, a condition and two tests.
pub(super) fn run(title: &str, logsource: &str) -> Outcome {
    let parts: Vec<&str> = logsource.split('/').collect();
    let &[product, category, service] = &parts[..] else {
        let hint = "write product/category/service, for example linux/-/sshd";
        return Err(Failure::invalid(format!("{logsource} is no logsource"), hint));
    };
    let mut lines = String::new();
    for (name, value) in [("product", product), ("category", category), ("service", service)] {
        if !value.is_empty() && value != "-" {
            lines.push_str(&format!("  {name}: {value}\n"));
        }
    }
    let now = event::time::rfc3339(io::intake::wall_ns());
    let date = now.get(..10).unwrap_or_default();
    let title = serde_json::to_string(title).unwrap_or_default();
    let id = new_id()?;
    say(&format!(
        "title: {title}\n\
         id: {id}\n\
         status: experimental\n\
         description: >-\n  What it finds, and why that matters.\n\
         date: {date}\n\
         tags:\n  - attack.execution\n  - attack.t1059\n\
         level: medium\n\
         falsepositives:\n  - What else looks like this.\n\
         logsource:\n{lines}\
         detection:\n  selection:\n    CommandLine|contains: something\n  condition: selection\n\
         alcedo_tests:\n\
         \x20 - name: what it is about\n    event: {{CommandLine: tool something}}\n    match: true\n\
         \x20 - name: what it is not about\n    event: {{CommandLine: tool else}}\n    match: false"
    ));
    Ok(Exit::Ok)
}

/// A random UUID (RFC 9562, version 4).
fn new_id() -> Result<String, Failure> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::invalid(e, "the system gives no randomness"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
