//! The public symbols of a PDB, by name and by address.

use ::pdb::{AddressMap, FallibleIterator, ImageSectionHeader, SymbolData, SymbolTable};

use super::hash;

/// Record kind of a public symbol (`S_PUB32`); other kinds are skipped.
const PUBLIC: u16 = 0x110E;

/// Symbol names and RVAs; the names are stored in one string.
#[derive(Default)]
pub(super) struct Publics {
    text: String,
    /// Ascending by RVA, then name.
    by_rva: Vec<Public>,
    /// Hashes of names, ascending, with positions in `by_rva`.
    by_name: Vec<(u64, u32)>,
    /// Start and end RVA of the image's sections.
    sections: Vec<(u32, u32)>,
}

#[derive(Clone, Copy)]
struct Public {
    rva: u32,
    start: u32,
    end: u32,
}

impl Publics {
    /// Reads every public symbol that has an address in the image.
    pub fn read(
        table: &SymbolTable<'_>,
        map: &AddressMap<'_>,
        sections: &[ImageSectionHeader],
    ) -> Publics {
        let mut publics = Publics::default();
        let mut symbols = table.iter();
        while let Ok(Some(symbol)) = symbols.next() {
            if symbol.raw_kind() != PUBLIC {
                continue;
            }
            if let Ok(SymbolData::Public(public)) = symbol.parse()
                && let Some(rva) = public.offset.to_rva(map)
            {
                publics.push(rva.0, &public.name.to_string());
            }
        }
        let span = |s: &ImageSectionHeader| {
            (
                s.virtual_address,
                s.virtual_address.saturating_add(s.virtual_size),
            )
        };
        publics.sections = sections.iter().map(span).collect();
        publics.sort();
        publics
    }

    /// Passes every symbol with its RVA, in address order.
    pub fn each(&self, take: &mut dyn FnMut(&str, u32)) {
        for public in &self.by_rva {
            take(public.name(&self.text), public.rva);
        }
    }

    /// Adds a symbol; [`Publics::sort`] must be called afterwards.
    pub fn push(&mut self, rva: u32, name: &str) {
        let start = self.text.len();
        let end = start + name.len();
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
            self.text.push_str(name);
            self.by_rva.push(Public { rva, start, end });
        }
    }

    /// Sorts the symbols and removes duplicates.
    pub fn sort(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.by_rva.sort_unstable_by(|a, b| {
            let by_name = || a.name(&text).cmp(b.name(&text));
            a.rva.cmp(&b.rva).then_with(by_name)
        });
        self.by_rva
            .dedup_by(|a, b| a.rva == b.rva && a.name(&text) == b.name(&text));
        let hashes = self.by_rva.iter().map(|p| hash(p.name(&text).as_bytes()));
        self.by_name = hashes.zip(0..).collect();
        self.by_name.sort_unstable();
        self.text = text;
    }

    /// Number of symbols.
    pub fn len(&self) -> usize {
        self.by_rva.len()
    }

    /// RVA of the symbol with exactly this name; the lowest if there are several.
    pub fn rva(&self, name: &str) -> Option<u32> {
        let wanted = hash(name.as_bytes());
        let first = self.by_name.partition_point(|&(hash, _)| hash < wanted);
        let same = self.by_name.iter().skip(first);
        let mut same = same
            .take_while(|(hash, _)| *hash == wanted)
            .filter_map(|&(_, i)| self.by_rva.get(i as usize));
        let found = same.find(|p| p.name(&self.text) == name);
        found.map(|p| p.rva)
    }

    /// The nearest symbol at or below an RVA in the same section, and the distance. If several
    /// have the same address, the first by name.
    pub fn nearest(&self, rva: u32) -> Option<(&str, u32)> {
        let below = self.by_rva.partition_point(|p| p.rva <= rva);
        let last = self.by_rva.get(below.checked_sub(1)?)?.rva;
        let section = self
            .sections
            .iter()
            .find(|(start, end)| (*start..*end).contains(&rva));
        if section.is_none_or(|&(start, _)| last < start) {
            return None;
        }
        let first = self.by_rva.partition_point(|p| p.rva < last);
        Some((self.by_rva.get(first)?.name(&self.text), rva - last))
    }
}

impl Public {
    fn name(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}
