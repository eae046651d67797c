//! The answer to a query about a type, independent of its source.

/// The location of a field in its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Offset in bytes from the start of the type in the query.
    pub offset: u32,
    /// Size in bytes: the container's for a bit field, all elements for an array, 0 if unknown.
    pub size: u32,
    /// Position from the container's lowest bit, and length in bits.
    pub bits: Option<(u8, u8)>,
}

impl Field {
    /// The same field relative to an outer type that starts `bytes` earlier.
    pub(super) fn shifted(self, bytes: u32) -> Option<Field> {
        Some(Field {
            offset: self.offset.checked_add(bytes)?,
            ..self
        })
    }

    /// The field's value in its container: shifted down and masked.
    pub fn extract(&self, container: u64) -> u64 {
        match self.bits {
            None => container,
            Some((position, length)) => {
                let mask = 1u64
                    .checked_shl(u32::from(length))
                    .map_or(u64::MAX, |m| m - 1);
                container.checked_shr(u32::from(position)).unwrap_or(0) & mask
            }
        }
    }
}

/// Selects the enumerator with this suffix. Compilers and versions use different prefixes
/// (`MiVaPagedPool`, `AssignedRegionPagedPool`), so the shortest name with that ending wins;
/// this distinguishes `PagedPool` from `NonPagedPool`.
pub(super) fn by_suffix<'a>(
    names: impl Iterator<Item = (&'a str, i64)>,
    suffix: &str,
) -> Option<i64> {
    let hits = names.filter(|(name, _)| name.ends_with(suffix));
    hits.min_by_key(|(name, _)| name.len())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_name_with_the_suffix_wins() {
        let names = [
            ("RegionNonPagedPool", 0),
            ("RegionPagedPool", 1),
            ("RegionSecureNonPagedPool", 11),
        ];
        assert_eq!(by_suffix(names.into_iter(), "PagedPool"), Some(1));
        assert_eq!(by_suffix(names.into_iter(), "NonPagedPool"), Some(0));
        assert_eq!(by_suffix(names.into_iter(), "Cache"), None);
    }

    #[test]
    fn bits_are_taken_from_their_container() {
        let field = |bits| Field {
            offset: 0,
            size: 8,
            bits,
        };
        assert_eq!(field(None).extract(0xABCD), 0xABCD);
        assert_eq!(field(Some((4, 8))).extract(0xABCD), 0xBC);
        assert_eq!(field(Some((0, 64))).extract(u64::MAX), u64::MAX);
        assert_eq!(field(Some((200, 255))).extract(u64::MAX), 0);
    }
}
