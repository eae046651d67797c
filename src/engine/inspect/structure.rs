//! `dt`: the fields of a structure and their values.

use crate::command::Refusal;
use crate::command::request::{TypeAt, address_of, wildcard};
use crate::memory::Va;
use crate::symbols::Field;

use crate::engine::Engine;

use super::listing::{Listing, Value};

/// Maximum width of a field to show as a value, in bytes; wider fields are shown by address.
const WIDEST: u32 = 8;

impl Engine {
    pub(super) fn structure(&self, wanted: &TypeAt) -> Result<Listing, Refusal> {
        let symbols = &self.kernel().symbols;
        let name = match symbols.fields(&wanted.name) {
            Some(_) => wanted.name.clone(),
            // PDBs have `_EPROCESS` for `EPROCESS`.
            None => format!("_{}", wanted.name),
        };
        let Some(mut fields) = symbols.fields(&name) else {
            let pattern = wanted.name.contains(['*', '?']);
            let mut similar = symbols.types_like(wanted.name.trim_matches(['*', '?']));
            if pattern {
                let lower = wanted.name.to_ascii_lowercase();
                similar.retain(|name| {
                    wildcard(lower.as_bytes(), name.to_ascii_lowercase().as_bytes())
                });
            }
            return Err(Refusal(match similar.is_empty() {
                false if pattern => format!(
                    "dt: wildcards are not available here: write one type, for example one of {}",
                    similar.join(", ")
                ),
                true => format!(
                    "{}: no such type is known; all types need the PDB of nt (`poolscope symbols DUMP`)",
                    wanted.name
                ),
                false => format!(
                    "{}: no such type is known; known are {}",
                    wanted.name,
                    similar.join(", ")
                ),
            }));
        };
        fields.sort_by(|(a, x), (b, y)| (x.offset, x.bits, a).cmp(&(y.offset, y.bits, b)));
        if !wanted.fields.is_empty() {
            let fits = |name: &str| {
                let lower = name.to_ascii_lowercase();
                wanted
                    .fields
                    .iter()
                    .any(|w| lower.starts_with(&w.to_ascii_lowercase()))
            };
            fields.retain(|(name, _)| fits(name));
            if fields.is_empty() {
                return Err(Refusal(format!(
                    "{name} has no field {}; `dt {name}` lists its fields",
                    wanted.fields.join(", ")
                )));
            }
        }
        let at = wanted.at.as_ref().map(address_of).transpose()?;
        let mut out = Listing::new(format!("nt!{name}"), &["offset", "field", "size", "value"]);
        let mut lines = Vec::new();
        for (field_name, field) in &fields {
            let value = at.map(|at| self.field_value(at, *field));
            let bits = field
                .bits
                .map(|(position, length)| format!(" bits {position}, {length}"));
            let shown = value
                .as_ref()
                .map(|v| format!(": {}", v.1))
                .unwrap_or_default();
            lines.push(format!(
                "   +{:#05x} {:<24} {}{shown}",
                field.offset,
                field_name,
                bits.unwrap_or_else(|| match field.size {
                    0 => String::new(),
                    size => format!(" {size} bytes"),
                })
            ));
            out.push(vec![
                Value::Hex(field.offset.into()),
                field_name.clone().into(),
                u64::from(field.size).into(),
                value.map_or(Value::Unknown, |v| v.0),
            ]);
        }
        let size = symbols.size_of(&name);
        lines.insert(
            0,
            match size {
                Some(size) => format!("nt!{name}  ({size:#x} bytes)"),
                None => format!("nt!{name}"),
            },
        );
        out.lines = Some(lines);
        if wanted.deep {
            out.notes.push(
                "-r: one level is shown, as the types of fields are not known; `dt TYPE ADDRESS` \
                    shows a field that is a structure"
                    .into(),
            );
        }
        match symbols.type_origin(&name) {
            "pdb" => {}
            "built-in" => out
                .notes
                .push("built-in layout of this kernel: fields that poolscope uses, not all".into()),
            _ => out.notes.push(
                "layout of the nearest known build: check values before you rely on them; the PDB \
                    of nt has the exact layout"
                    .into(),
            ),
        }
        Ok(out)
    }

    fn field_value(&self, at: Va, field: Field) -> (Value, String) {
        let here = at.add(field.offset.into());
        if field.size > WIDEST || field.size == 0 {
            return (Value::Address(here), format!("at {here}"));
        }
        match self.space_of(here).page(here.page()) {
            Err(fault) => (Value::Unknown, format!("can't be read: {fault}")),
            Ok(_) => {
                let mut bytes = [0u8; 8];
                let width = field.size as usize;
                let read = bytes
                    .get_mut(..width)
                    .map(|part| self.space_of(here).read(here, part));
                match read {
                    Some(Ok(())) => {
                        let value = field.extract(u64::from_le_bytes(bytes));
                        let symbol = (field.size == 8 && field.bits.is_none())
                            .then(|| self.symbol_at(Va(value)))
                            .flatten();
                        let text = match (field.size, symbol) {
                            (8, Some(symbol)) => format!("{} {symbol}", Va(value)),
                            (8, None) if field.bits.is_none() => Va(value).to_string(),
                            _ => format!("{value:#x}"),
                        };
                        (Value::Hex(value), text)
                    }
                    _ => (Value::Unknown, "can't be read".into()),
                }
            }
        }
    }
}
