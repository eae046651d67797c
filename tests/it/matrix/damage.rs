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

/// The part of a dump that a damage changes.
pub enum Change {
    /// Other bytes from an offset on.
    Bytes(usize, Vec<u8>),
    /// The file ends at an offset.
    Cut(usize),
}

/// The change that a damage makes; `None` if it changes nothing.
pub fn change(bytes: &[u8], place: &Place, damage: Damage) -> Option<Change> {
    let page = place.at & !0xfff;
    let range = match damage {
        Damage::Cut => {
            return (place.at < bytes.len()).then_some(Change::Cut(place.at));
        }
        Damage::Zero | Damage::Ones | Damage::Noise | Damage::Huge => {
            place.at..place.at + place.length
        }
        Damage::Itself | Damage::Loop => place.at..place.at + 8,
        Damage::WrongPage => page..page + 0x1000,
        Damage::Torn => page + 0x800..page + 0x1000,
    };
    let mut new = bytes[range.clone()].to_vec();
    match damage {
        Damage::Zero | Damage::Torn | Damage::Cut => new.fill(0),
        Damage::Ones => new.fill(0xff),
        Damage::Noise => {
            let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ place.name.len() as u64;
            for byte in &mut new {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 33) as u8;
            }
        }
        Damage::Itself => new.copy_from_slice(&place.own.to_le_bytes()),
        Damage::Loop => new.copy_from_slice(&place.back.to_le_bytes()),
        Damage::Huge => {
            new.fill(0xff);
            *new.last_mut().unwrap() = 0x7f;
        }
        Damage::WrongPage => {
            let other = (bytes.len() / 2) & !0xfff;
            new.copy_from_slice(&bytes[other..other + 0x1000]);
        }
    }
    (new != bytes[range.clone()]).then_some(Change::Bytes(range.start, new))
}
