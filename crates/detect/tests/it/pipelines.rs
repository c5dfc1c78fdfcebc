//! Processing pipelines: what each step makes of a rule, and what is refused.

use detect::ruletest::push_event;
use detect::sigma::pipeline::conditions::{FieldCondition, ItemCondition, Readable, RuleCondition};
use detect::sigma::pipeline::transformations::{REFUSED, TRANSFORMATIONS};
use detect::sigma::pipeline::{Pipeline, parse};
use detect::{FilterReading, RuleProblem, RuleSet, Scratch, SigmaSettings, load_text_with};
use event::EventBatch;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::Arc;

fn pipeline(text: &str) -> Result<Pipeline, Vec<RuleProblem>> {
    parse(&Arc::new(PathBuf::from("p.yml")), text)
}

fn with(text: &str) -> SigmaSettings {
    SigmaSettings { pipelines: vec![pipeline(text).unwrap()], ..SigmaSettings::default() }
}

/// Whether each event matches, or the problems if there is no rule.
fn verdicts(
    rule: &str,
    settings: &SigmaSettings,
    events: &[Json],
) -> Result<Vec<bool>, Vec<RuleProblem>> {
    let (rules, problems) = load_text_with(rule, settings);
    if rules.is_empty() {
        return Err(problems);
    }
    let set = RuleSet::standalone(rules);
    let mut batch = EventBatch::new(set.dict().clone());
    for event in events {
        push_event(&mut batch, event, b"");
    }
    let mut found = Vec::new();
    set.match_batch(&batch, &mut Scratch::new(), &mut found);
    Ok((0..events.len() as u32).map(|row| found.iter().any(|m| m.row == row)).collect())
}

fn rule(selection: &str) -> String {
    format!(
        "title: t\nid: t\nlevel: high\ntags: [attack.t1059]\n\
         logsource: {{product: windows, category: process_creation}}\n\
         detection:\n  sel: {selection}\n  condition: sel\n"
    )
}

/// (steps as flow YAML, selection, events that match, events that do not).
type Case<'a> = (&'a str, &'a str, Vec<Json>, Vec<Json>);

fn cases() -> Vec<Case<'static>> {
    [names_of_fields(), items_and_conditions(), values(), conditions_of_steps()].concat()
}

fn names_of_fields() -> Vec<Case<'static>> {
    vec![
        (
            "{type: field_name_mapping, mapping: {F: G}}",
            "{F: x}",
            vec![json!({"G": "x"})],
            vec![json!({"F": "x"})],
        ),
        (
            "{type: field_name_mapping, mapping: {F: [G, H]}}",
            "{F: x, K: y}",
            vec![json!({"G": "x", "K": "y"}), json!({"H": "x", "K": "y"})],
            vec![json!({"G": "x"}), json!({"F": "x", "K": "y"})],
        ),
        (
            "{type: field_name_mapping, mapping: {F: [G, H]}}",
            "{F|neq: x}",
            vec![json!({"G": "y", "H": "z"})],
            vec![json!({"G": "y", "H": "x"})],
        ),
        (
            "{type: field_name_mapping, mapping: {B: C}}",
            "{A|fieldref: B}",
            vec![json!({"A": "x", "C": "x"})],
            vec![json!({"A": "x", "B": "x"})],
        ),
        (
            "{type: field_name_prefix_mapping, mapping: {'win.': 'winlog.'}}",
            "{win.a: x}",
            vec![json!({"winlog.a": "x"})],
            vec![json!({"win.a": "x"})],
        ),
        (
            "{type: field_name_prefix, prefix: 'p.'}",
            "{F|contains: x}",
            vec![json!({"p": {"F": "axb"}})],
            vec![json!({"F": "x"})],
        ),
        (
            "{type: field_name_suffix, suffix: .keyword, field_name_conditions: \
             [{type: include_fields, fields: [F]}]}",
            "{F: x, G: y}",
            vec![json!({"F.keyword": "x", "G": "y"})],
            vec![json!({"F.keyword": "x", "G.keyword": "y"})],
        ),
        (
            "{type: field_name_prefix, prefix: p_, field_name_conditions: \
             [{type: exclude_fields, mode: re, fields: ['G.*']}]}",
            "{F: x, Gx: y}",
            vec![json!({"p_F": "x", "Gx": "y"})],
            vec![json!({"p_F": "x", "p_Gx": "y"})],
        ),
    ]
}

