//! Addresses in WinDbg's syntax: hexadecimal numbers, `module!symbol`, a module's name,
//! sums and differences, `poi()` and parentheses.

use crate::addr::Va;

use super::refusal::{Refusal, Result};

/// The start of the message for text that is not an address.
const INVALID: &str = "not a valid address";
/// Maximum nesting of parentheses.
const DEEPEST: usize = 32;

/// An address expression; it may need a dump to resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A number.
    Number(u64),
    /// `module!symbol`, or a module's name, which stands for its base.
    Name(String),
    /// The pointer stored at this address.
    Pointer(Box<Expression>),
    /// Left plus right, modulo 2^64.
    Sum(Box<Expression>, Box<Expression>),
    /// Left minus right, modulo 2^64.
    Difference(Box<Expression>, Box<Expression>),
}

/// True if the text is not an address in any dump.
pub fn is_no_address(why: &Refusal) -> bool {
    why.0.starts_with(INVALID)
}

/// Resolves names and pointers.
pub trait Resolver {
    /// The pointer stored at an address.
    ///
    /// # Errors
    /// Why it cannot be read, as the end of a sentence.
    fn pointer(&self, va: Va) -> std::result::Result<Va, String>;
    /// The address of a symbol of a module (`nt` if none is given).
    fn symbol(&self, module: Option<&str>, name: &str) -> Option<Va>;
    /// The base of a module, by its case-insensitive name.
    fn module(&self, name: &str) -> Option<Va>;
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong with it, with an example.
    pub fn parse(text: &str) -> Result<Expression> {
        let mut parser = Parser {
            text,
            rest: text.trim(),
        };
        let found = parser.sum(0)?;
        match parser.rest.chars().next() {
            None => Ok(found),
            Some(sign @ ('*' | '/' | '%' | '&' | '|' | '^' | '<' | '>' | '=')) => Err(Refusal(
                format!("{text}: {sign} is not available here; write +, -, parentheses or poi()"),
            )),
            Some(_) => Err(invalid(text)),
        }
    }

    /// The address, if no dump is needed.
    pub fn literal(&self) -> Option<Va> {
        match self {
            Expression::Number(number) => Some(Va(*number)),
            Expression::Sum(a, b) => Some(Va(a.literal()?.0.wrapping_add(b.literal()?.0))),
            Expression::Difference(a, b) => Some(Va(a.literal()?.0.wrapping_sub(b.literal()?.0))),
            Expression::Name(_) | Expression::Pointer(_) => None,
        }
    }

    /// The address in a dump.
    ///
    /// # Errors
    /// The unknown name, or the pointer that cannot be read.
    pub fn resolve(&self, resolver: &dyn Resolver) -> Result<Va> {
        Ok(match self {
            Expression::Number(number) => Va(*number),
            Expression::Name(name) => resolve_name(name, resolver)?,
            Expression::Pointer(at) => {
                let at = at.resolve(resolver)?;
                resolver
                    .pointer(at)
                    .map_err(|why| Refusal(format!("poi({at}) can't be read: {why}")))?
            }
            Expression::Sum(a, b) => {
                Va(a.resolve(resolver)?.0.wrapping_add(b.resolve(resolver)?.0))
            }
            Expression::Difference(a, b) => {
                Va(a.resolve(resolver)?.0.wrapping_sub(b.resolve(resolver)?.0))
            }
        })
    }
}

fn resolve_name(name: &str, resolver: &dyn Resolver) -> Result<Va> {
    let found = match name.split_once('!') {
        Some((module, symbol)) => resolver.symbol(Some(module), symbol),
        None => resolver
            .module(name)
            .or_else(|| resolver.symbol(None, name)),
    };
    if found.is_none() && !name.contains('!') {
        return Err(invalid(name));
    }
    found.ok_or_else(|| {
        Refusal(format!(
            "{name}: no such symbol or module; `lm` lists the modules, `x nt!*` the symbols"
        ))
    })
}

/// The error for text that is not an address.
pub(super) fn invalid(text: &str) -> Refusal {
    Refusal(format!(
        "{INVALID}: {text} (hexadecimal, for example fffffa80`02400000, nt!PsActiveProcessHead or poi(ADDRESS)+20)"
    ))
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn sum(&mut self, depth: usize) -> Result<Expression> {
        let mut left = self.term(depth)?;
        loop {
            let sign = self.rest.chars().next();
            match sign {
                Some('+') => {
                    self.skip(1);
                    let right = self.term(depth)?;
                    left = Expression::Sum(Box::new(left), Box::new(right));
                }
                Some('-') => {
                    self.skip(1);
                    let right = self.term(depth)?;
                    left = Expression::Difference(Box::new(left), Box::new(right));
                }
                _ => return Ok(left),
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<Expression> {
        if depth == DEEPEST {
            return Err(Refusal(format!("{}: too many parentheses", self.text)));
        }
        for (start, points) in [("poi(", true), ("qwo(", true), ("(", false)] {
            let head = self.rest.get(..start.len());
            if !head.is_some_and(|h| h.eq_ignore_ascii_case(start)) {
                continue;
            }
            self.skip(start.len());
            let inside = self.sum(depth + 1)?;
            if !self.rest.starts_with(')') {
                return Err(Refusal(format!("{}: the closing ) is missing", self.text)));
            }
            self.skip(1);
            return Ok(match points {
                true => Expression::Pointer(Box::new(inside)),
                false => inside,
            });
        }
        let end = self
            .rest
            .find(|c: char| {
                !(c.is_ascii_alphanumeric()
                    || matches!(c, '_' | '`' | '!' | '.' | '?' | '@' | '$' | ':'))
            })
            .unwrap_or(self.rest.len());
        let word = self.rest.get(..end).unwrap_or_default();
        let found = self.word(word)?;
        self.skip(end);
        Ok(found)
    }

    fn word(&self, word: &str) -> Result<Expression> {
        if let Some(number) = number(word) {
            return Ok(Expression::Number(number));
        }
        if word.starts_with(['@', '$']) {
            return Err(Refusal(format!(
                "{word}: registers are not available here; write an address or a symbol"
            )));
        }
        let starts = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let parts = word.split('!').count();
        let empty = word.split('!').any(str::is_empty);
        match starts && parts <= 2 && !empty && !word.contains('`') {
            true => Ok(Expression::Name(word.to_owned())),
            false => Err(invalid(self.text)),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default().trim_start();
    }
}

/// Parses a number in WinDbg's syntax: hexadecimal with or without `0x`, with an optional
/// backquote in the middle; decimal after `0n`.
pub(super) fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    if let Some(decimal) = lower.strip_prefix("0n") {
        return decimal.parse().ok();
    }
    let digits = lower.strip_prefix("0x").unwrap_or(&lower).replace('`', "");
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    valid
        .then(|| u64::from_str_radix(&digits, 16).ok())
        .flatten()
}
