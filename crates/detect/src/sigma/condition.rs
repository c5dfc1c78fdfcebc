//! The condition language: identifiers, `not` before `and` before `or`, parentheses, and
//! `1|any|all|N of them|pattern*`.

use crate::sigma::problem::{Position, Refusal, Refusals};
use filter::{Node, Plan};

/// Selections that a hint names, at most.
const NAMES_SHOWN: usize = 8;
/// Deepest nesting of parentheses and `not`.
pub const DEPTH_MAX: usize = 48;
/// Most words of one condition.
pub const TOKENS_MAX: usize = 4_096;
/// Most leaves of a lowered condition, selections counted each time they are named.
const LEAVES_MAX: usize = filter::plan::LEAVES_MAX;

/// A parsed condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A selection, by name.
    Name(String),
    /// All parts hold.
    And(Vec<Expr>),
    /// One part holds.
    Or(Vec<Expr>),
    /// The part does not hold.
    Not(Box<Expr>),
    /// So many of the selections that the pattern names.
    Of(Quantity, String),
}

/// How many of the named selections must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// At least so many.
    AtLeast(u32),
    /// Every one.
    All,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
}

/// Parses a condition.
///
/// # Errors
/// Text outside the grammar, the obsolete `|` aggregations, or over a limit.
pub fn parse(text: &str) -> Result<Expr, Refusal> {
    if text.contains('|') {
        let hint = "write a correlation document instead";
        return Err(Refusal::not_covered("aggregation after `|` is obsolete", hint).on_word("|", 0));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let expr = parser.or()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected("`and` or `or`")),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut out = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() || matches!(c, '_' | '-' | '*' | '.') {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out.push(Token::Word(std::mem::take(&mut word)));
        }
        match c {
            '(' => out.push(Token::Open),
            ')' => out.push(Token::Close),
            c if c.is_whitespace() => {}
            c => {
                let reason = format!("`{c}` does not belong in a condition");
                let hint = "use and, or, not, of and parentheses";
                return Err(Refusal::invalid(reason, hint).on_word(c.encode_utf8(&mut [0; 4]), 0));
            }
        }
    }
    match out.len() {
        0 => Err(Refusal::invalid("the condition is empty", "name a selection")),
        n if n > TOKENS_MAX => {
            Err(Refusal::invalid("the condition is too long", "use `1 of name*`"))
        }
        _ => Ok(out),
    }
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::Word(word) => word,
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    /// The word that comes next stands where `wanted` should.
    fn unexpected(&self, wanted: &str) -> Refusal {
        let hint = "check the words and parentheses";
        let Some(token) = self.peek() else {
            let reason = format!("condition: found the end where {wanted} should stand");
            return Refusal::invalid(reason, hint);
        };
        let text = token.text();
        let reason = format!("condition: found `{text}` where {wanted} should stand");
        let earlier = self.tokens[..self.at].iter().filter(|t| *t == token).count();
        Refusal::invalid(reason, hint).on_word(text, earlier)
    }

    fn word_is(&self, ahead: usize, wanted: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted))
    }

    fn or(&mut self) -> Result<Expr, Refusal> {
        self.chain("or", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, Refusal> {
        self.chain("and", Self::not, Expr::And)
    }

    fn chain(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr, Refusal>,
        node: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, Refusal> {
        let first = part(self)?;
        if !self.word_is(0, word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.word_is(0, word) {
            self.at += 1;
            parts.push(part(self)?);
        }
        Ok(node(parts))
    }

    fn not(&mut self) -> Result<Expr, Refusal> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Refusal::invalid("the condition is nested too deeply", "split the rule"));
        }
        let expr = if self.word_is(0, "not") {
            self.at += 1;
            Expr::Not(Box::new(self.not()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr, Refusal> {
        if self.peek() == Some(&Token::Open) {
            self.at += 1;
            let inner = self.or()?;
            if self.peek() != Some(&Token::Close) {
                return Err(self.unexpected("`)`"));
            }
            self.at += 1;
            return Ok(inner);
        }
        let Some(Token::Word(word)) = self.peek() else {
            return Err(self.unexpected("a selection"));
        };
        if self.word_is(1, "of") {
            return self.of(word);
        }
        if ["and", "or", "of"].iter().any(|w| word.eq_ignore_ascii_case(w)) {
            return Err(self.unexpected("a selection"));
        }
        self.at += 1;
        Ok(Expr::Name(word.clone()))
    }

    fn of(&mut self, count: &str) -> Result<Expr, Refusal> {
        let quantity = match count.to_ascii_lowercase().as_str() {
            "all" => Quantity::All,
            "any" => Quantity::AtLeast(1),
            number => match number.parse() {
                Ok(n) if n > 0 => Quantity::AtLeast(n),
                _ => return Err(self.unexpected("`all`, `any` or a number")),
            },
        };
        self.at += 2;
        let Some(Token::Word(pattern)) = self.peek() else {
            return Err(self.unexpected("`them` or a pattern"));
        };
        self.at += 1;
        Ok(Expr::Of(quantity, pattern.clone()))
    }
}

/// Selections by name, lowered; `None` for those that a pipeline took away.
pub type Selections = [(String, Option<Plan>)];

/// Lowers the condition written at `at` over named selections. Terms over selections that were taken
/// away are left out; `None` if no term remains. Every name and pattern that no selection answers to is
/// noted in `problems`, and left out.
pub fn lower(
    expr: &Expr,
    selections: &Selections,
    at: Position,
    problems: &mut Refusals,
) -> Option<Plan> {
    Terms { selections, budget: LEAVES_MAX, at, problems }.lower(expr)
}

/// A condition while it is lowered.
struct Terms<'t> {
    selections: &'t Selections,
    /// Leaves that it may still have.
    budget: usize,
    at: Position,
    problems: &'t mut Refusals,
}

impl Terms<'_> {
    fn lower(&mut self, expr: &Expr) -> Option<Plan> {
        match expr {
            Expr::Name(name) => match self.selections.iter().find(|(n, _)| n == name) {
                Some((name, plan)) => self.named(name, plan.as_ref()?),
                None => {
                    let known = self.selections.iter().map(|(n, _)| n.as_str());
                    let near = event::text::nearest(name, known.clone());
                    let hint = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!(
                            "selections are: {}",
                            known.take(NAMES_SHOWN).collect::<Vec<_>>().join(", ")
                        ),
                    };
                    self.refuse(name, format!("there is no selection `{name}`"), hint)
                }
            },
            Expr::Not(part) => self.lower(part).map(Plan::not),
            Expr::And(parts) | Expr::Or(parts) => {
                let plans: Vec<Plan> = parts.iter().filter_map(|part| self.lower(part)).collect();
                match (plans.is_empty(), expr) {
                    (true, _) => None,
                    (false, Expr::And(_)) => Some(Plan::and(plans)),
                    (false, _) => Some(Plan::or(plans)),
                }
            }
            Expr::Of(quantity, pattern) => self.lower_of(*quantity, pattern),
        }
    }

    fn lower_of(&mut self, quantity: Quantity, pattern: &str) -> Option<Plan> {
        let all = self.selections;
        let chosen: Vec<_> = all.iter().filter(|(n, _)| is_named(n, pattern)).collect();
        if chosen.is_empty() {
            let reason = format!("no selection is named like `{pattern}`");
            return self.refuse(pattern, reason, "check the pattern");
        }
        let left = chosen.iter().filter_map(|(n, plan)| Some((n, plan.as_ref()?)));
        let plans: Vec<Plan> = left.filter_map(|(n, plan)| self.named(n, plan)).collect();
        let count = plans.len();
        match quantity {
            _ if count == 0 => None,
            Quantity::All => Some(Plan::and(plans)),
            Quantity::AtLeast(1) => Some(Plan::or(plans)),
            // Those of which nothing could be read count here: that is told already.
            Quantity::AtLeast(n) if n as usize > count => {
                let is_whole = count == chosen.len() || self.problems.is_empty();
                let reason = format!("`{n} of {pattern}` but only {count} selections");
                is_whole.then(|| self.refuse(pattern, reason, "it can never hold")).flatten()
            }
            Quantity::AtLeast(n) => Some(at_least(n, plans)),
        }
    }

    fn named(&mut self, name: &str, plan: &Plan) -> Option<Plan> {
        let Some(left) = self.budget.checked_sub(plan.leaves.len()) else {
            let reason = format!("more than {LEAVES_MAX} values in one condition");
            self.problems.push(Refusal::not_covered(reason, "split the rule").at(self.at));
            return None;
        };
        self.budget = left;
        let root = Node::Named(name.into(), Box::new(plan.root.clone()));
        Some(Plan { leaves: plan.leaves.clone(), root })
    }

    fn refuse(&mut self, word: &str, reason: String, hint: impl Into<String>) -> Option<Plan> {
        self.problems.push(Refusal::invalid(reason, hint).at(self.at).on_word(word, 0));
        None
    }
}

fn at_least(n: u32, plans: Vec<Plan>) -> Plan {
    let mut plan = Plan::and(plans);
    if let Node::And(parts) = plan.root {
        plan.root = Node::AtLeast(n, parts);
    }
    plan
}

/// Whether `pattern` (with `*`, or `them`) takes in the selection. Names that start with an
/// underscore are left out unless the pattern starts with one too.
fn is_named(name: &str, pattern: &str) -> bool {
    if name.starts_with('_') && !pattern.starts_with('_') {
        return false;
    }
    pattern.eq_ignore_ascii_case("them") || glob(pattern, name)
}

/// Greedy matching of `*`: the first piece at the start, the last at the end, the others in order.
fn glob(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(name: &str) -> Expr {
        Expr::Name(name.into())
    }

    #[test]
    fn not_binds_before_and_before_or() {
        let expr = parse("a or b and NOT c").unwrap();
        let and = Expr::And(vec![n("b"), Expr::Not(Box::new(n("c")))]);
        assert_eq!(expr, Expr::Or(vec![n("a"), and]));
        let of = Expr::Of(Quantity::AtLeast(1), "sel_*".into());
        assert_eq!(parse("(a or 1 of sel_*)").unwrap(), Expr::Or(vec![n("a"), of]));
        assert_eq!(parse("not not a").unwrap(), Expr::Not(Box::new(Expr::Not(Box::new(n("a"))))));
    }

    #[test]
    fn what_is_not_a_condition_is_refused() {
        let deep = format!("{}a{}", "(".repeat(1000), ")".repeat(1000));
        for wrong in [
            "",
            "a b",
            "(a",
            "a)",
            "and",
            "a and",
            "1 of",
            "x of them",
            "0 of them",
            "a & b",
            &deep,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("a | count() > 5").unwrap_err().reason.contains("obsolete"));
    }

    #[test]
    fn patterns_choose_selections() {
        assert!(glob("sel_*_x", "sel_a_x") && glob("*", "") && glob("a*b*c", "aXbYc"));
        assert!(!glob("sel_*_x", "sel_x") && !glob("a*b", "ab_") && !glob("a*a", "a"));
        assert!(is_named("a", "them") && !is_named("_a", "them") && is_named("_a", "_*"));
    }
}
