//! Choosing the columns of the tag list, and saving the choice.

use crate::tui::app::App;
use crate::tui::app::actions::Move;
use crate::tui::data::message::Effect;
use crate::tui::data::settings::{ColumnChoice, SETTINGS_VERSION, Settings};
use crate::tui::screens::{chooser, layout};
use crate::tui::widgets::list::Cursor;

impl App {
    /// Opens the column chooser.
    pub(in crate::tui) fn open_chooser(&mut self) {
        self.chooser = Some(Cursor::default());
    }

    /// Moves in the column chooser. Returns false if it is closed.
    pub(in crate::tui) fn travel_chooser(&mut self, how: Move) -> bool {
        let Some(cursor) = &mut self.chooser else {
            return false;
        };
        let rows = chooser::rows(self.model.baseline.is_some()).len() as u64;
        let screen = chooser::height(layout::areas(self.size).body) as i64;
        match how {
            Move::Lines(n) => cursor.by(n),
            Move::Screens(n) => cursor.page(n.saturating_mul(screen)),
            Move::First => cursor.to(0),
            Move::Last => cursor.to(rows.saturating_sub(1)),
        }
        true
    }

    /// Switches the selected column to its next choice.
    pub(in crate::tui) fn change_column(&mut self) {
        let Some(cursor) = self.chooser else {
            return;
        };
        let rows = chooser::rows(self.model.baseline.is_some());
        let at = usize::try_from(cursor.row).ok();
        let Some(column) = at.and_then(|at| rows.get(at)) else {
            return;
        };
        if column.name() == "tag" {
            self.message = Some("the tag is always shown".into());
            return;
        }
        let next = self.tags.choices.of(column.name()).next();
        self.tags.choices.set(column.name(), next);
        self.message = Some(format!("{}: {}", column.name(), next.word()));
        self.keep_settings();
    }

    /// Sets column choices by name, as in `:columns owner -share`: a named column is always
    /// shown, one with a minus sign never.
    ///
    /// # Errors
    /// A name that is not a column.
    pub(in crate::tui) fn choose_columns(&mut self, names: &[String]) -> Result<(), String> {
        if names.is_empty() {
            self.show_tags();
            self.open_chooser();
            return Ok(());
        }
        let mut choices = self.tags.choices.clone();
        for typed in names {
            if typed == "auto" {
                choices.clear();
                continue;
            }
            let (name, choice) = match typed.strip_prefix('-') {
                Some(name) => (name, ColumnChoice::Never),
                None => (typed.trim_start_matches('+'), ColumnChoice::Always),
            };
            let column = chooser::named(name).ok_or_else(|| {
                format!(
                    "unknown column: {name}; the columns are {}",
                    chooser::names()
                )
            })?;
            choices.set(column.name(), choice);
        }
        self.tags.choices = choices;
        self.show_tags();
        self.keep_settings();
        Ok(())
    }

    /// Shows every column by screen width again.
    pub(in crate::tui) fn reset_columns(&mut self) {
        self.tags.choices.clear();
        self.message = Some("all columns are shown by width".into());
        self.keep_settings();
    }

    /// Sorts by changes since the baseline, as PoolMon's `(` and `)` do.
    pub(in crate::tui) fn sort_by_change(&mut self) {
        self.message = Some(match self.tags.toggle_change(&self.model) {
            true => self.tags.words(),
            false => {
                "there is no baseline: `:baseline FILE` compares with an earlier dump or log".into()
            }
        });
    }

    pub(in crate::tui) fn keep_settings(&mut self) {
        let settings = Settings {
            version: SETTINGS_VERSION,
            tag_columns: self.tags.choices.clone(),
            hide_preview: !self.shows_preview,
        };
        self.effects.push(Effect::KeepSettings(Box::new(settings)));
    }

    /// Applies saved settings.
    pub(in crate::tui) fn take_settings(&mut self, settings: Settings) {
        self.tags.choices = settings.tag_columns;
        self.shows_preview = !settings.hide_preview;
    }
}
