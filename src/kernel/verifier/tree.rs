//! `ViTargetDriversAvl`: the modules known to Driver Verifier, in AVL trees of the run-time
//! library. The first node is the right child of the balanced root, and a node's data follows
//! its links (documentation of `RtlInitializeGenericTableAvl`).

use rustc_hash::FxHashSet;

use crate::kernel::{FieldError, Kernel};
use crate::memory::{Fault, Va};

use super::MAX_DRIVERS;

/// Limit for the tables of a tree.
const MAX_TABLES: u64 = 4096;
/// Depth limit; a balanced tree of 2^32 nodes is not that deep.
const MAX_DEPTH: u8 = 64;

/// A module of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// The load address of the module.
    pub base: Va,
    /// Its size in bytes.
    pub size: u64,
    /// Address of its records, 0 for a module that is not verified.
    pub data: Va,
}

/// The result of a walk.
#[derive(Clone, Debug, Default)]
pub(super) struct Walked {
    pub nodes: Vec<Node>,
    pub damage: Vec<String>,
}

/// The reason why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    NoLayout,
    Fault(Fault),
}

impl From<FieldError> for Unread {
    fn from(error: FieldError) -> Unread {
        match error {
            FieldError::NoLayout => Unread::NoLayout,
            FieldError::Unreadable(fault) => Unread::Fault(fault),
        }
    }
}

/// The node count in the tree; `None` if it has none or is unreadable.
pub(super) fn nodes(kernel: &Kernel, tree: Va) -> Option<u64> {
    let count = kernel.field(tree, "_VF_AVL_TREE", "NodeCount").ok()?;
    let tables = kernel.field(tree, "_VF_AVL_TREE", "Tables").ok()?;
    (count > 0 && Va(tables).is_kernel()).then_some(count)
}

/// Field offsets of the structures.
struct Layout {
    table: u64,
    root: u64,
    count: u64,
    left: u64,
    right: u64,
    behind: u64,
    base: u64,
    size: u64,
    data: u64,
}

impl Layout {
    fn of(kernel: &Kernel) -> Option<Layout> {
        let at = |ty, name| kernel.offset(ty, name);
        let rtl = at("_VF_AVL_TABLE", "RtlTable")?;
        let node = at("_VF_TARGET_DRIVER", "TreeNode")?;
        // From 1607, the node is followed by a session number.
        let node = node + at("_VF_AVL_TREE_NODE_EX", "Base").unwrap_or(0);
        Some(Layout {
            table: kernel.symbols.size_of("_VF_AVL_TABLE")?.into(),
            root: rtl + at("_RTL_AVL_TABLE", "BalancedRoot")?,
            count: rtl + at("_RTL_AVL_TABLE", "NumberGenericTableElements")?,
            left: at("_RTL_BALANCED_LINKS", "LeftChild")?,
            right: at("_RTL_BALANCED_LINKS", "RightChild")?,
            behind: kernel.symbols.size_of("_RTL_BALANCED_LINKS")?.into(),
            base: node + at("_VF_AVL_TREE_NODE", "p")?,
            size: node + at("_VF_AVL_TREE_NODE", "RangeSize")?,
            data: at("_VF_TARGET_DRIVER", "VerifiedData")?,
        })
    }
}

/// Walks all tables of a tree.
pub(super) fn walk(kernel: &Kernel, tree: Va) -> Result<Walked, Unread> {
    let mut out = Walked::default();
    let layout = Layout::of(kernel).ok_or(Unread::NoLayout)?;
    let tables = kernel.field(tree, "_VF_AVL_TREE", "Tables")?;
    let count = kernel.field(tree, "_VF_AVL_TREE", "TablesNo")?;
    if tables == 0 || count == 0 {
        return Ok(out);
    }
    if !Va(tables).is_kernel() || count > MAX_TABLES {
        out.damage.push(format!(
            "Driver Verifier's tree of drivers is damaged: {count} tables at {}",
            Va(tables)
        ));
        return Ok(out);
    }
    let mut broken = 0u64;
    for number in 0..count {
        let table = Va(tables).add(number * layout.table);
        let whole = one_table(kernel, &layout, table, &mut out.nodes);
        broken += u64::from(!whole);
    }
    if broken > 0 {
        out.damage.push(format!(
            "{broken} of {count} tables of Driver Verifier's tree of drivers are damaged; drivers may be missing"
        ));
    }
    Ok(out)
}

/// Walks a table; false if it is incomplete.
fn one_table(kernel: &Kernel, layout: &Layout, table: Va, out: &mut Vec<Node>) -> bool {
    let space = &kernel.space;
    let root = space.pointer(table.add(layout.root + layout.right));
    let (Ok(root), Ok(elements)) = (root, space.u32(table.add(layout.count))) else {
        return false;
    };
    let mut seen: FxHashSet<Va> = FxHashSet::default();
    let mut stack = vec![(root, 0u8)];
    let mut whole = true;
    while let Some((links, depth)) = stack.pop() {
        if links.0 == 0 {
            continue;
        }
        let room = seen.len() < elements as usize && out.len() < MAX_DRIVERS;
        if !links.is_kernel() || depth > MAX_DEPTH || !room || !seen.insert(links) {
            whole = false;
            continue;
        }
        let children = [layout.right, layout.left].map(|at| space.pointer(links.add(at)));
        for child in children {
            match child {
                Ok(child) => stack.push((child, depth + 1)),
                Err(_) => whole = false,
            }
        }
        let item = links.add(layout.behind);
        let base = space.pointer(item.add(layout.base));
        let size = space.u64(item.add(layout.size));
        let data = space.pointer(item.add(layout.data));
        match (base, size, data) {
            (Ok(base), Ok(size), Ok(data)) => out.push(Node { base, size, data }),
            _ => whole = false,
        }
    }
    whole && seen.len() == elements as usize
}
