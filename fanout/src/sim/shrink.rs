//! From many steps that go wrong to few: pieces are left out, large ones first, as long as it still goes wrong.

/// The fewest steps found, and what is wrong with them.
pub(super) fn smallest<T: Copy>(
    mut ops: Vec<T>,
    mut wrong: String,
    fails: impl Fn(&[T]) -> Option<String>,
) -> (Vec<T>, String) {
    let mut piece = ops.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops[..at].to_vec();
            fewer.extend_from_slice(&ops[(at + piece).min(ops.len())..]);
            match fails(&fewer) {
                Some(still) => (ops, wrong) = (fewer, still),
                None => at += piece,
            }
        }
        piece /= 2;
    }
    (ops, wrong)
}

#[test]
fn what_does_not_matter_is_left_out() {
    let ops: Vec<u32> = (0..1_000).collect();
    let both = |ops: &[u32]| (ops.contains(&17) && ops.contains(&901)).then(|| "both".to_owned());
    assert_eq!(
        smallest(ops, String::new(), both),
        (vec![17, 901], "both".to_owned())
    );
}