fn items_and_conditions() -> Vec<Case<'static>> {
    let sha1 = "5F1CBC3D99558307BC1250D084FA968521482025";
    vec![
        (
            "{type: drop_detection_item, field_name_conditions: \
             [{type: include_fields, fields: [F]}]}",
            "{F: x, G: y}",
            vec![json!({"G": "y"})],
            vec![json!({"F": "x"})],
        ),
        (
            "{type: hashes_fields, valid_hash_algos: [SHA1, MD5], field_prefix: File, \
             field_name_conditions: [{type: include_fields, fields: [Hashes]}]}",
            "{Hashes|contains: ['SHA1=5F1CBC3D99558307BC1250D084FA968521482025', 'MD5=AA']}",
            vec![json!({"FileSHA1": sha1}), json!({"FileMD5": "aa"})],
            vec![json!({"Hashes": format!("SHA1={sha1}")}), json!({"FileMD5": sha1})],
        ),
        (
            "{type: add_condition, conditions: {EventID: 1, C|contains: [a, b]}}",
            "{F: x}",
            vec![json!({"F": "x", "EventID": 1, "C": "xb"})],
            vec![json!({"F": "x", "EventID": 1}), json!({"EventID": 1, "C": "a"})],
        ),
        (
            "{type: add_condition, conditions: {Kind: '$category'}, template: true, negated: true}",
            "{F: x}",
            vec![json!({"F": "x", "Kind": "other"}), json!({"F": "x"})],
            vec![json!({"F": "x", "Kind": "process_creation"})],
        ),
    ]
}

fn values() -> Vec<Case<'static>> {
    vec![
        (
            "{type: replace_string, regex: '^C:', replacement: 'D:'}",
            "{F|startswith: 'C:\\Win'}",
            vec![json!({"F": "D:\\Windows"})],
            vec![json!({"F": "C:\\Windows"})],
        ),
        (
            "{type: replace_string, regex: '(a+)(b+)', replacement: '\\2$\\1', skip_special: true}",
            "{F: 'aab*'}",
            vec![json!({"F": "b$aa tail"})],
            vec![json!({"F": "aab"})],
        ),
        (
            "{type: map_string, mapping: {x: [y, 'z*'], q: r}}",
            "{F: [x, q]}",
            vec![json!({"F": "y"}), json!({"F": "zzz"}), json!({"F": "r"})],
            vec![json!({"F": "x"})],
        ),
        (
            "{type: set_value, value: 5, force_type: str, field_name_conditions: \
             [{type: include_fields, fields: [F]}]}",
            "{F: x}",
            vec![json!({"F": "5"})],
            vec![json!({"F": "x"})],
        ),
        (
            "{type: convert_type, target_type: num}",
            "{F: '1.50'}",
            vec![json!({"F": 1.5})],
            vec![json!({"F": 1.6})],
        ),
        (
            "{type: case, method: upper}",
            "{F|cased: abc}",
            vec![json!({"F": "ABC"})],
            vec![json!({"F": "abc"})],
        ),
        ("{type: regex, method: ignore_case_flag}", "{F: a*}", vec![json!({"F": "Ab"})], vec![]),
        ("{type: add_field, field: X}", "{F: a}", vec![json!({"F": "a"})], vec![]),
        (
            "{type: set_custom_attribute, attribute: a, value: b}",
            "{F: a}",
            vec![json!({"F": "a"})],
            vec![],
        ),
        (
            "{type: wildcard_placeholders, exclude: [other]}",
            "{F|expand: 'a%name%c'}",
            vec![json!({"F": "abbc"})],
            vec![json!({"F": "ab"})],
        ),
    ]
}

