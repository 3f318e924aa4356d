//! What becomes of a text that fits: Java's replacements.

use super::{Engine, Found, Pattern, java};
use crate::kafka_connect::record::{ConnectError, refused};

/// Replaces the first place that fits a regex in texts that fit it as a whole.
///
/// That place is all of the text, but for patterns that are content with less: `a|ab` finds the `a` of `ab`.
#[derive(Debug, Clone)]
pub struct Replacement {
    pattern: Pattern,
    first: Engine,
    template: String,
}

impl Replacement {
    /// In `template` are `$1` and `${name}` groups, and a backslash makes a character of what follows.
    ///
    /// # Errors
    /// What is wrong with the pattern; with the template nothing is before it is used.
    pub fn new(pattern: &str, template: &str) -> Result<Replacement, String> {
        let first = Engine::new(pattern, &java::translate(pattern)?)?;
        Ok(Replacement { pattern: Pattern::new(pattern)?, first, template: template.to_owned() })
    }

    /// The text with what stands for it; `None`: it does not fit.
    ///
    /// # Errors
    /// A template that names no group; a text for which the regex goes back too often.
    pub fn of(&self, text: &str) -> Result<Option<String>, ConnectError> {
        if !self.pattern.fits(text)? {
            return Ok(None);
        }
        // What fits as a whole is found somewhere.
        let Some(found) = self.first.find(&self.pattern.text, text)? else { return Ok(None) };
        let mut out = found.before.to_owned();
        self.fill(&found, &mut out)?;
        out.push_str(found.behind);
        Ok(Some(out))
    }

    fn fill(&self, found: &Found<'_>, out: &mut String) -> Result<(), ConnectError> {
        let count = found.groups.len();
        let mut rest = self.template.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '\\' => match rest.next() {
                    Some(literal) => out.push(literal),
                    None => return refused("character to be escaped is missing"),
                },
                '$' if rest.next_if_eq(&'{').is_some() => {
                    let mut name = String::new();
                    while let Some(character) = rest.next_if(char::is_ascii_alphanumeric) {
                        name.push(character);
                    }
                    let is_closed = rest.next_if_eq(&'}').is_some();
                    let group = self.named(&name, is_closed)?;
                    out.push_str(found.groups.get(group).copied().flatten().unwrap_or_default());
                }
                '$' => {
                    let Some(next) = rest.next() else {
                        return refused("Illegal group reference: group index is missing");
                    };
                    let Some(mut number) = next.to_digit(10).map(|digit| digit as usize) else {
                        return refused("Illegal group reference");
                    };
                    if number >= count {
                        return refused(format!("No group {number}"));
                    }
                    // More digits belong to it as long as there is such a group.
                    while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                        let longer = number * 10 + digit as usize;
                        if longer >= count {
                            break;
                        }
                        number = longer;
                        rest.next();
                    }
                    out.push_str(found.groups[number].unwrap_or_default());
                }
                other => out.push(other),
            }
        }
        Ok(())
    }

    fn named(&self, name: &str, is_closed: bool) -> Result<usize, ConnectError> {
        if name.is_empty() {
            return refused("named capturing group has 0 length name");
        }
        if !is_closed {
            return refused("named capturing group is missing trailing '}'");
        }
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            return refused(format!("capturing group name {{{name}}} starts with digit character"));
        }
        self.first.group(name).ok_or_else(|| ConnectError::new(format!("No group with name {{{name}}}")))
    }
}
