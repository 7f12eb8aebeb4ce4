//! The state of a job, worked out a second time from the protocol's text (sections 3 and 7).

use serde_json::{Map, Value, json};

use super::Accepted;

/// The state of `jobs.<id>` after each of its accepted events, and before the first: one more than there are events.
pub fn job_states(id: &str, accepted: &[Accepted]) -> Vec<Value> {
    let mut states = vec![Value::Null];
    for event in accepted {
        let before = states.last().cloned().unwrap_or_default();
        states.push(after(id, before, event));
    }
    states
}

fn after(id: &str, before: Value, event: &Accepted) -> Value {
    let (fact, at) = (&event.fact, event.fact.timestamp_ms);
    let update = serde_json::from_str(&fact.data).ok();
    let Some(update) = update.filter(|update| fact.event == "job.update" && counts(id, update))
    else {
        return before;
    };
    let mut state = match before {
        Value::Object(state) if is_final(&state["status"]) => return Value::Object(state),
        Value::Object(state) => state,
        _ => fresh(id, at),
    };
    let updated = at.max(state["updatedAt"].as_i64().unwrap_or(at));
    for member in ["status", "progress", "message", "ownerId", "kind"] {
        set(&mut state, member, &update[member]);
    }
    if let Value::Object(error) = &update["error"] {
        let mut merged = match &state["error"] {
            Value::Object(known) => known.clone(),
            _ => Map::from_iter([
                ("code".into(), Value::Null),
                ("message".into(), Value::Null),
            ]),
        };
        set(
            &mut merged,
            "code",
            error.get("code").unwrap_or(&Value::Null),
        );
        set(
            &mut merged,
            "message",
            error.get("message").unwrap_or(&Value::Null),
        );
        let said = merged.values().any(|value| !value.is_null());
        let merged = if said {
            Value::Object(merged)
        } else {
            Value::Null
        };
        state.insert("error".into(), merged);
    }
    state.insert("updatedAt".into(), json!(updated));
    if is_final(&state["status"]) {
        state.insert("finishedAt".into(), json!(updated));
    }
    Value::Object(state)
}

fn fresh(id: &str, at: i64) -> Map<String, Value> {
    let state = json!({
        "jobId": id, "status": null, "progress": null, "message": null, "error": null,
        "ownerId": null, "kind": null, "createdAt": at, "updatedAt": at, "finishedAt": null,
    });
    state.as_object().cloned().unwrap_or_default()
}

fn set(state: &mut Map<String, Value>, member: &str, said: &Value) {
    if !said.is_null() {
        state.insert(member.into(), said.clone());
    }
}

fn is_final(status: &Value) -> bool {
    ["succeeded", "failed", "cancelled"]
        .iter()
        .any(|word| status == word)
}

/// Whether an update keeps the rule; one that breaks it is an event and no update.
fn counts(id: &str, update: &Value) -> bool {
    let text = |value: &Value| value.is_null() || value.is_string();
    let known = update["status"] == "queued" || update["status"] == "running";
    let percent = &update["progress"];
    let error = &update["error"];
    update.is_object()
        && update["jobId"] == id
        && (known || is_final(&update["status"]))
        && (percent.is_null() || percent.as_f64().is_some_and(|p| (0.0..=100.0).contains(&p)))
        && ["message", "ownerId", "kind"]
            .iter()
            .all(|member| text(&update[*member]))
        && (error.is_null() || error.is_object() && text(&error["code"]) && text(&error["message"]))
}
