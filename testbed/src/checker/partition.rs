//! Which partition a key belongs to, written a second time from Kafka's Java client (`Utils.murmur2`, with its
//! `int` arithmetic), so that a record in the wrong place is seen.

/// The partition of a key among `partitions`.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions
}

fn murmur2(key: &[u8]) -> i32 {
    let m = 0x5bd1_e995_u32.cast_signed();
    let length = i32::try_from(key.len()).expect("a key is short");
    let mut h = 0x9747_b28c_u32.cast_signed() ^ length;
    let whole = key.len() / 4 * 4;
    for at in (0..whole).step_by(4) {
        let mut k = i32::from_le_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
        k = k.wrapping_mul(m);
        k ^= logical_shift(k, 24);
        k = k.wrapping_mul(m);
        h = h.wrapping_mul(m) ^ k;
    }
    let rest = &key[whole..];
    if rest.len() == 3 {
        h ^= i32::from(rest[2]) << 16;
    }
    if rest.len() >= 2 {
        h ^= i32::from(rest[1]) << 8;
    }
    if !rest.is_empty() {
        h ^= i32::from(rest[0]);
        h = h.wrapping_mul(m);
    }
    h ^= logical_shift(h, 13);
    h = h.wrapping_mul(m);
    h ^ logical_shift(h, 15)
}

/// Java's `>>>`.
fn logical_shift(value: i32, by: u32) -> i32 {
    (value.cast_unsigned() >> by).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `UtilsTest` of Apache Kafka.
    #[test]
    fn murmur2_is_that_of_the_java_client() {
        let known = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }
}
