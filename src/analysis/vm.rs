//! The lines of `!vm`, checked against each other: implausible numbers are marked and not
//! presented as facts. Also derives the warning flags.

use std::borrow::Cow;

use crate::kernel::vm::{Counter, PageFile, VmCounters};
use crate::pool::tracker::Trackers;

/// A counter above this number of pages (4 PB of memory) is not a page count: most often it is a
/// kernel pointer, read with the wrong layout.
const IMPOSSIBLE: u64 = 1 << 40;

/// One line of the summary, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// Number of pages; `None` if the dump does not contain it or the value is implausible.
    pub pages: Option<u64>,
    /// The source of the value, or the reason why it is missing.
    pub source: String,
    /// The contradiction with other lines, if there is one.
    pub doubt: Option<String>,
    /// True if its location was inferred from the layout of another build.
    pub guessed: bool,
}

/// The warnings of `!vm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Flag {
    /// Nonpaged pool uses more than 80% of its maximum: the debugger's own rule.
    ExcessiveNonpaged,
    /// Paged pool uses more than 80% of its maximum: the debugger's own rule.
    ExcessivePaged,
    /// Nonpaged pool uses more than 25% of memory: our own rule, for builds whose maximum is 16
    /// TB of address space and is never reached.
    HighNonpaged,
    /// Paged pool uses more than 25% of the commit limit: our own rule, for the same reason.
    HighPaged,
}

impl Flag {
    /// The word used in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Flag::ExcessiveNonpaged => "excessive_nonpaged_pool_usage",
            Flag::ExcessivePaged => "excessive_paged_pool_usage",
            Flag::HighNonpaged => "high_nonpaged_pool_usage",
            Flag::HighPaged => "high_paged_pool_usage",
        }
    }

    /// The debugger's message; for our own rules, a similar one.
    pub fn banner(self) -> &'static str {
        match self {
            Flag::ExcessiveNonpaged => "********** Excessive NonPaged Pool Usage *****",
            Flag::ExcessivePaged => "********** Excessive Paged Pool Usage *****",
            Flag::HighNonpaged => {
                "********** High NonPaged Pool Usage ***** (poolscope's rule: over 25% of memory)"
            }
            Flag::HighPaged => {
                "********** High Paged Pool Usage ***** (poolscope's rule: over 25% of the commit \
                    limit)"
            }
        }
    }
}

