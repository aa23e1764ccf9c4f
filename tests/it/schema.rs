//! Checks JSON against a schema: the keywords of JSON Schema 2020-12 that ours uses, with their meaning there. A keyword that is
//! not known here fails, so that none is ever passed over.

use serde_json::Value;

/// A schema.
pub(crate) struct Schema(Value);

impl Schema {
    /// That of the events.
    pub(crate) fn events() -> Schema {
        Schema::read("pssh-events")
    }

    /// That of the records of a journal.
    pub(crate) fn journal() -> Schema {
        Schema::read("pssh-journal")
    }

    fn read(name: &str) -> Schema {
        let path = format!("{}/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the schema is there");
        Schema(serde_json::from_str(&text).expect("the schema is JSON"))
    }

    /// The fields of an event, with what is said about them.
    pub(crate) fn fields(&self, event: &str) -> &Value {
        &self.0["$defs"][event]["properties"]
    }

    /// Fails unless `value` is as the schema says, and has no field that it does not name.
    #[track_caller]
    pub(crate) fn check(&self, value: &Value) {
        if let Err(problem) = self.problem(&self.0, value, "") {
            panic!("{problem}\nin {value}");
        }
        let name = value["event"].as_str().expect("an event");
        self.all_named(&self.0["$defs"][name], value);
    }

    /// Whether `value` is as the schema says.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        self.problem(&self.0, value, "").is_ok()
    }

    #[track_caller]
    fn all_named(&self, schema: &Value, value: &Value) {
        for (name, value) in value.as_object().expect("an object") {
            let schema = &schema["properties"][name];
            assert!(schema.is_object(), "{name} is not in the schema: {value}");
            if schema.get("properties").is_some() {
                self.all_named(schema, value);
            }
        }
    }

    fn problem(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let wrong = |what: &str, wanted: &Value| Err(format!("{at}: {value} is not {what} {wanted}"));
        for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
            let fits = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let name = wanted.as_str().and_then(|path| path.strip_prefix("#/")).expect("a reference within");
                    let target = self.0.pointer(&format!("/{name}")).expect("what is referred to is there");
                    self.problem(target, value, at)?;
                    true
                }
                "oneOf" => {
                    let all = wanted.as_array().expect("a list");
                    let results: Vec<_> = all.iter().map(|schema| self.problem(schema, value, at)).collect();
                    if results.iter().filter(|result| result.is_ok()).count() != 1 {
                        return Err(format!("{at}: not exactly one of {} fits: {results:?}", all.len()));
                    }
                    true
                }
                "type" => match wanted {
                    Value::Array(types) => types.iter().any(|name| has_type(value, name)),
                    name => has_type(value, name),
                },
                "const" => value == wanted,
                "enum" => wanted.as_array().expect("a list").contains(value),
                "required" => {
                    let names = wanted.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name"));
                    names.filter(|name| value.get(name).is_none()).count() == 0
                }
                "properties" => {
                    for (name, schema) in wanted.as_object().expect("schemas") {
                        if let Some(value) = value.get(name) {
                            self.problem(schema, value, &format!("{at}/{name}"))?;
                        }
                    }
                    true
                }
                "items" => {
                    for (place, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.problem(wanted, value, &format!("{at}/{place}"))?;
                    }
                    true
                }
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        if schema.get("properties").and_then(|named| named.get(name)).is_none() {
                            self.problem(wanted, value, &format!("{at}/{name}"))?;
                        }
                    }
                    true
                }
                "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
                "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
                "minLength" => {
                    let length = value.as_str().map(|text| text.chars().count() as u64);
                    length.is_none_or(|length| length >= wanted.as_u64().expect("a number"))
                }
                "format" if wanted == "date-time" => value.as_str().is_none_or(is_time),
                keyword => panic!("{at}: the keyword {keyword} of the schema is not known here"),
            };
            if !fits {
                return wrong(keyword, wanted);
            }
        }
        Ok(())
    }
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("the name of a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

/// `2026-11-23T16:20:46.123456Z`: the form of RFC 3339 that we write.
fn is_time(text: &str) -> bool {
    let form = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    form == "0000-00-00T00:00:00.000000Z"
}
