//! The query language of `&`: `np > 100MB and frees = 0 and owner ~ amd`.
//!
//! A query is parsed once against the fields of a list, so that errors show while the user
//! types, and is then tested on each row. Text without a comparison is a plain text filter
//! and is not parsed here.

use crate::pool::TagPattern;
use std::borrow::Cow;

use crate::memory::Va;
use crate::report::text::parse_address;

/// The type of a field; it decides how a literal is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number, with `k`, `m`, `g`, `t` for powers of 1024.
    Number,
    /// An address, in hexadecimal.
    Address,
    /// A share, in percent.
    Share,
}

/// A field of a list.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its names; the first one is shown.
    pub names: &'static [&'static str],
    /// Its type.
    pub kind: Kind,
}

/// The value of a row's field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number or an address.
    Number(u64),
    /// A change; negative for a decrease.
    Change(i64),
    /// A share; 1 is all.
    Share(f64),
    /// Unknown: no comparison is true, not even `!=`.
    Unknown,
}

/// A row that queries can test.
pub trait Row {
    /// The value of the field with this index.
    fn value(&self, field: usize) -> Value<'_>;
    /// True if the row contains the text.
    fn has(&self, text: &TextFilter) -> bool;
}

/// A filter over rows: one or more conditions.
#[derive(Clone, Debug)]
pub struct Query {
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Compare(usize, Operator, Literal),
    Has(TextFilter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Below,
    AtMost,
    Above,
    AtLeast,
    Like,
    Unlike,
}

#[derive(Clone, Debug)]
enum Literal {
    Number(i128),
    Share(f64),
    Text(Glob),
}

/// Operators by symbol; longer symbols before their prefixes.
const OPERATORS: [(&str, Operator); 9] = [
    ("!=", Operator::IsNot),
    ("!~", Operator::Unlike),
    ("==", Operator::Is),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Below),
    (">", Operator::Above),
    ("=", Operator::Is),
    ("~", Operator::Like),
];

/// Maximum nesting of parentheses and `not`, far more than anyone types.
const DEEPEST: u32 = 32;

/// True for text with a comparison: it is a query, not text to search for.
pub fn compares(text: &str) -> bool {
    text.contains(['<', '>', '=', '~']) || text.contains("&&") || text.contains("||")
}

impl Query {
    /// Parses a query. `default` is the field for a comparison without a field name.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what can be typed.
    pub fn parse(text: &str, fields: &[Field], default: usize) -> Result<Query, String> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            at: 0,
            fields,
            default,
        };
        let node = parser.any(0)?;
        match parser.peek() {
            None => Ok(Query { node }),
            Some(token) => Err(format!("`{}` is not expected there", token.shown())),
        }
    }

    /// True if a row matches.
    pub fn holds(&self, row: &dyn Row) -> bool {
        self.node.holds(row)
    }
}

impl Node {
    fn holds(&self, row: &dyn Row) -> bool {
        match self {
            Node::All(nodes) => nodes.iter().all(|n| n.holds(row)),
            Node::Any(nodes) => nodes.iter().any(|n| n.holds(row)),
            Node::Not(node) => !node.holds(row),
            Node::Has(text) => row.has(text),
            Node::Compare(field, operator, literal) => {
                compare(&row.value(*field), *operator, literal)
            }
        }
    }
}

fn compare(value: &Value<'_>, operator: Operator, literal: &Literal) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = match (value, literal) {
        (Value::Number(a), Literal::Number(b)) => Some(i128::from(*a).cmp(b)),
        (Value::Change(a), Literal::Number(b)) => Some(i128::from(*a).cmp(b)),
        (Value::Share(a), Literal::Share(b)) => a.partial_cmp(b),
        (Value::Text(text), Literal::Text(glob)) => {
            return match operator {
                Operator::Is => glob.is(text),
                Operator::IsNot => !glob.is(text),
                Operator::Like => glob.is_in(text),
                Operator::Unlike => !glob.is_in(text),
                Operator::Below => **text < *glob.text,
                Operator::AtMost => **text <= *glob.text,
                Operator::Above => **text > *glob.text,
                Operator::AtLeast => **text >= *glob.text,
            };
        }
        _ => None,
    };
    let Some(order) = order else {
        return false;
    };
    match operator {
        Operator::Is | Operator::Like => order == Equal,
        Operator::IsNot | Operator::Unlike => order != Equal,
        Operator::Below => order == Less,
        Operator::AtMost => order != Greater,
        Operator::Above => order == Greater,
        Operator::AtLeast => order != Less,
    }
}

