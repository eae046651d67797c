//! Dispatches debugger commands.

use crate::command::request::address_of;
use crate::command::{Refusal, Request};
use crate::engine::Engine;

use super::listing::Listing;

impl Engine {
    /// Answers a command that needs neither a pool walk nor a report of its own. `None` for other
    /// commands. Addresses are resolved here.
    pub fn inspect(&self, request: &Request) -> Option<Result<Listing, Refusal>> {
        let resolved = match request.clone().resolve(self) {
            Ok(resolved) => resolved,
            Err(why) => return Some(Err(why)),
        };
        Some(match &resolved {
            Request::Memory(memory) => {
                address_of(&memory.at).and_then(|at| self.memory_at(memory, at))
            }
            Request::Nearest(at) => address_of(at).and_then(|at| self.nearest_to(at)),
            Request::Evaluate(at) => address_of(at).map(|at| self.value_of(at)),
            Request::Symbols(query) => self.symbols_like(query),
            Request::Modules(modules) => self.modules_like(modules),
            Request::Object(at) => address_of(at).and_then(|at| self.object_at(at)),
            Request::Handles(handles) => self.handles_of(handles),
            Request::Processes(processes) => self.processes_like(processes),
            Request::Type(ty) => self.structure(ty),
            Request::Code { at, count, to } => {
                let to = to.as_ref().map(address_of).transpose();
                to.and_then(|to| self.code_at(address_of(at)?, *count, to))
            }
            Request::Verifier(wanted) => self.verifier_records(wanted),
            Request::CodeBefore { at, count } => {
                address_of(at).and_then(|at| self.code_before(at, *count))
            }
            Request::Function(at) => address_of(at).and_then(|at| self.function_at(at)),
            Request::Headers(module) => self.headers_of(module),
            Request::PageTables(at) => address_of(at).and_then(|at| self.page_tables_of(at)),
            Request::Lookaside => Ok(self.lookaside_lists()),
            Request::FileCache => Ok(self.file_cache()),
            _ => return None,
        })
    }
}