fn conditions_of_steps() -> Vec<Case<'static>> {
    vec![
        (
            "{type: field_name_mapping, mapping: {F: G}, rule_conditions: \
             [{type: logsource, product: linux}, {type: tag, tag: attack.t1059}], rule_cond_op: or}",
            "{F: x}",
            vec![json!({"G": "x"})],
            vec![],
        ),
        (
            "{type: field_name_mapping, mapping: {F: G}, rule_conditions: \
             [{type: logsource, category: process_creation}], rule_cond_not: true}",
            "{F: x}",
            vec![json!({"F": "x"})],
            vec![],
        ),
        (
            "{type: field_name_mapping, mapping: {F: G}, rule_conditions: {a: {type: rule_attribute, \
             attribute: level, value: medium, op: gte}, b: {type: contains_detection_item, field: \
             F, value: x}, c: {type: is_sigma_correlation_rule}}, rule_cond_expr: a and b and not c}",
            "{F: x}",
            vec![json!({"G": "x"})],
            vec![],
        ),
        (
            "{type: field_name_mapping, mapping: {F: G}, detection_item_conditions: \
             [{type: match_string, pattern: 'x.*'}]}",
            "[{F: xa}, {F: ya}]",
            vec![json!({"G": "xa"}), json!({"F": "ya"})],
            vec![json!({"F": "xa"}), json!({"G": "ya"})],
        ),
        (
            "{type: nest, rule_conditions: [{type: is_sigma_rule}], items: [{id: one, type: \
             field_name_mapping, mapping: {F: G}}, {type: field_name_suffix, suffix: _s, \
             field_name_conditions: [{type: processing_item_applied, processing_item_id: one}]}]}",
            "{F: x, K: y}",
            vec![json!({"G_s": "x", "K": "y"})],
            vec![json!({"G_s": "x", "K_s": "y"})],
        ),
        (
            "{type: set_state, key: k, val: 5}, {type: field_name_mapping, mapping: {F: G}, \
             rule_conditions: [{type: processing_state, key: k, val: 4, op: gt}]}, \
             {type: field_name_suffix, suffix: _z, rule_conditions: \
             [{type: processing_state, key: k, val: 5, op: ne}]}, {type: field_name_suffix, suffix: \
             _y, rule_conditions: [{type: processing_state, key: other, val: 5, op: ne}]}",
            "{F: x}",
            vec![json!({"G": "x"})],
            vec![json!({"F": "x"}), json!({"G_z": "x"}), json!({"G_y": "x"})],
        ),
        (
            "{type: field_name_mapping, mapping: {F: G}}, {type: strict_field_mapping_failure}",
            "{F: x}",
            vec![json!({"G": "x"})],
            vec![json!({"F": "x"})],
        ),
        (
            "{type: case, method: snake_case}",
            "{F|cased: FooBarX*}",
            vec![json!({"F": "foo_bar_xy"})],
            vec![json!({"F": "FooBarXy"})],
        ),
        (
            "{type: regex, method: plain}",
            "{F: Foo*}",
            vec![json!({"F": "Foobar"})],
            vec![json!({"F": "foobar"})],
        ),
        (
            "{type: hashes_fields, valid_hash_algos: [MD5], field_prefix: File}",
            "{Hashes|contains: 0123456789abcdef0123456789abcdef, Other|contains: 'MD5=a'}",
            vec![json!({"FileMD5": "0123456789ABCDEF0123456789abcdef", "Other": "xMD5=a"})],
            vec![json!({"Hashes": "MD5=0123456789abcdef0123456789abcdef", "Other": "MD5=a"})],
        ),
        (
            "{type: set_state, key: k, val: v}, {type: field_name_mapping, mapping: {F: G}, \
             rule_conditions: [{type: processing_state, key: k, val: v}]}",
            "{F: x}",
            vec![json!({"G": "x"})],
            vec![],
        ),
    ]
}

#[test]
fn every_step_does_what_it_says() {
    for (steps, selection, yes, no) in cases() {
        let settings = with(&format!("name: p\ntransformations: [{steps}]\n"));
        let text = rule(selection);
        let all = |events: &[Json]| {
            verdicts(&text, &settings, events).unwrap_or_else(|p| panic!("{steps}: {p:?}"))
        };
        assert_eq!(all(&yes), vec![true; yes.len()], "{steps}");
        assert_eq!(all(&no), vec![false; no.len()], "{steps}");
    }
}

