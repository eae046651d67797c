//! The tables of an evidence file and of an exported dataset: one schema, with a version.
//!
//! The types are read alike by every database engine: sizes and counts are signed 64-bit
//! integers; addresses are signed 64-bit integers, with hexadecimal text beside them; times are
//! UTC timestamps in microseconds. Unknown is null, never 0. `docs/schema.md` describes the
//! schema for readers; a test keeps both equal.

/// The schema version. The major number rises when a column is removed or changes its meaning,
/// the minor number when a column is added.
pub const VERSION: (u32, u32) = (1, 2);

/// The text of `docs/schema.md`.
pub fn page() -> String {
    let mut out = format!(
        "# Tables\n\nSchema {}.{}. `poolscope export` writes these tables as a dataset: one folder per table, in it\n`machine=…/boot=…/DUMP.parquet` (or `.csv`). An evidence file has them as\n`tables/NAME.parquet`, and in `manifest.json` the version, the source and a checksum of each.\n\nSizes and counts are signed 64-bit, addresses signed 64-bit beside hexadecimal text, times UTC\ntimestamps in microseconds. Every column can be null: null is \"not known\", never 0. A change of\nmeaning raises the first number of the version, a new column the second; readers look for\ncolumns by name. Reports and other answers with structure are only in `answers` of\nevidence files, as are `contents` (only with `--contents`); `blocks` is in a dataset only with `--blocks`.\n\n## Columns of every table\n\n",
        VERSION.0, VERSION.1
    );
    let columns = |out: &mut String, columns: &[Column]| {
        *out += "| column | type | meaning |\n|---|---|---|\n";
        for column in columns {
            let Column { name, kind, about } = column;
            *out += &format!("| `{name}` | {} | {about} |\n", kind.word());
        }
    };
    columns(&mut out, &KEYS);
    for table in TABLES {
        out += &format!("\n## {}\n\nA row is {}.\n\n", table.name, table.about);
        columns(&mut out, table.columns);
    }
    out
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count, a size or an address: INT64.
    Int,
    /// A share: DOUBLE.
    Real,
    /// Yes or no: BOOLEAN.
    Bool,
    /// Text: BYTE_ARRAY, UTF-8.
    Text,
    /// A time in UTC: INT64, TIMESTAMP in microseconds.
    Time,
}

impl Kind {
    /// The type's name in the documentation.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Int => "int64",
            Kind::Real => "double",
            Kind::Bool => "boolean",
            Kind::Text => "text",
            Kind::Time => "timestamp",
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The meaning, with the unit.
    pub about: &'static str,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// The name: the folder in a dataset, and the member in an evidence file.
    pub name: &'static str,
    /// The meaning of a row.
    pub about: &'static str,
    /// The columns after [`KEYS`].
    pub columns: &'static [Column],
}

impl Table {
    /// All columns: the keys, then the table's own.
    pub fn all(&self) -> impl Iterator<Item = &'static Column> {
        KEYS.iter().chain(self.columns)
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        KEYS.len() + self.columns.len()
    }
}

const fn int(name: &'static str, about: &'static str) -> Column {
    let kind = Kind::Int;
    Column { name, kind, about }
}

const fn text(name: &'static str, about: &'static str) -> Column {
    let kind = Kind::Text;
    Column { name, kind, about }
}

const fn time(name: &'static str, about: &'static str) -> Column {
    let kind = Kind::Time;
    Column { name, kind, about }
}

const fn real(name: &'static str, about: &'static str) -> Column {
    let kind = Kind::Real;
    Column { name, kind, about }
}

const fn bool(name: &'static str, about: &'static str) -> Column {
    let kind = Kind::Bool;
    Column { name, kind, about }
}

/// The first columns of every table: the keys of its rows.
pub const KEYS: [Column; 3] = [
    text(
        "machine",
        "the machine: the name given with --host, or a hash of its pages of memory and \
            processors; machines that are equal in both have the same hash; `boot` then \
            distinguishes them",
    ),
    text(
        "boot",
        "the boot: a hash of boot number (from Windows 10 1607 on), boot time (to a day with a boot number, else to ten minutes), kernel base and build",
    ),
    text("dump", "the dump: a hash of its contents"),
];

