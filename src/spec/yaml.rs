//! The one door to the YAML parser: events with places become [`Node`] trees.
//!
//! YAML 1.2, core schema. Tags, duplicate keys, merge keys and unbounded aliases are errors, so the
//! rest of the program never meets them. Every scalar, key and collection knows its place in the
//! file, also behind an alias (where the anchor is). Texts for syntax errors are in `traps`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::template::{Filler, Template, Values, private_use, statement};
use super::{Entry, Node, Value, traps};
use crate::report::{Diagnostic, Diagnostics, Place, SourceFile};

/// Values in one file, those behind aliases counted each time: what an alias bomb runs into.
const NODES_MAX: usize = 200_000;
/// Collections within collections.
const DEPTH_MAX: usize = 100;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Parsed {
    pub documents: Vec<Node>,
    /// Scalars that were complained about: what else is wrong with them follows from that.
    pub failed: Vec<Place>,
}

/// Reads all documents of a file; one with a syntax error ends there.
pub fn parse(file: &Arc<SourceFile>, values: &Values, out: &mut Diagnostics) -> Parsed {
    if let Some(at) = file.text.find(['\u{E000}', '\u{E001}']) {
        let place = Place::new(file, at..at + 3);
        out.push(private_use(&place));
        return Parsed::default();
    }
    let template = Template::new(file);
    let mut builder = Builder::new(file, &template, values);
    for event in Parser::new_from_str(template.text()) {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => {
                if let Err(stop) = builder.take(event, span, out) {
                    out.push(*stop);
                    break;
                }
            }
            Err(error) => {
                let at = builder.byte(error.marker().index());
                let statement_place = template.statement(0..file.text.len()).filter(|place| !in_comment(place));
                out.push(match statement_place {
                    Some(place) => statement(&place),
                    None => traps::syntax_error(file, at, error.info()),
                });
                // `kind:Topic` ends as a text; the next line is what the parser stumbles over.
                builder.parsed.documents.pop_if(|last| last.as_str().is_some());
                break;
            }
        }
    }
    builder.parsed
}

/// True for a place behind a `#` on its line.
fn in_comment(place: &Place) -> bool {
    let before = &place.file.text[..place.span.start];
    before.rsplit('\n').next().is_some_and(|line| line.contains('#'))
}

/// An error ends the file.
type Taken = Result<(), Box<Diagnostic>>;

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    template: &'a Template,
    filler: Filler<'a>,
    /// Byte of each character of the file, and its length.
    bytes: Vec<usize>,
    open: Vec<Frame>,
    /// Finished nodes by anchor, with their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    parsed: Parsed,
}

/// A collection that is not finished.
struct Frame {
    start: usize,
    anchor: usize,
    nodes_before: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

impl<'a> Builder<'a> {
    fn new(file: &'a Arc<SourceFile>, template: &'a Template, values: &'a Values) -> Self {
        let bytes = file.text.char_indices().map(|(at, _)| at).chain([file.text.len()]).collect();
        Builder {
            file,
            template,
            filler: Filler::new(values),
            bytes,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            parsed: Parsed::default(),
        }
    }

    /// The byte of the nth character.
    fn byte(&self, index: usize) -> usize {
        self.bytes.get(index).copied().unwrap_or(self.file.text.len())
    }

    fn span(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place::new(self.file, span)
    }

