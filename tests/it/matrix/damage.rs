//! Kinds of damage.

use super::places::Place;

/// The damage to a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    Zero,
    Ones,
    Noise,
    /// Its pointer or entry points to itself.
    Itself,
    /// Its pointer leads back to an earlier entry of the list.
    Loop,
    /// Its count or size has the maximum value.
    Huge,
    /// Its page is replaced with another page of the dump.
    WrongPage,
    /// The second half of its page is zero, as after an incomplete write.
    Torn,
    /// The file ends there.
    Cut,
}

impl Damage {
    pub fn word(self) -> &'static str {
        match self {
            Damage::Zero => "zeros",
            Damage::Ones => "ones",
            Damage::Noise => "noise",
            Damage::Itself => "points at itself",
            Damage::Loop => "loop",
            Damage::Huge => "huge",
            Damage::WrongPage => "another page",
            Damage::Torn => "torn page",
            Damage::Cut => "file ends",
        }
    }
}

/// The damaged dump; `None` if the damage changes nothing.
pub fn apply(bytes: &[u8], place: &Place, damage: Damage) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    let range = place.at..place.at + place.length;
    match damage {
        Damage::Zero => out[range].fill(0),
        Damage::Ones => out[range].fill(0xff),
        Damage::Noise => {
            let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ place.name.len() as u64;
            for byte in &mut out[range] {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 33) as u8;
            }
        }
        Damage::Itself => out[place.at..place.at + 8].copy_from_slice(&place.own.to_le_bytes()),
        Damage::Loop => out[place.at..place.at + 8].copy_from_slice(&place.back.to_le_bytes()),
        Damage::Huge => {
            out[range.clone()].fill(0xff);
            out[range.end - 1] = 0x7f;
        }
        Damage::WrongPage => {
            let page = place.at & !0xfff;
            let other = (bytes.len() / 2) & !0xfff;
            out.copy_within(other..other + 0x1000, page);
        }
        Damage::Torn => {
            let page = place.at & !0xfff;
            out[page + 0x800..page + 0x1000].fill(0);
        }
        Damage::Cut => out.truncate(place.at),
    }
    (out != bytes).then_some(out)
}
