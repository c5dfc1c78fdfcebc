//! Which columns the pipes need of events, before anything is aggregated.

use super::feed::Feed;
use crate::kernel::answers;
use datafusion::logical_expr::Expr;
use datafusion::prelude::ident;
use event::{Dictionary, FieldId};
use filter::search::{Aggregate, AggregateFunction, Pipe};

/// The columns that pipes name before anything is aggregated.
pub(super) struct Feeds {
    pub(super) list: Vec<Feed>,
    /// Whether the first thing done to rows is to count them in groups.
    pub(super) counted: bool,
}

impl Feeds {
    pub(super) fn of(pipes: &[Pipe], dict: &Dictionary) -> Self {
        let counted = match pipes.first() {
            Some(Pipe::Stats { aggregates, .. } | Pipe::Timechart { aggregates, .. }) => {
                aggregates.iter().all(|a| a.function.counts_alike())
            }
            Some(Pipe::Top { .. }) => true,
            _ => false,
        };
        let mut feeds = Feeds { list: Vec::new(), counted };
        let mut whole_events = true;
        let joins = pipes.iter().any(|p| matches!(p, Pipe::Join { .. } | Pipe::Lookup { .. }));
        for pipe in pipes {
            let mut text = |name: &String| feeds.add(Feed::Text(answers(dict, name)));
            match pipe {
                Pipe::Stats { aggregates, by } | Pipe::Timechart { aggregates, by, .. } => {
                    by.iter().for_each(&mut text);
                    let as_text = aggregates.iter().filter(|a| !is_told_apart(dict, a));
                    as_text.filter_map(|a| a.field.as_ref()).for_each(&mut text);
                    let told_apart = aggregates.iter().filter(|a| is_told_apart(dict, a));
                    for field in told_apart.filter_map(|a| a.field.as_ref()) {
                        feeds.add(Feed::Id(answers(dict, field)));
                    }
                    let of_numbers = aggregates.iter().filter(|a| uses_numbers(a.function));
                    for field in of_numbers.filter_map(|a| a.field.as_ref()) {
                        feeds.add(Feed::Number(answers(dict, field)));
                    }
                    if let Pipe::Timechart { span_ns, .. } = pipe {
                        feeds.add(Feed::Bucket(*span_ns));
                    }
                    whole_events = false;
                }
                Pipe::Top { by, .. } => {
                    by.iter().for_each(&mut text);
                    whole_events = false;
                }
                Pipe::Sort(keys) => keys.iter().for_each(|k| text(&k.column)),
                Pipe::Dedup(names) => names.iter().for_each(&mut text),
                Pipe::Fields(names) if joins => names.iter().for_each(&mut text),
                Pipe::Join { .. } | Pipe::Lookup { .. } => whole_events = false,
                Pipe::Where(_) | Pipe::Head(_) | Pipe::Fields(_) => {}
            }
            if !whole_events {
                break;
            }
        }
        let uses_time = |pipe: &Pipe| match pipe {
            Pipe::Stats { aggregates, .. } | Pipe::Timechart { aggregates, .. } => {
                aggregates.iter().any(|a| {
                    let ordered =
                        matches!(a.function, AggregateFunction::First | AggregateFunction::Last);
                    ordered || a.field.as_ref().is_some_and(|f| is_time(dict, f))
                })
            }
            Pipe::Top { by, .. } => by.iter().any(|f| is_time(dict, f)),
            _ => true,
        };
        // A count alone needs no order and no places.
        let first_aggregates = matches!(
            pipes.first(),
            Some(Pipe::Stats { .. } | Pipe::Timechart { .. } | Pipe::Top { .. })
        );
        if !first_aggregates || pipes.first().is_some_and(uses_time) {
            feeds.add(Feed::Time);
        }
        if !first_aggregates {
            [Feed::Place, Feed::Offset, Feed::Sub].into_iter().for_each(|f| feeds.add(f));
        }
        feeds
    }

    pub(super) fn add(&mut self, feed: Feed) {
        if !self.list.contains(&feed) {
            self.list.push(feed);
        }
    }

    pub(super) fn column(&self, feed: &Feed) -> Expr {
        let at = self.list.iter().position(|f| f == feed).unwrap_or_default();
        ident(format!("f{at}"))
    }
}

/// Whether a function looks at the numbers that texts are.
pub(super) fn uses_numbers(function: AggregateFunction) -> bool {
    use AggregateFunction::*;
    match function {
        Sum | Avg | Percentile(_) | Min | Max => true,
        Count | Dc | Values | First | Last => false,
    }
}

/// Whether only the number of a field's distinct values counts.
pub(super) fn is_told_apart(dict: &Dictionary, aggregate: &Aggregate) -> bool {
    let field = aggregate.field.as_ref();
    aggregate.function == AggregateFunction::Dc && field.is_some_and(|f| !is_time(dict, f))
}

/// Whether a name means the event's own time.
pub(super) fn is_time(dict: &Dictionary, name: &str) -> bool {
    dict.answers(name).first() == Some(&FieldId::TIMESTAMP)
}