/// A pattern with `*` and `?`; case-insensitive unless it has an upper-case letter.
#[derive(Clone, Debug)]
struct Glob {
    text: String,
    exact_case: bool,
}

impl Glob {
    fn new(text: String) -> Glob {
        Glob {
            exact_case: text.chars().any(char::is_uppercase),
            text,
        }
    }

    fn folded<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.exact_case {
            true => Cow::Borrowed(text),
            false => Cow::Owned(text.to_lowercase()),
        }
    }

    fn is(&self, text: &str) -> bool {
        let text = self.folded(text);
        let is = |pattern: &str, text: &str| {
            let pattern: Vec<char> = pattern.chars().collect();
            fits(&pattern, &text.chars().collect::<Vec<char>>())
        };
        // A tag's blanks at the end need not be typed, but `Irp?` matches `Irp `.
        is(self.text.trim_end(), text.trim_end()) || is(&self.text, &text)
    }

    fn is_in(&self, text: &str) -> bool {
        if !self.text.contains(['*', '?']) {
            return self.folded(text).contains(&self.text);
        }
        let text: Vec<char> = self.folded(text).chars().collect();
        let pattern: Vec<char> = format!("*{}*", self.text).chars().collect();
        fits(&pattern, &text)
    }
}

/// Matches with backtracking to the last star only: linear in practice, and never worse
/// than the product of the lengths.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else {
                    return false;
                };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// In quotes: never a field, `and`, `or` or `not`.
    Quoted(String),
    Operator(Operator, &'static str),
    Open,
    Close,
}

impl Token {
    fn shown(&self) -> &str {
        match self {
            Token::Word(text) | Token::Quoted(text) => text,
            Token::Operator(_, sign) => sign,
            Token::Open => "(",
            Token::Close => ")",
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let operator = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
        let used = match (first, operator) {
            (_, Some((sign, operator))) => {
                out.push(Token::Operator(*operator, sign));
                sign.len()
            }
            ('(', _) => {
                out.push(Token::Open);
                1
            }
            (')', _) => {
                out.push(Token::Close);
                1
            }
            ('!', _) => {
                out.push(Token::Word("not".into()));
                1
            }
            ('&', _) if rest.starts_with("&&") => {
                out.push(Token::Word("and".into()));
                2
            }
            ('|', _) if rest.starts_with("||") => {
                out.push(Token::Word("or".into()));
                2
            }
            ('"', _) => {
                let inside = rest.get(1..).unwrap_or_default();
                let end = inside.find('"').ok_or("the closing \" is missing")?;
                out.push(Token::Quoted(inside.get(..end).unwrap_or_default().into()));
                end + 2
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()<>=~!\"".contains(c);
                let signs = ["&&", "||"].iter().filter_map(|sign| rest.find(sign));
                let end = rest.find(ends).into_iter().chain(signs).min();
                let end = end.unwrap_or(rest.len());
                out.push(Token::Word(rest.get(..end).unwrap_or_default().into()));
                end
            }
        };
        rest = rest.get(used..).unwrap_or_default().trim_start();
    }
    Ok(out)
}

struct Parser<'f> {
    tokens: Vec<Token>,
    at: usize,
    fields: &'f [Field],
    default: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn any(&mut self, depth: u32) -> Result<Node, String> {
        let mut nodes = vec![self.all(depth)?];
        while self.peek().is_some_and(|t| t.is_word("or")) {
            self.at += 1;
            nodes.push(self.all(depth)?);
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Any(nodes),
        })
    }

    fn all(&mut self, depth: u32) -> Result<Node, String> {
        let mut nodes = vec![self.one(depth)?];
        while let Some(token) = self.peek() {
            if *token == Token::Close || token.is_word("or") {
                break;
            }
            if token.is_word("and") {
                self.at += 1;
            }
            nodes.push(self.one(depth)?);
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::All(nodes),
        })
    }

    fn one(&mut self, depth: u32) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err("too many parentheses".into());
        }
        match self.next() {
            None => Err("the query is not complete".into()),
            Some(Token::Open) => {
                let node = self.any(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(node),
                    _ => Err("a ) is missing".into()),
                }
            }
            Some(Token::Close) => Err("a ( is missing".into()),
            Some(Token::Operator(operator, sign)) => self.compared(self.default, operator, sign),
            Some(word) if word.is_word("not") => Ok(Node::Not(Box::new(self.one(depth + 1)?))),
            Some(Token::Quoted(text)) => Ok(text_node(&text)),
            Some(Token::Word(word)) => {
                let Some(Token::Operator(operator, sign)) = self.peek().cloned() else {
                    return Ok(text_node(&word));
                };
                self.at += 1;
                let field = self.field(&word)?;
                self.compared(field, operator, sign)
            }
        }
    }

    fn field(&self, word: &str) -> Result<usize, String> {
        let called = |f: &Field| f.names.iter().any(|n| n.eq_ignore_ascii_case(word));
        self.fields.iter().position(called).ok_or_else(|| {
            let names: Vec<&str> = self
                .fields
                .iter()
                .filter_map(|f| f.names.first().copied())
                .collect();
            format!(
                "unknown column: {word}; the columns are {}",
                names.join(", ")
            )
        })
    }

    fn compared(
        &mut self,
        field: usize,
        operator: Operator,
        sign: &'static str,
    ) -> Result<Node, String> {
        let missing = || format!("a value is missing after {sign}");
        let (text, quoted) = match self.next() {
            Some(Token::Word(text)) => (text, false),
            Some(Token::Quoted(text)) => (text, true),
            _ => return Err(missing()),
        };
        let kind = self.fields.get(field).map_or(Kind::Text, |f| f.kind);
        if kind != Kind::Text && matches!(operator, Operator::Like | Operator::Unlike) {
            return Err(format!("{sign} compares text; numbers take = < >"));
        }
        let literal = match kind {
            _ if quoted && kind != Kind::Text => None,
            Kind::Text => Some(Literal::Text(Glob::new(text.clone()))),
            Kind::Number => match text.strip_prefix('-') {
                Some(digits) => number(digits).map(|n| Literal::Number(-i128::from(n))),
                None => number(&text).map(|n| Literal::Number(n.into())),
            },
            Kind::Address => parse_address(&text).map(|Va(n)| Literal::Number(n.into())),
            Kind::Share => text
                .trim_end_matches('%')
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
                .map(|n| Literal::Share(n / 100.0)),
        };
        let literal = literal.ok_or_else(|| {
            let wanted = match kind {
                Kind::Address => "an address in hexadecimal",
                Kind::Share => "a percentage (for example 5%)",
                _ => "a number (for example 4096, 0x1000, 64k or 1.5GB)",
            };
            format!("`{text}` is not {wanted}")
        })?;
        Ok(Node::Compare(field, operator, literal))
    }
}

