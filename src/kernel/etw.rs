//! Pool events in the buffers of event tracing sessions: recent allocations and frees, with
//! their call stacks if those were traced.
//!
//! The layouts of sessions, buffers and kernel event headers are public. The payload of pool
//! events is that of System Informer's header collection; Microsoft documents only the flag. An
//! event of another form ends the reading of its buffer; such buffers are counted.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::memory::Va;

use super::Kernel;
use super::verifier::Event;

const LOGGER: &str = "_WMI_LOGGER_CONTEXT";
const BUFFER: &str = "_WMI_BUFFER_HEADER";
const STATE: &str = "_ETW_SILODRIVERSTATE";

/// Largest number of sessions of a machine.
const MAX_LOGGERS: u64 = 256;
/// Number of pointers in the array, on builds with a fixed array.
const LOGGERS_BY_VALUE: u64 = 64;
/// Number of buffers of a session allowed beyond its own count, and the overall limit.
const SPARE_BUFFERS: u64 = 64;
const MAX_BUFFERS: u64 = 1 << 16;
/// Possible sizes of a buffer in bytes.
const BUFFER_BYTES: std::ops::RangeInclusive<u64> = 0x48..=16 << 20;
/// Largest number of pool events that are stored.
const MAX_EVENTS: usize = 1 << 20;
/// Longest session name, in characters.
const MAX_NAME: usize = 256;

/// PERF_POOL: a bit of the second mask.
const PERF_POOL: u32 = 0x40;
/// A compressed buffer: its state, and its flag.
const COMPRESSED: (u64, u64) = (5, 0x40);
/// Header types with the size at +4: system headers and kernel event headers.
const WITH_HOOK: [u8; 4] = [0x01, 0x02, 0x10, 0x11];
/// The 64-bit header of kernel events, and its size in bytes.
const PERFINFO: u8 = 0x11;
const HEADER: usize = 0x10;
/// Header types with the size at +0: events of providers.
const WITH_SIZE: std::ops::RangeInclusive<u8> = 0x12..=0x14;
/// Pool events: allocations, frees.
const ALLOCATED: [u16; 2] = [0x0e20, 0x0e21];
const FREED: [u16; 2] = [0x0e22, 0x0e23];
/// The call stack of another event.
const STACK: u16 = 0x1820;

/// A session with buffers in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Its name, as far as readable.
    pub name: String,
    /// Number of buffers that were read.
    pub buffers: u64,
    /// Number of buffers that are compressed, or could not be read to the end.
    pub skipped: u64,
    /// Number of events that the session lost.
    pub lost: Option<u64>,
    /// Number of pool events in its buffers.
    pub events: u64,
}

/// An allocation or a free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEvent {
    /// Time in the clock of the session.
    pub time: u64,
    /// Whether it is an allocation or a free.
    pub event: Event,
    /// The tag.
    pub tag: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Address of the block.
    pub address: Va,
    /// Return addresses, if the stack was traced and is still in a buffer.
    pub frames: Vec<Va>,
}

/// The pool events found in memory.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// True when pool events were being traced; `None` if unreadable.
    pub is_on: Option<bool>,
    /// Sessions with pool events.
    pub sessions: Vec<Session>,
    /// Their pool events in time order.
    pub events: Vec<PoolEvent>,
    /// Remarks on parts that could not be read.
    pub notes: Vec<String>,
}

/// Field offsets of the structures.
struct Layout {
    id: u64,
    list: u64,
    name: u64,
    count: u64,
    lost: u64,
    size: u64,
    saved: u64,
    current: u64,
    state: u64,
    flag: u64,
    link: u64,
    header: u64,
}

impl Layout {
    fn of(kernel: &Kernel) -> Option<Layout> {
        let logger = |name| kernel.offset(LOGGER, name);
        let buffer = |name| kernel.offset(BUFFER, name);
        Some(Layout {
            id: logger("LoggerId")?,
            list: logger("GlobalList")?,
            name: logger("LoggerName")?,
            count: logger("NumberOfBuffers")?,
            lost: logger("EventsLost")?,
            size: buffer("BufferSize")?,
            saved: buffer("SavedOffset")?,
            current: buffer("CurrentOffset")?,
            state: buffer("State")?,
            flag: buffer("BufferFlag")?,
            link: buffer("GlobalEntry")?,
            header: kernel.symbols.size_of(BUFFER)?.into(),
        })
    }
}