#[test]
fn every_transformation_has_a_case_and_is_documented() {
    let page = testkit::workspace_root().join("docs/sigma.md");
    let page = std::fs::read_to_string(page).unwrap();
    let steps: String = cases().iter().map(|c| c.0).collect();
    let apart = [
        "value_placeholders",
        "query_expression_placeholders",
        "change_logsource",
        "rule_failure",
        "detection_item_failure",
        "remove_field",
        "set_field",
    ];
    for (at, kind) in TRANSFORMATIONS.iter().enumerate() {
        let name = kind.name;
        assert!(TRANSFORMATIONS[..at].iter().all(|k| k.name != name), "{name} twice");
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/sigma.md");
        let tried =
            steps.contains(&format!("type: {name},")) || steps.contains(&format!("type: {name}}}"));
        assert!(tried || apart.contains(&name), "{name} has no case");
    }
}

#[test]
fn placeholders_take_values_from_pipelines_and_settings() {
    let text = rule("{F|contains|expand: '-%name%-%other%'}");
    let events = [json!({"F": "x -a-C1-"}), json!({"F": "-b-c"}), json!({"F": "-a-d"})];
    let vars =
        "vars: {name: [a, b]}\ntransformations: [{type: value_placeholders, include: [name]}]\n";
    let mut settings = with(vars);
    let reasons = verdicts(&text, &settings, &events).unwrap_err();
    assert!(reasons[0].reason.contains("%other% has no values"), "{reasons:?}");
    settings.placeholders.insert("other".into(), vec!["c*".into()]);
    assert_eq!(verdicts(&text, &settings, &events), Ok(vec![true, true, false]));
    let missing = with("transformations: [{type: value_placeholders}]\n");
    let reasons = verdicts(&text, &missing, &events).unwrap_err();
    assert!(reasons[0].reason.contains("no variable `name`"), "{reasons:?}");
    let query = with("transformations: [{type: query_expression_placeholders, expression: x}]\n");
    assert!(verdicts(&text, &query, &events).is_err());
}

/// Guarantees: two backslashes are one, which escapes no placeholder behind it; one escapes it.
#[test]
fn placeholders_stand_behind_backslashes() {
    let mut site = SigmaSettings::default();
    site.placeholders.insert("name".into(), vec!["adm_*".into(), "root".into()]);
    let events =
        [json!({"F": r"CORP\adm_1"}), json!({"F": "CORP%name%"}), json!({"F": r"CORP\%name%"})];
    for (value, expected) in [
        (r"'corp\\%name%'", [true, false, false]),
        (r"'corp\%name%'", [false, true, false]),
        (r"'corp\\\%name%'", [false, false, true]),
    ] {
        for modifiers in ["expand", "expand|contains", "contains|expand", "endswith|expand"] {
            let line = format!("{{F|{modifiers}: {value}}}");
            assert_eq!(verdicts(&rule(&line), &site, &events), Ok(expected.to_vec()), "{line}");
        }
    }
}

/// Scenario: `re|expand` with values of settings, of a pipeline, of both, and with wildcards in their place;
/// values that are expressions themselves.
/// Guarantees: each value is a part of the expression, held together; flags and ends hold for all.
#[test]
fn placeholders_stand_in_expressions() {
    let text = rule("{F|re|i|expand: '^%name%\\d%other%$'}");
    let events = [json!({"F": "A1c"}), json!({"F": "b2d"}), json!({"F": "a1x"}), json!({"F": "b"})];
    let mut settings = with(
        "vars: {name: [a, b]}\ntransformations: [{type: value_placeholders, \
                             include: [name]}]\n",
    );
    let reasons = verdicts(&text, &settings, &events).unwrap_err();
    assert!(reasons[0].reason.contains("%other% has no values"), "{reasons:?}");
    settings.placeholders.insert("other".into(), vec!["c|d".into()]);
    assert_eq!(verdicts(&text, &settings, &events), Ok(vec![true, true, false, false]));
    let mut site = SigmaSettings::default();
    site.placeholders.insert("name".into(), vec!["a|b".into(), "srv-[0-9]".into()]);
    site.placeholders.insert("other".into(), vec!["".into()]);
    let events = [json!({"F": "b7"}), json!({"F": "SRV-12"}), json!({"F": "srv-x1"})];
    assert_eq!(verdicts(&text, &site, &events), Ok(vec![true, true, false]));
    let anything = with("transformations: [{type: wildcard_placeholders}]\n");
    assert_eq!(verdicts(&text, &anything, &events), Ok(vec![true, true, true]));
    let bound = rule("{F|re|expand|startswith: '%name%'}");
    let events = [json!({"F": "bx"}), json!({"F": "xb"})];
    assert_eq!(verdicts(&bound, &site, &events), Ok(vec![true, false]));
    let behind = rule(r"{F|re|i|expand: '^corp\\%name%$'}");
    let events = [json!({"F": r"CORP\b"}), json!({"F": "corp%name%"}), json!({"F": "CORPb"})];
    assert_eq!(verdicts(&behind, &site, &events), Ok(vec![true, false, false]));
    let plain = rule("{F|re|expand: 'a\\%b%?'}");
    let events = [json!({"F": "a%b"}), json!({"F": "ab"})];
    assert_eq!(verdicts(&plain, &SigmaSettings::default(), &events), Ok(vec![true, false]));
}

