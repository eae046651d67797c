//! The services of loaded drivers. A driver's `DRIVER_OBJECT` has the name of its service in the
//! registry, which may differ from the file name.

use crate::kernel::Kernel;
use crate::memory::{AddressSpace, Va};
use crate::pool::block::Block;

use super::header::Reader;

/// Maximum length of a service name, in characters.
const LONGEST: usize = 256;

/// A service and its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The base address of the driver's image.
    pub image: Va,
}

/// The service of the driver whose object is in a block.
pub fn of_block(
    kernel: &Kernel,
    reader: &Reader<'_>,
    space: &AddressSpace,
    block: &Block,
) -> Option<Service> {
    const DRIVER: &str = "_DRIVER_OBJECT";
    let object = reader.in_block(space, block)?;
    if object.kind.name != "Driver" {
        return None;
    }
    let driver = object.body;
    let pointer = |ty: &str, at: Va, field: &str| {
        let at = at.add(kernel.offset(ty, field)?);
        space.pointer(at).ok().filter(|va| va.is_kernel())
    };
    let image = pointer(DRIVER, driver, "DriverStart")?;
    let own = || {
        let extension = pointer(DRIVER, driver, "DriverExtension")?;
        let name = extension.add(kernel.offset("_DRIVER_EXTENSION", "ServiceKeyName")?);
        space.name(name, LONGEST)
    };
    // `\Driver\amdacpbus2`, if the driver extension does not have the name.
    let by_path = || {
        let name = driver.add(kernel.offset(DRIVER, "DriverName")?);
        let path = space.name(name, LONGEST)?;
        path.rsplit('\\').next().map(str::to_owned)
    };
    let name = own().or_else(by_path)?;
    (!name.is_empty()).then_some(Service { name, image })
}