impl Trace {
    /// Reads the events, using the symbols of the kernel. The buffers are read only if pool
    /// events were being traced.
    pub fn read(kernel: &Kernel) -> Trace {
        let mut out = Trace::default();
        let masks = kernel
            .symbol("PerfGlobalGroupMask")
            .map(|at| at.add(kernel.offset("_PERFINFO_GROUPMASK", "Masks").unwrap_or(0)));
        let mask = masks.and_then(|at| kernel.space.u32(at.add(4)).ok());
        out.is_on = mask.map(|mask| mask & PERF_POOL != 0);
        if out.is_on != Some(true) {
            return out;
        }
        let Some(layout) = Layout::of(kernel) else {
            out.notes.push(
                "pool events were being traced; the layout of the trace buffers is not known for this kernel".into(),
            );
            return out;
        };
        let mut stacks: FxHashMap<u64, Vec<Va>> = FxHashMap::default();
        for logger in loggers(kernel, &layout) {
            let session = out.session(kernel, &layout, logger, &mut stacks);
            if session.events > 0 {
                out.sessions.push(session);
            }
        }
        out.events.sort_by_key(|event| event.time);
        for event in &mut out.events {
            if let Some(frames) = stacks.get(&event.time) {
                event.frames.clone_from(frames);
            }
        }
        if out.events.len() >= MAX_EVENTS {
            out.notes.push(format!(
                "only the first {MAX_EVENTS} pool events of the trace buffers are used"
            ));
        }
        out.notes.push(match out.events.is_empty() {
            true => "pool events were being traced (ETW); none is in a buffer that can be read"
                .to_owned(),
            false => format!(
                "pool events were being traced (ETW): {} are in the buffers of {}",
                out.events.len(),
                names(&out.sessions)
            ),
        });
        out
    }

    fn session(
        &mut self,
        kernel: &Kernel,
        layout: &Layout,
        logger: Va,
        stacks: &mut FxHashMap<u64, Vec<Va>>,
    ) -> Session {
        let space = &kernel.space;
        let mut out = Session {
            name: space
                .unicode_string(logger.add(layout.name), MAX_NAME)
                .unwrap_or_default(),
            lost: space.u32(logger.add(layout.lost)).ok().map(u64::from),
            ..Session::default()
        };
        let count = space.u32(logger.add(layout.count)).unwrap_or(0);
        let most = (u64::from(count) + SPARE_BUFFERS).min(MAX_BUFFERS);
        let head = logger.add(layout.list);
        let mut seen = FxHashSet::default();
        let mut at = space.pointer(head).unwrap_or(head);
        while at != head && at.is_kernel() && seen.insert(at) && seen.len() as u64 <= most {
            let buffer = Va(at.0.wrapping_sub(layout.link));
            match self.buffer(kernel, layout, buffer, stacks) {
                Some(events) => {
                    out.buffers += 1;
                    out.events += events;
                }
                None => out.skipped += 1,
            }
            at = match space.pointer(at) {
                Ok(next) => next,
                Err(_) => break,
            };
        }
        out
    }

