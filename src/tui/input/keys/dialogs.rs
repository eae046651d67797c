//! The keys of the column chooser, the help and the command line.

use crossterm::event::KeyCode;

use super::binding::{Action, Binding, Context, Group, bind, ctrl, key, letter};

use Context::{Columns, Help, Prompt};

/// Keys for the column chooser, the help and the command line.
pub(super) const DIALOGS: &[Binding] = &[
    bind(
        &[key(KeyCode::Enter), key(KeyCode::Right), letter(' ')],
        &[Columns],
        Action::ChangeColumn,
        "change",
        "show the column by width, always, or never",
        Group::Sort,
    ),
    bind(
        &[letter('0')],
        &[Columns],
        Action::ResetColumns,
        "reset",
        "show all columns by width",
        Group::Sort,
    ),
    bind(
        &[
            key(KeyCode::Esc),
            letter('C'),
            letter('q'),
            letter('h'),
            key(KeyCode::Left),
        ],
        &[Columns],
        Action::Cancel,
        "close",
        "close the column chooser",
        Group::Program,
    ),
    bind(
        &[
            key(KeyCode::Esc),
            letter('q'),
            letter('h'),
            key(KeyCode::Left),
            key(KeyCode::F(1)),
        ],
        &[Help],
        Action::Cancel,
        "close",
        "close the help",
        Group::Program,
    ),
    bind(
        &[
            letter('?'),
            key(KeyCode::Tab),
            key(KeyCode::Right),
            key(KeyCode::Enter),
        ],
        &[Help],
        Action::HelpPage,
        "next page",
        "the next page: queries, then the keys of all screens",
        Group::Program,
    ),
    bind(
        &[key(KeyCode::Esc), ctrl('c')],
        &[Prompt],
        Action::Cancel,
        "cancel",
        "cancel",
        Group::Find,
    ),
    bind(
        &[key(KeyCode::Tab)],
        &[Prompt],
        Action::Complete,
        "complete",
        "complete the word; again for the next match",
        Group::Find,
    ),
    bind(
        &[key(KeyCode::Up), ctrl('p')],
        &[Prompt],
        Action::HistoryBack,
        "",
        "the previous line of the history",
        Group::Find,
    ),
    bind(
        &[key(KeyCode::Down), ctrl('n')],
        &[Prompt],
        Action::HistoryOn,
        "",
        "the next line of the history",
        Group::Find,
    ),
    bind(
        &[key(KeyCode::Enter)],
        &[Prompt],
        Action::Accept,
        "apply",
        "apply what is typed",
        Group::Find,
    ),
];