#[test]
fn priorities_order_and_later_variables_win() {
    let first =
        "priority: 20\nvars: {v: late}\ntransformations: [{type: field_name_suffix, suffix: 2}]\n";
    let second = "priority: 10\nvars: {v: early}\ntransformations: [{type: field_name_suffix, \
                  suffix: 1}, {type: value_placeholders}]\n";
    let pipelines = vec![pipeline(first).unwrap(), pipeline(second).unwrap()];
    let settings = SigmaSettings { pipelines, ..SigmaSettings::default() };
    let events = [json!({"F12": "late"}), json!({"F12": "early"}), json!({"F21": "late"})];
    assert_eq!(
        verdicts(&rule("{F|expand: '%v%'}"), &settings, &events),
        Ok(vec![true, false, false])
    );
}

#[test]
fn a_rule_that_a_pipeline_refuses_is_not_covered_with_its_words() {
    let text = "transformations: [{type: rule_failure, message: not for us, rule_conditions: \
                [{type: logsource, product: windows}]}]\n";
    let problems = verdicts(&rule("{F: x}"), &with(text), &[]).unwrap_err();
    assert!(problems[0].reason.contains("not for us"), "{problems:?}");
    let text = "transformations: [{type: detection_item_failure, message: no F, \
                field_name_conditions: [{type: include_fields, fields: [F]}]}]\n";
    assert!(verdicts(&rule("{F: x}"), &with(text), &[]).unwrap_err()[0].reason.contains("no F"));
    assert!(verdicts(&rule("{G: x}"), &with(text), &[]).is_ok());
    let text = "transformations: [{type: drop_detection_item}]\n";
    assert!(verdicts(&rule("{F: x}"), &with(text), &[]).unwrap_err()[0].reason.contains("nothing"));
}

#[test]
fn dropped_selections_leave_the_condition() {
    let text = "transformations: [{type: drop_detection_item, field_name_conditions: \
                [{type: include_fields, fields: [F]}]}]\n";
    let rule = "title: t\ndetection:\n  a: {A: 1}\n  f_1: {F: x}\n  f_2: {G: y}\n  \
                condition: a and not 1 of f_* and not f_1\n";
    let events = [json!({"A": 1, "F": "x"}), json!({"A": 1, "G": "y"})];
    assert_eq!(verdicts(rule, &with(text), &events), Ok(vec![true, false]));
}

#[test]
fn logsources_change_for_routing_but_filters_go_by_what_was_written() {
    let text = "transformations: [{type: change_logsource, product: windows, service: sysmon}]\n";
    let both = format!(
        "{}---\ntitle: f\nlogsource: {{category: process_creation}}\nfilter: {{rules: any, s: \
         {{U: a}}, condition: not s}}\n",
        rule("{F: x}")
    );
    let (rules, problems) = load_text_with(&both, &with(text));
    assert_eq!(problems, []);
    assert_eq!(rules[0].logsource.shown(), "windows/-/sysmon");
    assert_eq!(rules[0].logsource_written.shown(), "windows/process_creation/-");
    assert!(rules[0].plan().unwrap().fields().contains(&"U"));
}

