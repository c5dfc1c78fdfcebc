//! What a generation was read from, as it is archived: the same rules can be read from it again, under
//! the same settings, whatever the configuration says by then.

use crate::generation::{Ground, Parts};
use detect::sigma::pipeline;
use detect::{FilterReading, SigmaSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A generation's texts and settings.
#[derive(Debug, Default, Deserialize)]
pub struct Kept {
    /// Rules in their order.
    pub rules: Vec<Arc<str>>,
    /// Filters that were applied to some of them.
    pub filters: Vec<Arc<str>>,
    /// How they were read.
    #[serde(flatten)]
    pub reading: Reading,
}

/// What rules were read under.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Ids of rules in shadow by the configuration alone.
    shadow: Vec<Arc<str>>,
    placeholders: BTreeMap<String, Vec<String>>,
    pipelines: Vec<KeptPipeline>,
    filters_exclude: bool,
    neq_needs_field: bool,
    null_includes_empty: bool,
    base64_ignores_case: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptPipeline {
    file: PathBuf,
    text: Arc<str>,
}

impl Kept {
    /// Of parts that have been read.
    pub fn of(parts: &Parts) -> Self {
        let sigma = &*parts.sigma;
        let mut filters: Vec<Arc<str>> = Vec::new();
        for text in parts.rules.iter().flat_map(|r| &r.source.filters) {
            if !filters.contains(text) {
                filters.push(text.clone());
            }
        }
        let shadow = parts.rules.iter().filter(|r| r.shadow);
        let kept = |p: &pipeline::Pipeline| KeptPipeline {
            file: p.file.to_path_buf(),
            text: p.text.clone(),
        };
        let reading = Reading {
            shadow: shadow.map(|r| r.id.clone()).collect(),
            placeholders: sigma.placeholders.clone(),
            pipelines: sigma.pipelines.iter().map(kept).collect(),
            filters_exclude: sigma.filters == FilterReading::Excluded,
            neq_needs_field: sigma.neq_needs_field,
            null_includes_empty: sigma.null_includes_empty,
            base64_ignores_case: sigma.base64_ignores_case,
        };
        let rules = parts.rules.iter().map(|r| r.source.text.clone()).collect();
        Self { rules, filters, reading }
    }

    /// Of the bytes of a file of its own, as generations were kept before; the first of them held the
    /// rules' texts alone.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let texts =
            |_| serde_json::from_slice(bytes).map(|rules| Self { rules, ..Self::default() });
        serde_json::from_slice(bytes).or_else(texts).ok()
    }

    /// The parts again, on the ground there is now.
    pub fn parts(&self, ground: Ground) -> Parts {
        let how = &self.reading;
        let mut broken_pipelines = Vec::new();
        let mut pipelines = Vec::new();
        for kept in &how.pipelines {
            match pipeline::parse(&Arc::new(kept.file.clone()), &kept.text) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(problems) => broken_pipelines.extend(problems),
            }
        }
        let filters = [FilterReading::Required, FilterReading::Excluded];
        let sigma = SigmaSettings {
            placeholders: how.placeholders.clone(),
            pipelines,
            filters: filters[usize::from(how.filters_exclude)],
            neq_needs_field: how.neq_needs_field,
            null_includes_empty: how.null_includes_empty,
            base64_ignores_case: how.base64_ignores_case,
        };
        let documents = self.rules.iter().chain(&self.filters).map(|text| &**text);
        let (mut rules, problems) = detect::load_documents(documents, &sigma);
        for rule in rules.iter_mut().filter(|r| how.shadow.contains(&r.id)) {
            rule.shadow = true;
        }
        let rules = rules.into_iter().map(Arc::new).collect();
        let sigma = Arc::new(sigma);
        Parts { ground, sigma, rules, problems, kept: Vec::new(), broken_pipelines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Detection};
    use crate::generation::Reader;
    use crate::run::texts::Texts;
    use detect::Changed;

    const RULES: &str = "title: A\nid: 11111111-1111-4111-8111-111111111111\nlogsource: {product: linux}\ndetection:\n  sel:\n    F|expand: '%Admins%'\n  condition: sel\n---\ntitle: B\nid: 22222222-2222-4222-8222-222222222222\nlogsource: {product: linux}\ndetection:\n  sel: {G: y}\n  condition: sel\n";
    const FILTERS: &str = "title: not here\nlogsource: {product: linux}\nfilter:\n  rules: any\n  sel: {Host: test}\n  condition: not sel\n---\ntitle: nor there\nlogsource: {product: linux}\nfilter:\n  rules: [22222222-2222-4222-8222-222222222222]\n  sel: {Host: lab}\n  condition: not sel\n";
    const PIPELINE: &str =
        "name: names\ntransformations:\n  - type: field_name_mapping\n    mapping: {G: other.g}\n";

    /// Scenario: rules under filters, a placeholder table, a pipeline and a shadow entry are archived
    /// and read back under a configuration that has none of it.
    /// Guarantees: the same rules with the same hashes and states come back.
    #[test]
    fn archived_rules_come_back_as_they_were_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let rules = vec![file("rules.yml", RULES), file("filters.yml", FILTERS)];
        let sigma = SigmaSettings {
            placeholders: [("Admins".to_owned(), vec!["root".to_owned()])].into(),
            neq_needs_field: true,
            ..SigmaSettings::default()
        };
        let pipelines = vec![file("pipeline.yml", PIPELINE)];
        let detection = Detection { pipelines, sigma, ..Detection::default() };
        let shadow = vec!["22222222-2222-4222-8222-222222222222".into()];
        let config = Config { rules, detection, shadow, ..Config::default() };
        let parts = Reader::default().read(&config, &Changed::Anything).unwrap();
        assert_eq!((parts.rules.len(), parts.problems.len()), (2, 0), "{:?}", parts.problems);
        let mut texts = Texts::open(dir.path()).unwrap();
        texts.keep("1", &Kept::of(&parts)).unwrap();
        let ground = Ground::of_packs(None).unwrap();
        let again = texts.read("1").unwrap().parts(ground);
        assert_eq!(again.problems, []);
        let what = |p: &Parts| -> Vec<_> {
            let of =
                |r: &Arc<detect::Rule>| (r.id.clone(), r.hash.clone(), r.shadow, r.plan().cloned());
            p.rules.iter().map(of).collect()
        };
        assert_eq!(what(&again), what(&parts));
        let fields = parts.rules[1].plan().unwrap().fields();
        assert!(fields.contains(&"other.g") && fields.contains(&"Host"), "{fields:?}");
    }
}
