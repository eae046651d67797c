//! The targets of pointers.

use crate::memory::Va;

use super::Engine;

impl Engine {
    /// The module or pool block that contains a kernel address.
    pub fn points_at(&self, va: Va) -> Option<String> {
        if !va.is_kernel() {
            return None;
        }
        self.symbol_at(va).or_else(|| self.in_pool(va))
    }

    fn in_pool(&self, va: Va) -> Option<String> {
        let region = self.regions().at(va);
        if region.is_none() && self.big().holding(va).is_none() {
            return None;
        }
        let page = self.pool_page(va).ok();
        let holder = page.and_then(|p| p.blocks.into_iter().find(|b| b.holds_address));
        match (holder, region) {
            (Some(holder), _) => {
                let block = holder.block;
                let offset = va.0 - block.va.0;
                let (tag, pool) = (block.tag, block.kind.word());
                Some(format!("{tag} block+{offset:#x}, {pool} pool"))
            }
            (None, Some(region)) => Some(format!("{} pool", region.kind.word())),
            (None, None) => None,
        }
    }
}
