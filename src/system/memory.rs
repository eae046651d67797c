//! The memory that is available to this process, from the operating system.

/// Bytes that are available without swapping out other programs; on Linux, limited by the
/// control groups of this process. `None` if the system does not report it.
pub fn available() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::available(std::path::Path::new("/"));
    #[cfg(target_os = "macos")]
    return macos::available();
    #[cfg(target_os = "freebsd")]
    return freebsd::available();
    #[cfg(windows)]
    return windows::available();
    #[cfg(not(any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        windows
    )))]
    None
}

/// Reads `/proc/meminfo`, and control groups of both versions. See proc_meminfo(5), cgroups(7)
/// and proc_pid_mountinfo(5); the kernel's `cgroup-v2.rst` and `cgroup-v1/memory.rst` describe
/// the files of a group.
#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// `root` is the root directory; tests supply their own.
    pub fn available(root: &Path) -> Option<u64> {
        let machine = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let machine = of_machine(&machine)?;
        Some(of_groups(root).map_or(machine, |left| left.min(machine)))
    }

    /// `MemAvailable` in bytes.
    fn of_machine(text: &str) -> Option<u64> {
        let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    }

    /// The smallest remainder of the process's groups and their parents.
    fn of_groups(root: &Path) -> Option<u64> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
        let mut least = None;
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
                continue;
            };
            let files = match controllers {
                "" => &V2,
                list if list.split(',').any(|c| c == "memory") => &V1,
                _ => continue,
            };
            let Some((top, place)) = mounts.lines().find_map(|m| files.mounted(m)) else {
                continue;
            };
            // In a container, the group's path may be that of the host, whose upper directories
            // are not mounted. In that case, the mounted directory is the group.
            let inside = Path::new(group).strip_prefix(&top).unwrap_or(Path::new(""));
            let inside = inside.strip_prefix("/").unwrap_or(inside);
            let place = root.join(place.strip_prefix("/").unwrap_or(&place));
            for part in inside.ancestors() {
                let left = files.left(&place.join(part));
                least = [least, left].into_iter().flatten().min();
            }
        }
        least
    }

    /// The file names of one version.
    struct Files {
        kind: &'static str,
        option: Option<&'static str>,
        limits: &'static [&'static str],
        used: &'static str,
        /// Counters in `memory.stat` for file pages, which the kernel reclaims first.
        cached: [&'static str; 2],
    }

    const V2: Files = Files {
        kind: "cgroup2",
        option: None,
        limits: &["memory.max", "memory.high"],
        used: "memory.current",
        cached: ["inactive_file", "active_file"],
    };

    const V1: Files = Files {
        kind: "cgroup",
        option: Some("memory"),
        limits: &["memory.limit_in_bytes"],
        used: "memory.usage_in_bytes",
        cached: ["total_inactive_file", "total_active_file"],
    };

    impl Files {
        /// The group at the root of a mount of this version, and its mount point.
        fn mounted(&self, line: &str) -> Option<(PathBuf, PathBuf)> {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let kind = after.next()?;
            let options = after.nth(1).unwrap_or_default();
            let right = |wanted| options.split(',').any(|option| option == wanted);
            if kind != self.kind || !self.option.is_none_or(right) {
                return None;
            }
            let mut before = before.split(' ').skip(3);
            Some((unescaped(before.next()?), unescaped(before.next()?)))
        }

        /// The remainder below a group's limit; `None` if it has no limit.
        fn left(&self, group: &Path) -> Option<u64> {
            let text = |name: &str| fs::read_to_string(group.join(name)).ok();
            let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
            // A group without a limit has `max`.
            let limit = self.limits.iter().filter_map(|name| number(name)).min()?;
            let stat = text("memory.stat").unwrap_or_default();
            let counter = |name: &str| {
                let line = stat.lines().find_map(|l| l.strip_prefix(name));
                line.and_then(|l| l.strip_prefix(' ')?.parse::<u64>().ok())
            };
            let cached = self.cached.iter().filter_map(|name| counter(name));
            let cached = cached.fold(0, u64::saturating_add);
            let used = number(self.used).unwrap_or(0).saturating_sub(cached);
            Some(limit.saturating_sub(used))
        }
    }

    /// Decodes a path of mountinfo, in which blank, tab, newline and backslash are octal
    /// escapes.
    fn unescaped(field: &str) -> PathBuf {
        let escapes = [
            ("\\040", " "),
            ("\\011", "\t"),
            ("\\012", "\n"),
            ("\\134", "\\"),
        ];
        let plain = escapes
            .iter()
            .fold(field.to_owned(), |text, (from, to)| text.replace(from, to));
        PathBuf::from(plain)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const MEMINFO: &str = "MemTotal: 8192 kB\nMemAvailable:   4096 kB\nBuffers: 1 kB\n";

        /// A root directory with these files.
        fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
            let root = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }

        #[test]
        fn without_groups_the_machine_is_the_limit() {
            let files = root(&[("proc/meminfo", MEMINFO)]);
            assert_eq!(available(files.path()), Some(4 << 20));
            let files = root(&[("proc/meminfo", "MemTotal: 1 kB\n")]);
            assert_eq!(available(files.path()), None);
            assert!(available(Path::new("/")).is_some_and(|bytes| bytes > 1 << 20));
        }

        #[test]
        fn the_tightest_group_of_version_2_limits() {
            let mounts = "24 1 0:22 / /proc rw - proc proc rw\n\
                30 24 0:26 / /sys/fs/c\\040group rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
            let files = |own: &str| {
                root(&[
                    ("proc/meminfo", MEMINFO),
                    ("proc/self/cgroup", "0::/user.slice/me.scope\n"),
                    ("proc/self/mountinfo", mounts),
                    ("sys/fs/c group/user.slice/memory.max", "3000000\n"),
                    ("sys/fs/c group/user.slice/memory.high", "max\n"),
                    ("sys/fs/c group/user.slice/memory.current", "2500000\n"),
                    (
                        "sys/fs/c group/user.slice/memory.stat",
                        "anon 5\ninactive_file 1000000\nactive_file 500000\nfile_mapped 9\n",
                    ),
                    ("sys/fs/c group/user.slice/me.scope/memory.max", own),
                    (
                        "sys/fs/c group/user.slice/me.scope/memory.current",
                        "400000\n",
                    ),
                ])
            };
            // From the parent group: 3 MB minus its usage that can't be reclaimed.
            assert_eq!(available(files("max\n").path()), Some(2_000_000));
            assert_eq!(available(files("1000000\n").path()), Some(600_000));
            assert_eq!(available(files("300000\n").path()), Some(0));
        }

        #[test]
        fn a_container_of_version_1_sees_its_own_group() {
            let mounts = "41 32 0:36 /docker/4f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n\
                42 32 0:37 /docker/4f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
            let groups = "5:cpu,cpuacct:/docker/4f\n4:memory:/docker/4f\n0::/docker/4f\n";
            let files = root(&[
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", groups),
                ("proc/self/mountinfo", mounts),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 7\ntotal_inactive_file 48576\n",
                ),
            ]);
            assert_eq!(available(files.path()), Some(2_097_152 - 1_000_000));
            // Without a limit, the file has a number larger than any memory.
            let limit = files
                .path()
                .join("sys/fs/cgroup/memory/memory.limit_in_bytes");
            fs::write(limit, "9223372036854771712\n").unwrap();
            assert_eq!(available(files.path()), Some(4 << 20));
        }
    }
}

