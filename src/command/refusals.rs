//! Known commands that poolscope cannot run: what each one does, and what to use instead.

/// (Names as typed, what it does, what to use instead.)
const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &["!fltkd"],
        "!fltkd (filter manager)",
        "`lm` lists the filter drivers, `contents FMfn` the modules that filter manager data points to",
    ),
    (
        &["!memusage"],
        "!memusage (page frames by file)",
        "`!vm 1` has the totals, `!filecache` the file cache",
    ),
    (
        &["!poolval"],
        "!poolval (check of a pool page)",
        "`!pool ADDRESS` shows the page and says where its chain is damaged",
    ),
    (
        &["!vtop", "!ptov", "!pfn", "!ptetree"],
        "!vtop, !pfn (physical addresses and page frames)",
        "`!pte ADDRESS` shows the page table entries of a virtual address and its page frame",
    ),
    (
        &["!sysptes"],
        "!sysptes (system page table entries)",
        "`!vm 1` has the number of free system PTEs",
    ),
    (
        &["k", "kb", "kp", "kv", "kn", "kf", "kc", "~k"],
        "k (call stacks of threads)",
        "open the dump in WinDbg for stacks; `refs TAG` shows the code that allocates with a tag",
    ),
    (
        &["!stacks", "!thread"],
        "!stacks, !thread (threads and their stacks)",
        "open the dump in WinDbg for threads; `stacks TAG` shows the call stacks that Driver Verifier recorded",
    ),
    (
        &["uu", "up", "ur", "ux"],
        "uu, up (disassembly with other rules)",
        "`u ADDRESS L20` disassembles forwards, `ub ADDRESS` backwards, `uf ADDRESS` a function",
    ),
    (
        &["dpp", "dpu", "dpa", "dda", "ddp", "dqp", "dqu"],
        "dpp (pointers and what they point to)",
        "`dps ADDRESS` shows pointers with symbols; then `db ADDRESS`",
    ),
    (
        &[
            "!db", "!dc", "!dd", "!dp", "!dq", "!du", "!dw", "!da", "!eb", "!ed", "!search",
        ],
        "!db, !search (physical memory)",
        "`db ADDRESS` shows virtual memory, `!pte ADDRESS` its page frame",
    ),
    (
        &["!drivers"],
        "!drivers (the list of drivers of old debuggers)",
        "`lm` lists the modules, `drivers` pool by driver",
    ),
    (
        &[
            ".process", ".thread", ".context", ".cxr", ".ecxr", ".exr", ".trap", ".frame", "~",
        ],
        ".process, .thread, .cxr (the debugger's context)",
        "poolscope shows kernel memory; `!process 0 0` lists the processes",
    ),
    (
        &["??"],
        "?? (expressions of C++)",
        "`? EXPRESSION` shows an address as number and symbol, `dt TYPE ADDRESS` a structure",
    ),
    (
        &[
            ".echo", ".printf", ".foreach", ".for", ".if", ".while", "!list",
        ],
        ".echo, .foreach (scripts of the debugger)",
        "`poolscope run DUMP 'COMMAND; COMMAND'` runs several commands, --format json is for programs",
    ),
    (
        &["!drvobj", "!devobj", "!devstack", "!devnode"],
        "!drvobj, !devobj (drivers and their devices)",
        "`!object ADDRESS` shows the object, `objects Device` the devices by name",
    ),
    (
        &[".bugcheck", ".time", ".lastevent"],
        ".bugcheck, .time (facts about the crash)",
        "`vertarget` shows the bugcheck, the time and the uptime",
    ),
    (
        &["!sym", "!error", "!gle"],
        "!sym, !error (help of the debugger)",
        "`poolscope symbols DUMP` shows the symbols that are needed",
    ),
    (
        &["dv", "dx", "dyb", "dyd", "ds"],
        "dv, dx, ds (other displays of memory)",
        "`db ADDRESS` shows bytes, `dps ADDRESS` pointers, `dt TYPE ADDRESS` a structure",
    ),
    (
        &["diff", "compare"],
        "diff (two dumps or logs)",
        "`baseline FILE` compares the open dump with earlier ones, `poolscope diff OLD NEW` lists the changes",
    ),
    (
        &["evidence", "export", "fleet", "check", "symbols"],
        "evidence, export, fleet, check, symbols (commands of the shell)",
        "`poolscope help` lists them with their arguments",
    ),
    (
        &[".reload"],
        ".reload (loading symbols)",
        "symbols are loaded when a dump is opened; set the path with --symbols or _NT_SYMBOL_PATH",
    ),
    (
        &[".symfix", ".sympath", ".srcpath", ".symopt"],
        ".symfix, .sympath (symbol path)",
        "start poolscope with --symbols 'srv*CACHE*https://msdl.microsoft.com/download/symbols'; `poolscope symbols DUMP` shows what is needed",
    ),
    (
        &[
            ".sym",
            ".chain",
            ".load",
            ".loadby",
            ".unload",
            ".logopen",
            ".logclose",
        ],
        "debugger set-up",
        "nothing needs to be loaded; `save FILE` writes what is shown",
    ),
    (
        &["!alpc", "!lpc"],
        "!alpc (ALPC ports and messages)",
        "`!handle 0 3 0 \"ALPC Port\"` shows the processes that hold ports",
    ),
    (
        &["!wmitrace"],
        "!wmitrace (trace sessions)",
        "`sizes EtwB` shows the buffers by size; `logman query -ets` on the machine lists the sessions",
    ),
    (
        &["!vad", "!vadump"],
        "!vad (address ranges of a process)",
        "`!process 0 0` lists the processes, `!poolused 2 Vad*` the memory of their ranges",
    ),
    (
        &["!reg"],
        "!reg (registry hives)",
        "`sizes CM31` shows registry allocations by size, `!handle 0 3 0 Key` the open keys",
    ),
    (
        &["!exqueue"],
        "!exqueue (work queues)",
        "`contents IoWI` shows the modules that queued work items point to",
    ),
    (
        &["!htrace"],
        "!htrace (handle traces)",
        "`!handle 0 3 0 TYPE` shows which processes have the handles",
    ),
    (
        &["!wdfkd"],
        "!wdfkd (driver framework)",
        "`contents FxDr` shows the modules that framework allocations point to",
    ),
    (
        &["!ndiskd"],
        "!ndiskd (network packets)",
        "`contents Nbuf` shows the modules that packets point to",
    ),
    (
        &["!wfp", "!tcpip"],
        "!wfp, !tcpip (network state)",
        "`contents Fecf` shows the modules that the allocations point to",
    ),
    (
        &["!dma", "!amli", "!pcitree", "!acpikd"],
        "hardware state",
        "`sizes TAG` and `contents TAG` describe the allocations of these components",
    ),
    (
        &["!analyze"],
        "!analyze (crash analysis)",
        "`diagnose` is the report on pool; `info` has the bugcheck",
    ),
    (
        &["!sessions", "!session", "!sprocess"],
        "!session (terminal sessions)",
        "`!poolused 8` has session pool by tag",
    ),
    (
        &["!heap", "!heaps", "!address"],
        "user-mode memory",
        "poolscope reads kernel pool: `!vm 1` and `!poolused 2`",
    ),
    (
        &[
            "!locks",
            "!running",
            "!ready",
            "!cpuinfo",
            "!pcr",
            "!prcb",
            "!irp",
            "!job",
            "!token",
            "!fileobj",
            "!ca",
            "!defwrites",
            "!numa",
            "!zombies",
        ],
        "this WinDbg command",
        "`!object ADDRESS` and `dt TYPE ADDRESS` show a structure; other state needs WinDbg",
    ),
    (
        &[
            "r", "rm", "g", "p", "t", "bp", "bl", "bc", "ba", "eb", "ed", "eq", "ea", ".crash",
            ".reboot", ".kill", ".restart",
        ],
        "commands of a live debugger",
        "poolscope only reads dumps; `help` lists the commands",
    ),
    (
        &["verifier.exe"],
        "verifier.exe (set-up of Driver Verifier)",
        "run it on the Windows machine; `!verifier` shows the state in the dump",
    ),
    (
        &["gflags", "logman", "tracelog", "xperf", "wpr"],
        "a program for the Windows machine",
        "run it there; poolscope reads a dump",
    ),
];

