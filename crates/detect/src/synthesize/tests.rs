use super::*;
use crate::load_text;

fn solved(detection: &str) -> Option<Solution> {
    let text = format!("title: t\nid: t\ndetection: {detection}\n");
    let (rules, problems) = load_text(&text);
    assert_eq!(problems, [], "{detection}");
    solve(rules[0].plan().unwrap(), &Map::new())
}

#[test]
fn conditions_are_solved_and_missed_by_little() {
    for detection in [
        "{s: {F: x}, condition: s}",
        "{s: {F|startswith: 'C:\\', F|endswith: '.exe', F|contains|all: [a b, c]}, condition: s}",
        "{s: {F|contains: [x, y]}, f: {F|contains: 'xy', G: 1}, condition: s and not f}",
        "{s: {F|re: '^a{3}[0-9]+(foo|bar)\\.exe$'}, condition: s}",
        "{s: {F|cidr: 10.0.0.0/8, G|gte: 5}, condition: s}",
        "{s: {F: null, G|exists: true}, condition: s}",
        "{s: {F: x}, t: {G: y}, u: {H: z}, condition: 2 of *}",
        "{s: {F|fieldref: G}, condition: s}",
        "{s: ['one word', other], condition: s}",
        "{s: {'|all': ['one', 'two']}, condition: s}",
        "{s: {F: 'a?b*c'}, condition: s}",
        "{s: {F|contains|windash: ' -enc '}, condition: s}",
        "{s: {F|base64offset|contains: 'hello there'}, condition: s}",
        "{s: {F|hour: 7}, t: {G|week: 32}, condition: s and t}",
        "{s: {F: x}, f: {F: x}, g: {G: 1}, condition: s and not (f and g)}",
        "{s: {F: x, G|contains: ''}, f: {G: null}, condition: s and not f}",
        "{s: {F|endswith: /a}, f: {F: [/a, /b/a]}, condition: s and not f}",
        "{s: {F|contains: /a/}, f: {F|startswith: /a/}, condition: s and not f}",
        "{s: {F|contains: ': '}, f: {F|endswith: ' '}, condition: s and not f}",
        "{s: {F|contains|all: ['a: * b', ' c* ']}, f: {F|endswith: ' '}, condition: s and not f}",
        "{s: {F: x}, f: {G|fieldref: H}, g: [G: null, H: null], condition: s and not f and not g}",
    ] {
        let solution = solved(detection);
        assert!(
            solution.as_ref().is_some_and(|s| s.near_miss.is_some()),
            "{detection}: {solution:?}"
        );
    }
}

/// Scenario: one of several channels is the one the logsource has; a rule wants another event id.
/// Guarantees: the given channel is kept, the rule's own id wins.
#[test]
fn what_is_given_is_kept_where_it_can_be() {
    let text = "title: t\nid: t\ndetection: {s: {Id: 104, C: [A, B, System]}, condition: s}\n";
    let (rules, _) = load_text(text);
    let given = serde_json::json!({"C": "System", "Id": 9_999, "X": "y"});
    let given = given.as_object().unwrap();
    let positive = solve(rules[0].plan().unwrap(), given).unwrap().positive;
    assert_eq!(
        serde_json::Value::from(positive),
        serde_json::json!({"C": "System", "Id": "104", "X": "y"})
    );
}

#[test]
fn what_cannot_be_is_not_solved() {
    assert_eq!(solved("{s: {F: x}, condition: s and not s}"), None);
}

#[test]
fn a_near_miss_differs_in_one_value() {
    let solution = solved("{s: {A: x, B|endswith: y}, condition: s}").unwrap();
    let miss = solution.near_miss.unwrap();
    let differing = solution.positive.iter().filter(|(k, v)| miss.get(*k) != Some(v)).count();
    assert_eq!((differing, miss.len()), (1, 2));
}