/// One row per dump.
pub static DUMPS: Table = Table {
    name: "dumps",
    about: "a dump, a memory image or an evidence file",
    columns: &[
        text("file", "the file's name, as it was given"),
        int("file_bytes", "the file's length"),
        text("format", "the kind of container"),
        text("contents", "what the container holds"),
        int("build", "the kernel's build number"),
        text("version", "version of Windows"),
        text("build_lab", "the kernel's build string"),
        text("architecture", "x64"),
        int("processors", "processors"),
        int("bugcheck", "the bugcheck's code"),
        text(
            "bugcheck_parameters",
            "its parameters, hexadecimal, separated by blanks",
        ),
        int("kernel_base", "where the kernel is"),
        text("kernel_base_hex", "the same, hexadecimal"),
        int(
            "physical_pages",
            "pages of memory of the machine, 4 KB each",
        ),
        int("pages_present", "pages that the file holds"),
        int("pages_cut_off", "pages that the file is too short for"),
        time("written", "when the dump was written"),
        time("booted", "when the machine was started"),
        int("uptime_seconds", "seconds from one to the other"),
        text("symbols_source", "pdb, built-in or none"),
        text("pdb", "the kernel's PDB"),
        text("pdb_id", "its identity, as symbol stores write it"),
        text(
            "verdict",
            "the judgement: leak, suspicious, normal or unknown; null where the pool was not walked",
        ),
        bool("complete", "every window of the pool was walked"),
        text("tool", "the version of poolscope that wrote the row"),
        text("schema", "the version of the schema"),
    ],
};

/// One row per pool of a dump.
pub static POOLS: Table = Table {
    name: "pools",
    about: "a pool of a dump: nonpaged, paged or session",
    columns: &[
        text("pool", "nonpaged, paged or session"),
        int("usage_bytes", "bytes in use, as !vm has them"),
        int("maximum_bytes", "the pool's maximum, as !vm has it"),
        int("allocs", "allocations since boot, over all tags"),
        int("frees", "frees since boot, over all tags"),
        int("outstanding", "allocations outstanding, over all tags"),
        int(
            "bytes",
            "bytes outstanding, over all tags: the total of !poolused",
        ),
        int("found_blocks", "allocated blocks that the walk found"),
        int("found_bytes", "their bytes"),
        int("unreadable_pages", "pages of this pool that can't be read"),
    ],
};

/// One row per line of `!vm`.
pub static COUNTERS: Table = Table {
    name: "counters",
    about: "a line of !vm",
    columns: &[
        text("line", "its label"),
        int("pages", "pages of 4 KB"),
        text("source", "where it was read, or why it was not"),
        text("doubt", "how it contradicts other lines"),
    ],
};

