//! Text to query, by descent.

use super::{DEPTH_MAX, Function, LogQuery, LogqlError, MetricQuery, QUERY_BYTES_MAX, Query};
use crate::pattern::REGEX_SIZE_BYTES_MAX;
use crate::plan::{Plan, Target};
use crate::test::{CompareOp, Number, Operand, Test, TextOp};

/// The line: the record as it was received.
const LINE: &str = "event.original";

/// The values of a label that has several, as they are shown: `["a","b"]`.
fn several(text: &str) -> Option<std::str::Split<'_, &'static str>> {
    let inner = text.strip_prefix("[\"")?.strip_suffix("\"]")?;
    (!inner.contains('\\')).then(|| inner.split("\",\""))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    field_of: &'a dyn Fn(&str) -> String,
}

type Read<T> = Result<T, LogqlError>;

pub(super) fn query(text: &str, field_of: &dyn Fn(&str) -> String) -> Read<Query> {
    let mut reader = Reader { text, at: 0, depth: 0, field_of };
    if text.len() > QUERY_BYTES_MAX {
        return Err(reader.error(format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let query = reader.expression()?;
    match reader.peek() {
        None => Ok(query),
        Some(_) => Err(reader.error("the query should end here".into())),
    }
}

impl<'a> Reader<'a> {
    fn error_at(&self, at: usize, message: String) -> LogqlError {
        LogqlError { column: self.text[..at].chars().count() + 1, message }
    }

    fn error(&self, message: String) -> LogqlError {
        self.error_at(self.at, message)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&mut self) -> Option<char> {
        self.at = self.text.len() - self.rest().trim_start().len();
        self.rest().chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Read<()> {
        match self.eat(token) {
            true => Ok(()),
            false => Err(self.error(format!("`{token}` is expected here"))),
        }
    }

    fn word(&mut self) -> &'a str {
        self.peek();
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A word, without taking it.
    fn next_word(&mut self) -> &'a str {
        let before = self.at;
        let word = self.word();
        self.at = before;
        word
    }

    fn expression(&mut self) -> Read<Query> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("the query is nested too deeply".into()));
        }
        let query = self.one_expression();
        self.depth -= 1;
        query
    }

    fn one_expression(&mut self) -> Read<Query> {
        if self.peek() == Some('{') {
            return Ok(Query::Log(self.log()?));
        }
        if self.eat("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let start = self.at;
        let query = match self.word() {
            "sum" => Query::Metric(self.sum()?),
            "topk" => Query::Metric(self.top(1)?),
            "bottomk" => Query::Metric(self.top(-1)?),
            "count_over_time" => Query::Metric(self.over_time(Function::Count)?),
            "rate" => Query::Metric(self.over_time(Function::Rate)?),
            "vector" => {
                self.expect("(")?;
                let number = self.number()?;
                self.expect(")")?;
                Query::Number(number)
            }
            "" => {
                return Err(
                    self.error("a selector such as {alcedo_source=\"x\"} is expected".into())
                );
            }
            other => {
                let known = "sum, topk, bottomk, count_over_time, rate";
                return Err(self.error_at(start, format!("`{other}` is not known; {known} are")));
            }
        };
        match query {
            Query::Number(first) if self.eat("+") => match self.expression()? {
                Query::Number(second) => Ok(Query::Number(first + second)),
                _ => Err(self.error_at(start, "only numbers can be added".into())),
            },
            query => Ok(query),
        }
    }

    fn number(&mut self) -> Read<f64> {
        self.peek();
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | 'e'));
        let len = len.unwrap_or(rest.len());
        let number = rest[..len].parse::<f64>().ok().filter(|n| n.is_finite());
        let number = number.ok_or_else(|| self.error("a number is expected here".into()))?;
        self.at += len;
        Ok(number)
    }

    /// `by (a, b)`, if it is next.
    fn grouping(&mut self) -> Read<Option<Vec<String>>> {
        match self.next_word() {
            "by" => {}
            "without" => return Err(self.error("`without` is not known; write `by`".into())),
            _ => return Ok(None),
        }
        self.word();
        self.expect("(")?;
        let mut labels = Vec::new();
        while !self.eat(")") {
            let label = self.word();
            if label.is_empty() {
                return Err(self.error("a label or `)` is expected here".into()));
            }
            labels.push(label.to_owned());
            self.eat(",");
        }
        Ok(Some(labels))
    }

    fn metric(&mut self) -> Read<MetricQuery> {
        let start = self.at;
        match self.expression()? {
            Query::Metric(metric) => Ok(metric),
            _ => Err(self.error_at(start, "count_over_time or rate is expected here".into())),
        }
    }

    fn sum(&mut self) -> Read<MetricQuery> {
        let before = self.grouping()?;
        self.expect("(")?;
        let inner = self.metric()?;
        self.expect(")")?;
        let after = self.grouping()?;
        Ok(MetricQuery { by: before.or(after).or(Some(Vec::new())), ..inner })
    }

    fn top(&mut self, sign: i64) -> Read<MetricQuery> {
        self.expect("(")?;
        let many = self.number()?.clamp(1.0, 10_000.0) as i64;
        self.expect(",")?;
        let inner = self.metric()?;
        self.expect(")")?;
        Ok(MetricQuery { top: Some(sign * many), ..inner })
    }

    fn over_time(&mut self, function: Function) -> Read<MetricQuery> {
        self.expect("(")?;
        if self.peek() != Some('{') {
            return Err(self.error("a selector such as {alcedo_source=\"x\"} is expected".into()));
        }
        let mut log = self.log()?;
        self.expect("[")?;
        let range_ns = self.duration()?;
        self.expect("]")?;
        // Loki takes filters after the range, too.
        self.stages(&mut log)?;
        self.expect(")")?;
        Ok(MetricQuery { log, function, range_ns, by: None, top: None })
    }

    /// `5m`, `1h30m`, `15000ms`.
    fn duration(&mut self) -> Read<i64> {
        self.peek();
        let (start, mut total) = (self.at, 0i64);
        while self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            let rest = self.rest();
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = rest[digits..].find(|c: char| !c.is_ascii_alphabetic());
            let end = unit.map_or(rest.len(), |len| digits + len);
            let part = crate::search::duration_ns(&rest[..end]);
            total = match part.and_then(|ns| total.checked_add(ns)) {
                Some(total) => total,
                None => return Err(self.error_at(start, "write a duration such as 5m".into())),
            };
            self.at += end;
        }
        match total > 0 {
            true => Ok(total),
            false => Err(self.error_at(start, "write a duration such as 5m".into())),
        }
    }

    fn log(&mut self) -> Read<LogQuery> {
        self.expect("{")?;
        let mut plans = Vec::new();
        while !self.eat("}") {
            plans.push(self.label_test()?);
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        let filter = if plans.is_empty() { Plan::everything() } else { Plan::and(plans) };
        let mut log = LogQuery { filter, all_fields: false };
        self.stages(&mut log)?;
        Ok(log)
    }

    fn stages(&mut self, log: &mut LogQuery) -> Read<()> {
        loop {
            let added = match self.peek() {
                Some('|') if self.eat("|=") => self.line(false, false)?,
                Some('|') if self.eat("|~") => self.line(true, false)?,
                Some('!') if self.eat("!=") => self.line(false, true)?,
                Some('!') if self.eat("!~") => self.line(true, true)?,
                Some('|') => {
                    self.expect("|")?;
                    self.stage(log)?
                }
                _ => return Ok(()),
            };
            let so_far = std::mem::replace(&mut log.filter, Plan::everything());
            log.filter = Plan::and([so_far, added]);
        }
    }

    /// A line filter; `or "text"` may follow.
    fn line(&mut self, regex: bool, negated: bool) -> Read<Plan> {
        let mut plans = Vec::new();
        loop {
            self.peek();
            let start = self.at;
            let text = self.string()?;
            plans.push(match (text.is_empty(), regex) {
                (true, _) => Plan::everything(),
                (_, true) => field(LINE, self.regex(&text, start, false)?),
                (_, false) => field(LINE, Test::text(TextOp::Contains, &text, true)),
            });
            if self.next_word() != "or" {
                break;
            }
            self.word();
        }
        let plan = Plan::or(plans);
        Ok(if negated { plan.not() } else { plan })
    }

    fn stage(&mut self, log: &mut LogQuery) -> Read<Plan> {
        self.peek();
        let start = self.at;
        match self.next_word() {
            "json" | "logfmt" => {
                self.word();
                // Fields named here (`json a="b"`) are there anyway.
                while !matches!(self.peek(), None | Some('|' | '[' | ')' | '!')) {
                    self.at += self.rest().chars().next().map_or(0, char::len_utf8);
                }
                log.all_fields = true;
                Ok(Plan::everything())
            }
            "decolorize" => {
                self.word();
                Ok(Plan::everything())
            }
            "drop" | "keep" => {
                self.word();
                while !matches!(self.peek(), None | Some('|' | '[' | ')')) {
                    self.at += self.rest().chars().next().map_or(0, char::len_utf8);
                }
                Ok(Plan::everything())
            }
            word
            @ ("line_format" | "label_format" | "pattern" | "regexp" | "unpack" | "unwrap") => {
                let hint = "events have their fields when they arrive; `| json` shows them";
                Err(self.error_at(start, format!("`{word}` is not known: {hint}")))
            }
            _ => self.either(),
        }
    }

    /// `a="x" or b>5`.
    fn either(&mut self) -> Read<Plan> {
        let mut plans = vec![self.both()?];
        while self.next_word() == "or" {
            self.word();
            plans.push(self.both()?);
        }
        Ok(Plan::or(plans))
    }

    /// `a="x" and b>5`, `a="x", b>5`.
    fn both(&mut self) -> Read<Plan> {
        let mut plans = vec![self.term()?];
        loop {
            if self.next_word() == "and" {
                self.word();
            } else if !self.eat(",") {
                return Ok(Plan::and(plans));
            }
            plans.push(self.term()?);
        }
    }

    fn term(&mut self) -> Read<Plan> {
        if !self.eat("(") {
            return self.label_test();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("the query is nested too deeply".into()));
        }
        let inner = self.either()?;
        self.expect(")")?;
        self.depth -= 1;
        Ok(inner)
    }

    fn label_test(&mut self) -> Read<Plan> {
        let label = self.word();
        if label.is_empty() {
            return Err(self.error("a label or `}` is expected here".into()));
        }
        let name = (self.field_of)(label);
        let plan = if self.eat("=~") {
            self.label_regex(&name)?
        } else if self.eat("!~") {
            self.label_regex(&name)?.not()
        } else if self.eat("!=") {
            self.label_equals(&name)?.not()
        } else if let Some(op) = self.compare_op() {
            let number = self.number()?;
            let number =
                Number::parse(number.to_string().as_bytes()).unwrap_or(Number::Float(number));
            field(&name, Test::Compare { op, operand: Operand::Number(number) })
        } else {
            self.expect("=")?;
            self.label_equals(&name)?
        };
        // What Loki says of its own parsing never goes wrong here.
        Ok(if label.starts_with("__error") { Plan::everything() } else { plan })
    }

    fn compare_op(&mut self) -> Option<CompareOp> {
        let ops = [
            (">=", CompareOp::Ge),
            ("<=", CompareOp::Le),
            ("==", CompareOp::Eq),
            (">", CompareOp::Gt),
            ("<", CompareOp::Lt),
        ];
        ops.into_iter().find(|(text, _)| self.eat(text)).map(|(_, op)| op)
    }

    fn label_equals(&mut self, name: &str) -> Read<Plan> {
        let text = self.string()?;
        let same = field(name, Test::text(TextOp::Equals, &text, true));
        // In Loki a label that is not there is empty.
        if text.is_empty() {
            return Ok(Plan::or([field(name, Test::Null), same]));
        }
        let Some(values) = several(&text) else { return Ok(same) };
        let each = values.map(|value| field(name, Test::text(TextOp::Equals, value, true)));
        Ok(Plan::or([same, Plan::and(each)]))
    }

    fn label_regex(&mut self, name: &str) -> Read<Plan> {
        self.peek();
        let start = self.at;
        let text = self.string()?;
        let test = self.regex(&text, start, true)?;
        let empty = matches!(&test, Test::Regex { regex, .. } if regex.is_match(b""));
        let found = field(name, test);
        Ok(if empty { Plan::or([field(name, Test::Null), found]) } else { found })
    }

    fn regex(&self, text: &str, at: usize, whole: bool) -> Read<Test> {
        let source = if whole { format!("^(?:{text})$") } else { text.to_owned() };
        let built = regex::bytes::RegexBuilder::new(&source)
            .dot_matches_new_line(whole)
            .size_limit(REGEX_SIZE_BYTES_MAX)
            .build();
        match built {
            Ok(regex) => {
                Ok(Test::Regex { shown: text.into(), regex: regex.into(), by_character: false })
            }
            Err(_) => Err(self.error_at(at, "not a regular expression of linear time".into())),
        }
    }

    /// A text in double quotes with escapes, or in backticks as it is.
    fn string(&mut self) -> Read<String> {
        let Some(quote @ ('"' | '`')) = self.peek() else {
            return Err(self.error("a text in quotes is expected here".into()));
        };
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.rest().chars().next() {
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(out),
                '\\' if quote == '"' => {
                    let escaped = self.rest().chars().next();
                    self.at += escaped.map_or(0, char::len_utf8);
                    out.push(match escaped {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some(other) => other,
                        None => break,
                    });
                }
                c => out.push(c),
            }
        }
        Err(self.error_at(start, "this text has no closing quote".into()))
    }
}

fn field(name: &str, test: Test) -> Plan {
    Plan::leaf(Target::Field(name.into()), test)
}
