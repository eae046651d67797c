//! `!vm`, judged: every line beside the others, so that a number that can't be is named
//! instead of printed as fact, and the warning flags.

use crate::dump::Header;
use crate::kernel::vm::{Counter, PageFile, VmCounters};
use crate::pool::tracker::Trackers;

/// A counter beyond this many pages (4 PB of memory) is no count of pages: most often a
/// kernel pointer, read with the wrong layout.
const IMPOSSIBLE: u64 = 1 << 40;

/// One line of the summary, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Pages; `None` when the dump does not give them or the value is impossible.
    pub pages: Option<u64>,
    /// Where it was read, or why it was not.
    pub source: String,
    /// What is wrong with it beside the other lines.
    pub doubt: Option<String>,
}

/// The warnings of `!vm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Nonpaged pool uses more than 80 % of its maximum: the debugger's own rule.
    ExcessiveNonpaged,
    /// Paged pool uses more than 80 % of its maximum: the debugger's own rule.
    ExcessivePaged,
}

impl Flag {
    /// The word that the JSON answer uses.
    pub fn word(self) -> &'static str {
        match self {
            Flag::ExcessiveNonpaged => "excessive_nonpaged_pool_usage",
            Flag::ExcessivePaged => "excessive_paged_pool_usage",
        }
    }

    /// The line that the debugger prints.
    pub fn banner(self) -> &'static str {
        match self {
            Flag::ExcessiveNonpaged => "********** Excessive NonPaged Pool Usage *****",
            Flag::ExcessivePaged => "********** Excessive Paged Pool Usage *****",
        }
    }
}

/// The whole summary. The fields are those of [`VmCounters`].
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct VmReport {
    pub physical_memory: Line,
    pub page_files: Option<Vec<PageFile>>,
    pub available: Line,
    pub resident_available: Line,
    pub locked_io: Line,
    pub free_system_ptes: Line,
    pub modified: Line,
    pub modified_pf: Line,
    pub modified_no_write: Line,
    pub nonpaged_usage: Line,
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
    /// Warnings that hold.
    pub flags: Vec<Flag>,
}

impl VmReport {
    /// Judges the counters.
    pub fn judge(counters: &VmCounters, header: &Header, trackers: &Trackers) -> VmReport {
        let c = counters;
        let mut report = VmReport {
            physical_memory: line(&c.physical_memory),
            page_files: c.page_files.clone(),
            available: line(&c.available),
            resident_available: line(&c.resident_available),
            locked_io: line(&c.locked_io),
            free_system_ptes: line(&c.free_system_ptes),
            modified: line(&c.modified),
            modified_pf: line(&c.modified_pf),
            modified_no_write: line(&c.modified_no_write),
            nonpaged_usage: line(&c.nonpaged_usage),
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
            flags: Vec::new(),
        };
        report.check_memory(header.physical_pages);
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
    }

    /// The debugger's rule, `usage > 4 * (max / 5)`, on values without a doubt only: a
    /// false alarm from a bad read is worse than none.
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
    }

    /// The lines in the debugger's order with their labels, the page files aside.
    pub fn lines(&self) -> Vec<(String, &Line)> {
        let mut out: Vec<(String, &Line)> = Vec::new();
        let mut add = |label: &str, line| out.push((label.to_owned(), line));
        add("Physical Memory", &self.physical_memory);
        add("Available Pages", &self.available);
        add("ResAvail Pages", &self.resident_available);
        add("Locked IO Pages", &self.locked_io);
        add("Free System PTEs", &self.free_system_ptes);
        add("Modified Pages", &self.modified);
        add("Modified PF Pages", &self.modified_pf);
        add("NonPagedPool Usage", &self.nonpaged_usage);
        add("NonPagedPool Max", &self.nonpaged_max);
        for (i, pool) in self.paged_pools.iter().enumerate() {
            add(&format!("PagedPool {i} Usage"), pool);
        }
        add("PagedPool Usage", &self.paged_usage);
        add("PagedPool Maximum", &self.paged_max);
        add("Session Commit", &self.session_commit);
        add("Shared Commit", &self.shared_commit);
        add("Special Pool", &self.special_pool);
        add("Shared Process", &self.shared_process);
        add("PagedPool Commit", &self.paged_commit);
        add("Driver Commit", &self.driver_commit);
        add("Committed pages", &self.committed);
        add("Commit limit", &self.commit_limit);
        out
    }

    /// The doubts as sentences.
    pub fn warnings(&self) -> Vec<String> {
        self.lines()
            .iter()
            .filter_map(|(label, line)| Some(format!("{label}: {}", line.doubt.as_ref()?)))
            .collect()
    }
}

fn line(counter: &Counter) -> Line {
    let impossible = counter.pages.filter(|&pages| pages >= IMPOSSIBLE);
    Line {
        pages: counter.pages.filter(|&pages| pages < IMPOSSIBLE),
        source: counter.source.clone(),
        doubt: impossible.map(|pages| {
            format!("reads {pages} ({pages:#x}), which is no count of pages; not used")
        }),
    }
}

impl Line {
    fn at_most(&mut self, limit: Option<(u64, &str)>) {
        if let (Some(pages), Some((most, what)), None) = (self.pages, limit, &self.doubt)
            && pages > most
        {
            self.doubt = Some(format!("{pages} pages is more than {what} ({most})"));
        }
    }

    /// The tags' bytes must fit in the pool's pages.
    fn covers(&mut self, bytes: u64) {
        let needed = bytes.div_ceil(4096);
        if let (Some(pages), None) = (self.pages, &self.doubt) {
            // Trackers and counters are updated apart, so a little is no contradiction.
            if needed > pages + pages / 20 + 64 {
                self.doubt = Some(format!("the tags alone add up to {needed} pages"));
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
        }
    }

    fn header() -> Header {
        let mut bytes = vec![0; crate::dump::HEADER_SIZE];
        bytes[..8].copy_from_slice(b"PAGEDU64");
        bytes[0x30..0x34].copy_from_slice(&0x8664u32.to_le_bytes());
        bytes[0xf98] = 1;
        Header::parse(&bytes).unwrap()
    }

    fn judge(counters: VmCounters) -> VmReport {
        VmReport::judge(&counters, &header(), &Trackers::default())
    }

    #[test]
    fn the_articles_machine_is_flagged_and_its_neighbour_is_not() {
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
    fn a_pointer_is_not_printed_as_pages() {
        let report = judge(VmCounters {
            paged_commit: counter(18_446_735_300_397_918_280),
            ..VmCounters::default()
        });
        assert_eq!(report.paged_commit.pages, None);
        assert!(report.warnings()[0].contains("18446735300397918280"));
    }

    #[test]
    fn a_false_alarm_from_a_bad_read_is_named_instead_of_raised() {
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
    fn tags_that_do_not_fit_their_pool_are_a_doubt() {
        let mut trackers = Trackers::default();
        trackers.total.nonpaged.bytes = 4096 * 2000;
        trackers.rows.push(TagUsage::default());
        let counters = VmCounters {
            nonpaged_usage: counter(1000),
            ..VmCounters::default()
        };
        let report = VmReport::judge(&counters, &header(), &trackers);
        assert!(report.nonpaged_usage.doubt.is_some());
    }

    #[test]
    fn what_is_not_given_stays_unknown() {
        let report = judge(VmCounters::default());
        assert!(
            report
                .lines()
                .iter()
                .all(|(_, line)| line.pages.is_none() && line.doubt.is_none())
        );
    }
}
