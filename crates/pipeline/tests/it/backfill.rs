//! Old events read in bulk: matched and correlated like any others, and nobody is paged.

use super::stage::{S, Stage};

const RULES: &str = "
title: Failed
id: 00000000-0000-4000-8000-000000000001
name: failed
logsource: {category: test}
detection: {s: {what: failed}, condition: s}
---
title: Many
id: 00000000-0000-4000-8000-000000000004
correlation: {type: event_count, rules: [failed], group-by: [who], timespan: 1m, generate: true, condition: {gte: 3}}
";

fn failed(who: &str, at_ns: i64) -> String {
    let time = event::time::rfc3339(at_ns);
    format!(r#"{{"@timestamp":"{time}","what":"failed","who":"{who}"}}"#)
}

#[test]
fn archives_are_correlated_by_themselves_and_page_nobody() {
    let stage = Stage::new(RULES, &[]);
    let now = stage.now_ns();
    let (day, hour) = (86_400 * S, 3_600 * S);
    // An archive of last month, a laptop that was offline for five hours, and the present.
    let archive: Vec<String> = (0..3).map(|i| failed("old", now - 30 * day + i * S)).collect();
    let laptop: Vec<String> = (0..3).map(|i| failed("away", now - 5 * hour + i * S)).collect();
    stage.send("web", &archive);
    stage.send("web", &laptop);
    // Two of the present and one of last month are not three within a minute.
    let mixed = [failed("bob", now), failed("bob", now), failed("bob", now - 30 * day)];
    stage.send("web", &mixed);
    let fresh: Vec<String> = (0..3).map(|_| failed("ann", stage.now_ns())).collect();
    stage.send("web", &fresh);
    stage.tick();
    let heard = stage.run(2, None, 0);
    let many = |queued: bool| {
        let of = |(rule, backfill): &&(String, bool)| rule.ends_with('4') && *backfill == queued;
        heard.backfill.iter().filter(of).count()
    };
    assert_eq!((many(true), many(false)), (1, 2), "{:?}", heard.backfill);
    let plain: Vec<bool> =
        heard.backfill.iter().filter(|b| b.0.ends_with('1')).map(|b| b.1).collect();
    assert!(plain.contains(&true) && plain.contains(&false), "{plain:?}");
}