/// One row per tag and pool.
pub static TAGS: Table = Table {
    name: "tags",
    about: "a tag's account in a pool: a row of !poolused",
    columns: &[
        text("tag", "the tag, as !poolused prints it"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        text("pool", "nonpaged or paged"),
        text(
            "scope",
            "system, or session for the accounts of session pool",
        ),
        int("allocs", "allocations since boot"),
        int("frees", "frees since boot"),
        int("outstanding", "allocations outstanding"),
        int("bytes", "bytes outstanding"),
        int("found_blocks", "allocated blocks that the walk found"),
        int("found_bytes", "their bytes"),
        text("description", "what the tag is for"),
        text("binary", "the binary, from the tag list"),
    ],
};

/// One row per module.
pub static MODULES: Table = Table {
    name: "modules",
    about: "a loaded or unloaded driver",
    columns: &[
        text("module", "WinDbg's name for it"),
        text("file", "the file's name"),
        text("path", "the path it was loaded from"),
        int("base", "first address"),
        text("base_hex", "the same, hexadecimal"),
        int("size", "bytes of address space"),
        int(
            "timestamp",
            "the image's time stamp, as the headers have it",
        ),
        text("pdb", "its PDB"),
        text("pdb_id", "the PDB's identity, as symbol stores write it"),
        bool("unloaded", "no longer loaded"),
        bool("is_kernel", "the kernel itself"),
        text("company", "CompanyName of its version resource"),
        text("product", "ProductName of its version resource"),
        text(
            "file_version",
            "FileVersion of its version resource, else the four fixed numbers",
        ),
        text(
            "file_description",
            "FileDescription of its version resource",
        ),
        time(
            "linked",
            "when it was linked; null for a reproducible build",
        ),
        time("unloaded_at", "when it was unloaded"),
    ],
};

/// One row per reference.
pub static REFERENCES: Table = Table {
    name: "references",
    about: "a place in an image that has a tag's bytes",
    columns: &[
        text("tag", "the tag"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        text("module", "the image"),
        int("address", "where"),
        text("address_hex", "the same, hexadecimal"),
        int("offset", "the same from the image's first byte"),
        text("section", "the section"),
        text("symbol", "the nearest symbol, with the distance"),
        bool("in_code", "in an executable section"),
        text("bytes", "sixteen bytes from there on, hexadecimal"),
        text("instruction", "the instruction that has or reads the tag"),
        text("api", "the function that takes it"),
        text("function", "the function that the instruction is in"),
        text("role", "what is done with the tag"),
        text(
            "confidence",
            "certain, likely or coincidence; null where that is unknown",
        ),
        text("reason", "why"),
    ],
};

/// One row per tag and size.
pub static SIZES: Table = Table {
    name: "sizes",
    about: "allocated blocks of a tag that have one size",
    columns: &[
        text("tag", "the tag"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        int("size", "bytes of each, header included"),
        int("blocks", "how many"),
        int("bytes", "bytes of all of them"),
    ],
};

/// One row per block.
pub static BLOCKS: Table = Table {
    name: "blocks",
    about: "a block of pool; complete for the suspects, and for other tags as far as `listed` of the manifest says",
    columns: &[
        text("tag", "the tag"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        int("address", "the block's start, as !pool prints it"),
        text(
            "address_hex",
            "the same, hexadecimal; null in an evidence file, to keep that small",
        ),
        int("size", "bytes, header included"),
        text("pool", "nonpaged, nonpaged_nx, paged or session"),
        text("backend", "legacy, vs, lfh, big or special"),
        text("state", "allocated, lookaside or free"),
        int("session", "the session, for session pool"),
        bool("heuristic", "recognised by its header only"),
        bool("protected", "the tag has the protected bit"),
    ],
};

/// One row per pool and tenth of page occupancy.
pub static OCCUPANCY: Table = Table {
    name: "occupancy",
    about: "the pages of a pool with the same use in tenths; no rows if blocks were not listed. \
        Many pages with few bytes in use mean fragmentation",
    columns: &[
        text("pool", "nonpaged, paged or session"),
        int(
            "tenths",
            "use of the page by allocated blocks in tenths, rounded down: 0 to 9, and 10 for a \
                full page",
        ),
        int(
            "pages",
            "pages of 4 KB that hold small blocks, or parts of them",
        ),
        int("blocks", "allocated blocks that start in them"),
        int("used_bytes", "bytes of allocated blocks in them"),
        int(
            "cached_bytes",
            "bytes of blocks that are freed and kept for the next allocation",
        ),
        int(
            "free_bytes",
            "other bytes: free, or used by the allocator itself",
        ),
    ],
};

/// One row per finding.
pub static FINDINGS: Table = Table {
    name: "findings",
    about: "a tag in a pool that shows a leak pattern",
    columns: &[
        text("tag", "the tag"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        text("pool", "nonpaged or paged"),
        text("verdict", "leak or suspicious"),
        int("bytes", "bytes outstanding"),
        int("outstanding", "allocations outstanding"),
        real("share", "its share of the pool's bytes, 0 to 1"),
        text("owner", "the likeliest owner"),
        text("confidence", "certain, likely or possible"),
        text(
            "owner_identity",
            "the identity of the owner's PDB: its build",
        ),
        int("owner_timestamp", "the time stamp of the owner's image"),
        text(
            "owner_file_version",
            "FileVersion of the owner's version resource",
        ),
        text(
            "owner_company",
            "CompanyName of the owner's version resource",
        ),
        int(
            "rate_bytes_per_hour",
            "bytes over the hours since boot: the average growth",
        ),
        text("advice", "what to do next"),
    ],
};

/// One row per slice of the uptime, for tags whose blocks contain times.
pub static AGES: Table = Table {
    name: "ages",
    about: "a slice of the time from boot to dump, with the blocks in use of a suspect's tag that were made in it; 24 rows a tag, for tags whose blocks carry times",
    columns: &[
        text("tag", "the tag"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        text("source", "the field that holds the time, and its clock"),
        text(
            "shape",
            "steady, burst, old or mixed: how the blocks lie over the slices",
        ),
        int("blocks_with_time", "blocks with a time, over all slices"),
        int("blocks_examined", "blocks in use that were examined"),
        time("oldest", "the oldest time of a block"),
        time("newest", "the newest"),
        int("slice", "the slice, from 0 (boot) to 23 (dump)"),
        time("slice_start", "when it starts"),
        int("blocks", "blocks in it"),
    ],
};

/// One row per recorded stack of a tag.
pub static STACKS: Table = Table {
    name: "stacks",
    about: "a call stack that Driver Verifier recorded for live allocations of a tag",
    columns: &[
        text("tag", "the tag"),
        text("tag_hex", "its four bytes as a number, hexadecimal"),
        text("source", "verifier-pool or verifier-log"),
        text("event", "allocated or freed"),
        int("count", "allocations with this stack"),
        int("bytes", "their bytes, as requested"),
        int("address", "the first byte of one of them"),
        text("address_hex", "the same, hexadecimal"),
        int("size", "the bytes of that one"),
        text(
            "frames",
            "return addresses, the innermost first, separated by blanks",
        ),
        text(
            "symbols",
            "the same as module and offset, or function, separated by semicolons",
        ),
    ],
};

/// One row per answer that has no table of its own.
pub static ANSWERS: Table = Table {
    name: "answers",
    about: "an answer with structure, as JSON: what poolscope shows again from an evidence file",
    columns: &[
        text(
            "answer",
            "the kind: info, vm, totals, census, objects, references, diagnosis, drivers …",
        ),
        text("key", "the subject: a tag in hexadecimal, or empty"),
        text("json", "the value"),
    ],
};

/// One row per sample block.
pub static CONTENTS: Table = Table {
    name: "contents",
    about: "the bytes of a sample block; only with --contents",
    columns: &[
        text("tag", "the tag"),
        int("address", "the first byte's address"),
        text("address_hex", "the same, hexadecimal"),
        int("session", "the session, for session pool"),
        text(
            "bytes",
            "the bytes, hexadecimal; ?? where one can't be read",
        ),
    ],
};

/// All tables.
pub static TABLES: [&Table; 14] = [
    &DUMPS,
    &POOLS,
    &COUNTERS,
    &TAGS,
    &MODULES,
    &REFERENCES,
    &SIZES,
    &FINDINGS,
    &STACKS,
    &AGES,
    &OCCUPANCY,
    &BLOCKS,
    &CONTENTS,
    &ANSWERS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_page_matches_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.md");
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == page(),
            "docs/schema.md is out of date: UPDATE_README=1 cargo test --lib evidence::schema"
        );
    }

    #[test]
    fn names_are_unique_lower_case_identifiers() {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        for table in TABLES {
            let mut names: Vec<&str> = table.all().map(|c| c.name).collect();
            assert!(names.iter().all(|n| plain(n)) && plain(table.name));
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.width(), "{}", table.name);
        }
    }
}
