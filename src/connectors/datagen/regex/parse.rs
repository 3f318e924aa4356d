//! The dialect of dk.brics.automaton, all of its options on; the generator's own `\d` and `\Q…\E` before it.
//!
//! ```text
//! union    = inter ['|' union]            inter  = concat ['&' inter]
//! concat   = repeat [concat]              repeat = complement { '?' | '*' | '+' | '{n}' | '{n,}' | '{n,m}' }
//! complement = '~' complement | class     class  = '[' ['^'] ranges ']' | simple
//! simple   = '.' | '#' | '@' | '"…"' | '()' | '(' union ')' | '<n-m>' | ['\'] character
//! ```
//!
//! There are no anchors: the whole text is the pattern. A backslash makes a character of anything.

/// Groups, complements and the like within one another.
const DEPTH_MAX: usize = 100;

/// A regex as a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// One unit out of these intervals, both ends included; none at all: nothing matches.
    Class(Vec<(u16, u16)>),
    Text(Vec<u16>),
    AnyText,
    Union(Vec<Expression>),
    Concat(Vec<Expression>),
    Intersection(Box<Expression>, Box<Expression>),
    Complement(Box<Expression>),
    /// At least, and at most; `None`: without end.
    Repeat(Box<Expression>, u32, Option<u32>),
    /// Decimal numbers of this many digits; 0: any, with leading zeros.
    Interval {
        min: i32,
        max: i32,
        digits: usize,
    },
}

/// Reads a regex.
///
/// # Errors
/// `expected ')' at position 3`, as the genuine library says it; positions count UTF-16 units.
pub fn parse(pattern: &str) -> Result<Expression, String> {
    let pattern = with_classes(&without_quotes(pattern));
    let mut parser = Parser { text: pattern.encode_utf16().collect(), at: 0, depth: 0 };
    if parser.text.is_empty() {
        return Ok(Expression::Text(Vec::new()));
    }
    let expression = parser.union()?;
    match parser.at < parser.text.len() {
        true => Err(format!("end-of-string expected at position {}", parser.at)),
        false => Ok(expression),
    }
}

/// `\Q…\E` → the same with backslashes where they are needed.
fn without_quotes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, quoted)) = rest.split_once(r"\Q") {
        let Some((quoted, behind)) = quoted.split_once(r"\E") else { break };
        out.push_str(before);
        for character in quoted.chars() {
            if r".^$*+?(){|[\@".contains(character) {
                out.push('\\');
            }
            out.push(character);
        }
        rest = behind;
    }
    out + rest
}

/// Text for text, wherever it stands: within a class it makes another class, as in the genuine generator.
fn with_classes(pattern: &str) -> String {
    [
        (r"\d", "[0-9]"),
        (r"\D", "[^0-9]"),
        (r"\s", "[ \t\n\u{c}\r]"),
        (r"\S", "[^ \t\n\u{c}\r]"),
        (r"\w", "[a-zA-Z_0-9]"),
        (r"\W", "[^a-zA-Z_0-9]"),
    ]
    .into_iter()
    .fold(pattern.to_string(), |pattern, (short, long)| pattern.replace(short, long))
}

