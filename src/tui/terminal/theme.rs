//! Colours, and marks that carry the same meaning without colours.
//!
//! A theme does not know whether the background is dark or light, so every colour is
//! readable on both: its contrast to black and to white is about the same.

use ratatui::style::{Color, Modifier, Style};

use crate::tui::terminal::diff::is_plain;

/// The colours of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// None, or the user wants none.
    #[default]
    Plain,
    /// The sixteen colours that the user's settings define.
    Sixteen,
    /// The 256 colours of xterm.
    Indexed,
    /// 24-bit colours.
    True,
}

/// The choice on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Detect from the environment.
    #[default]
    Auto,
    /// Use this palette in any case.
    Fixed(Palette),
}

/// The meanings of colours. A mark or a word shows each meaning too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nonpaged pool.
    Nonpaged,
    /// Paged pool.
    Paged,
    /// A tag referenced in code.
    Code,
    /// A tag found in data.
    Data,
    /// Freed, and on a lookaside list.
    Freed,
    /// Unimportant text.
    Quiet,
    /// Doubtful or missing data.
    Doubt,
    /// An error or a warning.
    Alarm,
    /// Column headings.
    Heading,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 9] = [
        Kind::Nonpaged,
        Kind::Paged,
        Kind::Code,
        Kind::Data,
        Kind::Freed,
        Kind::Quiet,
        Kind::Doubt,
        Kind::Alarm,
        Kind::Heading,
    ];
}

impl Palette {
    /// The colour of a kind.
    pub fn colour(self, kind: Kind) -> Color {
        match self {
            Palette::Plain => Color::Reset,
            Palette::Sixteen => sixteen(kind),
            Palette::Indexed => Color::Indexed(indexed(kind)),
            Palette::True => {
                let (r, g, b) = full(kind);
                Color::Rgb(r, g, b)
            }
        }
    }
}

/// Yellow, green and cyan are unreadable on white, blue is unreadable on black.
fn sixteen(kind: Kind) -> Color {
    match kind {
        Kind::Nonpaged | Kind::Code | Kind::Heading => Color::LightBlue,
        Kind::Paged | Kind::Data => Color::Magenta,
        Kind::Freed | Kind::Quiet => Color::DarkGray,
        Kind::Doubt | Kind::Alarm => Color::Red,
    }
}

fn indexed(kind: Kind) -> u8 {
    match kind {
        Kind::Nonpaged => 32,
        Kind::Paged => 133,
        Kind::Code => 28,
        Kind::Data | Kind::Heading => 30,
        Kind::Freed | Kind::Quiet => 243,
        Kind::Doubt => 130,
        Kind::Alarm => 160,
    }
}

fn full(kind: Kind) -> (u8, u8, u8) {
    match kind {
        Kind::Nonpaged => (20, 115, 230),
        Kind::Paged => (180, 70, 190),
        Kind::Code => (20, 130, 40),
        Kind::Data => (0, 128, 130),
        Kind::Heading => (0, 127, 136),
        Kind::Freed => (122, 116, 116),
        Kind::Quiet => (118, 118, 118),
        Kind::Doubt => (185, 90, 0),
        Kind::Alarm => (215, 40, 40),
    }
}

/// Colours and characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The colours.
    pub palette: Palette,
    /// Draw only ASCII.
    pub ascii: bool,
}

impl Theme {
    /// Follows the options, otherwise the environment: NO_COLOR, COLORTERM, the terminal's
    /// name, the locale.
    pub fn detect(ascii: bool, choice: Choice, variable: impl Fn(&str) -> Option<String>) -> Theme {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let term = get("TERM").unwrap_or_default();
        let plain = is_plain(&term);
        Theme {
            palette: match choice {
                Choice::Fixed(palette) => palette,
                Choice::Auto if get("NO_COLOR").is_some() || plain => Palette::Plain,
                Choice::Auto => palette_of(&term, get("COLORTERM").as_deref()),
            },
            ascii: ascii || plain || term == "linux" || !is_utf8(get),
        }
    }

    /// True if there are colours.
    pub fn is_coloured(&self) -> bool {
        self.palette != Palette::Plain
    }

