//! RSigma, used as its own `engine eval` does: a JSON value per event, logsource routing from the
//! hints the event carries. Results are counted, not rendered, which flatters it slightly.

use crate::semantics::Verdict;
use rsigma_eval::event::JsonEvent;
use rsigma_eval::{Engine, LogSourceExtractor};
use rsigma_parser::{LogSource, parse_sigma_directory, parse_sigma_yaml};
use serde_json::Value as Json;
use std::path::PathBuf;

/// For the figures.
pub(crate) const NAME: &str = "rsigma 0.23.0";

/// The rival's engine.
pub(crate) struct Rsigma {
    engine: Engine,
}

impl Rsigma {
    /// Loads the same folders. Events without hints count as Windows ones, which helps it.
    pub(crate) fn load(folders: &[PathBuf]) -> Result<Self, String> {
        let mut engine = Engine::new();
        for folder in folders {
            let rules = parse_sigma_directory(folder).map_err(|e| e.to_string())?;
            engine.add_collection(&rules).map_err(|e| e.to_string())?;
        }
        let windows = LogSource { product: Some("windows".into()), ..LogSource::default() };
        let extractor = LogSourceExtractor::new().with_defaults(windows);
        engine.set_logsource_extractor(Some(extractor));
        Ok(Self { engine })
    }

    /// Ids of the rules that match each event, into `out` as (event, rule id).
    pub(crate) fn run(&self, events: &[&[u8]], out: &mut Vec<(u32, String)>) {
        for (at, raw) in events.iter().enumerate() {
            let Ok(value) = serde_json::from_slice(raw) else { continue };
            for found in self.engine.evaluate(&JsonEvent::borrow(&value)) {
                out.push((at as u32, found.header.rule_id.unwrap_or_default()));
            }
        }
    }
}

/// What a rule alone says about an event.
pub(crate) fn verdict(rule: &str, event: &Json) -> Verdict {
    let Ok(parsed) = parse_sigma_yaml(rule) else { return Verdict::Refused };
    let mut engine = Engine::new();
    if parsed.rules.is_empty()
        || !parsed.errors.is_empty()
        || engine.add_collection(&parsed).is_err()
    {
        return Verdict::Refused;
    }
    Verdict::Holds(!engine.evaluate(&JsonEvent::borrow(event)).is_empty())
}