    /// Takes one event; an error ends the file.
    fn take(&mut self, event: Event<'_>, span: Span, out: &mut Diagnostics) -> Taken {
        let span = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.is_some(), span, out),
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span, out);
                self.open(anchor, span, FrameKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span, out);
                self.open(anchor, span, FrameKind::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span, out),
            Event::Alias(anchor) => self.alias(anchor, span, out),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn refuse_tag(&self, tagged: bool, span: &Range<usize>, out: &mut Diagnostics) {
        if tagged {
            out.push(traps::tag(self.file, span));
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tagged: bool,
        span: Range<usize>,
        out: &mut Diagnostics,
    ) -> Taken {
        let plain = style == ScalarStyle::Plain;
        let span = if text.is_empty() && plain { self.nothing(span) } else { trim(&self.file.text, span) };
        let place = self.place(span.clone());
        let is_key = self.expects_key();
        if let Some(place) = self.template.statement(span.clone()) {
            return Err(statement(&place).into());
        }
        let errors_before = out.0.len();
        self.refuse_tag(tagged, &span, out);
        traps::unclosed_tag(text, &place, out);
        let value = match (Template::has_tag(text), is_key) {
            (true, true) => {
                out.push(Diagnostic::error("template.key", "a tag puts in a value, it cannot be a key").at(&place));
                Value::String(place.text().to_owned())
            }
            (true, false) => {
                if plain {
                    out.push(traps::unquoted_tag(&place));
                }
                self.template.fill(text, &span, &self.filler, out)
            }
            (false, false) if plain => resolve(text, &place, out),
            (false, _) => Value::String(text.to_owned()),
        };
        if out.0.len() > errors_before {
            self.parsed.failed.push(place.clone());
        }
        self.finish(Node { place, value }, anchor, (1, 1), out)
    }

    /// Where a value that is not there is shown: at its key.
    fn nothing(&self, span: Range<usize>) -> Range<usize> {
        match self.open.last().map(|frame| &frame.kind) {
            Some(FrameKind::Map { key: Some((_, place)), .. }) => place.span.clone(),
            _ => span,
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last().map(|frame| &frame.kind), Some(FrameKind::Map { key: None, .. }))
    }

    fn open(&mut self, anchor: usize, span: Range<usize>, kind: FrameKind) -> Taken {
        if self.expects_key() {
            let diagnostic = Diagnostic::error("yaml.key", "a list or a map cannot be a key").at(&self.place(span));
            let hint = "a value that begins with `{` or `[` must be quoted, unless it is a map or a list";
            return Err(diagnostic.hint(hint).into());
        }
        if self.open.len() >= DEPTH_MAX {
            let title = format!("more than {DEPTH_MAX} levels");
            return Err(Diagnostic::error("yaml.too_deep", title).at(&self.place(span)).into());
        }
        self.open.push(Frame { start: span.start, anchor, nodes_before: self.nodes, kind });
        Ok(())
    }

    fn close(&mut self, span: Range<usize>, out: &mut Diagnostics) -> Taken {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        let (value, last) = match frame.kind {
            FrameKind::List(items) => {
                let last = items.last().map(|node| node.place.span.end);
                (Value::List(items), last)
            }
            FrameKind::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.place.span.end.max(entry.key_place.span.end));
                (Value::Map(entries), last)
            }
        };
        // A block collection's end event stands at the next thing, lines below; that of one in brackets begins
        // at its bracket, and may reach over a comment behind it.
        let text = &self.file.text;
        let end = match text[frame.start..].starts_with(['{', '[']) {
            true if text[span.start..].starts_with([']', '}']) => span.start + 1,
            true => span.end,
            false => last.unwrap_or(frame.start),
        };
        let place = self.place(frame.start..end.max(frame.start));
        let size = self.nodes - frame.nodes_before + 1;
        self.finish(Node { place, value }, frame.anchor, (1, size), out)
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>, out: &mut Diagnostics) -> Taken {
        let place = self.place(span);
        if self.expects_key() {
            return Err(Diagnostic::error("yaml.key", "an alias cannot be a key").at(&place).into());
        }
        let Some((node, size)) = self.anchors.get(&anchor) else {
            let title = "this alias stands within its own anchor";
            return Err(Diagnostic::error("yaml.recursive_alias", title).at(&place).into());
        };
        let (node, size) = (node.clone(), *size);
        self.finish(node, 0, (size, size), out)
    }

    /// Puts a finished node where it belongs. `count` is how many values it adds, `size` how many
    /// it and all in it are.
    fn finish(&mut self, node: Node, anchor: usize, (count, size): (usize, usize), out: &mut Diagnostics) -> Taken {
        self.nodes += count;
        if self.nodes > NODES_MAX {
            let diagnostic = Diagnostic::error("yaml.too_large", format!("more than {NODES_MAX} values"));
            return Err(diagnostic.at(&node.place).note("values behind an alias count each time").into());
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|frame| &mut frame.kind) {
            None => self.parsed.documents.push(node),
            Some(FrameKind::List(items)) => items.push(node),
            Some(FrameKind::Map { entries, key }) => match key.take() {
                None => *key = Some((node.as_str().unwrap_or_default().to_owned(), node.place)),
                Some((key, key_place)) => add_entry(entries, Entry { key, key_place, value: node }, out),
            },
        }
        Ok(())
    }
}

