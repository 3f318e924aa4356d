//! JSON's grammar over one value's bytes, without building anything.

/// Deeper values are refused, so that nothing can exhaust the stack.
const DEPTH_MAX: usize = 128;

/// Reads tokens from left to right.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// The text breaks the grammar here; says what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) expected: &'static str,
}

/// A string as it stands between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a> {
    raw: &'a str,
    has_escapes: bool,
}

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Object,
    List,
    String,
    Number,
    True,
    False,
    Null,
}

impl Token {
    pub(super) fn word(self) -> &'static str {
        match self {
            Token::Object => "an object",
            Token::List => "a list",
            Token::String => "a string",
            Token::Number => "a number",
            Token::True => "true",
            Token::False => "false",
            Token::Null => "null",
        }
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes a byte behind white space, if it is that one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Broken> {
        if self.take(byte) { Ok(()) } else { Err(Broken { expected }) }
    }

    /// What the next value is; nothing but white space is taken.
    pub(super) fn token(&mut self) -> Result<Token, Broken> {
        self.skip_space();
        Ok(match self.peek() {
            Some(b'{') => Token::Object,
            Some(b'[') => Token::List,
            Some(b'"') => Token::String,
            Some(b'-' | b'0'..=b'9') => Token::Number,
            Some(b't') => Token::True,
            Some(b'f') => Token::False,
            Some(b'n') => Token::Null,
            _ => return Err(Broken { expected: "a value" }),
        })
    }

    /// Takes a text behind white space, if it is that one.
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        self.skip_space();
        let found = self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Takes `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Broken> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Broken { expected: word });
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn string(&mut self) -> Result<Quoted<'a>, Broken> {
        self.expect(b'"', "a string")?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let stop = bytes[self.at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            self.at = stop.map_or(bytes.len(), |stop| self.at + stop);
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(Broken { expected: "a string without control characters" }),
                None => return Err(Broken { expected: "the end of a string" }),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Quoted { raw, has_escapes })
    }

    fn escape(&mut self) -> Result<(), Broken> {
        let bytes = &self.text.as_bytes()[self.at + 1..];
        self.at += match bytes.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let first = hex(&bytes[1..])?;
                match first {
                    0xd800..0xdc00
                        if bytes.get(5..7) == Some(b"\\u") && matches!(hex(&bytes[7..])?, 0xdc00..0xe000) =>
                    {
                        12
                    }
                    0xd800..0xe000 => return Err(Broken { expected: "a pair of surrogates" }),
                    _ => 6,
                }
            }
            _ => return Err(Broken { expected: "an escape" }),
        };
        Ok(())
    }

    pub(super) fn number(&mut self) -> Result<&'a str, Broken> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Broken> {
        let count = self.text.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(Broken { expected: "a digit" }) } else { Ok(()) }
    }

    /// Reads over one whole value, and gives its text.
    pub(super) fn skip(&mut self) -> Result<&'a str, Broken> {
        self.skip_space();
        let start = self.at;
        self.skip_nested(0)?;
        Ok(&self.text[start..self.at])
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), Broken> {
        if depth > DEPTH_MAX {
            return Err(Broken { expected: "at most 128 levels" });
        }
        match self.token()? {
            Token::String => self.string().map(drop),
            Token::Number => self.number().map(drop),
            Token::True => self.word("true"),
            Token::False => self.word("false"),
            Token::Null => self.word("null"),
            Token::Object => self.object(|scanner, _| scanner.skip_nested(depth + 1)),
            Token::List => self.list(|scanner| scanner.skip_nested(depth + 1)),
        }
    }

    /// Runs `member` at the value of every key.
    pub(super) fn object<E: From<Broken>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Quoted<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.expect(b':', "`:`")?;
            member(self, key)?;
            if !self.take(b',') {
                return Ok(self.expect(b'}', "`,` or `}`")?);
            }
        }
    }

    /// Runs `item` at every item.
    pub(super) fn list<E: From<Broken>>(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.expect(b'[', "a list")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.take(b',') {
                return Ok(self.expect(b']', "`,` or `]`")?);
            }
        }
    }
}

fn hex(bytes: &[u8]) -> Result<u32, Broken> {
    let digits = bytes.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let digits = digits.ok_or(Broken { expected: "four hexadecimal digits" })?;
    Ok(digits.iter().fold(0, |value, byte| value * 16 + char::from(*byte).to_digit(16).unwrap_or(0)))
}

impl<'a> Quoted<'a> {
    /// The string itself; `scratch` is used if it has escapes.
    pub(super) fn text<'b>(&self, scratch: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        if !self.has_escapes {
            return self.raw;
        }
        scratch.clear();
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            scratch.push_str(&rest[..at]);
            let (character, length) = unescaped(&rest.as_bytes()[at + 1..]);
            scratch.push(character);
            rest = &rest[at + 1 + length..];
        }
        scratch.push_str(rest);
        scratch
    }
}

/// The character of an escape that was scanned already, and how many bytes it has behind its `\`.
fn unescaped(bytes: &[u8]) -> (char, usize) {
    let unit = |at: usize| hex(&bytes[at..]).expect("the scanner has seen four digits");
    match bytes[0] {
        b'b' => ('\u{8}', 1),
        b'f' => ('\u{c}', 1),
        b'n' => ('\n', 1),
        b'r' => ('\r', 1),
        b't' => ('\t', 1),
        b'u' => match unit(1) {
            high @ 0xd800..0xdc00 => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (unit(7) - 0xdc00);
                (char::from_u32(code).expect("a pair of surrogates is a character"), 11)
            }
            code => (char::from_u32(code).expect("the scanner has refused lone surrogates"), 5),
        },
        other => (char::from(other), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        let ok = scanner.skip().is_ok();
        scanner.skip_space();
        ok && scanner.at() == text.len()
    }

    #[test]
    fn the_grammar_is_that_of_serde_json() {
        let texts = [
            "0",
            "-0",
            "01",
            "1.",
            "1.5e+3",
            "1e",
            "+1",
            ".5",
            "-",
            "true",
            "tru",
            "null",
            "nul",
            "\"a\"",
            "\"a",
            "\"\\x\"",
            "\"\\u00e9\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\t\"",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{}",
            "{\"a\":1}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1,}",
            " [ 1 , { \"b\" : [ ] } ] ",
            "",
            " ",
            "1 2",
            "NaN",
        ];
        for text in texts {
            assert_eq!(whole(text), serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn escapes_become_characters() {
        let mut scratch = String::new();
        let text = Scanner::new(r#""a\n\u00e9\ud83d\ude00\/b""#).string().unwrap().text(&mut scratch).to_owned();
        assert_eq!(text, "a\né😀/b");
    }

    #[test]
    fn depth_is_bounded() {
        assert!(!whole(&"[".repeat(100_000)));
    }
}