fn text_node(text: &str) -> Node {
    match TextFilter::parse(text) {
        Some(filter) => Node::Has(filter),
        None => Node::All(Vec::new()),
    }
}

/// Parses a number: `4096`, `1,024,000`, `0x1000`, `64k`, `1.5GB`, `100MiB`.
pub fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16)
            .ok()
            .filter(|_| !hex.starts_with('+'));
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..)?;
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let digits = digits.replace(',', "");
    let Some((whole, part)) = digits.split_once('.') else {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let value: u64 = digits.parse().ok().filter(|_| plain)?;
        return value.checked_mul(1 << shift);
    };
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if shift == 0 || whole.is_empty() || part.is_empty() || !plain(whole) || !plain(part) {
        return None;
    }
    let value = digits.parse::<f64>().ok()? * (1u64 << shift) as f64;
    (value < 1e19).then_some(value.round() as u64)
}

/// A text filter: a substring, case-insensitive unless it has an upper-case letter; for
/// tags also a pattern with `*` and `?`.
#[derive(Clone, Debug)]
pub struct TextFilter {
    text: String,
    exact_case: bool,
    pattern: Option<TagPattern>,
}

impl TextFilter {
    /// Parses a filter; `None` for empty text.
    pub fn parse(typed: &str) -> Option<TextFilter> {
        let text = typed.trim();
        let wild = text.contains(['*', '?', '\\']);
        (!text.is_empty()).then(|| TextFilter {
            exact_case: text.chars().any(char::is_uppercase),
            pattern: TagPattern::parse(text).ok().filter(|_| wild),
            text: text.to_owned(),
        })
    }

    /// Matches a tag with the pattern, ignoring case if the pattern is lower-case.
    pub fn matches_folded(&self, tag: crate::pool::Tag) -> bool {
        let glob = Glob::new(self.text.clone());
        !self.exact_case && glob.is(&tag.to_string())
    }

    /// True if a text matches.
    pub fn in_text(&self, text: &str) -> bool {
        if self.exact_case {
            text.contains(&self.text)
        } else {
            text.to_lowercase().contains(&self.text)
        }
    }

    /// True if WinDbg, whose patterns are case-sensitive, matches the same tags.
    pub fn is_windbgs_pattern(&self) -> bool {
        let one_case = self.exact_case || !self.text.chars().any(char::is_alphabetic);
        self.pattern.is_some() && one_case
    }

