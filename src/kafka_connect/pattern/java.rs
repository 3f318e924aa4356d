//! From Java's language of regexes to that of the engines.
//!
//! They agree in almost all. What only one of them knows, or what means something else (`\Q…\E`, `\h`, `(?U)`, `--` in
//! brackets, a `+` behind a repetition), is written here as both understand it. What Java would not take is refused in its words.

/// A pattern in the engines' language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    pub text: String,
    /// No regular language: to say whether a text fits, something must be tried and given up again.
    pub goes_back: bool,
}

impl Translated {
    /// The same for whole texts.
    pub fn whole(&self) -> Translated {
        Translated { text: format!("\\A(?:{})\\z", self.text), goes_back: self.goes_back }
    }
}

/// # Errors
/// What is wrong, in Java's words and with its place in the pattern, which stands below.
pub fn translate(pattern: &str) -> Result<Translated, String> {
    let given: Vec<char> = pattern.chars().collect();
    let mut it =
        Translator { given: &given, at: 0, out: String::new(), goes_back: false, groups: Vec::new(), count: 0 };
    let mut state = Open { start: 0, spaced: false };
    let end = it.sequence(&mut state);
    match end {
        Err((why, place)) => Err(error(&given, why, place)),
        Ok(()) => Ok(Translated { text: it.out, goes_back: it.goes_back }),
    }
}

/// As Java prints it: the pattern, and a mark below the place if there is something.
fn error(given: &[char], why: String, place: Option<usize>) -> String {
    let pattern: String = given.iter().collect();
    let Some(place) = place else { return format!("{why}\n{pattern}") };
    // Java counts in UTF-16.
    let index: usize =
        given.iter().take(place).map(|c| c.len_utf16()).sum::<usize>() + place.saturating_sub(given.len());
    let mark = if place < given.len() { format!("\n{}^", " ".repeat(index)) } else { String::new() };
    format!("{why} near index {index}\n{pattern}{mark}")
}

/// Why not, and the place.
type Wrong = (String, Option<usize>);

fn wrong<T>(why: impl Into<String>, place: usize) -> Result<T, Wrong> {
    Err((why.into(), Some(place)))
}

struct Translator<'p> {
    given: &'p [char],
    at: usize,
    out: String,
    goes_back: bool,
    /// What is open, the outermost first.
    groups: Vec<Open>,
    /// Groups that capture, so far.
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    /// Where it begins in what is written.
    start: usize,
    /// `(?x)`: spaces and comments mean nothing.
    spaced: bool,
}

