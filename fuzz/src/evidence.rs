//! Evidence files: random bytes, and damaged tables with correct checksums.

use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use poolscope::analysis::census::Question;
use poolscope::engine::{Engine, Machine};
use poolscope::evidence::archive::{self, Manifest, Stored};
use poolscope::evidence::schema::{TABLES, Table};
use poolscope::evidence::{self, Choices, Evidence};
use poolscope::pool::TagPattern;
use poolscope::synth::{Container, Machine as Synth, small};

use super::input::Input;
use super::locate::options;
use super::shown;

type Tables = Vec<(&'static Table, u64, Vec<u8>)>;

/// The evidence of a small machine: the file, and its parts.
fn whole() -> &'static (Vec<u8>, Manifest, Tables) {
    static WHOLE: OnceLock<(Vec<u8>, Manifest, Tables)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join("it.dmp");
        let machine = Synth::build(&small::spec()).unwrap();
        machine.write(&dump, Container::BitmapKernel).unwrap();
        let engine = Engine::open(&dump, &options()).unwrap();
        let index = engine.index(Default::default()).unwrap();
        let out = folder.path().join("it.evidence");
        evidence::write(&engine, &index, &out, &Choices::default()).unwrap();
        let bytes = std::fs::read(out).unwrap();
        let mut file = Stored::of_bytes(bytes.clone()).unwrap();
        let tables = TABLES.into_iter().map(|table| {
            let bytes = file.table(table).unwrap().unwrap();
            (table, 0, bytes.to_vec())
        });
        let tables: Tables = tables.collect();
        (bytes, file.manifest.clone(), tables)
    })
}

/// The first byte decides whether the rest is a file or a list of changes to tables: table,
/// position and value.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let Some(kind) = input.u8() else {
        return;
    };
    let bytes = match kind {
        0 => input.0.to_vec(),
        _ => {
            let (_, manifest, tables) = whole();
            let mut tables = tables.clone();
            let nth = usize::from(kind) % tables.len();
            for change in input.0.chunks_exact(5) {
                let &[a, b, c, d, to] = change else { break };
                let bytes = &mut tables[nth].2;
                let at = u32::from_le_bytes([a, b, c, d]) as usize % bytes.len();
                bytes[at] = to;
            }
            let out = archive::pack(Cursor::new(Vec::new()), manifest.clone(), &tables);
            out.unwrap().into_inner()
        }
    };
    match Stored::of_bytes(bytes) {
        Ok(file) => ask(file),
        Err(why) => shown::check(&why.to_string().replace('\n', " ")),
    }
}

fn ask(file: Stored) {
    let opened = Evidence::of(file, Path::new("it.evidence"), &options());
    let Ok(machine) = opened else {
        return;
    };
    let machine: &dyn Machine = &machine;
    std::hint::black_box((machine.info(), machine.vm().lines(), machine.modules(None)));
    let index = machine.kept_index(&|| true).index.unwrap_or_default();
    let any = TagPattern::any();
    std::hint::black_box(machine.allocs(&index, &any, true).blocks().count());
    std::hint::black_box(machine.coverage_of(&any, &index).sentences());
    let rows = machine.trackers().rows.iter();
    let tags: Vec<_> = rows.map(|row| row.tag).take(8).collect();
    for tag in tags {
        std::hint::black_box(machine.tag_references(tag));
        let progress = Default::default();
        let census = machine.census(&index, Question::of(tag), &|| true, &progress);
        std::hint::black_box(census.is_ok());
        std::hint::black_box(machine.objects_of(&index, tag, 0, &|| true).is_ok());
    }
    std::hint::black_box(machine.by_driver(None).is_ok());
}

/// The file, changes to each table, and a file that is not a zip.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![[&[0], whole().0.as_slice()].concat()];
    seeds.extend((1..=TABLES.len() as u8).map(|table| vec![table, 100, 0, 0, 0, 7]));
    seeds.push(b"\0PK\x03\x04 and no more".to_vec());
    seeds
}
