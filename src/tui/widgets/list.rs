//! The position in a long list: the selected row and the first row on screen.

/// A cursor over rows that are identified by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The selected row.
    pub row: u64,
    /// The first row on screen.
    pub top: u64,
    /// True once the user has moved it. When the order changes, an untouched cursor stays
    /// on the first row; a moved cursor stays on its item.
    pub moved: bool,
}

impl Cursor {
    /// Moves by rows, and stops at the ends.
    pub fn by(&mut self, rows: i64) {
        self.moved = true;
        self.row = self.row.saturating_add_signed(rows);
    }

    /// Moves by screens: the selected row stays on its screen line.
    pub fn page(&mut self, rows: i64) {
        self.by(rows);
        self.top = self.top.saturating_add_signed(rows);
    }

    /// Goes to a row.
    pub fn to(&mut self, row: u64) {
        self.moved = true;
        self.row = row;
    }

    /// The selected item is now at `row`: selects it there, on the same screen line.
    pub fn follow(&mut self, row: u64) {
        let line = self.row.saturating_sub(self.top);
        self.row = row;
        self.top = row.saturating_sub(line);
    }

    /// Clamps the cursor to a list and a screen: the row exists and is visible, and no
    /// screen line is wasted.
    pub fn settle(&mut self, rows: u64, height: u64) {
        self.row = self.row.min(rows.saturating_sub(1));
        let height = height.max(1);
        self.top = self.top.min(rows.saturating_sub(height));
        let lowest = self.row.saturating_sub(height - 1);
        self.top = self.top.clamp(lowest, self.row);
    }
}

/// All rows except `from` in search order, wrapping around, and `from` last.
pub fn around(rows: u64, from: u64, forward: bool) -> impl Iterator<Item = u64> {
    (1..=rows).map(move |step| match forward {
        true => (from % rows.max(1) + step) % rows,
        false => (from % rows.max(1) + rows - step) % rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_selected_row_keeps_its_screen_line() {
        let mut cursor = Cursor {
            row: 105,
            top: 100,
            moved: true,
        };
        cursor.follow(5000);
        cursor.settle(10_000, 20);
        assert_eq!((cursor.row, cursor.top), (5000, 4995));
    }

    proptest! {
        #[test]
        fn the_row_is_always_on_screen(
            moves in prop::collection::vec((any::<i64>(), 0u8..4), 0..20),
            rows in prop::sample::select(vec![0u64, 1, 2, 24, 1000, u64::MAX]),
            height in prop::sample::select(vec![0u64, 1, 2, 24, 1000]),
        ) {
            let mut cursor = Cursor::default();
            for (by, how) in moves {
                match how {
                    0 => cursor.by(by),
                    1 => cursor.page(by),
                    2 => cursor.to(by.unsigned_abs()),
                    _ => cursor.follow(by.unsigned_abs()),
                }
                cursor.settle(rows, height);
                prop_assert!(cursor.row < rows.max(1));
                prop_assert!(cursor.top <= cursor.row);
                prop_assert!(cursor.row - cursor.top < height.max(1));
            }
        }
    }

    #[test]
    fn a_search_wraps_around() {
        assert_eq!(around(4, 2, true).collect::<Vec<_>>(), [3, 0, 1, 2]);
        assert_eq!(around(4, 2, false).collect::<Vec<_>>(), [1, 0, 3, 2]);
        assert_eq!(around(0, 0, true).count(), 0);
    }
}
