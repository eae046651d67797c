//! The permission to make network connections.

/// Whether symbol servers may be contacted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// No connection is made, regardless of the symbol path.
    #[default]
    Off,
    /// The servers in the symbol path may be contacted.
    On,
}
