//! Modules import only from lower layers, and files have no import cycles. Every form of
//! import counts (`crate::`, `super::`, `self::`, a child's name), and a re-exported name
//! counts as an import of the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module, and the modules that it may import besides the shared ones.
const MAY_IMPORT: [(&str, &[&str]); 18] = [
    ("addr", &[]),
    ("bytes", &[]),
    ("characters", &[]),
    ("system", &[]),
    ("dump", &[]),
    ("memory", &["dump"]),
    ("symbols", &[]),
    ("kernel", &["dump", "memory", "symbols"]),
    ("pool", &["dump", "memory", "symbols", "kernel"]),
    ("command", &["pool"]),
    ("series", &["pool"]),
    (
        "analysis",
        &["dump", "memory", "symbols", "kernel", "pool", "series"],
    ),
    (
        "engine",
        &[
            "dump", "memory", "symbols", "kernel", "pool", "series", "command", "analysis",
        ],
    ),
    (
        "report",
        &[
            "memory", "symbols", "kernel", "pool", "series", "command", "analysis", "engine",
        ],
    ),
    (
        "evidence",
        &[
            "memory", "symbols", "kernel", "pool", "series", "command", "analysis", "engine",
            "report",
        ],
    ),
    (
        "tui",
        &[
            "memory", "symbols", "kernel", "pool", "series", "command", "analysis", "engine",
            "report", "evidence",
        ],
    ),
    (
        "mcp",
        &[
            "memory", "pool", "series", "command", "analysis", "engine", "report", "evidence",
        ],
    ),
    ("synth", &[]),
];

/// The layers of `tui`, and the layers that each may import.
const TUI_MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("storage", &[]),
    ("terminal", &["storage"]),
    ("widgets", &["terminal"]),
    ("input", &["widgets"]),
    ("data", &["terminal", "widgets", "input"]),
    ("persistence", &["storage", "input", "data"]),
    (
        "jobs",
        &["storage", "widgets", "input", "data", "persistence"],
    ),
    ("screens", &["terminal", "widgets", "input", "data"]),
    (
        "app",
        &["terminal", "widgets", "input", "data", "jobs", "screens"],
    ),
];

/// Modules that all others may import; `synth` may only import `addr`.
const VOCABULARY: [&str; 4] = ["addr", "bytes", "characters", "system"];

/// The path of a module from the crate root.
type Module = Vec<String>;

fn sources(under: &Path) -> Vec<PathBuf> {
    if under.is_file() {
        return vec![under.to_owned()];
    }
    let entries = fs::read_dir(under).unwrap().flatten();
    entries.flat_map(|e| sources(&e.path())).collect()
}

/// The product code of a file: the code before its tests, without comments.
fn product(text: &str) -> String {
    let before = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines: Vec<&str> = before.lines().collect();
    let of_tests = |i: usize| i > 0 && lines[i - 1].trim() == "#[cfg(test)]";
    let code = lines
        .iter()
        .enumerate()
        .filter(|(i, line)| !line.trim_start().starts_with("//") && !of_tests(*i));
    code.map(|(_, line)| format!("{line}\n")).collect()
}

/// The modules of the product, and their code.
fn modules() -> BTreeMap<Module, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = BTreeMap::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).unwrap().with_extension("");
        let mut module: Module = inside
            .components()
            .map(|c| c.as_os_str().to_str().unwrap().to_owned())
            .collect();
        let rust = file.extension().is_some_and(|e| e == "rs");
        let test = module
            .iter()
            .any(|m| matches!(m.as_str(), "tests" | "fixture"));
        if !rust || test || module == ["main"] {
            continue;
        }
        if module.last().is_some_and(|m| m == "mod" || m == "lib") {
            module.pop();
        }
        out.insert(module, product(&fs::read_to_string(&file).unwrap()));
    }
    assert!(out.len() > 100);
    out
}

/// The paths in a tree of imports.
fn expand(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let mut depth = 0;
    let parts = tree.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|p| !p.is_empty()) {
        match part.split_once('{') {
            Some((before, inside)) => {
                let inside = inside.trim_end().strip_suffix('}').unwrap();
                expand(&format!("{prefix}{before}"), inside, out);
            }
            None => out.push(format!("{prefix}{part}")),
        }
    }
}

/// The imports of a module: paths, and whether each is re-exported. The second value is the
/// rest of the code.
fn imports(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut statement: Option<(bool, String)> = None;
    for line in code.lines() {
        let start = line.trim_start();
        let passed_on = start.starts_with("pub");
        let own = start
            .strip_prefix("pub(super) ")
            .or_else(|| start.strip_prefix("pub(crate) "))
            .or_else(|| start.strip_prefix("pub "))
            .unwrap_or(start);
        if statement.is_none()
            && let Some(tree) = own.strip_prefix("use ")
        {
            statement = Some((passed_on, tree.to_owned()));
        } else if let Some((_, tree)) = &mut statement {
            tree.push_str(start);
        } else {
            rest.push_str(line);
            rest.push('\n');
        }
        if let Some((passed_on, tree)) = statement.take_if(|(_, tree)| tree.contains(';')) {
            let mut paths = Vec::new();
            expand("", tree.split(';').next().unwrap(), &mut paths);
            found.extend(paths.into_iter().map(|path| (passed_on, path)));
        }
    }
    (found, rest)
}

/// Paths in the code itself: `super::heap::Heaps`.
fn paths_in(code: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c| !word(c)).map(|w| w.trim_matches(':'));
    words.filter(|w| w.contains("::")).map(Into::into).collect()
}

struct House {
    modules: BTreeMap<Module, String>,
    /// Re-exported names, and the modules that define them.
    passed_on: BTreeMap<(Module, String), Module>,
}