/// The summary. The fields are those of [`VmCounters`].
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct VmReport {
    pub physical_memory: Line,
    pub page_files: Option<Vec<PageFile>>,
    pub available: Line,
    pub resident_available: Line,
    pub locked_io: Line,
    pub free_system_ptes: Line,
    pub free_nonpaged_ptes: Option<Line>,
    pub modified: Line,
    pub modified_pf: Line,
    pub modified_no_write: Line,
    pub nonpaged_usage: Line,
    /// Pages of nonpaged pool by the pool descriptors, for use if the counter is implausible.
    pub nonpaged_descriptor: Option<u64>,
    pub nonpaged_max: Line,
    pub paged_pools: Vec<Line>,
    pub paged_usage: Line,
    pub paged_max: Line,
    pub session_commit: Line,
    pub shared_commit: Line,
    pub special_pool: Line,
    pub shared_process: Line,
    pub paged_commit: Line,
    pub driver_commit: Line,
    pub committed: Line,
    pub commit_limit: Line,
    /// Nonpaged pool by part: label and pages; empty if unknown.
    pub nonpaged_parts: Vec<(String, Line)>,
    /// The lines that Windows 10 added, in the debugger's order; empty for earlier builds.
    pub extra: Vec<(Cow<'static, str>, Line)>,
    /// Number of times that a kernel stack could not grow.
    pub stack_growth_failures: Option<u64>,
    /// True if the build has the lines of Windows 10, in their order.
    pub modern: bool,
    /// The warnings that apply.
    pub flags: Vec<Flag>,
}

impl VmReport {
    /// Checks the counters.
    pub fn judge(
        counters: &VmCounters,
        physical_pages: Option<u64>,
        trackers: &Trackers,
    ) -> VmReport {
        let c = counters;
        let mut report = VmReport {
            physical_memory: line(&c.physical_memory),
            page_files: c.page_files.clone(),
            available: line(&c.available),
            resident_available: line(&c.resident_available),
            locked_io: line(&c.locked_io),
            free_system_ptes: line(&c.free_system_ptes),
            free_nonpaged_ptes: c.free_nonpaged_ptes.as_ref().map(line),
            modified: line(&c.modified),
            modified_pf: line(&c.modified_pf),
            modified_no_write: line(&c.modified_no_write),
            nonpaged_usage: line(&c.nonpaged_usage),
            nonpaged_descriptor: c.nonpaged_descriptor.filter(|pages| *pages < IMPOSSIBLE),
            nonpaged_max: line(&c.nonpaged_max),
            paged_pools: c.paged_pools.iter().map(line).collect(),
            paged_usage: line(&c.paged_usage),
            paged_max: line(&c.paged_max),
            session_commit: line(&c.session_commit),
            shared_commit: line(&c.shared_commit),
            special_pool: line(&c.special_pool),
            shared_process: line(&c.shared_process),
            paged_commit: line(&c.paged_commit),
            driver_commit: line(&c.driver_commit),
            committed: line(&c.committed),
            commit_limit: line(&c.commit_limit),
            nonpaged_parts: nonpaged_parts(c),
            stack_growth_failures: c.stack_growth_failures,
            modern: c.modern,
            extra: c
                .extra
                .iter()
                .map(|e| (Cow::Borrowed(e.label), line(&e.counter)))
                .collect(),
            flags: Vec::new(),
        };
        report.check_memory(physical_pages);
        report.check_pools(trackers);
        report.check_commit();
        report.raise_flags();
        report
    }

    fn check_memory(&mut self, header: Option<u64>) {
        let physical = self.physical_memory.pages;
        if let (Some(here), Some(header)) = (physical, header)
            && here.abs_diff(header) > header / 100
        {
            self.physical_memory.doubt = Some(format!("the dump header counts {header} pages"));
        }
        let memory = physical.or(header).map(|pages| (pages, "physical memory"));
        for line in [
            &mut self.available,
            &mut self.resident_available,
            &mut self.modified,
            &mut self.modified_pf,
            &mut self.modified_no_write,
            &mut self.nonpaged_usage,
            &mut self.driver_commit,
        ] {
            line.at_most(memory);
        }
        let modified = self
            .modified
            .pages
            .map(|pages| (pages, "all modified pages"));
        self.modified_pf.at_most(modified);
    }

    fn check_pools(&mut self, trackers: &Trackers) {
        let max = self
            .nonpaged_max
            .pages
            .map(|pages| (pages, "the maximum of nonpaged pool"));
        self.nonpaged_usage.at_most(max);
        let max = self
            .paged_max
            .pages
            .map(|pages| (pages, "the maximum of paged pool"));
        self.paged_usage.at_most(max);
        for pool in &mut self.paged_pools {
            pool.at_most(max);
        }
        if !trackers.rows.is_empty() {
            self.nonpaged_usage.covers(trackers.total.nonpaged.bytes);
            self.paged_usage.covers(trackers.total.paged.bytes);
        }
    }

    fn check_commit(&mut self) {
        let limit = self
            .commit_limit
            .pages
            .map(|pages| (pages, "the commit limit"));
        self.committed.at_most(limit);
        let committed = self
            .committed
            .pages
            .map(|pages| (pages, "all committed pages"));
        for line in [
            &mut self.session_commit,
            &mut self.shared_commit,
            &mut self.shared_process,
            &mut self.paged_commit,
            &mut self.special_pool,
            &mut self.driver_commit,
        ] {
            line.at_most(committed);
        }
        let memory = self.physical_memory.pages;
        for (_, line) in &mut self.extra {
            // Some of this memory needs no page file, so it may exceed committed pages or
            // physical memory, but not both.
            line.at_most(committed.max(memory.map(|pages| (pages, "physical memory"))));
        }
    }

    /// The debugger's rule, `usage > 4 * (max / 5)`, applied only to plausible values: a false
    /// alarm is worse than none.
    fn raise_flags(&mut self) {
        let exceeds = |usage: &Line, max: &Line| match (usage.pages, max.pages) {
            (Some(usage_pages), Some(max_pages)) => {
                usage.doubt.is_none() && max.doubt.is_none() && usage_pages > 4 * (max_pages / 5)
            }
            _ => false,
        };
        if exceeds(&self.nonpaged_usage, &self.nonpaged_max) {
            self.flags.push(Flag::ExcessiveNonpaged);
        }
        if exceeds(&self.paged_usage, &self.paged_max) {
            self.flags.push(Flag::ExcessivePaged);
        }
        self.raise_own_flags();
    }

    /// Our own rules, for builds where the debugger's can't trigger: 80% of the pool's maximum is
    /// more than physical memory, or than the commit limit.
    fn raise_own_flags(&mut self) {
        let known = |line: &Line| line.pages.filter(|_| line.doubt.is_none());
        let high = |usage: &Line, max: &Line, all: &Line| {
            let (Some(usage), Some(all)) = (known(usage), known(all)) else {
                return false;
            };
            known(max).is_none_or(|max| max / 5 * 4 >= all) && usage > all / 4
        };
        if high(
            &self.nonpaged_usage,
            &self.nonpaged_max,
            &self.physical_memory,
        ) {
            self.flags.push(Flag::HighNonpaged);
        }
        if high(&self.paged_usage, &self.paged_max, &self.commit_limit) {
            self.flags.push(Flag::HighPaged);
        }
    }

    /// True for the lines of Windows 10 and later.
    pub fn is_modern(&self) -> bool {
        self.modern
    }

    /// The lines with their labels in the debugger's order for the build, without page files.
    /// Windows 10 inserted lines.
    pub fn lines(&self) -> Vec<(String, &Line)> {
        let mut out: Vec<(String, &Line)> = vec![
            ("Physical Memory".into(), &self.physical_memory),
            ("Available Pages".into(), &self.available),
            ("ResAvail Pages".into(), &self.resident_available),
            ("Locked IO Pages".into(), &self.locked_io),
            ("Free System PTEs".into(), &self.free_system_ptes),
        ];
        if let Some(line) = &self.free_nonpaged_ptes {
            out.push(("Free NP PTEs".into(), line));
        }
        out.push(("Modified Pages".into(), &self.modified));
        out.push(("Modified PF Pages".into(), &self.modified_pf));
        if self.is_modern() {
            out.push(("Modified No Write Pages".into(), &self.modified_no_write));
        }
        let parts = || {
            self.nonpaged_parts
                .iter()
                .map(|(l, line)| (l.clone(), line))
        };
        // Lines per node precede the sum; the non-executable pool follows it.
        out.extend(parts().filter(|p| p.0.contains(' ') && !p.0.ends_with("Usage")));
        out.push(("NonPagedPool Usage".into(), &self.nonpaged_usage));
        out.extend(parts().filter(|p| p.0.ends_with("Usage")));
        out.push(("NonPagedPool Max".into(), &self.nonpaged_max));
        for (i, pool) in self.paged_pools.iter().enumerate() {
            // Debuggers omit this word since Windows 10.
            let usage = if self.is_modern() { "" } else { " Usage" };
            out.push((format!("PagedPool {i}{usage}"), pool));
        }
        out.push(("PagedPool Usage".into(), &self.paged_usage));
        out.push(("PagedPool Maximum".into(), &self.paged_max));
        match self.is_modern() {
            true => self.modern_commit(&mut out),
            false => self.old_commit(&mut out),
        }
        out.push(("Committed pages".into(), &self.committed));
        out.push(("Commit limit".into(), &self.commit_limit));
        out
    }

    fn old_commit<'a>(&'a self, out: &mut Vec<(String, &'a Line)>) {
        out.push(("Session Commit".into(), &self.session_commit));
        out.push(("Shared Commit".into(), &self.shared_commit));
        out.push(("Special Pool".into(), &self.special_pool));
        out.push(("Shared Process".into(), &self.shared_process));
        out.push(("PagedPool Commit".into(), &self.paged_commit));
        out.push(("Driver Commit".into(), &self.driver_commit));
    }

    fn modern_commit<'a>(&'a self, out: &mut Vec<(String, &'a Line)>) {
        for (label, line) in &self.extra {
            if label == "Boot Commit" {
                out.push(("PagedPool Commit".into(), &self.paged_commit));
                out.push(("Driver Commit".into(), &self.driver_commit));
            }
            out.push((label.to_string(), line));
            if label == "Processor Commit" {
                out.push(("Session Commit".into(), &self.session_commit));
                out.push(("Shared Commit".into(), &self.shared_commit));
                out.push(("Special Pool".into(), &self.special_pool));
            }
        }
        let has = |wanted: &str| out.iter().any(|(label, _)| label == wanted);
        if !has("PagedPool Commit") {
            out.push(("PagedPool Commit".into(), &self.paged_commit));
            out.push(("Driver Commit".into(), &self.driver_commit));
        }
    }

    /// The contradictions as sentences.
    pub fn warnings(&self) -> Vec<String> {
        self.lines()
            .iter()
            .filter_map(|(label, line)| Some(format!("{label}: {}", line.doubt.as_ref()?)))
            .collect()
    }
}

/// The parts of nonpaged pool with the debugger's labels: if there are several nodes, one line
/// for each node and kind of pool, and one for all non-executable pool. `NonPagedPool Usage`
/// stays the sum of executable and non-executable pool, as in the counter and the trackers.
fn nonpaged_parts(c: &VmCounters) -> Vec<(String, Line)> {
    let mut out = Vec::new();
    for part in &c.nonpaged_parts {
        if let Some(node) = part.node {
            let pool = if part.nx {
                "NonPagedPoolNx"
            } else {
                "NonPagedPool"
            };
            out.push((format!("{pool} {node}"), line(&part.counter)));
        }
    }
    let nx: Vec<&Counter> = c
        .nonpaged_parts
        .iter()
        .filter(|p| p.nx)
        .map(|p| &p.counter)
        .collect();
    if let Some(first) = nx.first() {
        let sum = nx
            .iter()
            .try_fold(0u64, |sum, c| Some(sum.saturating_add(c.pages?)));
        let source = match nx.len() {
            1 => format!("{}, part of NonPagedPool Usage", first.source),
            n => format!("sum over {n} nodes, part of NonPagedPool Usage"),
        };
        out.push((
            "NonPagedPoolNx Usage".into(),
            Line {
                pages: sum,
                source,
                ..Line::default()
            },
        ));
    }
    out
}

fn line(counter: &Counter) -> Line {
    let impossible = counter.pages.filter(|&pages| pages >= IMPOSSIBLE);
    Line {
        pages: counter.pages.filter(|&pages| pages < IMPOSSIBLE),
        source: counter.source.clone(),
        doubt: impossible
            .map(|pages| format!("{pages} ({pages:#x}) is not a plausible page count; not used")),
        guessed: counter.guessed,
    }
}

impl Line {
    fn at_most(&mut self, limit: Option<(u64, &str)>) {
        if let (Some(pages), Some((most, what)), None) = (self.pages, limit, &self.doubt)
            && pages > most
        {
            self.put_in_doubt(format!("{pages} pages is more than {what} ({most})"));
        }
    }

    /// An implausible value at an inferred location is probably not that counter, so it is
    /// removed.
    fn put_in_doubt(&mut self, why: String) {
        self.doubt = Some(match self.guessed {
            true => {
                self.pages = None;
                format!("{why}; its location was only inferred, so it is not used")
            }
            false => why,
        });
    }

    /// The tags' bytes must fit in the pool's pages.
    fn covers(&mut self, bytes: u64) {
        let needed = bytes.div_ceil(4096);
        if let (Some(pages), None) = (self.pages, &self.doubt) {
            // Trackers and counters are not updated together, so a small difference is not a
            // contradiction.
            if needed > pages + pages / 20 + 64 {
                self.put_in_doubt(format!("the tags alone add up to {needed} pages"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tracker::TagUsage;

    fn counter(pages: u64) -> Counter {
        Counter {
            pages: Some(pages),
            source: "nt!Test".into(),
            ..Counter::default()
        }
    }

    fn judge(counters: VmCounters) -> VmReport {
        VmReport::judge(&counters, None, &Trackers::default())
    }

    #[test]
    fn the_articles_machine_is_flagged_and_a_slightly_smaller_one_is_not() {
        let at = |usage| {
            judge(VmCounters {
                nonpaged_usage: counter(usage),
                nonpaged_max: counter(191_078),
                ..VmCounters::default()
            })
            .flags
        };
        assert_eq!(at(155_371), [Flag::ExcessiveNonpaged]);
        assert_eq!(at(4 * (191_078 / 5)), []);
    }

    #[test]
    fn a_pointer_is_not_shown_as_a_page_count() {
        let report = judge(VmCounters {
            paged_commit: counter(18_446_735_300_397_918_280),
            ..VmCounters::default()
        });
        assert_eq!(report.paged_commit.pages, None);
        assert!(report.warnings()[0].contains("18446735300397918280"));
    }

    #[test]
    fn an_implausible_value_is_marked_and_raises_no_flag() {
        let report = judge(VmCounters {
            physical_memory: counter(2_000_000),
            nonpaged_usage: counter(29_559_056),
            nonpaged_max: counter(1_561_080),
            ..VmCounters::default()
        });
        assert_eq!(report.flags, []);
        assert!(
            report
                .nonpaged_usage
                .doubt
                .as_deref()
                .unwrap()
                .contains("physical memory")
        );
    }

    #[test]
    fn tags_that_exceed_their_pool_make_its_counter_doubtful() {
        let mut trackers = Trackers::default();
        trackers.total.nonpaged.bytes = 4096 * 2000;
        trackers.rows.push(TagUsage::default());
        let counters = VmCounters {
            nonpaged_usage: counter(1000),
            ..VmCounters::default()
        };
        let report = VmReport::judge(&counters, None, &trackers);
        assert!(report.nonpaged_usage.doubt.is_some());
    }

    fn modern(nonpaged: u64, extra: &[&'static str]) -> VmReport {
        judge(VmCounters {
            physical_memory: counter(1_000_000),
            nonpaged_usage: counter(nonpaged),
            nonpaged_max: counter(1 << 32),
            modern: !extra.is_empty(),
            extra: extra
                .iter()
                .map(|label| crate::kernel::vm_lines::Extra {
                    label,
                    counter: counter(10),
                })
                .collect(),
            ..VmCounters::default()
        })
    }

    #[test]
    fn our_own_rule_warns_if_the_maximum_is_unreachable() {
        let lines = ["Processor Commit", "Boot Commit"];
        assert_eq!(modern(250_000, &lines).flags, []);
        let report = modern(250_001, &lines);
        assert_eq!(report.flags, [Flag::HighNonpaged]);
        assert!(report.flags[0].banner().contains("poolscope's rule"));
        let old = |max| {
            let counters = VmCounters {
                physical_memory: counter(1_000_000),
                nonpaged_usage: counter(250_001),
                nonpaged_max: counter(max),
                ..VmCounters::default()
            };
            judge(counters).flags
        };
        assert_eq!(old(750_000), [], "the debugger's rule can fire");
        assert_eq!(old(1_250_000), [Flag::HighNonpaged], "it never can");
    }

    #[test]
    fn paged_pool_is_compared_with_the_commit_limit() {
        let at = |usage| {
            judge(VmCounters {
                paged_usage: counter(usage),
                paged_max: counter(1 << 32),
                commit_limit: counter(4_000_000),
                ..VmCounters::default()
            })
        };
        assert_eq!(at(1_000_000).flags, []);
        let high = at(1_000_001);
        assert_eq!(high.flags, [Flag::HighPaged]);
        assert_eq!(high.flags[0].word(), "high_paged_pool_usage");
    }

    #[test]
    fn an_implausible_value_at_an_inferred_location_is_dropped() {
        let guessed = Counter {
            guessed: true,
            ..counter(900)
        };
        let report = judge(VmCounters {
            physical_memory: counter(1000),
            modified: counter(10),
            modified_pf: guessed.clone(),
            available: Counter {
                pages: Some(1001),
                ..guessed
            },
            ..VmCounters::default()
        });
        for line in [&report.modified_pf, &report.available] {
            assert_eq!(line.pages, None);
            assert!(line.doubt.as_deref().unwrap().contains("not used"));
        }
    }

    #[test]
    fn parts_of_nonpaged_pool_surround_their_sum() {
        let part = |node, nx, pages| crate::kernel::vm_nonpaged::Part {
            node,
            nx,
            counter: counter(pages),
        };
        let report = judge(VmCounters {
            nonpaged_usage: counter(100),
            nonpaged_parts: vec![
                part(Some(0), false, 10),
                part(Some(0), true, 40),
                part(Some(1), false, 5),
                part(Some(1), true, 45),
            ],
            modern: true,
            ..VmCounters::default()
        });
        let lines: Vec<(String, Option<u64>)> = report
            .lines()
            .into_iter()
            .filter(|l| l.0.starts_with("NonPaged"))
            .map(|(label, line)| (label, line.pages))
            .collect();
        let want = [
            ("NonPagedPool 0", Some(10)),
            ("NonPagedPoolNx 0", Some(40)),
            ("NonPagedPool 1", Some(5)),
            ("NonPagedPoolNx 1", Some(45)),
            ("NonPagedPool Usage", Some(100)),
            ("NonPagedPoolNx Usage", Some(85)),
            ("NonPagedPool Max", None),
        ];
        assert_eq!(lines, want.map(|(label, pages)| (label.to_owned(), pages)));
    }

    #[test]
    fn windows_10_lines_have_their_order_and_no_duplicates() {
        let report = modern(1, &["Processor Commit", "Pages For MDLs", "Boot Commit"]);
        let labels: Vec<String> = report.lines().into_iter().map(|l| l.0).collect();
        let commit = labels.iter().position(|l| l == "Processor Commit").unwrap();
        assert_eq!(
            labels[commit..],
            [
                "Processor Commit",
                "Session Commit",
                "Shared Commit",
                "Special Pool",
                "Pages For MDLs",
                "PagedPool Commit",
                "Driver Commit",
                "Boot Commit",
                "Committed pages",
                "Commit limit"
            ]
        );
        assert!(!labels.contains(&"Shared Process".to_owned()));
    }

    #[test]
    fn missing_values_stay_unknown() {
        let report = judge(VmCounters::default());
        assert!(
            report
                .lines()
                .iter()
                .all(|(_, line)| line.pages.is_none() && line.doubt.is_none())
        );
    }
}