    /// The character, or its ASCII substitute.
    pub fn glyph(&self, fine: &'static str, plain: &'static str) -> &'static str {
        if self.ascii { plain } else { fine }
    }

    /// The style of a kind; the default style without colours.
    pub fn kind(&self, kind: Kind) -> Style {
        match self.is_coloured() {
            true => Style::new().fg(self.palette.colour(kind)),
            false => Style::new(),
        }
    }

    fn with(&self, kind: Kind, otherwise: Modifier) -> Style {
        match self.is_coloured() {
            true => self.kind(kind),
            false => Style::new().add_modifier(otherwise),
        }
    }

    /// The selected row of the focused pane.
    pub fn selected(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The selected row of the other pane.
    pub fn remembered(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Column headings.
    pub fn heading(&self) -> Style {
        self.with(Kind::Heading, Modifier::UNDERLINED)
    }

    /// The title of the focused pane.
    pub fn focus(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Lines and labels that are unimportant.
    pub fn quiet(&self) -> Style {
        self.kind(Kind::Quiet)
    }

    /// An error or a warning.
    pub fn alarm(&self) -> Style {
        self.kind(Kind::Alarm).add_modifier(Modifier::BOLD)
    }

    /// A warning, or the most important line if there is none.
    pub fn alarm_if(&self, wrong: bool) -> Style {
        if wrong { self.alarm() } else { self.place() }
    }

    /// Doubtful or missing data.
    pub fn doubt(&self) -> Style {
        self.kind(Kind::Doubt)
    }

    /// The current location on the path.
    pub fn place(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Key names in hints and help.
    pub fn key(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Numbers as a row of bars, one cell each, relative to the largest. A number above
    /// zero never looks empty.
    pub fn spark(&self, values: &[u64]) -> String {
        const FINE: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        const PLAIN: [&str; 9] = [" ", ".", ":", "-", "=", "+", "*", "#", "@"];
        let glyphs = if self.ascii { PLAIN } else { FINE };
        let largest = values.iter().copied().max().unwrap_or(0).max(1);
        let level = |value: u64| match value {
            0 => 0,
            n => 1 + (u128::from(n) * 7 / u128::from(largest)) as usize,
        };
        values
            .iter()
            .filter_map(|&value| glyphs.get(level(value)))
            .copied()
            .collect()
    }

    /// Numbers over time, drawn as by [`Theme::spark`]; a dot for an unknown number.
    pub fn sparkline(&self, values: &[Option<u64>]) -> String {
        let known: Vec<u64> = values.iter().map(|v| v.unwrap_or(0)).collect();
        let drawn = self.spark(&known);
        let cells = drawn.chars().zip(values);
        let unknown = if self.ascii { '?' } else { '·' };
        cells
            .map(|(c, value)| if value.is_some() { c } else { unknown })
            .collect()
    }

    /// A share as a bar of `width` cells.
    pub fn bar(&self, share: f64, width: usize) -> String {
        let share = if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let full = (share * width as f64).round() as usize;
        // Squares stay visible on a reversed row, where full blocks would look like a gap.
        let on = self.glyph("■", "#");
        on.repeat(full.min(width)) + &" ".repeat(width.saturating_sub(full))
    }
}

/// The palette of a terminal, by its name.
fn palette_of(term: &str, colorterm: Option<&str>) -> Palette {
    let full = matches!(colorterm, Some("truecolor" | "24bit")) || term.ends_with("-direct");
    // Windows consoles have no TERM; all that can be used have 24-bit colours.
    if full || (cfg!(windows) && term.is_empty()) {
        Palette::True
    } else if term.contains("256color") {
        Palette::Indexed
    } else {
        Palette::Sixteen
    }
}

/// True if the locale's character set is UTF-8; checks the variables in the order of the C
/// library.
fn is_utf8(get: impl Fn(&'static str) -> Option<String>) -> bool {
    if cfg!(windows) {
        return true;
    }
    let locale = get("LC_ALL")
        .or_else(|| get("LC_CTYPE"))
        .or_else(|| get("LANG"))
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect_with(theme: Choice, variables: &[(&str, &str)]) -> Theme {
        Theme::detect(false, theme, |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    fn detect(variables: &[(&str, &str)]) -> Theme {
        detect_with(Choice::Auto, variables)
    }

    #[test]
    fn the_environment_decides_the_theme() {
        let usual = detect(&[("TERM", "xterm-256color"), ("LANG", "en_US.UTF-8")]);
        assert_eq!((usual.palette, usual.ascii), (Palette::Indexed, false));
        assert!(!detect(&[("NO_COLOR", "1"), ("LANG", "C.UTF-8")]).is_coloured());
        assert!(detect(&[("NO_COLOR", ""), ("LANG", "C.UTF-8")]).is_coloured());
        assert!(detect(&[("TERM", "linux"), ("LANG", "C.UTF-8")]).ascii);
        let latin = detect(&[("TERM", "xterm"), ("LANG", "en_US.ISO-8859-1")]);
        assert_eq!(latin.ascii, !cfg!(windows));
        let overruled = [("LC_ALL", "C"), ("LANG", "C.UTF-8")];
        assert_eq!(detect(&overruled).ascii, !cfg!(windows));
        let dumb = detect(&[("TERM", "dumb"), ("LANG", "C.UTF-8")]);
        assert_eq!((dumb.palette, dumb.ascii), (Palette::Plain, true));
    }

    #[test]
    fn the_palette_follows_the_terminal() {
        let of = |term, colorterm| detect(&[("TERM", term), ("COLORTERM", colorterm)]).palette;
        assert_eq!(of("xterm", ""), Palette::Sixteen);
        assert_eq!(of("screen.xterm-256color", ""), Palette::Indexed);
        assert_eq!(of("tmux-256color", "truecolor"), Palette::True);
        assert_eq!(of("xterm-direct", ""), Palette::True);
        assert_eq!(of("vt100", "truecolor"), Palette::Plain);
        let asked = Choice::Fixed(Palette::Sixteen);
        let variables = [("TERM", "vt100"), ("NO_COLOR", "1")];
        let palette = detect_with(asked, &variables).palette;
        assert_eq!(
            palette,
            Palette::Sixteen,
            "the command line has the last word"
        );
    }

    /// The colour as RGB; the sixteen colours as xterm defines them.
    fn rgb(colour: Color) -> (u8, u8, u8) {
        const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        match colour {
            Color::Red => (205, 0, 0),
            Color::Magenta => (205, 0, 205),
            Color::DarkGray => (127, 127, 127),
            Color::LightBlue => (92, 92, 255),
            Color::Indexed(n @ 16..232) => {
                let n = usize::from(n - 16);
                (STEPS[n / 36], STEPS[n / 6 % 6], STEPS[n % 6])
            }
            Color::Indexed(n @ 232..) => {
                let grey = 8 + (n - 232) * 10;
                (grey, grey, grey)
            }
            Color::Rgb(r, g, b) => (r, g, b),
            other => panic!("{other:?} is not known to be readable"),
        }
    }

    /// Relative luminance as defined by WCAG 2.
    fn luminance((r, g, b): (u8, u8, u8)) -> f64 {
        let linear = |c: u8| match f64::from(c) / 255.0 {
            c if c <= 0.03928 => c / 12.92,
            c => ((c + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn every_colour_can_be_read_on_black_and_on_white() {
        // No colour can have a contrast above 4.58 to both. WCAG asks for 3 for text that
        // is not prose.
        for (palette, least) in [
            (Palette::Sixteen, 3.5),
            (Palette::Indexed, 3.8),
            (Palette::True, 4.2),
        ] {
            for kind in Kind::ALL {
                let light = luminance(rgb(palette.colour(kind)));
                let (white, black) = (1.05 / (light + 0.05), (light + 0.05) / 0.05);
                assert!(
                    white >= least && black >= least,
                    "{palette:?} {kind:?}: {white:.2} on white, {black:.2} on black"
                );
            }
        }
    }

    #[test]
    fn a_bar_never_exceeds_its_width() {
        let theme = Theme {
            palette: Palette::Sixteen,
            ascii: true,
        };
        for share in [-1.0, 0.0, 0.5, 1.0, 7.0, f64::NAN, f64::INFINITY] {
            assert_eq!(theme.bar(share, 10).len(), 10);
        }
        assert_eq!(theme.bar(0.81, 10), "########  ");
    }
}