impl House {
    fn read() -> House {
        let modules = modules();
        let mut house = House {
            modules,
            passed_on: BTreeMap::new(),
        };
        let mut passed_on = BTreeMap::new();
        for (module, code) in &house.modules {
            for (_, path) in imports(code).0.into_iter().filter(|i| i.0) {
                if let Some(target) = house.absolute(module, &path) {
                    let name = path.rsplit([':', ' ']).next().unwrap().to_owned();
                    passed_on.insert((module.clone(), name), target);
                }
            }
        }
        house.passed_on = passed_on;
        house
    }

    /// A path from the crate root; `None` for other crates.
    fn absolute(&self, module: &Module, path: &str) -> Option<Module> {
        let path = path.split(" as ").next().unwrap();
        let mut parts = path.split("::").map(str::trim).peekable();
        let mut base = match *parts.peek()? {
            "crate" => {
                parts.next();
                Vec::new()
            }
            "self" | "super" => module.clone(),
            first => {
                let child = [module.as_slice(), &[first.to_owned()]].concat();
                self.modules.contains_key(&child).then(|| module.clone())?
            }
        };
        while let Some(part) = parts.next_if(|p| matches!(*p, "self" | "super")) {
            if part == "super" {
                base.pop();
            }
        }
        base.extend(parts.map(str::to_owned));
        Some(base)
    }

    /// The module that defines the name at the end of a path.
    fn owner(&self, mut path: Module) -> Option<Module> {
        for _ in 0..8 {
            let known = (0..=path.len())
                .rev()
                .find(|n| self.modules.contains_key(&path[..*n]))?;
            let module = path[..known].to_vec();
            let next = path
                .get(known)
                .and_then(|name| self.passed_on.get(&(module.clone(), name.clone())));
            match next {
                Some(target) => path = [target.as_slice(), &path[known + 1..]].concat(),
                None => return Some(module),
            }
        }
        None
    }

    /// The uses of a module: the path as written, from the crate root, and the module that
    /// defines it. Names that are only re-exported do not count.
    fn uses(&self, module: &Module) -> Vec<(Module, Module)> {
        let (imported, rest) = imports(&self.modules[module]);
        let imported = imported.into_iter().filter(|i| !i.0).map(|i| i.1);
        imported
            .chain(paths_in(&rest))
            .filter_map(|path| self.absolute(module, &path))
            .filter_map(|path| Some((path.clone(), self.owner(path)?)))
            .filter(|(_, owner)| owner != module)
            .collect()
    }
}

#[test]
fn modules_import_only_allowed_modules() {
    let house = House::read();
    let mut wrong = Vec::new();
    for (room, allowed) in MAY_IMPORT {
        let own = |m: &&Module| m.first().is_some_and(|first| first == room);
        assert!(
            house.modules.keys().any(|m| own(&m)),
            "no module belongs to {room}"
        );
        for module in house.modules.keys().filter(own) {
            for (path, owner) in house.uses(module) {
                let shared = match room {
                    "synth" => &VOCABULARY[..1],
                    _ => &VOCABULARY[..],
                };
                let may = |top: &String| {
                    top == room || shared.contains(&top.as_str()) || allowed.contains(&top.as_str())
                };
                let tops = [path.first(), owner.first()];
                if !tops.into_iter().flatten().all(may) {
                    wrong.push(format!("{}: {}", module.join("::"), path.join("::")));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the direction:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn tui_layers_import_only_allowed_layers() {
    let house = House::read();
    let mut wrong = Vec::new();
    for (module, floor) in house.modules.keys().filter_map(|m| match m.as_slice() {
        [room, floor, ..] if room == "tui" => Some((m, floor)),
        _ => None,
    }) {
        let Some((_, allowed)) = TUI_MAY_IMPORT.iter().find(|(name, _)| name == floor) else {
            wrong.push(format!("{}: no floor of this name", module.join("::")));
            continue;
        };
        for (path, owner) in house.uses(module) {
            let Some([room, used, ..]) = owner.get(..2) else {
                continue;
            };
            if room == "tui" && used != floor && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: {}", module.join("::"), path.join("::")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the direction:\n{}",
        wrong.join("\n")
    );
}

/// A file may use the file of its own parent module, or of an ancestor: a module and its
/// children can depend on each other. No other files may form a cycle.
#[test]
fn no_files_import_each_other_in_a_cycle() {
    let house = House::read();
    let edges: BTreeMap<&Module, BTreeSet<Module>> = house
        .modules
        .keys()
        .map(|module| {
            let uses = house.uses(module).into_iter().map(|(_, owner)| owner);
            (
                module,
                uses.filter(|owner| !module.starts_with(owner)).collect(),
            )
        })
        .collect();
    let reach = |from: &Module| {
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut next: Vec<&Module> = edges[from].iter().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(&edges[module]);
            }
        }
        seen
    };
    let mut wrong = Vec::new();
    for module in house.modules.keys() {
        let name = module.join("::");
        let own = reach(module);
        if own.contains(module) {
            let back: Vec<String> = edges[module]
                .iter()
                .filter(|used| reach(used).contains(module))
                .map(|used| used.join("::"))
                .collect();
            wrong.push(format!("{name} uses {}", back.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "import cycles:\n{}", wrong.join("\n"));
}

/// Maximum number of lines of a source file; see `CONTRIBUTING.md`.
const MOST_LINES: usize = 700;

#[test]
fn no_file_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz/src"] {
        files.extend(sources(&root.join(folder)));
    }
    let long: Vec<String> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "rs"))
        .map(|file| (file, fs::read_to_string(file).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}
