//! JSON as Connect reads and writes it: numbers keep their digits, of a key that comes twice the last one counts,
//! and whatever stands behind the first value is ignored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::value::{java_double, java_float};

/// Values within one another.
const DEPTH_MAX: usize = 512;

/// A JSON value; numbers by their text.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Boolean(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The first value of a text; `None` if there is none.
    ///
    /// # Errors
    /// What is wrong, and at which byte.
    pub fn parse(text: &[u8]) -> Result<Option<Json>, String> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        parser.skip_space();
        if parser.at == text.len() {
            return Ok(None);
        }
        parser.value().map(Some)
    }

    /// The one value of a text.
    ///
    /// # Errors
    /// What is wrong, and at which byte; also what stands behind the value.
    pub fn parse_whole(text: &[u8]) -> Result<Json, String> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let value = parser.value()?;
        match parser.peek() {
            None => Ok(value),
            Some(_) => parser.wrong("something stands behind the value"),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(entries) => entries.iter().find(|(known, _)| known == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// What messages call it.
    pub fn word(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Boolean(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a text",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        }
    }

    /// A double; what is not finite is a text.
    pub fn double(number: f64) -> Json {
        if number.is_finite() { Json::Number(java_double(number)) } else { Json::String(java_double(number)) }
    }

    /// A float by its shortest digits.
    pub fn float(number: f32) -> Json {
        if number.is_finite() { Json::Number(java_float(number)) } else { Json::String(java_float(number)) }
    }

    pub fn text(text: impl Into<String>) -> Json {
        Json::String(text.into())
    }

    /// Appends the value without any space.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Boolean(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Json::Number(text) => out.extend_from_slice(text.as_bytes()),
            Json::String(text) => write_text(text, out),
            Json::Array(items) => {
                write_all(items, (b'[', b']'), out, |item, out| item.write(out));
            }
            Json::Object(entries) => write_all(entries, (b'{', b'}'), out, |(key, value), out| {
                write_text(key, out);
                out.push(b':');
                value.write(out);
            }),
        }
    }
}

fn write_all<T>(items: &[T], ends: (u8, u8), out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(ends.0);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(ends.1);
}

/// Appends bytes as a text of base64.
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.push(b'"');
}

/// Appends a text between quotes.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            ..0x20 => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn wrong<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what} at byte {}", self.at))
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.get(self.at).copied()
    }

    fn value(&mut self) -> Result<Json, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong("too many values within one another");
        }
        let value = match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Boolean(true)),
            Some(b'f') => self.word("false", Json::Boolean(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => self.wrong("expected a value"),
            None => self.wrong("the text ends within a value"),
        };
        self.depth -= 1;
        value
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        let rest = &self.text[self.at..];
        let ends = rest.get(word.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        if !rest.starts_with(word.as_bytes()) || !ends {
            return self.wrong("expected a value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        while matches!(self.text.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let number = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        // Java and Rust read more than JSON has: `1.`, `.5`, `01`.
        let whole = number.trim_start_matches('-');
        let leading = whole.len() > 1 && whole.starts_with('0') && whole.as_bytes()[1].is_ascii_digit();
        let open = whole.split(['e', 'E']).next().is_none_or(|digits| digits.starts_with('.') || digits.ends_with('.'));
        if leading || open || number.starts_with("--") || number.parse::<f64>().is_err() {
            self.at = start;
            return self.wrong("a number is not one");
        }
        Ok(Json::Number(number.to_owned()))
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return self.wrong("the text ends within a string"),
            }
        }
        self.at += 1;
        serde_json::from_slice(&self.text[start..self.at]).or_else(|_| self.wrong("a string has a wrong escape"))
    }

    fn array(&mut self) -> Result<Json, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.wrong("expected `,` or `]`"),
            }
        }
        self.at += 1;
        Ok(Json::Array(items))
    }

    fn object(&mut self) -> Result<Json, String> {
        self.at += 1;
        let mut entries: Vec<(String, Json)> = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(entries));
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.wrong("expected a key");
            }
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return self.wrong("expected `:`");
            }
            self.at += 1;
            let value = self.value()?;
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key, value)),
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.wrong("expected `,` or `}`"),
            }
        }
        self.at += 1;
        Ok(Json::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> Result<String, String> {
        let mut out = Vec::new();
        Json::parse(text.as_bytes())?.ok_or("nothing")?.write(&mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            r#"{"a":[1,2.50,-3e7,"x\n\u0001\"\\ü"],"b":{},"c":[],"d":true,"e":null}"#,
            "123456789012345678901234567890",
            "\"\\b\\f\\t\\r\"",
        ] {
            assert_eq!(again(text).unwrap(), text);
        }
        assert_eq!(again(r#" {"a":1, "a" : 2} trailing"#).unwrap(), r#"{"a":2}"#);
        assert_eq!(again(r#""\u00e9\ud83d\ude00""#).unwrap(), "\"é😀\"");
        assert_eq!(Json::parse(b"  "), Ok(None));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["{", "[1,]", "{\"a\"}", "nul", "NaN", "01", "1.", "-", "\"a", "{a:1}", "tru", "--1", "\"\\x\""] {
            assert!(again(text).is_err(), "{text}");
        }
        assert_eq!(Json::parse_whole(b" {} ").unwrap(), Json::Object(Vec::new()));
        assert!(Json::parse_whole(b"{} {}").unwrap_err().contains("behind the value at byte 3"));
        assert!(Json::parse_whole(b" ").unwrap_err().contains("ends"));
        assert!(again(&"[".repeat(100_000)).unwrap_err().contains("within one another"));
    }
}
