//! Rules that are read again: only what changed is parsed and compiled.

use detect::{Changed, Loader, RuleSet, SigmaSettings, load_paths};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn rule(id: u32, value: &str) -> String {
    format!(
        "title: rule {id}\nid: 00000000-0000-4000-8000-{id:012}\nlogsource: {{product: test}}\ndetection:\n  sel: {{F: {value}}}\n  condition: sel\n"
    )
}

fn write(dir: &Path, id: u32, value: &str) {
    std::fs::write(dir.join(format!("{id:03}.yml")), rule(id, value)).unwrap();
}

/// A folder with one rule.
fn folder_of_one() -> (tempfile::TempDir, [std::path::PathBuf; 1]) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1, "x");
    let paths = [dir.path().to_path_buf()];
    (dir, paths)
}

/// Long after everything was written: stamps are to be trusted.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

/// Scenario: one of fifty files is edited, one is added, one goes; then the settings change.
/// Guarantees: only the edited and the new file are parsed, all other rules are the very same ones;
/// the result is that of reading everything; other settings mean that everything is read again.
#[test]
fn only_files_that_changed_are_parsed() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_path_buf()];
    (0..50).for_each(|id| write(dir.path(), id, "x"));
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    let (first, _) = loader.load(&paths, &settings, later(), &Changed::Anything);
    assert_eq!((first.len(), loader.parsed()), (50, 50));
    write(dir.path(), 7, "edited");
    write(dir.path(), 50, "new");
    std::fs::remove_file(dir.path().join("020.yml")).unwrap();
    let (second, problems) = loader.load(&paths, &settings, later(), &Changed::Anything);
    assert_eq!((second.len(), loader.parsed(), problems.len()), (50, 2, 0));
    let same = second.iter().filter(|r| first.iter().any(|old| Arc::ptr_eq(old, r))).count();
    assert_eq!(same, 48);
    let whole = load_paths(&paths).0;
    let what = |r: &detect::Rule| (r.id.clone(), r.hash.clone(), r.plan().cloned());
    let (again, fresh): (Vec<_>, Vec<_>) =
        (second.iter().map(|r| what(r)).collect(), whole.iter().map(what).collect());
    assert_eq!(again, fresh);
    let other = SigmaSettings { neq_needs_field: true, ..SigmaSettings::default() };
    loader.load(&paths, &other, later(), &Changed::Anything);
    assert_eq!(loader.parsed(), 50);
}

/// Scenario: a file is read in the same moment in which it was written, and written once more in it.
/// Guarantees: it is read again next time, because a change in that moment leaves no trace, and parsed
/// again only if it says something else.
#[test]
fn a_file_in_the_making_is_not_trusted() {
    let (dir, paths) = folder_of_one();
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    let mut load = |now: SystemTime| {
        let (rules, _) = loader.load(&paths, &settings, now, &Changed::Anything);
        (rules[0].clone(), loader.parsed())
    };
    let (first, _) = load(SystemTime::now());
    let (same, parsed) = load(SystemTime::now());
    assert!(Arc::ptr_eq(&first, &same) && parsed == 0, "{parsed}");
    write(dir.path(), 1, "y");
    let (other, parsed) = load(later());
    assert!(first.hash != other.hash && parsed == 1, "{parsed}");
    assert_eq!(load(later()).1, 0);
}

/// Scenario: a broken file among others is read twice, then mended.
/// Guarantees: its problem is told every time, and gone when it is.
#[test]
fn problems_stay_until_they_are_mended() {
    let (dir, paths) = folder_of_one();
    std::fs::write(dir.path().join("2.yml"), "title: b\ndetection: {condition: s}\n").unwrap();
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    for _ in 0..2 {
        let (rules, problems) = loader.load(&paths, &settings, later(), &Changed::Anything);
        assert_eq!((rules.len(), problems.len()), (1, 1));
    }
    assert_eq!(loader.parsed(), 0);
    std::fs::write(dir.path().join("2.yml"), rule(2, "y")).unwrap();
    let (rules, problems) = loader.load(&paths, &settings, later(), &Changed::Anything);
    assert_eq!((rules.len(), problems.len()), (2, 0));
}

