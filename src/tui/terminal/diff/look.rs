//! Colours and attributes, changed in as few bytes as possible (ECMA-48 SGR).

use ratatui::style::{Color, Modifier};

/// The colours and attributes of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Text colour.
    pub fg: Color,
    /// Background colour.
    pub bg: Color,
    /// Bold, reversed and so on.
    pub modifier: Modifier,
}

impl Look {
    /// The terminal's defaults.
    pub const PLAIN: Look = Look {
        fg: Color::Reset,
        bg: Color::Reset,
        modifier: Modifier::empty(),
    };

    /// The part that is visible on a blank: the background, and lines.
    pub fn on_blank(mut self) -> Look {
        if !self.modifier.contains(Modifier::REVERSED) {
            self.modifier &= LINES;
            if self.modifier.is_empty() {
                self.fg = Color::Reset;
            }
        }
        self
    }
}

/// Attributes that are visible on a blank.
const LINES: Modifier = Modifier::UNDERLINED.union(Modifier::CROSSED_OUT);

/// Each attribute with its on and off codes. Bold and dim share an off code.
const ATTRIBUTES: [(Modifier, u8, u8); 9] = [
    (Modifier::BOLD, 1, 22),
    (Modifier::DIM, 2, 22),
    (Modifier::ITALIC, 3, 23),
    (Modifier::UNDERLINED, 4, 24),
    (Modifier::SLOW_BLINK, 5, 25),
    (Modifier::RAPID_BLINK, 6, 25),
    (Modifier::REVERSED, 7, 27),
    (Modifier::HIDDEN, 8, 28),
    (Modifier::CROSSED_OUT, 9, 29),
];

/// Writes the change from one look to another; nothing if they are equal. If the old look
/// is unknown, writes everything. `singly`: the terminal can switch attributes off one by
/// one, which a VT100 cannot.
pub fn change(out: &mut Vec<u8>, from: Option<Look>, to: Look, singly: bool) {
    if from == Some(to) {
        return;
    }
    let afresh = afresh(to);
    let best = match from.and_then(|from| stepwise(from, to, singly)) {
        Some(steps) if steps.len() < afresh.len() => steps,
        _ => afresh,
    };
    out.extend_from_slice(b"\x1b[");
    out.extend_from_slice(best.as_bytes());
    out.push(b'm');
}

/// Resets everything, then sets the new look.
fn afresh(to: Look) -> String {
    if to == Look::PLAIN {
        return String::new();
    }
    let mut codes = vec!["0".to_owned()];
    for (attribute, on, _) in ATTRIBUTES {
        if to.modifier.contains(attribute) {
            codes.push(on.to_string());
        }
    }
    codes.extend((to.fg != Color::Reset).then(|| colour(to.fg, 30)));
    codes.extend((to.bg != Color::Reset).then(|| colour(to.bg, 40)));
    codes.join(";")
}

/// Changes only the differences; `None` if an attribute would have to be switched off
/// singly and cannot be.
fn stepwise(from: Look, to: Look, singly: bool) -> Option<String> {
    let mut now = from.modifier;
    let mut codes: Vec<String> = Vec::new();
    for (attribute, _, off) in ATTRIBUTES {
        if now.contains(attribute) && !to.modifier.contains(attribute) {
            if !singly {
                return None;
            }
            codes.push(off.to_string());
            for (same, _, number) in ATTRIBUTES {
                if number == off {
                    now -= same;
                }
            }
        }
    }
    for (attribute, on, _) in ATTRIBUTES {
        if to.modifier.contains(attribute) && !now.contains(attribute) {
            codes.push(on.to_string());
        }
    }
    codes.extend((to.fg != from.fg).then(|| colour(to.fg, 30)));
    codes.extend((to.bg != from.bg).then(|| colour(to.bg, 40)));
    Some(codes.join(";"))
}

/// The codes of a colour; `base` is 30 for text and 40 for the background.
fn colour(colour: Color, base: u8) -> String {
    let dark = |n: u8| (base + n).to_string();
    let bright = |n: u8| (base + 60 + n).to_string();
    match colour {
        Color::Reset => dark(9),
        Color::Black => dark(0),
        Color::Red => dark(1),
        Color::Green => dark(2),
        Color::Yellow => dark(3),
        Color::Blue => dark(4),
        Color::Magenta => dark(5),
        Color::Cyan => dark(6),
        Color::Gray => dark(7),
        Color::DarkGray => bright(0),
        Color::LightRed => bright(1),
        Color::LightGreen => bright(2),
        Color::LightYellow => bright(3),
        Color::LightBlue => bright(4),
        Color::LightMagenta => bright(5),
        Color::LightCyan => bright(6),
        Color::White => bright(7),
        Color::Indexed(n) => format!("{};5;{n}", base + 8),
        Color::Rgb(r, g, b) => format!("{};2;{r};{g};{b}", base + 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: Look, to: Look, singly: bool) -> String {
        let mut out = Vec::new();
        change(&mut out, Some(from), to, singly);
        String::from_utf8(out).unwrap().replace('\x1b', "^")
    }

    fn with(modifier: Modifier) -> Look {
        Look {
            modifier,
            ..Look::PLAIN
        }
    }

    #[test]
    fn only_changed_attributes_are_sent() {
        let (plain, bold) = (Look::PLAIN, with(Modifier::BOLD));
        let red = Look {
            fg: Color::Red,
            ..bold
        };
        assert_eq!(said(plain, plain, true), "");
        assert_eq!(said(plain, bold, true), "^[1m");
        assert_eq!(said(bold, red, true), "^[31m");
        assert_eq!(said(red, bold, true), "^[39m");
        assert_eq!(said(red, plain, true), "^[m");
        let dim = with(Modifier::DIM);
        assert_eq!(said(bold, dim, true), "^[0;2m");
        let both = with(Modifier::BOLD | Modifier::DIM);
        assert_eq!(said(both, dim, true), "^[0;2m");
        assert_eq!(said(red, with(Modifier::REVERSED), false), "^[0;7m");
    }

    #[test]
    fn a_vt100_gets_only_codes_that_it_supports() {
        for from in [Modifier::BOLD, Modifier::REVERSED | Modifier::UNDERLINED] {
            let text = said(with(from), with(Modifier::UNDERLINED), false);
            assert_eq!(text, "^[0;4m");
        }
    }
}
