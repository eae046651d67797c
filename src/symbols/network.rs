//! The permission to make connections.

/// Whether symbol servers may be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// No connection is made, whatever the symbol path says.
    #[default]
    Off,
    /// The servers that the symbol path names may be asked.
    On,
}