/// Scenario: a rule that a correlation builds on, under a filter, is read again with an edit beside it.
/// Guarantees: what filters and correlations did to the first copy is not done twice to the second.
#[test]
fn relations_between_rules_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_path_buf()];
    (1..3).for_each(|id| write(dir.path(), id, "x"));
    let related = "title: many\nid: 10000000-0000-4000-8000-000000000000\ncorrelation:\n  type: event_count\n  rules: [00000000-0000-4000-8000-000000000001]\n  group-by: [G]\n  timespan: 1m\n  condition: {gte: 3}\n---\ntitle: but not\nlogsource: {product: test}\nfilter:\n  rules: [00000000-0000-4000-8000-000000000001]\n  sel: {Host: lab}\n  condition: not sel\n";
    std::fs::write(dir.path().join("9.yml"), related).unwrap();
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    let (first, _) = loader.load(&paths, &settings, later(), &Changed::Anything);
    write(dir.path(), 2, "y");
    let (second, problems) = loader.load(&paths, &settings, later(), &Changed::Anything);
    assert_eq!((second.len(), problems.len(), loader.parsed()), (3, 0, 1));
    let base = |rules: &[Arc<detect::Rule>]| {
        let rule = rules.iter().find(|r| r.id.ends_with('1')).unwrap();
        (rule.hash.clone(), rule.generate, rule.plan().cloned(), rule.source.filters.len())
    };
    assert_eq!(base(&first), base(&second));
    assert_eq!((base(&first).1, base(&first).3), (false, 1));
    // Without the correlation it speaks for itself again.
    std::fs::remove_file(dir.path().join("9.yml")).unwrap();
    let (third, _) = loader.load(&paths, &settings, later(), &Changed::Anything);
    assert!(third.iter().all(|r| r.generate && r.source.filters.is_empty()));
    RuleSet::standalone(third.into_iter().map(Arc::unwrap_or_clone).collect());
}

/// Scenario: files of fifty are named as edited, added, gone, renamed, hidden, no rule at all, half
/// written and mended; one further file changes without being named.
/// Guarantees: only named files are looked at; rules and problems are those of reading everything.
#[test]
fn only_files_that_are_named_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_path_buf(), dir.path().join("049.yml")];
    std::fs::create_dir(dir.path().join("010")).unwrap();
    (0..50).for_each(|id| write(dir.path(), id, "x"));
    (50..60).for_each(|id| write(&dir.path().join("010"), id, "x"));
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    loader.load(&paths, &settings, later(), &Changed::Anything);
    let at = |name: &str| dir.path().join(name);
    let put = |name: &str, text: String| std::fs::write(at(name), text).unwrap();
    let steps: [(&dyn Fn(), &[&str]); 9] = [
        (&|| write(dir.path(), 7, "edited"), &["007.yml"]),
        (&|| put("010/051-new.yaml", rule(90, "new")), &["010/051-new.yaml"]),
        (&|| put("zz.yml", rule(91, "new")), &["zz.yml"]),
        (&|| std::fs::remove_file(at("020.yml")).unwrap(), &["020.yml"]),
        (&|| std::fs::rename(at("021.yml"), at("010/0.yml")).unwrap(), &["021.yml", "010/0.yml"]),
        (&|| put(".swap.yml", rule(92, "new")), &[".swap.yml"]),
        (&|| put("note.txt", rule(92, "new")), &["note.txt", "gone.yml"]),
        (&|| put("007.yml", "title: half\nlogsource: {".into()), &["007.yml"]),
        (&|| write(dir.path(), 7, "mended"), &["007.yml"]),
    ];
    let what = |r: &detect::Rule| (r.id.clone(), r.source.clone().file, r.plan().cloned());
    for (number, (step, named)) in steps.into_iter().enumerate() {
        step();
        let named: Vec<_> = named.iter().map(|name| at(name)).collect();
        let changed = Changed::Files(named.clone());
        let (rules, problems) = loader.load(&paths, &settings, later(), &changed);
        assert_eq!(loader.looked_at(), named.len(), "step {number}");
        let (whole, wrong) = load_paths(&paths);
        let rules: Vec<_> = rules.iter().map(|r| what(r)).collect();
        assert_eq!(rules, whole.iter().map(what).collect::<Vec<_>>(), "step {number}");
        assert_eq!(problems, wrong, "step {number}");
    }
    write(dir.path(), 8, "unnamed");
    let (rules, _) = loader.load(&paths, &settings, later(), &Changed::Files(vec![at("009.yml")]));
    let text = |rules: &[Arc<detect::Rule>]| rules[8].source.text.contains("unnamed");
    assert!(!text(&rules), "{}", rules[8].source.text);
    assert!(text(&loader.load(&paths, &settings, later(), &Changed::Anything).0));
}