struct Parser {
    text: Vec<u16>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self, any_of: &str) -> bool {
        self.text.get(self.at).is_some_and(|unit| any_of.bytes().any(|byte| u16::from(byte) == *unit))
    }

    fn take(&mut self, one: &str) -> bool {
        let found = self.peek(one);
        self.at += usize::from(found);
        found
    }

    fn more(&self) -> bool {
        self.at < self.text.len()
    }

    fn next(&mut self) -> Result<u16, String> {
        let unit = *self.text.get(self.at).ok_or("unexpected end-of-string")?;
        self.at += 1;
        Ok(unit)
    }

    fn expect(&mut self, one: &str) -> Result<(), String> {
        if self.take(one) { Ok(()) } else { Err(format!("expected '{one}' at position {}", self.at)) }
    }

    fn union(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} groups within one another at position {}", self.at));
        }
        let mut parts = vec![self.intersection()?];
        while self.take("|") {
            parts.push(self.intersection()?);
        }
        self.depth -= 1;
        Ok(one_or(parts, Expression::Union))
    }

    fn intersection(&mut self) -> Result<Expression, String> {
        let mut whole = self.concat()?;
        while self.take("&") {
            whole = Expression::Intersection(Box::new(whole), Box::new(self.concat()?));
        }
        Ok(whole)
    }

    fn concat(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.repeat()?];
        while self.more() && !self.peek(")|&") {
            parts.push(self.repeat()?);
        }
        Ok(one_or(parts, Expression::Concat))
    }

    fn repeat(&mut self) -> Result<Expression, String> {
        let mut inner = self.complement()?;
        loop {
            let (min, max) = if self.take("?") {
                (0, Some(1))
            } else if self.take("*") {
                (0, None)
            } else if self.take("+") {
                (1, None)
            } else if self.take("{") {
                self.bounds()?
            } else {
                return Ok(inner);
            };
            inner = Expression::Repeat(Box::new(inner), min, max);
        }
    }

    /// `n}`, `n,}`, `n,m}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>), String> {
        let position = self.at;
        let Some(min) = self.number()? else { return Err(format!("integer expected at position {position}")) };
        let max = if self.take(",") { self.number()? } else { Some(min) };
        self.expect("}")?;
        Ok((min, max))
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let start = self.at;
        while self.peek("0123456789") {
            self.at += 1;
        }
        let digits = String::from_utf16_lossy(&self.text[start..self.at]);
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse::<i32>().map_err(|_| format!("For input string: \"{digits}\""))?;
        Ok(Some(number as u32))
    }

    fn complement(&mut self) -> Result<Expression, String> {
        let mut times = 0;
        while self.take("~") {
            times += 1;
        }
        let inner = self.class()?;
        Ok((0..times).fold(inner, |inner, _| Expression::Complement(Box::new(inner))))
    }

    fn class(&mut self) -> Result<Expression, String> {
        if !self.take("[") {
            return self.simple();
        }
        let others = self.take("^");
        let mut ranges = self.range()?;
        while self.more() && !self.peek("]") {
            ranges.extend(self.range()?);
        }
        self.expect("]")?;
        Ok(Expression::Class(if others { all_but(ranges) } else { ranges }))
    }

    /// `a`, `a-z`, or `a-` at the end.
    fn range(&mut self) -> Result<Vec<(u16, u16)>, String> {
        let first = self.character()?;
        if !self.take("-") {
            return Ok(vec![(first, first)]);
        }
        if self.peek("]") {
            return Ok(vec![(first, first), (u16::from(b'-'), u16::from(b'-'))]);
        }
        let last = self.character()?;
        Ok(if first <= last { vec![(first, last)] } else { Vec::new() })
    }

    fn simple(&mut self) -> Result<Expression, String> {
        if self.take(".") {
            return Ok(Expression::Class(vec![(0, u16::MAX)]));
        }
        if self.take("#") {
            return Ok(Expression::Class(Vec::new()));
        }
        if self.take("@") {
            return Ok(Expression::AnyText);
        }
        if self.take("\"") {
            return Ok(Expression::Text(self.until("\"")?));
        }
        if self.take("(") {
            if self.take(")") {
                return Ok(Expression::Text(Vec::new()));
            }
            let inner = self.union()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("<") {
            return self.interval();
        }
        let unit = self.character()?;
        Ok(Expression::Class(vec![(unit, unit)]))
    }

    /// Everything before `end`, which is taken.
    fn until(&mut self, end: &str) -> Result<Vec<u16>, String> {
        let start = self.at;
        while self.more() && !self.peek(end) {
            self.at += 1;
        }
        self.expect(end)?;
        Ok(self.text[start..self.at - 1].to_vec())
    }

    fn interval(&mut self) -> Result<Expression, String> {
        let text = String::from_utf16_lossy(&self.until(">")?);
        let Some((min, max)) = text.split_once('-') else { return Err(format!("'{text}' not found")) };
        let number = |digits: &str| digits.parse::<i32>().ok();
        let (Some(first), Some(last)) = (number(min), number(max)) else {
            return Err(format!("interval syntax error at position {}", self.at - 1));
        };
        let digits = if min.len() == max.len() { min.len() } else { 0 };
        Ok(Expression::Interval { min: first.min(last), max: first.max(last), digits })
    }

    fn character(&mut self) -> Result<u16, String> {
        self.take("\\");
        self.next()
    }
}

fn one_or(mut parts: Vec<Expression>, many: impl Fn(Vec<Expression>) -> Expression) -> Expression {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

/// All units that are in none of the ranges.
fn all_but(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut others = Vec::new();
    let mut next = 0u32;
    for (min, max) in ranges {
        if next < u32::from(min) {
            others.push((next as u16, min - 1));
        }
        next = next.max(u32::from(max) + 1);
    }
    if next <= u32::from(u16::MAX) {
        others.push((next as u16, u16::MAX));
    }
    others
}
