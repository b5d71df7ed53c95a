//! Validates JSON against the schemas of the document (JSON Schema 2020-12, the keywords that the document uses).

#![expect(clippy::panic, reason = "the checker panics with its finding")]

use serde_json::Value;

/// All violations of `schema` in `value`; `document` contains the referenced schemas.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "answer", &mut found);
    found
}

/// The target of a `$ref`, or the value itself.
pub fn resolved<'a>(document: &'a Value, thing: &'a Value) -> &'a Value {
    let Some(reference) = thing["$ref"].as_str() else { return thing };
    let place = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
    place.unwrap_or_else(|| panic!("{reference} is not in the document"))
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let is_kept = match keyword.as_str() {
            "$ref" => {
                check(document, resolved(document, schema), value, at, found);
                true
            }
            "type" => types(rule).any(|kind| is_of(kind, value)),
            "enum" => rule.as_array().expect("a list").contains(value),
            "const" => rule == value,
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().expect("a number")),
            "required" => {
                rule.as_array().expect("a list").iter().all(|name| value.get(name.as_str().expect("a name")).is_some())
            }
            "oneOf" => {
                let fits = |schema: &&Value| faults(document, schema, value).is_empty();
                rule.as_array().expect("a list").iter().filter(fits).count() == 1
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.for_each(|(n, item)| check(document, rule, item, &format!("{at}[{n}]"), found));
                true
            }
            "properties" => {
                let known = rule.as_object().expect("an object");
                let both = known.iter().filter_map(|(name, rule)| Some((name, rule, value.get(name)?)));
                both.for_each(|(name, rule, value)| check(document, rule, value, &format!("{at}.{name}"), found));
                true
            }
            "additionalProperties" => {
                assert_eq!(rule, false, "{at}: the checker supports only false");
                let known = schema["properties"].as_object().expect("properties");
                value.as_object().is_none_or(|fields| fields.keys().all(|name| known.contains_key(name)))
            }
            "description" | "default" | "format" => true,
            other => panic!("{at}: the checker does not support {other}"),
        };
        if !is_kept {
            found.push(format!("{at}: {keyword} {rule}, found {value}"));
        }
    }
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    let one = rule.as_str().into_iter();
    one.chain(rule.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("no type is called {other}"),
    }
}

#[test]
fn violations_of_a_schema_are_found() {
    let document = serde_json::json!({ "side": { "type": ["integer", "null"], "minimum": 2 } });
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "$ref": "#/side" }, "b": { "oneOf": [{ "const": 1 }, { "type": "string" }] } },
    });
    let count = |value: Value| faults(&document, &schema, &value).len();
    assert_eq!(
        [count(serde_json::json!({ "a": 2, "b": "x" })), count(serde_json::json!({ "a": null, "b": 1 }))],
        [0, 0]
    );
    for wrong in [r#"{"a":1}"#, r#"{"a":2.5}"#, r#"{"a":2,"b":3}"#, r#"{"a":2,"c":3}"#, "{}"] {
        assert_eq!(count(serde_json::from_str(wrong).expect("JSON")), 1, "{wrong}");
    }
}
