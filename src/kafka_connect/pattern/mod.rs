//! Java's regexes, which connectors' configs have: for topics, and for what becomes of their names.
//!
//! What is a regular language is for the `regex` crate, which needs a time that grows with the text alone. Only what it does
//! not know (look-around, references back, groups and repetitions that give nothing back) goes to `fancy_regex`, which tries
//! and goes back: at most [`STEPS_MAX`] times for a text, so that no record holds up others. [`java`] reads Java's
//! language, which is almost theirs.

mod java;
mod replacement;

use std::fmt;

use self::java::Translated;
pub use self::replacement::Replacement;
use super::record::ConnectError;

/// How often a match may go back: a few milliseconds. Without nested repetitions the longest name of a topic needs a fraction.
pub const STEPS_MAX: usize = 100_000;

/// A regex that texts fit as a whole.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    whole: Engine,
}

/// A text for which a regex goes back too often: whether it fits is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    pattern: String,
    text: String,
}

#[derive(Debug, Clone)]
enum Engine {
    Plain(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// What a regex found: the text before and behind it, and its groups, the whole first.
struct Found<'t> {
    before: &'t str,
    behind: &'t str,
    groups: Vec<Option<&'t str>>,
}

impl Pattern {
    /// # Errors
    /// In Java's words, with the pattern below them, what is wrong with it; or in those of the engine.
    pub fn new(pattern: &str) -> Result<Pattern, String> {
        let whole = java::translate(pattern)?.whole();
        Ok(Pattern { text: pattern.to_owned(), whole: Engine::new(pattern, &whole)? })
    }

    /// Whether it is the whole text that fits.
    ///
    /// # Errors
    /// [`Excess`] if that takes too long to say.
    pub fn fits(&self, text: &str) -> Result<bool, Excess> {
        match &self.whole {
            Engine::Plain(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).map_err(|_| Excess::new(&self.text, text)),
        }
    }
}

impl Engine {
    fn new(pattern: &str, translated: &Translated) -> Result<Engine, String> {
        // The last line says what is wrong, the others show where.
        let why = |error: &dyn fmt::Display| {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            format!("{}\n{pattern}", why.strip_prefix("error: ").unwrap_or(why))
        };
        if !translated.goes_back {
            return regex::Regex::new(&translated.text).map(Engine::Plain).map_err(|error| why(&error));
        }
        let built = fancy_regex::RegexBuilder::new(&translated.text).backtrack_limit(STEPS_MAX).build();
        built.map(|regex| Engine::Backtracking(Box::new(regex))).map_err(|error| why(&error))
    }

    /// The first place that fits.
    fn find<'t>(&self, pattern: &str, text: &'t str) -> Result<Option<Found<'t>>, Excess> {
        let found = |all: (usize, usize), groups| Found { before: &text[..all.0], behind: &text[all.1..], groups };
        Ok(match self {
            Engine::Plain(regex) => regex.captures(text).map(|captures| {
                let all = captures.get_match();
                let groups = captures.iter().map(|group| group.map(|group| group.as_str())).collect();
                found((all.start(), all.end()), groups)
            }),
            Engine::Backtracking(regex) => {
                let captures = regex.captures(text).map_err(|_| Excess::new(pattern, text))?;
                captures.and_then(|captures| {
                    let all = captures.get(0)?;
                    let groups = captures.iter().map(|group| group.map(|group| group.as_str())).collect();
                    Some(found((all.start(), all.end()), groups))
                })
            }
        })
    }

    /// The number of a group.
    fn group(&self, name: &str) -> Option<usize> {
        match self {
            Engine::Plain(regex) => regex.capture_names().position(|known| known == Some(name)),
            Engine::Backtracking(regex) => regex.capture_names().position(|known| known == Some(name)),
        }
    }
}

impl Excess {
    fn new(pattern: &str, text: &str) -> Excess {
        Excess { pattern: pattern.to_owned(), text: text.to_owned() }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excess { pattern, text } = self;
        write!(formatter, "the regex {pattern} goes back more than {STEPS_MAX} times to say whether {text} fits")
    }
}

