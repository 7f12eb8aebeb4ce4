//! What is shipped holds no mistake that was planted for the judge of the tests.

/// The names begin with `planted:`, and the variable chooses among them (`service::planted`).
#[test]
fn the_program_holds_no_planted_mistake_and_no_way_to_choose_one() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_rivermouth")).unwrap();
    for trace in ["RIVERMOUTH_PLANTED", "planted:"] {
        let found = program
            .windows(trace.len())
            .any(|part| part == trace.as_bytes());
        assert!(!found, "`{trace}` is in the program");
    }
}
