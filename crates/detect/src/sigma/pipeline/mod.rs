//! Processing pipelines in the form of the reference implementation (pySigma): steps that rename
//! fields, change values and add conditions before a rule is lowered.
//!
//! ```text
//! pipeline.yml --reading--> Pipeline { steps } --+
//! rule document --modifiers--> Draft ------------+--apply--> Draft --lowering--> plan
//! ```
//! A step acts on a rule if its `rule_conditions` hold, and on those items whose
//! `detection_item_conditions` and `field_name_conditions` hold. What a pipeline says about queries
//! (`postprocessing`, `finalizers`) has no meaning here and is noted.
//!
//! Reading order: [`draft`] (what steps work on), [`step`], [`conditions`], [`reading`],
//! [`transformations`].

pub mod conditions;
pub mod draft;
pub mod params;
pub mod reading;
pub mod step;
pub mod transformations;

pub use draft::{Body, Draft};
pub use reading::{load, parse};

use crate::sigma::problem::Refusal;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A pipeline, ready to be applied.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What it is called; may be empty.
    pub name: Box<str>,
    /// Lower ones are applied first.
    pub priority: i64,
    /// Values of placeholders, by name.
    pub vars: BTreeMap<String, Vec<String>>,
    /// What of it has no effect here, and why.
    pub notes: Vec<String>,
    /// The file it was read from, as given.
    pub file: Arc<PathBuf>,
    /// Its text.
    pub text: Arc<str>,
    /// Hash of its text.
    pub hash: u128,
    pub(crate) steps: Arc<[step::Step]>,
}

/// Applies pipelines in the order of their priority. Variables and state are shared; of equal names
/// the later wins.
///
/// # Errors
/// A step that cannot be honoured for this rule, or that refuses it on purpose.
pub fn apply(pipelines: &[Pipeline], draft: &mut Draft<'_>) -> Result<(), Refusal> {
    let mut ordered: Vec<&Pipeline> = pipelines.iter().collect();
    ordered.sort_by_key(|p| p.priority);
    for pipeline in &ordered {
        draft.vars.extend(pipeline.vars.iter().map(|(name, v)| (name.clone(), v.clone())));
    }
    for pipeline in ordered {
        for step in pipeline.steps.iter() {
            step.apply(draft).map_err(|mut refusal| {
                let name = if pipeline.name.is_empty() { "a pipeline" } else { &*pipeline.name };
                refusal.reason = format!("{name}: {}", refusal.reason);
                refusal
            })?;
        }
    }
    Ok(())
}
