//! The command `rivermouth-torture`.

fn main() {}
