//! Masks and unmasks payloads (RFC 6455 section 5.3).

/// Combines `data` with the key by XOR. `offset` is the number of bytes of the same payload that were masked before.
///
/// The same call masks and unmasks.
pub fn apply(data: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    // Blocks have the width of a vector register, so that the compiler makes one instruction of each.
    const BLOCK: usize = 32;
    let mut wide = [0; BLOCK];
    for four in wide.chunks_exact_mut(4) {
        four.copy_from_slice(&[a, b, c, d]);
    }
    let mut blocks = data.chunks_exact_mut(BLOCK);
    for block in &mut blocks {
        for (byte, mask) in block.iter_mut().zip(&wide) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in blocks.into_remainder().iter_mut().zip(&wide) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn like_the_definition_at_every_length_and_offset() {
        let key = [0x12, 0x34, 0x56, 0x78];
        for length in 0..100_usize {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..length as u8).collect();
                let expected: Vec<u8> = plain
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| byte ^ key[(at + offset) % 4])
                    .collect();
                let mut masked = plain.clone();
                apply(&mut masked, key, offset);
                assert_eq!(masked, expected);
                apply(&mut masked, key, offset);
                assert_eq!(masked, plain);
            }
        }
    }
}