/// Scenario: among what is named there is a folder that came, one that went, and a link.
/// Guarantees: everything is looked at, and what is found is what is there.
#[test]
fn folders_and_links_mean_that_all_is_looked_at() {
    let (dir, paths) = folder_of_one();
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    loader.load(&paths, &settings, later(), &Changed::Anything);
    let (folder, link) = (dir.path().join("new"), dir.path().join("link.yml"));
    let mut count = |changed: &Path| {
        let changed = Changed::Files(vec![changed.to_path_buf()]);
        loader.load(&paths, &settings, later(), &changed).0.len()
    };
    std::fs::create_dir(&folder).unwrap();
    write(&folder, 2, "x");
    assert_eq!(count(&folder), 2);
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), 3, "x");
    std::os::unix::fs::symlink(outside.path().join("003.yml"), &link).unwrap();
    assert_eq!(count(&link), 3);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(count(&folder), 2);
}

/// Scenario: of a rule, a rule under a filter and a correlation over both, the first is edited so that it
/// cannot be read, then so that it refers to nothing, then mended, then taken away.
/// Guarantees: while an edit is refused, the version before it is in force with all that builds on it, and
/// what is wrong with the edit is told; a rule that is taken away is gone, and what built on it too.
#[test]
fn an_edit_that_fails_leaves_the_version_before_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_path_buf()];
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(dir.path(), 1, "x");
    let other = rule(2, "y");
    let filter =
        "title: f\nlogsource: {product: test}\nfilter: {rules: any, s: {G: 1}, condition: not s}\n";
    file("002.yml", &format!("{other}---\n{filter}"));
    let [one, two] = [1, 2].map(|id| format!("00000000-0000-4000-8000-{id:012}"));
    let chain = |rules: &str| {
        format!(
            "title: c\nid: 00000000-0000-4000-8000-000000000003\n\
             correlation: {{type: temporal, rules: [{rules}], timespan: 5m}}\n"
        )
    };
    file("003.yml", &chain(&format!("{one}, {two}")));
    let (mut loader, settings) = (Loader::default(), SigmaSettings::default());
    let mut in_force: Vec<Arc<detect::Rule>> = Vec::new();
    let mut load = |loader: &mut Loader| {
        let loaded = loader.load_keeping(&paths, &settings, later(), &Changed::Anything, &|p| {
            in_force
                .iter()
                .filter(|r| r.answers_to(&p.rule))
                .map(|r| r.source.text.clone())
                .collect()
        });
        in_force.clone_from(&loaded.rules);
        let what = |r: &Arc<detect::Rule>| (r.id.clone(), r.hash.clone(), r.generate);
        (loaded.rules.iter().map(what).collect::<Vec<_>>(), loaded.problems, loaded.kept)
    };
    let (good, problems, kept) = load(&mut loader);
    assert_eq!((good.len(), problems.len(), kept.len()), (3, 0, 0), "{problems:?}");

    file("001.yml", &rule(1, "x").replace("F: x", "F|contians: z"));
    let (now, problems, kept) = load(&mut loader);
    assert_eq!(now, good, "all is as it was, its order too");
    assert_eq!((problems.len(), &*kept[0]), (1, &*one), "{problems:?}");
    assert!(problems[0].reason.contains("contians") && problems[0].line == 5);
    assert_eq!(load(&mut loader).0, good, "a further reload changes nothing");

    write(dir.path(), 1, "mended");
    let (now, problems, kept) = load(&mut loader);
    assert_ne!(now, good);
    assert_eq!((now.len(), problems.len(), kept.len()), (3, 0, 0));

    file("003.yml", &chain(&format!("{one}, nosuch")));
    let (now, problems, kept) = load(&mut loader);
    assert_eq!((now.len(), problems.len(), kept.len()), (3, 1, 1), "{problems:?}");
    assert!(now[0].2 == good[0].2 && problems[0].reason.contains("nosuch"));

    file("003.yml", &chain(&format!("{one}, {two}")));
    load(&mut loader);
    std::fs::remove_file(dir.path().join("001.yml")).unwrap();
    let (now, problems, kept) = load(&mut loader);
    assert_eq!((now.len(), kept.len()), (1, 0), "{now:?}");
    assert!(problems.iter().any(|p| p.reason.contains("not loaded")), "{problems:?}");
}