#[test]
fn correlations_get_the_names_of_the_rules_they_relate() {
    let map = |product: &str, to: &str| {
        with(&format!(
            "transformations: [{{type: field_name_mapping, mapping: {{User: {to}, V: v}}, \
             rule_conditions: [{{type: logsource, product: {product}}}]}}]\n"
        ))
    };
    let text = format!(
        "{}---\ntitle: c\nid: c\ncorrelation: {{type: value_count, rules: [t], group-by: [User, \
         addr], aliases: {{addr: {{t: User}}}}, timespan: 5m, condition: {{field: V, gte: 3}}}}\n",
        rule("{User: x}")
    );
    let (rules, problems) = load_text_with(&text, &map("windows", "user.name"));
    assert_eq!(problems, []);
    let c = rules[1].correlation().unwrap();
    assert_eq!(c.group_by.iter().map(|g| &**g).collect::<Vec<_>>(), ["user.name", "addr"]);
    assert_eq!(&*c.aliases[0].fields[0].1, "user.name");
    let (rules, _) = load_text_with(&text, &map("linux", "user.name"));
    assert_eq!(&*rules[1].correlation().unwrap().group_by[0], "User");
    let (rules, problems) = load_text_with(&text, &map("windows", "[a, b]"));
    assert_eq!((rules.len(), problems.len()), (1, 1), "{problems:?}");
}

#[test]
fn what_is_wrong_with_a_pipeline_is_named() {
    for (text, line, reason) in [
        ("transformations: [{type: conjure}]\n", 1, "unknown transformation `conjure`"),
        ("transformations:\n- {type: nest, items: [{type: x}]}\n", 2, "unknown transformation"),
        ("transformations: 5\n", 1, "a list of steps"),
        ("transformations: [{mapping: {}}]\n", 1, "`type` is missing"),
        ("transformations: [{type: field_name_mapping}]\n", 1, "`mapping` is missing"),
        ("transformations: [{type: case, method: odd}]\n", 1, "`method`"),
        ("transformations: [{type: drop_detection_item, speed: 5}]\n", 1, "`speed` has no meaning"),
        ("transformations: [{type: replace_string, regex: '(', replacement: x}]\n", 1, "regular"),
        ("a: 1\n", 1, "`a` has no meaning"),
        ("priority: high\n", 1, "`priority` is text"),
        ("vars: [a]\n", 1, "`vars` is a list"),
        ("name: [\n", 1, "not valid YAML"),
        ("name: a\n---\nname: b\n", 1, "2 documents"),
        (
            "transformations:\n- {type: case, method: lower, rule_conditions: [{type: moon}]}\n",
            2,
            "unknown condition `moon`",
        ),
        (
            "transformations: [{type: case, method: lower, rule_conditions: {a: {type: \
             is_sigma_rule}}, rule_cond_expr: a and b}]\n",
            1,
            "no condition `b`",
        ),
        (
            "transformations: [{type: case, method: lower, rule_cond_op: xor}]\n",
            1,
            "`rule_cond_op`",
        ),
        ("transformations: [{type: add_condition, conditions: {F|odd: 1}}]\n", 1, "modifier `odd`"),
    ] {
        let problems = pipeline(text).unwrap_err();
        let found = problems.iter().any(|p| p.reason.contains(reason) && !p.hint.is_empty());
        assert!(found && problems[0].line >= line, "{text}: {problems:?}");
        assert_eq!(problems[0].file.display().to_string(), "p.yml");
    }
    let notes = pipeline("finalizers: []\npostprocessing: []\n").unwrap().notes;
    assert_eq!(notes.len(), 2);
}

#[test]
fn settings_choose_the_other_reading() {
    let events = [json!({"G": 1}), json!({"F": ""}), json!({"F": "cgluzw=="})];
    let default = SigmaSettings::default();
    let ask = |selection: &str, settings: &SigmaSettings| {
        verdicts(&rule(selection), settings, &events).unwrap()
    };
    let other = SigmaSettings {
        neq_needs_field: true,
        null_includes_empty: true,
        base64_ignores_case: true,
        ..SigmaSettings::default()
    };
    assert_eq!(ask("{F|neq: x}", &default), [true, true, true]);
    assert_eq!(ask("{F|neq: x}", &other), [false, true, true]);
    assert_eq!(ask("{F: null}", &default), [true, false, false]);
    assert_eq!(ask("{F: null}", &other), [true, true, false]);
    assert_eq!(ask("{F|base64: ping}", &default), [false, false, false]);
    assert_eq!(ask("{F|base64: ping}", &other), [false, false, true]);
    let hash = |s: &SigmaSettings| load_text_with(&rule("{F: x}"), s).0[0].hash.clone();
    assert_ne!(hash(&default), hash(&other));
    let text = format!(
        "{}---\ntitle: f\nlogsource: {{product: windows}}\nfilter: {{rules: [t], s: {{G: 1}}, \
         condition: s}}\n",
        rule("{H: x}")
    );
    let events = [json!({"H": "x", "G": 1}), json!({"H": "x"})];
    assert_eq!(verdicts(&text, &default, &events), Ok(vec![true, false]));
    let excluded = SigmaSettings { filters: FilterReading::Excluded, ..SigmaSettings::default() };
    assert_eq!(verdicts(&text, &excluded, &events), Ok(vec![false, true]));
}

