//! The arguments of the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::analysis::Descriptions;
use crate::analysis::census::USUAL_SAMPLE;
use crate::engine::{self, IndexCache, OpenError, Options, USUAL_LOOK};
use crate::report::Format;
use crate::symbols::{Network, SymbolPath};
use crate::tui::terminal::theme::{Choice, Palette};

/// Find the driver that leaked a Windows server's kernel pool, from its MEMORY.DMP.
#[derive(Debug, Parser)]
#[command(name = "poolscope", version)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// The dump to browse in the terminal.
    pub dump: Option<PathBuf>,
    /// Earlier dumps, evidence files or logs that the terminal UI compares the dump with, the
    /// earliest first.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub baseline: Vec<PathBuf>,
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// The command to run instead of opening the terminal UI.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
pub struct Common {
    /// Output format.
    #[arg(long, global = true, value_enum, default_value_t = FormatName::Text)]
    pub format: FormatName,
    /// Where to look for PDBs, in the syntax of _NT_SYMBOL_PATH [default: that variable,
    /// then the local cache].
    #[arg(long, global = true, value_name = "PATH")]
    pub symbols: Option<String>,
    /// Never ask a symbol server.
    #[arg(long, global = true)]
    pub no_network: bool,
    /// Neither read nor write the caches.
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// A pooltag.txt to use over the built-in table.
    #[arg(long, global = true, value_name = "FILE")]
    pub pooltag: Option<PathBuf>,
    /// Worker threads; 0 for one per core.
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Memory limit for the list of blocks, with the unit k, m or g [default: three quarters of
    /// the available memory].
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// The other file of a VMware snapshot, if it is not in the same directory with the same
    /// base name: the .vmem for a state file, or the .vmsn or .vmss for a .vmem.
    #[arg(long, global = true, value_name = "FILE")]
    pub partner: Option<PathBuf>,
    /// No progress on stderr.
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Use ASCII characters only in the terminal UI.
    #[arg(long, global = true)]
    pub ascii: bool,
    /// Colours of the terminal UI; auto uses NO_COLOR, COLORTERM and TERM.
    #[arg(long, global = true, value_enum, value_name = "COLOURS", default_value_t = ThemeName::Auto)]
    pub theme: ThemeName,
    /// Leave the mouse to the terminal, whose own selection then works without Shift; Ctrl-T
    /// switches the mouse while the terminal UI runs.
    #[arg(long, global = true)]
    pub no_mouse: bool,
    /// The key bindings of the terminal UI [default: the file `keys` in poolscope's
    /// configuration directory]; see the command `keys`.
    #[arg(long, global = true, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

/// The values of --format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Columns for people.
    Text,
    /// One JSON object.
    Json,
    /// A header line and one line for each row.
    Csv,
    /// Markdown, for a ticket.
    Markdown,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Format {
        match name {
            FormatName::Text => Format::Text,
            FormatName::Json => Format::Json,
            FormatName::Csv => Format::Csv,
            FormatName::Markdown => Format::Markdown,
        }
    }
}

impl Common {
    /// The engine's options for opening a dump.
    pub fn options(&self) -> Options {
        let symbols = match &self.symbols {
            Some(path) => SymbolPath::parse(path),
            None => SymbolPath::from_env().unwrap_or_else(SymbolPath::local_cache),
        };
        Options {
            symbols: match self.no_cache {
                true => symbols.without_caches(),
                false => symbols,
            },
            network: match self.no_network {
                true => Network::Off,
                false => Network::On,
            },
            threads: self.threads,
            pooltag: self.pooltag.clone(),
            cache: match self.no_cache {
                true => IndexCache::Off,
                false => IndexCache::of_user(),
            },
            memory: self.memory,
            partner: self.partner.clone(),
        }
    }
}

impl Args {
    /// The same options for one of `count` dumps that are processed at the same time: each
    /// gets its share of the memory, and shows no progress.
    pub(super) fn one_of(&self, count: usize) -> Args {
        let memory = self.common.memory.or_else(engine::default_limit);
        let part = count.max(1) as u64;
        Args {
            dump: None,
            baseline: Vec::new(),
            command: None,
            common: Common {
                quiet: self.common.quiet || count > 1,
                memory: memory.map(|bytes| (bytes / part).max(1)),
                ..self.common.clone()
            },
        }
    }
}

impl Common {
    /// The tag list: the user's entries override the built-in ones.
    ///
    /// # Errors
    /// If the user's file cannot be read.
    pub fn descriptions(&self) -> Result<Descriptions, OpenError> {
        engine::descriptions(self.pooltag.as_deref())
    }
}

/// Parses `2g`, `512M`, `100k` or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text
        .get(digits.len()..)
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("") => 0,
        Some("k" | "kb") => 10,
        Some("m" | "mb") => 20,
        Some("g" | "gb") => 30,
        _ => return Err("write a number followed by k, m or g, for example 2g".into()),
    };
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|n| n.checked_mul(1 << shift))
        .filter(|&n| n > 0)
        .ok_or_else(|| "write a number followed by k, m or g, for example 2g".into())
}

