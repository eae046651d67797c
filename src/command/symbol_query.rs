//! The arguments of `x`.

/// The arguments of `x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolQuery {
    /// The module; `*` and `?` are wildcards.
    pub module: String,
    /// The symbol; `*` and `?` are wildcards.
    pub name: String,
    /// `/n`: by name instead of by address.
    pub by_name: bool,
    /// The columns to show.
    pub columns: SymbolColumns,
}

/// The columns of `x`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SymbolColumns {
    /// Address and name: `/2`, and without an option.
    #[default]
    Both,
    /// `/0`.
    Address,
    /// `/1`.
    Name,
}

impl SymbolQuery {
    pub(super) fn options(&self) -> &'static str {
        match (self.by_name, self.columns) {
            (false, SymbolColumns::Both) => "",
            (false, SymbolColumns::Address) => "/0 ",
            (false, SymbolColumns::Name) => "/1 ",
            (true, SymbolColumns::Both) => "/n ",
            (true, SymbolColumns::Address) => "/n /0 ",
            (true, SymbolColumns::Name) => "/n /1 ",
        }
    }
}