/// Scenario: of three documents of a file, the last one without id and name, one at a time is edited so that
/// it is no YAML: by a tab, a quote that is not closed, a second colon. Another file has a correlation over
/// two of them, whose text stands first among those of before, as in an archive.
/// Guarantees: all that was in force stays so, told from the texts alone; the edit is a problem with the id
/// that it has. A rule that is taken out of the file, or was edited well, is not brought back.
#[test]
fn a_slip_in_yaml_leaves_the_version_before_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().to_path_buf()];
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let [one, two] = [1, 2].map(|id| format!("00000000-0000-4000-8000-{id:012}"));
    let nameless = rule(3, "z")
        .lines()
        .filter(|l| !l.starts_with("id:"))
        .fold(String::new(), |text, line| text + line + "\n");
    let documents = [rule(1, "x"), rule(2, "y"), nameless];
    let chain = format!(
        "title: c\nid: 00000000-0000-4000-8000-000000000009\n\
         correlation: {{type: temporal, rules: [{one}, {two}], timespan: 5m}}\n"
    );
    file("000.yml", &chain);
    let settings = SigmaSettings::default();
    let load = |documents: &[String], before: &[Arc<str>]| {
        file("001.yml", &documents.join("---\n"));
        let last_good = |p: &detect::RuleProblem| detect::resembling(p, before.iter());
        let everything = Changed::Anything;
        Loader::default().load_keeping(&paths, &settings, later(), &everything, &last_good)
    };
    let hashes = |loaded: &detect::Loaded| -> Vec<Arc<str>> {
        loaded.rules.iter().map(|rule| rule.hash.clone()).collect()
    };
    let good = load(&documents, &[]);
    assert_eq!((good.rules.len(), good.problems.len()), (4, 0), "{:?}", good.problems);
    let before: Vec<Arc<str>> = good.rules.iter().map(|rule| rule.source.text.clone()).collect();
    /// What is wrong, and how a text comes to be so.
    type Slip = (&'static str, fn(&str) -> String);
    let slips: [Slip; 4] = [
        ("a tab", |text| text.replace("logsource:", "\tlogsource:")),
        ("a quote", |text| text.replace("F: ", "F: \"")),
        ("a colon", |text| text.replacen("title: ", "title: a: ", 1)),
        ("a modifier", |text| text.replace("F:", "F|contians:")),
    ];
    for at in 0..3 {
        for (what, slip) in &slips {
            let mut documents = documents.clone();
            documents[at] = slip(&documents[at]);
            let now = load(&documents, &before);
            assert_eq!(hashes(&now), hashes(&good), "{at}, {what}: {:?}", now.problems);
            assert_eq!((now.kept.len(), now.problems.len()), (1, 1), "{at}, {what}");
            let named = [&*one, &*two].get(at).is_none_or(|id| *now.problems[0].rule == **id);
            assert!(named, "{at}, {what}: {:?}", now.problems);
        }
    }
    let mut documents = documents.to_vec();
    documents[1] = rule(2, "another").replace("title: ", "title: a: ");
    documents[2] = documents[2].replace("F: z", "F: other");
    let now = load(&documents, &before);
    assert!(hashes(&now).contains(&good.rules[2].hash), "{:?}", now.problems);
    assert!(!hashes(&now).contains(&good.rules[3].hash), "an edit holds");
}
