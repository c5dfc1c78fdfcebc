//! Fields of an event as VRL's tree of objects, and back.
//!
//! `source.ip` is `.source.ip`; several values are an array. A name that stands beside names below it
//! (`user` and `user.name`) keeps its dots: `."user.name"`. Both spellings give the same field.

use crate::{DEPTH_MAX, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUT_VALUES_MAX, VALUE_BYTES_MAX};
use shape::script::{ScriptField, ScriptValue};
use std::borrow::Cow;
use vrl::value::{KeyString, ObjectMap, Value};

/// The tree of an event's fields. Errors: there is more than a program is given.
pub(crate) fn grow(fields: &[ScriptField<'_>]) -> Result<Value, String> {
    let mut root = ObjectMap::new();
    let mut bytes = 0;
    for (name, value) in fields {
        bytes += name.len() + text_len(value);
        if bytes > INPUT_BYTES_MAX {
            return Err(format!("the event has more than {INPUT_BYTES_MAX} bytes"));
        }
        put(&mut root, name, given(value), 1);
    }
    Ok(Value::Object(root))
}

fn text_len(value: &ScriptValue<'_>) -> usize {
    match value {
        ScriptValue::Text(text) => text.len(),
        _ => 8,
    }
}

fn given(value: &ScriptValue<'_>) -> Value {
    match value {
        ScriptValue::Null => Value::Null,
        ScriptValue::Bool(b) => Value::Boolean(*b),
        ScriptValue::Int(n) => Value::Integer(*n),
        ScriptValue::Float(f) => Value::from_f64_or_zero(*f),
        ScriptValue::Text(text) => Value::from(text.as_ref()),
    }
}

fn put(into: &mut ObjectMap, name: &str, value: Value, depth: usize) {
    if let Some((head, rest)) = name.split_once('.').filter(|_| depth < DEPTH_MAX)
        && !head.is_empty()
        && !rest.is_empty()
        && !into.contains_key(name)
    {
        let below = into.entry(head.into()).or_insert_with(|| Value::Object(ObjectMap::new()));
        if let Value::Object(below) = below {
            return put(below, rest, value, depth + 1);
        }
    }
    match into.get_mut(name) {
        None => {
            into.insert(KeyString::from(name), value);
        }
        Some(Value::Array(values)) => values.push(value),
        // Only a value that came after names below it: it goes where an object may hold it.
        Some(Value::Object(below)) => put(below, "", value, depth + 1),
        Some(one) => {
            let first = std::mem::replace(one, Value::Null);
            *one = Value::Array(vec![first, value]);
        }
    }
}

/// Every value of a tree under its name. Errors: the program left no object, or more than it may.
pub(crate) fn fields(value: Value) -> Result<Vec<ScriptField<'static>>, String> {
    let Value::Object(root) = value else {
        return Err(format!("the program left {} instead of an object", value.kind_str()));
    };
    let mut out = Leaves { fields: Vec::new(), bytes: 0 };
    for (key, value) in root {
        out.take(key.as_str(), value, 1)?;
    }
    Ok(out.fields)
}

struct Leaves {
    fields: Vec<ScriptField<'static>>,
    bytes: usize,
}

impl Leaves {
    fn take(&mut self, name: &str, value: Value, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX + 1 {
            return Err(format!("the program left more than {DEPTH_MAX} levels"));
        }
        let left = match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match key.is_empty() {
                        true => self.take(name, value, depth + 1)?,
                        false => self.take(&format!("{name}.{key}"), value, depth + 1)?,
                    }
                }
                return Ok(());
            }
            Value::Array(values) => {
                for value in values {
                    self.take(name, value, depth + 1)?;
                }
                return Ok(());
            }
            Value::Null => ScriptValue::Null,
            Value::Boolean(b) => ScriptValue::Bool(b),
            Value::Integer(n) => ScriptValue::Int(n),
            Value::Float(f) => ScriptValue::Float(f.into_inner()),
            text => ScriptValue::Text(Cow::Owned(text.coerce_to_bytes().to_vec())),
        };
        let len = text_len(&left);
        self.bytes += name.len() + len;
        if len > VALUE_BYTES_MAX || self.bytes > OUTPUT_BYTES_MAX {
            return Err(format!(
                "the program left a value of over {VALUE_BYTES_MAX} bytes, or over \
                 {OUTPUT_BYTES_MAX} in all"
            ));
        }
        if self.fields.len() >= OUTPUT_VALUES_MAX {
            return Err(format!("the program left more than {OUTPUT_VALUES_MAX} values"));
        }
        self.fields.push((Cow::Owned(name.to_owned()), left));
        Ok(())
    }
}