    /// The tag pattern, if the user typed wildcards.
    pub fn pattern(&self) -> Option<&TagPattern> {
        self.pattern.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIELDS: [Field; 5] = [
        Field {
            names: &["tag"],
            kind: Kind::Text,
        },
        Field {
            names: &["np", "nonpaged"],
            kind: Kind::Number,
        },
        Field {
            names: &["share"],
            kind: Kind::Share,
        },
        Field {
            names: &["address"],
            kind: Kind::Address,
        },
        Field {
            names: &["frees"],
            kind: Kind::Number,
        },
    ];

    struct Leak;

    impl Row for Leak {
        fn value(&self, field: usize) -> Value<'_> {
            match field {
                0 => Value::Text("Leak".into()),
                1 => Value::Number(615_424_000),
                2 => Value::Share(0.809),
                3 => Value::Number(0xffff_fa80_0100_0000),
                _ => Value::Unknown,
            }
        }

        fn has(&self, text: &TextFilter) -> bool {
            text.in_text("Leak unknown tag")
        }
    }

    fn asks(text: &str) -> Result<bool, String> {
        Query::parse(text, &FIELDS, 1).map(|q| q.holds(&Leak))
    }

    #[test]
    fn comparisons_combine_with_and_or_not_and_parentheses() {
        for holds in [
            "np > 100MB",
            "nonpaged>=615424000 and tag = L*",
            "np > 1g or tag ~ eak",
            "not np > 1g",
            "! (np > 1g or share < 5%)",
            "share > 80 and tag != Thre",
            "address >= fffffa80`00000000",
            "> 586.9m and unknown",
            "tag = \"Leak\"",
            "tag = leak unknown tag=?eak",
            "tag !~ x",
            "tag != Leak?",
        ] {
            assert_eq!(asks(holds), Ok(true), "{holds}");
        }
        for fails in [
            "np > 100MB and tag = M*",
            "np > 615424000",
            "np < 615424000",
            "np = 1",
            "tag = lea",
            "tag = lEAK",
            "np > 1g and np > 1 or tag ~ x",
            "not np > 1",
        ] {
            assert_eq!(asks(fails), Ok(false), "{fails}");
        }
    }

    #[test]
    fn unknown_values_match_no_comparison() {
        for unknown in ["frees = 0", "frees != 0", "frees > 0", "frees <= 9"] {
            assert_eq!(asks(unknown), Ok(false), "{unknown}");
        }
    }

    #[test]
    fn invalid_queries_are_explained() {
        let why = |text: &str| asks(text).unwrap_err();
        assert!(why("bytez > 1").contains("unknown column"));
        assert!(why("bytez > 1").contains("np, share"));
        assert!(why("np >").contains("missing after >"));
        assert!(why("np > lots").contains("64k"));
        assert!(why("np ~ 5").contains("compares text"));
        assert!(why("(np > 1").contains(") is missing"));
        assert!(why("np > 1)").contains("not expected"));
        assert!(why("tag = \"x").contains('"'));
        assert!(why(&format!("{}np > 1", "(".repeat(500))).contains("parentheses"));
        assert!(why(&format!("{}np > 1", "!".repeat(500))).contains("parentheses"));
    }

    #[test]
    fn numbers_have_units() {
        for (text, value) in [
            ("1,024,000", Some(1_024_000)),
            ("0x1000", Some(4096)),
            ("64k", Some(65536)),
            ("1.5GB", Some(3 << 29)),
            ("2TiB", Some(2 << 40)),
            ("16384", Some(16384)),
            ("1.5", None),
            ("k", None),
            ("-1", None),
            ("+1", None),
            ("99999999t", None),
            ("1x", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_any_query_is_fast_and_does_not_panic(text in "[a-z<>=~!()\"*? 0-9.%kMG]{0,200}") {
            if let Ok(query) = Query::parse(&text, &FIELDS, 1) {
                query.holds(&Leak);
            }
        }

        #[test]
        fn a_glob_matches_the_text_that_it_was_made_from(text in "[a-c]{0,12}", from in 0usize..12, to in 0usize..12) {
            let chars: Vec<char> = text.chars().collect();
            let (from, to) = (from.min(chars.len()), to.min(chars.len()));
            let cut: String = chars.iter().take(from).collect::<String>()
                + "*"
                + &chars.iter().skip(from.max(to)).collect::<String>();
            prop_assert!(Glob::new(cut).is(&text));
        }
    }
}