/// What a refused command does, and what to use instead. An extension (`!fltkd`) covers all
/// of its commands.
pub(super) fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let name = match name {
        name if is_stack_command(name) => "k",
        // `.sympath+ PATH`.
        name if name.starts_with('.') => name.trim_end_matches('+'),
        name => name,
    };
    let extension = name.starts_with('!').then(|| {
        name.split_once('.')
            .map_or(name, |(extension, _)| extension)
    });
    // A word without `!` or `.` may be a tag, and tags are case-sensitive.
    let is_word = !name.starts_with(['!', '.']);
    let fits = |known: &&&str| {
        **known == name
            || (!is_word && known.eq_ignore_ascii_case(name))
            || extension.is_some_and(|extension| known.eq_ignore_ascii_case(extension))
    };
    REFUSED
        .iter()
        .find(|(names, ..)| names.iter().any(|known| fits(&known)))
        .map(|(_, what, instead)| (*what, *instead))
}

/// True for `kL`, `kvn`, `~*kb`: letters of its form after `k`, a thread before it.
fn is_stack_command(name: &str) -> bool {
    let bare = match name.strip_prefix('~') {
        Some(thread) => {
            thread.trim_start_matches(|c: char| c.is_ascii_digit() || "*.#s".contains(c))
        }
        None => name,
    };
    bare.strip_prefix('k')
        .is_some_and(|form| form.chars().all(|c| "bcfnpvLP".contains(c)))
}

/// The commands that the refusals advise.
#[cfg(test)]
pub(super) fn advised() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().map(|(_, _, instead)| *instead)
}