/// What the reference implementation has (pySigma 2.0.1).
const REFERENCE: [&str; 31] = [
    "field_name_mapping",
    "field_name_prefix_mapping",
    "field_name_transform",
    "drop_detection_item",
    "hashes_fields",
    "extract_fields",
    "field_name_suffix",
    "field_name_prefix",
    "wildcard_placeholders",
    "value_placeholders",
    "query_expression_placeholders",
    "file_placeholders",
    "http_placeholders",
    "command_placeholders",
    "add_condition",
    "change_logsource",
    "add_field",
    "remove_field",
    "set_field",
    "replace_string",
    "map_string",
    "set_state",
    "regex",
    "set_value",
    "convert_type",
    "rule_failure",
    "detection_item_failure",
    "strict_field_mapping_failure",
    "set_custom_attribute",
    "nest",
    "case",
];
const REFERENCE_CONDITIONS: [&str; 15] = [
    "logsource",
    "contains_detection_item",
    "contains_field",
    "processing_item_applied",
    "processing_state",
    "is_sigma_rule",
    "is_sigma_correlation_rule",
    "rule_attribute",
    "tag",
    "match_string",
    "match_value",
    "contains_wildcard",
    "is_null",
    "include_fields",
    "exclude_fields",
];

/// Scenario: every transformation and condition of the reference implementation, as installed if it is.
/// Guarantees: each is applied, or refused with a reason of its own and what to do; all are documented.
#[test]
fn everything_the_reference_implementation_has_is_applied_or_refused_by_name() {
    let script = "from sigma.processing.transformations import transformations as t\n\
                  from sigma.processing.conditions import rule_conditions as r, \
                  detection_item_conditions as d, field_name_conditions as f\n\
                  print(*t); print(*r, *d, *f)";
    let installed = std::process::Command::new("python3").args(["-c", script]).output();
    let installed = installed.ok().filter(|out| out.status.success());
    let said = installed.map(|out| String::from_utf8(out.stdout).unwrap()).unwrap_or_default();
    let mut lines = said.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let names = lines.next().unwrap_or_default();
    let conditions = lines.next().unwrap_or_default();
    let page = testkit::workspace_root().join("docs/sigma.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in names.into_iter().chain(REFERENCE) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/sigma.md");
        let is_applied = TRANSFORMATIONS.iter().any(|t| t.name == name);
        let refused = REFUSED.iter().find(|refused| refused.0 == name);
        assert!(is_applied != refused.is_some(), "{name}");
        if let Some((_, reason, hint)) = refused {
            let problems =
                pipeline(&format!("transformations: [{{type: {name}, x: y}}]\n")).unwrap_err();
            let said = format!("{name} {reason}");
            assert!(problems[0].reason == said && problems[0].hint == *hint, "{problems:?}");
        }
    }
    let kinds = [RuleCondition::KINDS, ItemCondition::KINDS, FieldCondition::KINDS].concat();
    for name in conditions.into_iter().chain(REFERENCE_CONDITIONS) {
        assert!(kinds.contains(&name) && page.contains(&format!("`{name}`")), "{name}");
    }
    let strict = "transformations: [{type: field_name_mapping, mapping: {K: L}}, \
                  {type: strict_field_mapping_failure}]\n";
    let problems = verdicts(&rule("{F: x, K: y}"), &with(strict), &[]).unwrap_err();
    assert!(problems[0].reason.contains("no step has mapped `F`"), "{problems:?}");
}
