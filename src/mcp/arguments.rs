//! The arguments of each tool. Unknown arguments are refused.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::command::request::PoolChoice;
use crate::engine::Sort;

use super::session::Why;

/// Default number of rows in an answer.
const USUAL_ROWS: u64 = 50;
/// Maximum number of rows in an answer.
pub const MOST_ROWS: u64 = 500;
/// Maximum length of a text argument, in bytes.
const LONGEST_TEXT: usize = 4096;
/// Maximum number of files in a comparison.
const MOST_FILES: usize = 100;

/// The window of rows that a client requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Part {
    /// `next_cursor` of the previous answer.
    pub cursor: Option<String>,
    /// Maximum number of rows.
    pub limit: Option<u64>,
}

impl Part {
    /// The number of rows in this answer.
    pub fn rows(&self) -> u64 {
        self.limit.unwrap_or(USUAL_ROWS).clamp(1, MOST_ROWS)
    }
}

macro_rules! arguments {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$of])* pub $field: $kind,)*
            /// `next_cursor` of the previous answer.
            pub cursor: Option<String>,
            /// Maximum number of rows.
            pub limit: Option<u64>,
        }

        impl $name {
            /// The window of rows.
            pub fn part(&self) -> Part {
                Part { cursor: self.cursor.clone(), limit: self.limit }
            }
        }
    };
}

arguments!(
    /// Arguments of `open`.
    Open {
        /// The file.
        path: Option<String>,
    }
);
arguments!(
    /// Arguments of `summary` and `diagnose`.
    Whole {
        /// The file.
        dump: Option<String>,
    }
);
arguments!(
    /// Arguments of `tags`.
    Tags {
        /// The file.
        dump: Option<String>,
        /// The pattern of the tags.
        pattern: Option<String>,
        /// The order.
        sort: Order,
        /// Session pool instead of system pool.
        session: bool,
    }
);
arguments!(
    /// Arguments of `tag` and `references`.
    OfTag {
        /// The file.
        dump: Option<String>,
        /// The tag.
        tag: Option<String>,
    }
);
arguments!(
    /// Arguments of `blocks`.
    Blocks {
        /// The file.
        dump: Option<String>,
        /// The tags.
        tag: Option<String>,
        /// An address, instead of a tag.
        address: Option<String>,
        /// The pool.
        pool: Which,
        /// Include blocks recognised by their headers only.
        heuristic: bool,
    }
);
arguments!(
    /// Arguments of `diff`.
    Diff {
        /// The files, the oldest first.
        dumps: Vec<String>,
    }
);

/// The order of `tags`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By bytes of nonpaged pool.
    #[default]
    Nonpaged,
    /// By bytes of paged pool.
    Paged,
    /// By tag name.
    Tag,
}

impl From<Order> for Sort {
    fn from(order: Order) -> Sort {
        match order {
            Order::Nonpaged => Sort::Nonpaged,
            Order::Paged => Sort::Paged,
            Order::Tag => Sort::Tag,
        }
    }
}

/// The pool of `blocks`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// All pools.
    #[default]
    All,
    /// Both nonpaged pools.
    Nonpaged,
    /// Paged pool, including session pool.
    Paged,
    /// Session pool.
    Session,
    /// Special pool.
    Special,
}

impl From<Which> for PoolChoice {
    fn from(which: Which) -> PoolChoice {
        match which {
            Which::All => PoolChoice::Both,
            Which::Nonpaged => PoolChoice::Nonpaged,
            Which::Paged => PoolChoice::Paged,
            Which::Session => PoolChoice::Session,
            Which::Special => PoolChoice::Special,
        }
    }
}

/// Parses arguments.
///
/// # Errors
/// What is wrong with them, as a sentence that names the argument.
pub fn read<T: DeserializeOwned>(arguments: &Map<String, Value>) -> Result<T, Why> {
    for (name, value) in arguments {
        let texts = match value {
            Value::Array(list) if list.len() > MOST_FILES => {
                return Err(format!("{name}: {MOST_FILES} files at most"));
            }
            Value::Array(list) => list.as_slice(),
            value => std::slice::from_ref(value),
        };
        let mut texts = texts.iter().filter_map(Value::as_str);
        if texts.any(|text| text.len() > LONGEST_TEXT) {
            return Err(format!(
                "{name}: the text is longer than {LONGEST_TEXT} bytes"
            ));
        }
    }
    // Many clients send null for an omitted argument.
    let given = arguments.iter().filter(|(_, value)| !value.is_null());
    let given: Map<String, Value> = given.map(|(k, v)| (k.clone(), v.clone())).collect();
    serde_json::from_value(Value::Object(given))
        .map_err(|why| format!("wrong arguments: {why}; tools/list has the schema"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn unknown_arguments_are_refused_by_name() {
        for (wrong, word) in [
            (json!({"tagg": "Leak"}), "tagg"),
            (json!({"tag": 5}), "string"),
            (json!({"pool": "both"}), "both"),
            (json!({"limit": -1}), "limit"),
            (json!({"tag": "x".repeat(5000)}), "longer"),
        ] {
            let why = read::<Blocks>(&object(wrong)).unwrap_err();
            assert!(why.contains(word) || word == "limit", "{why}");
        }
        let many = json!({"dumps": vec!["a"; 101]});
        assert!(read::<Diff>(&object(many)).unwrap_err().contains("100"));
        let read: Blocks = read(&object(
            json!({"tag": "Leak", "cursor": null, "limit": 9999}),
        ))
        .unwrap();
        assert_eq!(read.part().rows(), MOST_ROWS);
    }
}