/// Adds an entry to a map, unless its key is there already or it is the rest of a value with a comma.
fn add_entry(entries: &mut Vec<Entry>, mut entry: Entry, out: &mut Diagnostics) {
    if let Some((key, value)) = traps::key_without_space(&entry) {
        out.push(traps::no_space(&entry.key_place, &key, &value));
        // As it was meant, so that no second error follows from this one.
        entry.value.value = resolve(&value, &entry.key_place, out);
        entry.key = key;
    }
    if let Some(last) = entries.last_mut().filter(|last| traps::continues(last, &entry)) {
        let whole = Place::new(&entry.key_place.file, last.value.place.span.start..entry.key_place.span.end);
        // A second comma of the same value: one error for all of it.
        let begins_here = |d: &Diagnostic| d.place.as_ref().is_some_and(|place| place.span.start == whole.span.start);
        if out.0.last().is_some_and(begins_here) {
            out.0.pop();
        }
        out.push(traps::unquoted_comma(&whole));
        last.value = Node { value: Value::String(whole.text().to_owned()), place: whole };
        return;
    }
    if entry.key == "<<" {
        let merge = Diagnostic::error("yaml.merge_key", "YAML 1.2 has no merge keys").at(&entry.key_place);
        out.push(merge.hint("write the keys, or use an alias for a whole value"));
        return;
    }
    if let Some(first) = entries.iter().find(|known| known.key == entry.key) {
        let twice = Diagnostic::error("yaml.duplicate_key", format!("`{}` stands here twice", entry.key));
        out.push(twice.at(&entry.key_place).note(format!("first at {}", first.key_place)));
        return;
    }
    entries.push(entry);
}

/// The span without white space at its end: a block scalar's or plain one's may reach to the next line.
fn trim(text: &str, span: Range<usize>) -> Range<usize> {
    let len = text[span.clone()].trim_end().len();
    span.start..span.start + len
}

/// The core schema of YAML 1.2 for plain scalars.
fn resolve(text: &str, place: &Place, out: &mut Diagnostics) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Value::Float(sign * f64::INFINITY);
    }
    match whole_number(text, digits) {
        Some(Ok(number)) => Value::Int(number),
        Some(Err(_)) => {
            let too_large = Diagnostic::error("yaml.number", "this number does not fit into 64 bits").at(place);
            out.push(too_large.hint(format!("if it is meant as text, put it in quotes: `\"{text}\"`")));
            Value::Null
        }
        None if is_float(digits) => Value::Float(text.parse().unwrap_or(f64::NAN)),
        None => Value::String(text.to_owned()),
    }
}

/// `12`, `-12`, `0o14`, `0xC`; `None` if the text is none of these.
fn whole_number(text: &str, digits: &str) -> Option<Result<i64, std::num::ParseIntError>> {
    let all = |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o").filter(|rest| all(rest, 8)) {
        return Some(i64::from_str_radix(octal, 8));
    }
    if let Some(hex) = text.strip_prefix("0x").filter(|rest| all(rest, 16)) {
        return Some(i64::from_str_radix(hex, 16));
    }
    all(digits, 10).then(|| text.parse())
}