/// Numeric values that the kernel provides by name. See sysctl(3).
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
mod sysctl {
    use std::ffi::CStr;
    use std::ptr;

    pub fn number(name: &CStr) -> Option<u64> {
        let mut value = [0u8; 8];
        let mut length = value.len();
        // SAFETY: the name is zero-terminated, and the kernel writes at most `length` bytes
        // into a buffer of that length.
        let done = unsafe {
            let place = value.as_mut_ptr().cast();
            libc::sysctlbyname(name.as_ptr(), place, &mut length, ptr::null_mut(), 0)
        };
        let [a, b, c, d, ..] = value;
        match (done, length) {
            (0, 4) => Some(u64::from(u32::from_ne_bytes([a, b, c, d]))),
            (0, 8) => Some(u64::from_ne_bytes(value)),
            _ => None,
        }
    }
}

#[cfg(target_os = "macos")]
mod macos {
    use super::sysctl::number;

    /// Free pages, and those that are reclaimed first: purgeable pages and file pages.
    pub fn available() -> Option<u64> {
        let page = number(c"hw.pagesize")?;
        let free = number(c"vm.page_free_count")?;
        let more = [
            c"vm.page_purgeable_count",
            c"vm.page_pageable_external_count",
        ];
        let pages = more
            .into_iter()
            .filter_map(number)
            .fold(free, u64::saturating_add);
        Some(pages.saturating_mul(page).min(number(c"hw.memsize")?))
    }
}

#[cfg(target_os = "freebsd")]
mod freebsd {
    use super::sysctl::number;

    /// Free and inactive pages, as top(1) and similar tools count them.
    pub fn available() -> Option<u64> {
        let page = number(c"vm.stats.vm.v_page_size")?;
        let free = number(c"vm.stats.vm.v_free_count")?;
        let inactive = number(c"vm.stats.vm.v_inactive_count")?;
        Some(free.saturating_add(inactive).saturating_mul(page))
    }
}

#[cfg(windows)]
mod windows {
    use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

    /// Available physical memory, limited by the available commit.
    pub fn available() -> Option<u64> {
        let mut status = MEMORYSTATUSEX {
            dwLength: u32::try_from(size_of::<MEMORYSTATUSEX>()).ok()?,
            ..MEMORYSTATUSEX::default()
        };
        // SAFETY: the structure is our own, and its length field is set.
        let told = unsafe { GlobalMemoryStatusEx(&mut status) } != 0;
        told.then(|| status.ullAvailPhys.min(status.ullAvailPageFile))
    }

    #[cfg(test)]
    #[test]
    fn the_system_reports_available_memory() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
