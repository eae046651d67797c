//! The pool page that contains an address.

use crate::memory::Va;
use crate::pool::index::Realm;
use crate::pool::legacy::Encoding;
use crate::pool::page::{self, PageError, PoolPage};

use super::Engine;

impl Engine {
    /// The pool page that contains an address, block by block.
    ///
    /// # Errors
    /// A [`PageError`].
    pub fn pool_page(&self, address: Va) -> Result<PoolPage, PageError> {
        let encoding = Encoding::of_build(self.kernel.build);
        page::read(encoding, self.pool_of(address), address)
    }

    /// The pool that contains an address: the system's, or that of the first session whose own
    /// pool contains it.
    fn pool_of(&self, address: Va) -> &Realm {
        let system = self.system_pool();
        if system.holds(address) || system.space.page(address.page()).is_ok() {
            return system;
        }
        let mut sessions = self.session_pools().iter();
        sessions.find(|r| r.holds(address)).unwrap_or(system)
    }
}