/// The values of --theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ThemeName {
    /// Determined by the environment.
    Auto,
    /// No colours.
    None,
    /// Sixteen colours.
    #[value(name = "16")]
    Sixteen,
    /// 256 colours.
    #[value(name = "256")]
    Indexed,
    /// 24-bit colour.
    True,
}

impl From<ThemeName> for Choice {
    fn from(name: ThemeName) -> Choice {
        match name {
            ThemeName::Auto => Choice::Auto,
            ThemeName::None => Choice::Fixed(Palette::Plain),
            ThemeName::Sixteen => Choice::Fixed(Palette::Sixteen),
            ThemeName::Indexed => Choice::Fixed(Palette::Indexed),
            ThemeName::True => Choice::Fixed(Palette::True),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the built-in sample dump and open it.
    Demo {
        /// Only write the dump, to this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// The kind of dump, the Windows version, the symbols, and what is missing.
    Info {
        /// The dump.
        dump: PathBuf,
    },
    /// The `!vm` summary.
    Vm {
        /// The dump.
        dump: PathBuf,
        /// WinDbg's flags: 1 leaves out processes (poolscope never lists them).
        #[arg(value_name = "FLAGS")]
        arguments: Vec<String>,
        /// Show the source of each number (JSON and CSV always have it).
        #[arg(long)]
        sources: bool,
    },
    /// The `!poolused` table.
    Poolused {
        /// The dump.
        dump: PathBuf,
        /// `[FLAGS] [/tN] [TAG]`: WinDbg's FLAGS (1 verbose, 2 by nonpaged, 4 by paged,
        /// 8 session), /tN for the first N rows, a tag with `*` and `?`.
        #[arg(value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
    /// Every allocation with a tag (`!poolfind`).
    Allocs {
        /// The dump.
        dump: PathBuf,
        /// The tag; `*` and `?` are wildcards, `\xNN` a byte that can't be typed.
        tag: String,
        /// The pool, as WinDbg has it: 0 or -nonpaged, 1 or -paged, 2 special, 4 or -session.
        #[arg(value_name = "POOL")]
        arguments: Vec<String>,
        /// Also list blocks that were recognised by their headers only, because the structures
        /// that lead to them are damaged or not in the dump; a few of them may be free.
        #[arg(long)]
        heuristic: bool,
    },
    /// The block that holds an address, and its page (`!pool`).
    Pool {
        /// The dump.
        dump: PathBuf,
        /// The address: hexadecimal, or an expression such as nt!SYMBOL+20.
        address: String,
        /// WinDbg's flags: 2 shows only the block that holds the address.
        #[arg(value_name = "FLAGS")]
        arguments: Vec<String>,
    },
    /// Modules that reference a tag, with the code that uses it.
    Refs {
        /// The dump.
        dump: PathBuf,
        /// The tag; `\xNN` for a byte that can't be typed.
        tag: String,
        /// Also list the instructions around each place in code, up to the calls that take
        /// the tag.
        #[arg(long)]
        disassemble: bool,
    },
    /// Call stacks that Driver Verifier recorded for a tag's live allocations, or for the
    /// block at an address (`!verifier 80`).
    Stacks {
        /// The dump.
        dump: PathBuf,
        /// The tag, with `*` and `?`; or an address.
        #[arg(value_name = "TAG|ADDRESS")]
        what: String,
    },
    /// Block contents of a tag: what they point to, offset by offset, and groups of one
    /// layout.
    Contents {
        /// The dump.
        dump: PathBuf,
        /// The tag; `\xNN` for a byte that can't be typed.
        tag: String,
        /// Only blocks of this pool.
        #[arg(long, value_enum)]
        pool: Option<PoolName>,
        /// Only blocks of this size in bytes, header included.
        #[arg(long, value_name = "BYTES")]
        size: Option<u64>,
        /// The maximum number of blocks to read; 0 for all.
        #[arg(long, value_name = "N", default_value_t = USUAL_SAMPLE)]
        sample: u64,
    },
    /// Kernel objects of a tag or a type: processes with handles, objects with
    /// references only, and names.
    Objects {
        /// The dump.
        dump: PathBuf,
        /// The tag (`Toke`), or the type (`Token`).
        what: String,
        /// The maximum number of blocks to examine; 0 for all.
        #[arg(long, value_name = "N", default_value_t = USUAL_LOOK)]
        sample: u64,
    },
    /// Pool bytes by driver: the sum of the tags that each owns.
    Drivers {
        /// The dump.
        dump: PathBuf,
    },
    /// The whole procedure as one report: the leaking tag, its owner, the evidence,
    /// and the next steps. `--format markdown` is for a ticket.
    Diagnose {
        /// The dump, or a log or table of tags.
        dump: PathBuf,
        /// Exit with status 3 when the verdict is a leak.
        #[arg(long)]
        exit_code: bool,
    },
    /// Growth per tag and its trend over any mix of dumps and logs, in the order given:
    /// PoolMon logs and screens, `!poolused` text, PoolMonX, tag tables, performance logs
    /// (PDH-CSV), Windows event logs. A log with several snapshots is several points.
    Diff {
        /// The dumps and logs, the oldest first.
        #[arg(required = true, value_name = "INPUT")]
        inputs: Vec<PathBuf>,
    },
    /// A gate for CI: exit status 0 when every dump is within the rules, 3 when one is not,
    /// 1 when something could not be checked.
    Check {
        /// The dumps and logs.
        #[arg(required = true, value_name = "DUMP")]
        inputs: Vec<PathBuf>,
        /// The rules, in TOML; docs/rules.toml is an example with comments.
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// An earlier dump or log of the same machine, for limits on growth.
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
        /// Also write the result as JUnit XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// The loaded modules (`lm`), those whose names match, or the one that holds an address.
    Modules {
        /// The dump.
        dump: PathBuf,
        /// A name with `*` and `?` in any case, or an address; WinDbg's `v`, `a` and `m`.
        #[arg(value_name = "NAME|ADDRESS")]
        arguments: Vec<String>,
    },
    /// Run commands as they are typed in WinDbg, PoolMon, or after `:` on the screen.
    /// `help` as COMMAND lists them.
    #[command(trailing_var_arg = true)]
    Run {
        /// The dump.
        dump: PathBuf,
        /// A command and its arguments, or a line in quotes; `;` separates commands.
        #[arg(value_name = "COMMAND", required = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// The PDB that the kernel needs, where to get it, where to put it, and whether it is
    /// present. Needs no network.
    Symbols {
        /// The dump.
        dump: PathBuf,
        /// All loaded modules that name a PDB, not only the kernel.
        #[arg(long)]
        all: bool,
        /// Download missing PDBs from the servers on the symbol path.
        #[arg(long)]
        download: bool,
    },
    /// One file of a few MB that every command and the terminal UI open in place of the dump.
    Evidence {
        /// The dump.
        dump: PathBuf,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Include the bytes of a few sample blocks of each suspect.
        #[arg(long, conflicts_with = "redact")]
        contents: bool,
        /// Replace the names of the machine, of users, files and objects by keyed hashes.
        #[arg(long)]
        redact: bool,
        /// The machine's name.
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
    /// The tables of any number of dumps and evidence files as one Parquet dataset, for
    /// DuckDB, Polars, Spark and pandas; with --format csv as CSV. A dump that is exported
    /// again replaces its own rows.
    Export {
        /// The dumps.
        #[arg(required = true, value_name = "DUMP")]
        dumps: Vec<PathBuf>,
        /// The dataset's folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Include a row for each block.
        #[arg(long)]
        blocks: bool,
        /// The machine's name.
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
    /// Common causes across many dumps: suspects by driver, version and tag, and outliers.
    Fleet {
        /// Evidence files, dumps, datasets, and folders of them.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Serve the same answers to an agent: Model Context Protocol over stdin and stdout.
    /// Read-only; nothing is downloaded.
    Mcp {
        /// Files and directories that the agent may read: these files and the files under these
        /// directories, and no others, not even through symbolic links. The first file is the
        /// default.
        #[arg(value_name = "DUMP|DIRECTORY")]
        paths: Vec<PathBuf>,
    },
    /// The key bindings of the terminal UI, as a file to edit and to use with --keys.
    Keys,
    /// A shell completion script for commands and options.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The manual page, for `man -l -`.
    Man,
}

/// The values of --pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolName {
    /// Both nonpaged pools.
    Nonpaged,
    /// Paged and session pool.
    Paged,
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("2g"), Ok(2 << 30));
        assert_eq!(size("512MB"), Ok(512 << 20));
        assert_eq!(size("100k"), Ok(100 << 10));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["", "g", "0", "-1", "2t", "1.5g", "99999999999g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