impl std::error::Error for Excess {}

impl From<Excess> for ConnectError {
    fn from(excess: Excess) -> ConnectError {
        ConnectError::new(excess.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of its own that the engine has for what Java has others for.
    const OWN_WORDS: &[&str] = &[
        "Unclosed character class",
        "Illegal character range",
        "Named capturing group <n> is already defined",
        "named capturing group",
        "Unknown character property",
        "Illegal Unicode escape",
        "is not followed by '<'",
        // Of a pattern whose quotes it has taken away.
        "near index 0\n\\Q\\E*",
    ];

    /// Java's, which no engine here has.
    const REFUSED: &[&str] = &["(?<=a)?b|.*", "\\N{LATIN SMALL LETTER A}", "\\X+", "(a)\\2", "\\p{javaLowerCase}+"];

    #[test]
    fn patterns_and_replacements_are_those_of_java() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/java-regexes.json")).unwrap();
        let texts: Vec<&str> = vectors["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let (mut wrong, mut refused) = (String::new(), Vec::new());
        for vector in vectors["patterns"].as_array().unwrap() {
            let text = vector["pattern"].as_str().unwrap();
            let pattern = match (Pattern::new(text), vector["error"].as_str()) {
                (Ok(pattern), None) => pattern,
                (Err(ours), Some(theirs)) => {
                    if ours != theirs && !OWN_WORDS.iter().any(|words| theirs.contains(words)) {
                        wrong += &format!("{text}: {ours:?} instead of {theirs:?}\n");
                    }
                    continue;
                }
                (Err(_), None) if REFUSED.contains(&text) => {
                    refused.push(text);
                    continue;
                }
                (ours, theirs) => {
                    wrong += &format!("{text}: {:?} instead of {theirs:?}\n", ours.map(|_| ()));
                    continue;
                }
            };
            let replacement = Replacement::new(text, vector["replacement"].as_str().unwrap()).unwrap();
            for given in &texts {
                let theirs = vector["fits"].get(given).map(|result| match result["error"].as_str() {
                    Some(error) => Err(error.to_owned()),
                    None => Ok(result.as_str().unwrap().to_owned()),
                });
                let ours = replacement.of(given).map_err(|error| error.message).transpose();
                if ours != theirs || pattern.fits(given) != Ok(theirs.is_some()) {
                    wrong += &format!("{text} of {given}: {ours:?} instead of {theirs:?}\n");
                }
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
        assert_eq!(refused.len(), REFUSED.len(), "{refused:?}");
    }

    #[test]
    fn only_what_is_no_regular_language_goes_back() {
        for plain in ["orders.*", "(?<a>x|y)-(.*)", "\\Qa.b\\E+", "[a-z&&[^b]]{2,3}?", "(?i)a"] {
            assert!(matches!(Pattern::new(plain).unwrap().whole, Engine::Plain(_)), "{plain}");
        }
        for fancy in ["(?!a).*", "a(?=b)b", "(?<!a)b", "(?<=a)b", "(a)\\1", "(?<n>a)\\k<n>", "(?>a)", "a*+", "a{2}+"] {
            assert!(matches!(Pattern::new(fancy).unwrap().whole, Engine::Backtracking(_)), "{fancy}");
        }
    }

    #[test]
    fn a_pattern_that_goes_back_for_ever_is_an_error_soon() {
        let (pattern, text) = ("(?:(a)\\1?)+b", "a".repeat(249));
        let excess = Pattern::new(pattern).unwrap().fits(&text).unwrap_err();
        assert_eq!(
            excess.to_string(),
            format!("the regex {pattern} goes back more than 100000 times to say whether {text} fits")
        );
        assert!(Replacement::new(pattern, "x").unwrap().of(&text).is_err());
        // A long name and two repetitions within each other: far from the bound.
        let usual = Pattern::new("(?!.*-dlq$)(.*)-(.*)-(?<!x)v[0-9]+").unwrap();
        assert_eq!(usual.fits(&"a-".repeat(124)), Ok(false));
    }
}
