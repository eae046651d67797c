//! How things look: colours where the terminal wants them, and marks that say the same
//! without. Only the sixteen colours that every palette defines are used.

use ratatui::style::{Color, Modifier, Style};

use super::Options;

/// Colours and glyphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours are wanted.
    pub colour: bool,
    /// Only ASCII is sure to be drawn.
    pub ascii: bool,
}

impl Theme {
    /// What the environment asks for: NO_COLOR, the locale, and terminals known to draw
    /// neither colours nor lines.
    pub fn detect(options: &Options, variable: impl Fn(&str) -> Option<String>) -> Theme {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let term = get("TERM").unwrap_or_default();
        let plain = matches!(term.as_str(), "dumb" | "vt100" | "vt102" | "vt220" | "ansi");
        Theme {
            colour: get("NO_COLOR").is_none() && !plain,
            ascii: options.ascii || plain || term == "linux" || !is_utf8(get),
        }
    }

    /// The glyph for the terminals that have it, or its stand-in.
    pub fn glyph(&self, fine: &'static str, plain: &'static str) -> &'static str {
        if self.ascii { plain } else { fine }
    }

    fn with(&self, colour: Color, otherwise: Modifier) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new().add_modifier(otherwise)
        }
    }

    /// The selected row of the pane that has the keys.
    pub fn selected(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The selected row of the other pane.
    pub fn remembered(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Headings of columns.
    pub fn heading(&self) -> Style {
        self.with(Color::Cyan, Modifier::UNDERLINED)
    }

    /// The title of the pane that has the keys.
    pub fn focus(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Lines and labels that should not draw the eye.
    pub fn quiet(&self) -> Style {
        if self.colour {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new()
        }
    }

    /// What is wrong.
    pub fn alarm(&self) -> Style {
        self.with(Color::Red, Modifier::BOLD)
            .add_modifier(Modifier::BOLD)
    }

    /// What is doubtful or missing.
    pub fn doubt(&self) -> Style {
        self.with(Color::Yellow, Modifier::empty())
    }

    /// Where one is on the path.
    pub fn place(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Keys in hints and help.
    pub fn key(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A share as a bar of `width` cells.
    pub fn bar(&self, share: f64, width: usize) -> String {
        let share = if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let full = (share * width as f64).round() as usize;
        let (on, off) = (self.glyph("█", "#"), self.glyph("░", "."));
        on.repeat(full.min(width)) + &off.repeat(width.saturating_sub(full))
    }
}

/// The locale's character set, by the variables in the order that the C library asks.
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

    fn detect(variables: &[(&str, &str)]) -> Theme {
        Theme::detect(&Options::default(), |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn the_environment_decides() {
        let usual = detect(&[("TERM", "xterm-256color"), ("LANG", "en_US.UTF-8")]);
        assert_eq!((usual.colour, usual.ascii), (true, false));
        assert!(!detect(&[("NO_COLOR", "1"), ("LANG", "C.UTF-8")]).colour);
        assert!(detect(&[("NO_COLOR", ""), ("LANG", "C.UTF-8")]).colour);
        assert!(detect(&[("TERM", "linux"), ("LANG", "C.UTF-8")]).ascii);
        assert!(detect(&[("TERM", "xterm"), ("LANG", "en_US.ISO-8859-1")]).ascii);
        let overruled = [("LC_ALL", "C"), ("LANG", "C.UTF-8")];
        assert_eq!(detect(&overruled).ascii, !cfg!(windows));
        let dumb = detect(&[("TERM", "dumb"), ("LANG", "C.UTF-8")]);
        assert_eq!((dumb.colour, dumb.ascii), (false, true));
    }

    #[test]
    fn a_bar_never_leaves_its_width() {
        let theme = Theme {
            colour: true,
            ascii: true,
        };
        for share in [-1.0, 0.0, 0.5, 1.0, 7.0, f64::NAN, f64::INFINITY] {
            assert_eq!(theme.bar(share, 10).len(), 10);
        }
        assert_eq!(theme.bar(0.81, 10), "########..");
    }
}
