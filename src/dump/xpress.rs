//! Plain LZ77 of [MS-XCA], section 2.4: format 3 of `RtlDecompressBufferEx`, which Hyper-V uses
//! for pages.

use crate::bytes::{u16_at, u32_at};

/// Fills `out` exactly. `None` if the data ends early, refers to a position before its start,
/// or produces more.
pub(super) fn decompress(input: &[u8], out: &mut [u8]) -> Option<()> {
    let (mut at, mut done) = (0usize, 0usize);
    // Position of the half byte of the last long match, while its other half is unused.
    let mut half: Option<usize> = None;
    'flags: while done < out.len() {
        let flags = u32_at(input, at)?;
        at += 4;
        if flags == 0
            && let Some(literals) = input.get(at..at + 32)
            && let Some(to) = out.get_mut(done..done + 32)
        {
            to.copy_from_slice(literals);
            (at, done) = (at + 32, done + 32);
            continue;
        }
        for bit in (0..32).rev() {
            if done == out.len() {
                break 'flags;
            }
            if flags >> bit & 1 == 0 {
                *out.get_mut(done)? = *input.get(at)?;
                (at, done) = (at + 1, done + 1);
                continue;
            }
            let pair = u16_at(input, at)?;
            at += 2;
            let distance = usize::from(pair >> 3) + 1;
            let mut length = u32::from(pair & 7);
            if length == 7 {
                length = match half.take() {
                    Some(place) => u32::from(*input.get(place)? >> 4),
                    None => {
                        half = Some(at);
                        at += 1;
                        u32::from(*input.get(at - 1)? & 15)
                    }
                };
                if length == 15 {
                    length = u32::from(*input.get(at)?);
                    at += 1;
                    if length == 255 {
                        length = u16_at(input, at)?.into();
                        at += 2;
                        if length == 0 {
                            length = u32_at(input, at)?;
                            at += 4;
                        }
                        length = length.checked_sub(15 + 7)?;
                    }
                    length = length.checked_add(15)?;
                }
                length = length.checked_add(7)?;
            }
            let length = length.checked_add(3)? as usize;
            let end = done.checked_add(length).filter(|end| *end <= out.len())?;
            let from = done.checked_sub(distance)?;
            // A match may overlap its own output: copy the existing part, then twice as much,
            // and so on.
            let mut copied = 0;
            while copied < length {
                let now = (length - copied).min(distance + copied);
                out.copy_within(from..from + now, done + copied);
                copied += now;
            }
            done = end;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples in [MS-XCA], section 3.1.
    #[test]
    fn specification_examples_decompress() {
        let alphabet = [
            0x3f, 0x00, 0x00, 0x00, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a,
            0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,
            0x79, 0x7a,
        ];
        let mut out = [0; 26];
        decompress(&alphabet, &mut out).unwrap();
        assert_eq!(&out, b"abcdefghijklmnopqrstuvwxyz");
        let repeated = [
            0xff, 0xff, 0xff, 0x1f, 0x61, 0x62, 0x63, 0x17, 0x00, 0x0f, 0xff, 0x26, 0x01,
        ];
        let mut out = [0; 300];
        decompress(&repeated, &mut out).unwrap();
        assert_eq!(out.to_vec(), b"abc".repeat(100));
    }

    proptest! {
        #[test]
        fn arbitrary_data_does_not_panic(input in proptest::collection::vec(any::<u8>(), 0..200), length in 0usize..5000) {
            let _ = decompress(&input, &mut vec![0; length]);
        }
    }
}
