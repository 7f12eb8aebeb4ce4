//! Claims about the JSON rules. The table of texts shared with other clients is `golden/json.json`.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn data(text: &str) -> Result<String, Fault> {
    compact(text.as_bytes(), Rules::DATA)
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .map_err(|fault| fault.fault)
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn compacting_touches_only_blanks_outside_strings() {
    let text = " { \"b\" : [ 1.0e+2 , -0 , \"a b\\u0041\\/\" ] ,\n\t\"a\":{ } , \"é\" : [ ] }\r\n";
    assert_eq!(
        data(text).unwrap(),
        "{\"b\":[1.0e+2,-0,\"a b\\u0041\\/\"],\"a\":{},\"é\":[]}"
    );
}

#[test]
fn data_is_depth_one_itself_and_may_have_32() {
    assert!(data(&nested(32)).is_ok());
    assert_eq!(data(&nested(33)), Err(Fault::Depth));
    assert_eq!(data(&"[".repeat(100_000)), Err(Fault::Depth));
    assert_eq!(data(&"{\"a\":".repeat(100_000)), Err(Fault::Depth));
}

#[test]
fn keys_are_compared_after_unescaping_and_per_object() {
    assert_eq!(data(r#"{"a":1,"\u0061":2}"#), Err(Fault::DuplicateKey));
    assert_eq!(
        data(r#"{"\ud83d\ude00":1,"😀":2}"#),
        Err(Fault::DuplicateKey)
    );
    assert_eq!(
        data(r#"[{"x":{"a":1,"b":{"a":3},"a":2}}]"#),
        Err(Fault::DuplicateKey)
    );
    assert_eq!(data(r#"{"":1,"":2}"#), Err(Fault::DuplicateKey));
    assert!(data(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#).is_ok());
    assert!(data(r#"{"\n":1,"n":2,"\\n":3}"#).is_ok());
}

#[test]
fn a_duplicate_among_many_keys_is_found_where_it_stands() {
    let keys: Vec<String> = (0..5000).map(|i| format!("\"k{i}\":0")).collect();
    let good = format!("{{{}}}", keys.join(","));
    assert!(data(&good).is_ok());
    let bad = format!("{{{},\"\\u006b17\":1}}", keys.join(","));
    let fault = check(bad.as_bytes(), Rules::DATA).unwrap_err();
    assert_eq!(fault.fault, Fault::DuplicateKey);
    assert_eq!(&bad[fault.offset..fault.offset + 4], "\"\\u0");
}

#[test]
fn an_envelope_has_depth_8_and_its_data_32() {
    let at = |text: String| {
        read_envelope(text.as_bytes(), |_, _, _| ())
            .map(|_| ())
            .map_err(|fault| fault.fault)
    };
    assert!(at(format!("{{\"data\":{}}}", nested(32))).is_ok());
    assert_eq!(
        at(format!("{{\"data\":{}}}", nested(33))),
        Err(Fault::Depth)
    );
    assert!(at(format!("{{\"params\":{{\"data\":{}}}}}", nested(32))).is_ok());
    assert_eq!(
        at(format!("{{\"params\":{{\"data\":{}}}}}", nested(33))),
        Err(Fault::Depth)
    );
    assert!(at(format!("{{\"x\":{}}}", nested(7))).is_ok());
    assert_eq!(at(format!("{{\"x\":{}}}", nested(8))), Err(Fault::Depth));
    assert!(at(format!("{{\"params\":{{\"x\":{}}}}}", nested(6))).is_ok());
    assert_eq!(
        at(format!("{{\"params\":{{\"x\":{}}}}}", nested(7))),
        Err(Fault::Depth)
    );
    assert_eq!(
        at(format!(
            "{{\"params\":{{\"p\":{{\"data\":{}}}}}}}",
            nested(6)
        )),
        Err(Fault::Depth)
    );
    assert!(at(nested(8)).is_ok());
    assert_eq!(at(nested(9)), Err(Fault::Depth));
    assert_eq!(
        at("{\"data\":1,\"d\\u0061ta\":2}".into()),
        Err(Fault::DuplicateKey)
    );
    assert_eq!(
        at("{\"params\":{\"a\":1,\"a\":2}}".into()),
        Err(Fault::DuplicateKey)
    );
    assert_eq!(at("{\"a\":1}}".into()), Err(Fault::Trailing));
    for broken in [
        "{,}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\"}",
        "{\"a\":}",
        "{",
        "{\"params\":{,}}",
        "{\"params\":{]",
    ] {
        assert_eq!(at(broken.into()), Err(Fault::Syntax), "{broken}");
    }
}

#[test]
fn a_fault_says_what_and_where() {
    let fault = check(b"[1,\"\\ud800\"]", Rules::DATA).unwrap_err();
    assert_eq!(fault.to_string(), "half a surrogate pair at byte 4");
}

fn json(leaf_text: BoxedStrategy<String>) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f)
            .map(Value::Number)),
        leaf_text.clone().prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((leaf_text.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn without_nul() -> BoxedStrategy<String> {
    any::<String>().prop_map(|s| s.replace('\0', "")).boxed()
}

proptest! {
    #[test]
    fn compact_keeps_the_meaning_and_is_idempotent(value in json(without_nul())) {
        // f64 spells 1e-310 and the like, which the number rule refuses.
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        match compact(&pretty, Rules::DATA) {
            Ok(once) => {
                prop_assert_eq!(&once, &serde_json::to_vec(&value).unwrap());
                prop_assert_eq!(&compact(&once, Rules::DATA).unwrap(), &once);
            }
            Err(fault) => prop_assert_eq!(fault.fault, Fault::Number),
        }
    }

    #[test]
    fn whatever_is_accepted_serde_json_reads_too(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if check(&bytes, Rules::DATA).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn json_like_noise_is_judged_as_serde_json_judges_it(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"c\\n\"", "1", "-1.5", "0", "01",
            "1e5", "true", "nul", "null", " ", "\n", "\"", "\\", "\\u0041", ".", "-",
        ]), 0..14)
    ) {
        let text = parts.concat();
        let ours = check(text.as_bytes(), Rules::DATA);
        let theirs = serde_json::from_str::<Value>(&text);
        match ours {
            Ok(()) => prop_assert!(theirs.is_ok(), "{}", text),
            Err(FaultAt { fault: Fault::DuplicateKey, .. }) => {}
            Err(_) => prop_assert!(theirs.is_err(), "{}", text),
        }
    }

    #[test]
    fn accepted_numbers_are_doubles_up_to_their_last_digit(
        whole in "-?(0|[1-9][0-9]{0,70})",
        part in "(\\.[0-9]{1,70})?",
        power in prop::option::of(-400i32..400),
    ) {
        let spelled = power.map_or(String::new(), |power| format!("e{power}"));
        if check(format!("{whole}{part}{spelled}").as_bytes(), Rules::DATA).is_ok() {
            // 9.9e308 is within the rule and beyond a double: one power of ten is all it can miss.
            let tenth: f64 = format!("{whole}{part}e{}", power.unwrap_or(0) - 1).parse().unwrap();
            prop_assert!(tenth.is_finite());
            let tenfold: f64 = format!("{whole}{part}e{}", power.unwrap_or(0) + 1).parse().unwrap();
            let zero = !whole.bytes().chain(part.bytes()).any(|b| (b'1'..=b'9').contains(&b));
            prop_assert!(zero || tenfold.abs() >= f64::MIN_POSITIVE / 10.0);
        }
    }
}