/// `1.5`, `.5`, `1.`, `1e3`.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()) && !exponent.is_empty() && digits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Node>, Diagnostics) {
        let file = Arc::new(SourceFile { name: "a.yaml".into(), text: text.into() });
        let mut out = Diagnostics::default();
        let mut values = Values::default();
        values.set("n=6").unwrap();
        values.set("evil=x}\nwhere: {").unwrap();
        (parse(&file, &values, &mut out).documents, out)
    }

    fn codes(text: &str) -> Vec<&'static str> {
        read(text).1.0.iter().map(|d| d.code).collect()
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let (documents, out) =
            read("[1, -2, 0x1F, 0o17, 1.5, .5, 1e3, 1_000, 012, true, yes, null, ~, 1.2.3, e5, .inf]");
        assert_eq!(out.0, []);
        let json = documents[0].items().unwrap().iter().map(|node| format!("{:?}", node.value)).collect::<Vec<_>>();
        let expected = "Int(1) Int(-2) Int(31) Int(15) Float(1.5) Float(0.5) Float(1000.0) String(\"1_000\") Int(12) \
                        Bool(true) String(\"yes\") Null Null String(\"1.2.3\") String(\"e5\") Float(inf)";
        assert_eq!(json.join(" "), expected);
    }

    #[test]
    fn places_count_bytes_of_the_file_also_behind_umlauts_and_crlf() {
        let (documents, out) = read("größe: \"übung\"\r\nb:\r\n  - wörter\r\nc: {d: [e, f]}\r\n");
        assert_eq!(out.0, []);
        let map = &documents[0];
        assert_eq!(map.get("größe").unwrap().place.text(), "\"übung\"");
        assert_eq!(map.get("b").unwrap().place.text(), "- wörter");
        assert_eq!(map.get("c").unwrap().place.text(), "{d: [e, f]}");
        assert_eq!(map.get("c").unwrap().get("d").unwrap().items().unwrap()[1].place.to_string(), "a.yaml:4:12");
        assert_eq!(map.entries().unwrap()[1].key_place.text(), "b");
    }

    #[test]
    fn value_that_is_not_there_is_null_at_its_key() {
        let (documents, _) = read("a:\n\nb: 1\n");
        let a = documents[0].get("a").unwrap();
        assert_eq!((&a.value, a.place.text()), (&Value::Null, "a"));
    }

    #[test]
    fn tag_takes_a_type_and_never_changes_the_structure() {
        let (documents, out) =
            read("# {{ nothing.here }}\na: \"{{ values.n }}\"\nb: \"x-{{ values.evil }}-{{values.n}}\"\n");
        assert_eq!(out.0, []);
        assert_eq!(documents[0].entries().unwrap().len(), 2);
        assert_eq!(documents[0].get("b").unwrap().as_str(), Some("x-x}\nwhere: {-6"));
        assert_eq!(i64_of(documents[0].get("a").unwrap()), Some(6));
    }

    fn i64_of(node: &Node) -> Option<i64> {
        super::super::FromNode::from_node(node, &mut Diagnostics::default())
    }

    #[test]
    fn aliases_work_and_bombs_do_not() {
        let (documents, out) = read("a: &x {b: 1}\nc: *x\n");
        assert_eq!(out.0, []);
        assert_eq!(documents[0].get("a"), documents[0].get("c"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        }
        assert_eq!(codes(&bomb), ["yaml.too_large"]);
        assert_eq!(codes("a: &a [*a]"), ["yaml.recursive_alias"]);
        assert_eq!(codes("a: \"\\uE000 {{ values.n }}\""), ["yaml.character"]);
        assert_eq!(codes(&"[".repeat(200)), ["yaml.too_deep"]);
    }
}
