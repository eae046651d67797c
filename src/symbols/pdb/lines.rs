//! Functions and source lines of a private PDB, for a few addresses at a time.
//!
//! A PDB stores both per compiled unit. The section contributions map an address to its unit.
//! Only the required units are read, so the cost depends on these units and not on the size of
//! the PDB. A public PDB has neither: the result is empty, not an error.

use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::pdb::{
    AddressMap, FallibleIterator, LineInfo, ModuleInfo, PDB, ProcedureSymbol, StringTable,
    SymbolData,
};
use rustc_hash::FxHashMap;

use super::{Bounded, PdbId, Refusal, check_identity};

/// Largest number of addresses per query.
const MOST_ADDRESSES: usize = 4096;
/// Largest number of units that are read per query.
const MOST_UNITS: usize = 256;
/// Largest number of records that are read per unit, for lines and for symbols. A unit with a
/// million lines is generated code.
const MOST_RECORDS: usize = 1 << 22;
/// Limit in bytes for one part of the PDB when lines are read.
const LARGEST_PART: u64 = 256 << 20;
/// Longest file or function name, in characters.
const LONGEST: usize = 1024;
/// The kinds of procedure records: `S_LPROC32`, `S_GPROC32` and their forms with an item
/// number.
const PROCEDURES: [u16; 4] = [0x110f, 0x1110, 0x1146, 0x1147];

/// The origin of a code address, as far as a private PDB has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The function that contains the address, and the RVA of its first byte.
    pub function: Option<(String, u32)>,
    /// The source file, with the path given to the compiler, and the line number from 1.
    pub line: Option<(String, u32)>,
}

/// The origins in the order of the addresses, and a sentence on omitted parts.
pub(in crate::symbols) type Origins = (Vec<Origin>, Option<String>);

/// Reads the origins of RVAs from a PDB, which must have the identity `id`.
pub(in crate::symbols) fn read<R>(file: R, id: &PdbId, rvas: &[u32]) -> Result<Origins, Refusal>
where
    R: Read + Seek + Send + std::fmt::Debug,
{
    catch_unwind(AssertUnwindSafe(|| read_inner(file, id, rvas)))
        .unwrap_or_else(|_| Err(Refusal::Unreadable("damaged".into())))
}

/// Best line so far for an address: the line's RVA, and its information.
type BestLine = (u32, LineInfo);

fn read_inner<R>(file: R, id: &PdbId, rvas: &[u32]) -> Result<Origins, Refusal>
where
    R: Read + Seek + Send + std::fmt::Debug,
{
    let mut file = Bounded::new(file)?;
    file.check_whole()?;
    file.largest = file.largest.min(LARGEST_PART);
    let mut pdb = PDB::open(file)?;
    check_identity(&mut pdb, id)?;
    let mut out = vec![Origin::default(); rvas.len()];
    let mut note = (rvas.len() > MOST_ADDRESSES)
        .then(|| format!("source lines of the first {MOST_ADDRESSES} addresses are looked up"));
    let asked = rvas.get(..MOST_ADDRESSES).unwrap_or(rvas);
    let map = pdb.address_map()?;
    let debug = pdb.debug_information()?;
    let mut of_unit: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
    let mut contributions = debug.section_contributions()?;
    while let Ok(Some(part)) = contributions.next() {
        let Some(start) = part.offset.to_rva(&map) else {
            continue;
        };
        let holds = |rva: u32| rva.checked_sub(start.0).is_some_and(|at| at < part.size);
        for (n, _) in asked.iter().enumerate().filter(|(_, rva)| holds(**rva)) {
            let list = of_unit.entry(part.module).or_default();
            if !list.contains(&n) {
                list.push(n);
            }
        }
    }
    if of_unit.len() > MOST_UNITS {
        note = Some(format!(
            "source lines are read of {MOST_UNITS} compiled units at most"
        ));
    }
    let names = pdb.string_table().ok();
    let mut units = debug.modules()?;
    let (mut at, mut read) = (0, 0);
    while let Ok(Some(unit)) = units.next() {
        let wanted = of_unit.get(&at);
        at += 1;
        let Some(wanted) = wanted.filter(|_| read < MOST_UNITS) else {
            continue;
        };
        read += 1;
        match pdb.module_info(&unit) {
            Ok(Some(unit)) => of(&unit, &map, names.as_ref(), rvas, wanted, &mut out),
            // A public PDB lists units but has no data for them.
            Ok(None) => {}
            Err(why) => note = Some(format!("the lines of a compiled unit can't be read: {why}")),
        }
    }
    Ok((out, note))
}

/// Passes the procedures of all compiled units with their RVAs, within the limits.
pub(super) fn procedures<'s, S: ::pdb::Source<'s> + 's>(
    pdb: &mut PDB<'s, S>,
    take: &mut dyn FnMut(&str, u32),
) -> ::pdb::Result<()> {
    let map = pdb.address_map()?;
    let debug = pdb.debug_information()?;
    let mut units = debug.modules()?;
    let mut left = MOST_RECORDS;
    while let Some(unit) = units.next()? {
        let Some(unit) = pdb.module_info(&unit)? else {
            continue;
        };
        each_procedure(&unit, &mut left, &mut |procedure| {
            if let Some(start) = procedure.offset.to_rva(&map) {
                take(&shortened(&procedure.name.to_string()), start.0);
            }
        });
    }
    Ok(())
}

