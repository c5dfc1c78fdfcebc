//! Every SigmaHQ rule fires on an event solved from its condition, and keeps still on a near miss.

use crate::samples::{SIGMAHQ, golden};
use detect::LogSource;
use detect::synthesize::solve;
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::sync::PoisonError;

/// Scenario: for every rule an event is made from its condition, in the form in which the product's
/// events come, and sent through packs, routing and the matcher with all rules loaded.
/// Guarantees: the rule fires on it and not on the near miss. Rules for which that cannot be shown
/// are the committed list.
#[test]
fn every_rule_fires_on_its_event_and_not_on_a_near_miss() {
    let Some(live) = &*SIGMAHQ else { return };
    let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
    let routes = Routes::read();
    let (mut tried, mut shown, mut unproven) = (0, 0, Vec::new());
    for number in 0..live.set.rules().len() as u32 {
        let rule = live.set.rule(number);
        let Some(plan) = rule.plan() else { continue };
        tried += 1;
        let id = rule.id.to_string();
        let given = routes.given(&rule.logsource);
        let Some(solution) = solve(plan, &given) else {
            unproven.push(format!("{id}\tno event found"));
            continue;
        };
        let mut fires = |event: &Map<String, Json>| {
            let record = Json::Object(event.clone()).to_string();
            let batch = live.shape([record.as_bytes()]);
            live.matches(&batch).iter().any(|m| m.rule == number)
        };
        if !fires(&solution.positive) {
            unproven.push(format!("{id}\tsilent on its event"));
            println!("{id} silent on {}", Json::Object(solution.positive.clone()));
            continue;
        }
        match solution.near_miss {
            None => unproven.push(format!("{id}\tno near miss found")),
            Some(miss) if fires(&miss) => {
                unproven.push(format!("{id}\tfires on its near miss"));
                println!("{id} fires on {}", Json::Object(miss));
            }
            Some(_) => shown += 1,
        }
    }
    println!("{tried} rules tried, {shown} proven, {} not", unproven.len());
    golden("synthetic_unproven.tsv", "# rule, why it is not proven\n", &unproven.join("\n"));
}

/// Which channel and event id give a Windows logsource: the windows pack's own table.
struct Routes(HashMap<String, Map<String, Json>>);

impl Routes {
    fn read() -> Self {
        let path = testkit::workspace_root().join("packs/windows/routes.tsv");
        let mut out = HashMap::new();
        for line in std::fs::read_to_string(path).unwrap().lines().filter(|l| !l.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            let &[channel, ids, condition, logsources, ..] = &columns[..] else { continue };
            let id = ids.split([',', '-']).next().and_then(|id| id.parse::<u32>().ok());
            for logsource in logsources.split(',').filter(|l| *l != "-") {
                let mut given = Map::new();
                given.insert("Channel".into(), channel.into());
                given.insert("EventID".into(), id.unwrap_or(9_999).into());
                if let Some((field, value)) = condition.split_once('=') {
                    given.insert(field.into(), value.into());
                }
                out.entry(logsource.to_owned()).or_insert(given);
            }
        }
        Self(out)
    }

    fn given(&self, logsource: &LogSource) -> Map<String, Json> {
        let parts = logsource.parts().map(Option::unwrap_or_default);
        // What a rule does not ask for has to be there for the event to be of its log.
        if let ["zeek", _, service @ ("rdp" | "conn" | "dns" | "http" | "smb_files")] = parts {
            return Map::from_iter([
                ("_path".into(), service.into()),
                ("ts".into(), 1_700_000_000.into()),
            ]);
        }
        let wanted = parts.join("/");
        let found = self.0.get(&wanted).or_else(|| {
            // A rule may name a category and a service: the category decides.
            self.0.get(&format!("{}/{}/", parts[0], parts[1])).filter(|_| !parts[1].is_empty())
        });
        found.cloned().unwrap_or_default()
    }
}