    /// Reads the events of a buffer and returns the number of pool events; `None` if
    /// unreadable.
    fn buffer(
        &mut self,
        kernel: &Kernel,
        layout: &Layout,
        buffer: Va,
        stacks: &mut FxHashMap<u64, Vec<Va>>,
    ) -> Option<u64> {
        let space = &kernel.space;
        let number = |offset| space.u32(buffer.add(offset)).ok().map(u64::from);
        let size = number(layout.size).filter(|size| BUFFER_BYTES.contains(size))?;
        let flag = u64::from(space.u16(buffer.add(layout.flag)).ok()?);
        if number(layout.state)? == COMPRESSED.0 || flag & COMPRESSED.1 != 0 {
            return None;
        }
        let end = number(layout.saved)?.max(number(layout.current)?);
        let end = end.min(size);
        let length = end.checked_sub(layout.header)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        space.read(buffer.add(layout.header), &mut bytes).ok()?;
        let mut events = 0;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER) {
            let kind = u8_at(rest, 2)?;
            let size = match kind {
                _ if WITH_HOOK.contains(&kind) => u16_at(rest, 4)?,
                _ if WITH_SIZE.contains(&kind) => u16_at(rest, 0)?,
                _ => break,
            };
            let size = usize::from(size);
            let Some(event) = rest.get(..size).filter(|_| size >= HEADER) else {
                break;
            };
            if kind == PERFINFO {
                events += u64::from(self.event(event, stacks));
            }
            at += size.next_multiple_of(8);
        }
        Some(events)
    }

    /// Handles an event; returns true for a pool event.
    fn event(&mut self, event: &[u8], stacks: &mut FxHashMap<u64, Vec<Va>>) -> bool {
        let (Some(hook), Some(time)) = (u16_at(event, 6), u64_at(event, 8)) else {
            return false;
        };
        if hook == STACK {
            let of = u64_at(event, HEADER);
            let frames = event.get(HEADER + 16..).unwrap_or_default().chunks_exact(8);
            let frames: Vec<Va> = frames
                .filter_map(|raw| u64_at(raw, 0).map(Va))
                .filter(|frame| frame.is_kernel())
                .collect();
            if let Some(of) = of.filter(|_| stacks.len() < MAX_EVENTS && !frames.is_empty()) {
                stacks.insert(of, frames);
            }
            return false;
        }
        let what = match hook {
            _ if ALLOCATED.contains(&hook) => Event::Allocated,
            _ if FREED.contains(&hook) => Event::Freed,
            _ => return false,
        };
        let tag = u32_at(event, HEADER + 4);
        let bytes = u64_at(event, HEADER + 8);
        let address = u64_at(event, HEADER + 16).map(Va);
        let (Some(tag), Some(bytes), Some(address)) = (tag, bytes, address) else {
            return false;
        };
        if !address.is_kernel() || self.events.len() >= MAX_EVENTS {
            return false;
        }
        self.events.push(PoolEvent {
            time,
            event: what,
            tag,
            bytes,
            address,
            frames: Vec::new(),
        });
        true
    }

    /// The allocations with matching tags that have no later free in the buffers.
    pub fn outstanding(&self, wanted: &dyn Fn(u32) -> bool) -> Vec<&PoolEvent> {
        let mut open: FxHashMap<Va, &PoolEvent> = FxHashMap::default();
        for event in &self.events {
            match event.event {
                Event::Allocated if wanted(event.tag) => {
                    open.insert(event.address, event);
                }
                _ => {
                    open.remove(&event.address);
                }
            }
        }
        let mut out: Vec<&PoolEvent> = open.into_values().collect();
        out.sort_by_key(|event| (event.time, event.address));
        out
    }
}

fn names(sessions: &[Session]) -> String {
    let names: Vec<&str> = sessions.iter().map(|s| s.name.as_str()).collect();
    names.join(", ")
}

/// The sessions: a fixed array of 64 up to Windows 8.1, in the state of the host later.
fn loggers(kernel: &Kernel, layout: &Layout) -> Vec<Va> {
    let space = &kernel.space;
    let array = match kernel.symbol("WmipLoggerContext") {
        Some(at) => Some((at, LOGGERS_BY_VALUE)),
        None => of_host(kernel),
    };
    let Some((array, count)) = array else {
        return Vec::new();
    };
    let one = |index: u64| {
        let at = space.pointer(array.add(index * 8)).ok()?;
        // Bit 0 marks an unused slot.
        let at = (at.0 & 1 == 0 && at.is_kernel()).then_some(at)?;
        let id = space.u32(at.add(layout.id)).ok()?;
        (u64::from(id) == index).then_some(at)
    };
    (0..count.min(MAX_LOGGERS)).filter_map(one).collect()
}

fn of_host(kernel: &Kernel) -> Option<(Va, u64)> {
    let state = kernel.pointer_in("EtwpHostSiloState", None)?;
    // The name of the field on Windows 10 1607.
    let old = || kernel.symbols.field(STATE, "WmipLoggerContext");
    let field = kernel
        .symbols
        .field(STATE, "EtwpLoggerContext")
        .or_else(old)?;
    let at = state.add(field.offset.into());
    if field.size > 8 {
        return Some((at, u64::from(field.size / 8)));
    }
    let count = kernel.field(state, STATE, "MaxLoggers").ok()?;
    let array = kernel.space.pointer(at).ok().filter(|va| va.is_kernel())?;
    Some((array, count))
}