impl Translator<'_> {
    fn peek(&self) -> Option<char> {
        self.given.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn next_is(&mut self, wanted: &str) -> bool {
        let behind = &self.given[self.at..];
        let is = wanted.chars().count() <= behind.len() && wanted.chars().zip(behind).all(|(a, b)| a == *b);
        if is {
            self.at += wanted.chars().count();
        }
        is
    }

    /// All there is, one thing that may be repeated after the other.
    fn sequence(&mut self, open: &mut Open) -> Result<(), Wrong> {
        // Where the last such thing begins.
        let mut atom: Option<usize> = None;
        while let Some(next) = self.next() {
            let (place, start) = (self.at - 1, self.out.len());
            match next {
                ' ' | '\t'..='\r' if open.spaced => continue,
                '#' if open.spaced => {
                    while self.next().is_some_and(|c| c != '\n') {}
                    continue;
                }
                '\\' if self.next_is("Q") => {
                    atom = self.quoted().or(atom);
                    continue;
                }
                '\\' => self.escape(false)?,
                '[' => self.class(open.spaced)?,
                '(' => {
                    self.group(open, start)?;
                    atom = None;
                    continue;
                }
                ')' => {
                    let Some(group) = self.groups.pop() else {
                        return Err(("Unmatched closing ')'".into(), place.checked_sub(1)));
                    };
                    self.out.push(')');
                    open.spaced = group.spaced;
                    atom = Some(group.start);
                    continue;
                }
                '|' => {
                    self.out.push('|');
                    atom = None;
                    continue;
                }
                '*' | '+' | '?' => {
                    let Some(start) = atom.take() else {
                        return wrong(format!("Dangling meta character '{next}'"), place);
                    };
                    self.out.push(next);
                    self.manner(start);
                    continue;
                }
                '{' => {
                    let Some(start) = atom else { return wrong("Illegal repetition", place + 1) };
                    self.times(start)?;
                    // Another number of times may follow, nothing else.
                    atom = (self.peek() == Some('{')).then_some(start);
                    continue;
                }
                ']' | '}' => self.out.extend(['\\', next]),
                other => self.out.push(other),
            }
            atom = Some(start);
        }
        if self.groups.is_empty() { Ok(()) } else { wrong("Unclosed group", self.given.len()) }
    }

    /// How a repetition goes about it: as much as it can, as little (`?`), or as much without giving back (`+`).
    fn manner(&mut self, start: usize) {
        if self.next_is("?") {
            self.out.push('?');
        } else if self.next_is("+") {
            self.goes_back = true;
            self.out.insert_str(start, "(?>");
            self.out.push(')');
        }
    }

    /// `{2}`, `{2,}`, `{2,3}`
    fn times(&mut self, start: usize) -> Result<(), Wrong> {
        let open = self.at;
        let number = |it: &mut Self| {
            let from = it.at;
            while it.peek().is_some_and(|c| c.is_ascii_digit()) {
                it.at += 1;
            }
            it.given[from..it.at].iter().collect::<String>()
        };
        let least = number(self);
        if least.is_empty() {
            return wrong("Illegal repetition", open);
        }
        let most = self.next_is(",").then(|| number(self));
        let place = self.at;
        if !self.next_is("}") {
            return wrong("Unclosed counted closure", place);
        }
        if most.as_ref().is_some_and(|most| !most.is_empty() && most.parse::<u64>().ok() < least.parse().ok()) {
            return wrong("Illegal repetition range", place);
        }
        // One group each, so that `a{2}{3}` is what it says.
        self.out.insert_str(start, "(?:");
        self.out += &match most {
            Some(most) => format!("{{{least},{most}}}"),
            None => format!("{{{least}}}"),
        };
        self.manner(start + "(?:".len());
        self.out.push(')');
        Ok(())
    }

    /// What stands between `\Q` and `\E`; where its last character is, if it has one.
    fn quoted(&mut self) -> Option<usize> {
        let mut last = None;
        while self.at < self.given.len() && !self.next_is("\\E") {
            last = Some(self.out.len());
            let literal = self.given[self.at];
            self.at += 1;
            self.literal(literal);
        }
        last
    }

    fn literal(&mut self, literal: char) {
        // `<` and `>` behind a backslash are the ends of words.
        if literal.is_ascii_punctuation() && !"<>".contains(literal) {
            self.out.push('\\');
        }
        self.out.push(literal);
    }

    /// What opens here, or the flags that are set.
    fn group(&mut self, open: &mut Open, start: usize) -> Result<(), Wrong> {
        let outer = Open { start, ..*open };
        if !self.next_is("?") {
            self.out.push('(');
            self.groups.push(outer);
            self.count += 1;
            return Ok(());
        }
        for around in ["=", "!", "<=", "<!", ">"] {
            if self.next_is(around) {
                self.goes_back = true;
                self.out += "(?";
                self.out += around;
                self.groups.push(outer);
                return Ok(());
            }
        }
        if self.next_is("<") {
            let mut name = String::new();
            while let Some(character) = self.peek().filter(char::is_ascii_alphanumeric) {
                name.push(character);
                self.at += 1;
            }
            if !self.next_is(">") {
                return wrong("named capturing group is missing trailing '>'", self.at);
            }
            self.out += &format!("(?<{name}>");
            self.groups.push(outer);
            self.count += 1;
            return Ok(());
        }
        self.flags(open, outer)
    }

    /// `(?i)`, `(?i-x:`: those of Unicode and of ends of lines make no difference here; what `x` says is done here.
    fn flags(&mut self, open: &mut Open, outer: Open) -> Result<(), Wrong> {
        let (mut on, mut kept) = (true, [String::new(), String::new()]);
        let mut spaced = open.spaced;
        loop {
            let place = self.at;
            match self.next() {
                Some('-') if on => on = false,
                Some('x') => spaced = on,
                Some('d' | 'u' | 'U') => {}
                Some(flag @ ('i' | 'm' | 's')) => kept[usize::from(!on)].push(flag),
                Some(end @ (')' | ':')) => {
                    // What is both set and taken back is taken back.
                    let [set, unset] = &kept;
                    let set: String = set.chars().filter(|flag| !unset.contains(*flag)).collect();
                    let minus = if unset.is_empty() { "" } else { "-" };
                    let flags = format!("{set}{minus}{unset}");
                    open.spaced = spaced;
                    if end == ':' {
                        self.out += &format!("(?{flags}:");
                        self.groups.push(outer);
                    } else if !flags.is_empty() {
                        self.out += &format!("(?{flags})");
                    }
                    return Ok(());
                }
                _ => return wrong("Unknown inline modifier", place),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Result<(), Wrong> {
        const BLANK: &str = r" \t\x{a0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}";
        const LINES: &str = r"\n-\r\x{85}\x{2028}\x{2029}";
        let place = self.at;
        let Some(next) = self.next() else { return wrong("Unexpected internal error", place) };
        match next {
            'h' => self.out += &format!("[{BLANK}]"),
            'H' => self.out += &format!("[^{BLANK}]"),
            'v' => self.out += &format!("[{LINES}]"),
            'V' => self.out += &format!("[^{LINES}]"),
            'R' if !in_class => self.out += &format!(r"(?:\r\n|[{LINES}])"),
            'Z' if !in_class => {
                self.goes_back = true;
                self.out += r"(?=\n?\z)";
            }
            // Nothing was found before.
            'G' if !in_class => self.out += r"\A",
            'A' | 'z' | 'b' | 'B' if !in_class => self.out.extend(['\\', next]),
            'e' => self.out += r"\x1B",
            'a' | 'f' | 'n' | 'r' | 't' | 'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'x' | 'u' => {
                self.out.extend(['\\', next])
            }
            'p' | 'P' => self.property(next),
            'c' => match self.next() {
                Some(control) if control.is_ascii() => self.out += &format!("\\x{:02X}", control as u8 ^ 64),
                _ => return wrong("Illegal control escape sequence", self.at),
            },
            '0' => self.octal()?,
            'k' if !in_class => {
                self.goes_back = true;
                self.out += r"\k";
            }
            '1'..='9' if !in_class => self.back_reference(next),
            letter if letter.is_ascii_alphanumeric() => return wrong("Illegal/unsupported escape sequence", place),
            literal => self.literal(literal),
        }
        Ok(())
    }

    /// More digits belong to it as long as there are so many groups.
    fn back_reference(&mut self, digit: char) {
        let mut number = digit.to_digit(10).unwrap_or(0) as usize;
        while let Some(digit) = self.peek().and_then(|next| next.to_digit(10)) {
            let longer = number * 10 + digit as usize;
            if longer > self.count {
                break;
            }
            number = longer;
            self.at += 1;
        }
        self.goes_back = true;
        self.out += &format!("(?:\\{number})");
    }

    /// `\0n`, `\0nn`, `\0mnn` up to 255.
    fn octal(&mut self) -> Result<(), Wrong> {
        let mut number = None;
        for _ in 0..3 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
            let longer = number.unwrap_or(0) * 8 + digit;
            if longer > 0o377 {
                break;
            }
            number = Some(longer);
            self.at += 1;
        }
        let Some(number) = number else { return wrong("Illegal octal escape sequence", self.at) };
        self.out += &format!("\\x{{{number:x}}}");
        Ok(())
    }

    /// `\p{…}`: the names of POSIX are for ASCII.
    fn property(&mut self, p: char) {
        const POSIX: [&str; 13] = [
            "Lower", "Upper", "ASCII", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print", "Blank", "Cntrl",
            "XDigit", "Space",
        ];
        let known = POSIX.iter().find(|name| self.next_is(&format!("{{{name}}}")));
        match known {
            Some(name) if p == 'p' => self.out += &format!("[[:{}:]]", name.to_ascii_lowercase()),
            Some(name) => self.out += &format!("[[:^{}:]]", name.to_ascii_lowercase()),
            None => {
                self.out.extend(['\\', p]);
                if self.next_is("{") {
                    self.out.push('{');
                    while let Some(character) = self.next() {
                        self.out.push(character);
                        if character == '}' {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// `[…]`, with others in it.
    fn class(&mut self, spaced: bool) -> Result<(), Wrong> {
        self.out.push('[');
        if self.next_is("^") {
            self.out.push('^');
        }
        // Whether a range may begin with what was last; whether one is being written.
        let (mut single, mut in_range, mut is_first) = (false, false, true);
        loop {
            let Some(next) = self.next() else { return wrong("Unclosed character class", self.given.len() - 1) };
            if spaced && next.is_ascii_whitespace() {
                continue;
            }
            let was_first = std::mem::replace(&mut is_first, false);
            match next {
                ']' if !was_first => break,
                '[' => {
                    self.class(spaced)?;
                    (single, in_range) = (false, false);
                }
                '&' if self.next_is("&") => {
                    // What nothing follows changes nothing.
                    if self.peek() != Some(']') {
                        self.out += "&&";
                    }
                    (single, in_range) = (false, false);
                }
                '\\' if self.next_is("Q") => {
                    self.quoted();
                    (single, in_range) = (true, false);
                }
                '\\' => {
                    let is_set = self.peek().is_some_and(|c| "dDwWsShHvVpP".contains(c));
                    self.escape(true)?;
                    (single, in_range) = (!is_set && !in_range, false);
                }
                '-' if single && self.peek().is_some_and(|c| c != ']' && c != '[') => {
                    self.out.push('-');
                    (single, in_range) = (false, true);
                }
                literal => {
                    self.literal(literal);
                    (single, in_range) = (!in_range, false);
                }
            }
        }
        self.out.push(']');
        Ok(())
    }
}