fn each_procedure(
    unit: &ModuleInfo<'_>,
    left: &mut usize,
    take: &mut dyn FnMut(&ProcedureSymbol<'_>),
) {
    let Ok(mut symbols) = unit.symbols() else {
        return;
    };
    while let Ok(Some(symbol)) = symbols.next() {
        let Some(rest) = left.checked_sub(1) else {
            return;
        };
        *left = rest;
        if PROCEDURES.contains(&symbol.raw_kind())
            && let Ok(SymbolData::Procedure(procedure)) = symbol.parse()
        {
            take(&procedure);
        }
    }
}

/// Fills in the data of one unit for the addresses that belong to it.
fn of(
    unit: &ModuleInfo<'_>,
    map: &AddressMap<'_>,
    names: Option<&StringTable<'_>>,
    rvas: &[u32],
    wanted: &[usize],
    out: &mut [Origin],
) {
    functions(unit, map, rvas, wanted, out);
    let Ok(program) = unit.line_program() else {
        return;
    };
    let mut best: FxHashMap<usize, BestLine> = FxHashMap::default();
    let mut lines = program.lines();
    let mut left = MOST_RECORDS;
    while let Ok(Some(line)) = lines.next() {
        left -= 1;
        let Some(start) = line.offset.to_rva(map).filter(|_| left > 0) else {
            if left == 0 {
                break;
            }
            continue;
        };
        for &n in wanted {
            let Some(rva) = rvas.get(n).copied() else {
                continue;
            };
            let holds = match (rva.checked_sub(start.0), line.length) {
                (Some(inside), Some(length)) => inside < length.max(1),
                // If a record has no length, only its own address is known to belong to the
                // line.
                (Some(inside), None) => inside == 0,
                (None, _) => false,
            };
            if holds && best.get(&n).is_none_or(|(before, _)| *before <= start.0) {
                best.insert(n, (start.0, line.clone()));
            }
        }
    }
    for (n, (_, line)) in best {
        let file = program.get_file_info(line.file_index).ok();
        let name = file.zip(names).and_then(|(file, names)| {
            let name = names.get(file.name).ok()?;
            Some(shortened(&name.to_string()))
        });
        if let (Some(name), Some(origin)) = (name, out.get_mut(n)) {
            origin.line = Some((name, line.line_start));
        }
    }
}

/// The procedures that contain the addresses, including those without a public symbol.
fn functions(
    unit: &ModuleInfo<'_>,
    map: &AddressMap<'_>,
    rvas: &[u32],
    wanted: &[usize],
    out: &mut [Origin],
) {
    let mut left = MOST_RECORDS;
    each_procedure(unit, &mut left, &mut |procedure| {
        let Some(start) = procedure.offset.to_rva(map) else {
            return;
        };
        for &n in wanted {
            let inside = rvas.get(n).and_then(|rva| rva.checked_sub(start.0));
            if inside.is_some_and(|at| at < procedure.len)
                && let Some(origin) = out.get_mut(n)
            {
                let name = shortened(&procedure.name.to_string());
                origin.function = Some((name, start.0));
            }
        }
    });
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::symbols::fixture::{self, PDB as BYTES};

    fn origins(rvas: &[u32]) -> Origins {
        read(Cursor::new(BYTES.to_vec()), &fixture::id(), rvas).unwrap()
    }

    /// Compared with `llvm-pdbutil dump -l -symbols`.
    #[test]
    fn an_address_has_its_function_and_its_line() {
        let (found, note) = origins(&[0x1020, 0x103e, 0x1071, 0x1000, 0x1084, 0x1075, 0x5000]);
        assert_eq!(note, None);
        let line = |n: usize| found[n].line.as_ref().map(|(_, line)| *line);
        let name = |n: usize| {
            found[n]
                .function
                .as_ref()
                .map(|(name, at)| (name.as_str(), *at))
        };
        assert_eq!(
            [line(0), line(1), line(2)],
            [Some(127), Some(129), Some(131)]
        );
        assert_eq!([line(3), line(4)], [Some(122), Some(134)]);
        assert_eq!(found[1].line.as_ref().unwrap().0, "c:\\src\\driver.c");
        assert_eq!(name(1), Some(("PsStart", 0x1020)));
        assert_eq!(name(3), Some(("PsCallback", 0x1000)));
        assert_eq!(name(4), Some(("DriverEntry", 0x1080)));
        // Between two functions, and outside the image's code.
        assert_eq!((name(5), name(6)), (None, None));
        assert_eq!(found[6], Origin::default());
    }

    #[test]
    fn a_pdb_of_another_image_gives_no_lines() {
        let wrong = read(Cursor::new(BYTES.to_vec()), &fixture::other_id(), &[0x1020]);
        assert!(matches!(wrong, Err(Refusal::OtherImage { .. })));
    }

    #[test]
    fn damaged_files_are_refused_or_lack_lines_and_reading_ends() {
        let start = std::time::Instant::now();
        let mut seed = 5u64;
        for round in 0..600 {
            let mut bytes = BYTES.to_vec();
            for _ in 0..=round % 24 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = [0, 0xff, 0x80, (seed >> 20) as u8][round % 4];
            }
            if let Ok((found, _)) = read(Cursor::new(bytes), &fixture::id(), &[0x1020, 0x1084]) {
                assert_eq!(found.len(), 2);
            }
        }
        assert!(start.elapsed().as_secs() < 30);
    }
}
