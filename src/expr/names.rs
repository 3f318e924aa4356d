//! From text to a syntax tree, with names as they are written.
//!
//! A bare word that is a column is the column, also where SQL has it as a keyword: such words are
//! quoted as tokens, before the parser sees them. Tokens keep their places in the user's text, so
//! every error has a span there. Whether names exist is looked at in `check`.

use std::any::TypeId;
use std::ops::Range;

use datafusion_sql::sqlparser::ast::{Expr as Ast, Spanned};
use datafusion_sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::error::ExprError;

/// These words are SQL even where a column has the name.
const RESERVED: &[&str] =
    &["AND", "OR", "NOT", "IS", "NULL", "IN", "LIKE", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "CAST", "AS"];

/// Planning recurses over the tree; a chain of more operators could end the stack.
const OPERATORS_MAX: usize = 100;

/// Parses one expression; `is_column` tells which bare words are columns.
///
/// # Errors
/// `expr.syntax`, for text that is not one whole expression.
pub(super) fn parse(text: &str, is_column: impl Fn(&str) -> bool) -> Result<Ast, ExprError> {
    if text.trim().is_empty() {
        return Err(syntax(0..text.len(), "the expression is empty"));
    }
    let mut tokens = tokenize(text)?;
    check_brackets(text, &tokens)?;
    check_length(text, &tokens)?;
    quote_columns(&mut tokens, is_column);
    let mut parser = Parser::new(&Sql).with_tokens_with_locations(tokens.clone());
    let ast = parser.parse_expr().map_err(|error| torn(text, &tokens, &error))?;
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok(ast),
        Token::Word(word) if word.keyword == Keyword::AS => {
            Err(syntax(bytes(text, rest.span), "an expression has no name of its own")
                .hint("names stand before the colon: `NAME: EXPRESSION`"))
        }
        _ => {
            let span = bytes(text, rest.span);
            let message = format!("`{}` cannot follow a whole expression", &text[span.clone()]);
            Err(syntax(span, message).hint("is an operator missing before it?"))
        }
    }
}

/// Where a part of the tree stands in the text; for a call with its closing parenthesis.
pub(super) fn span_of(text: &str, ast: &Ast) -> Range<usize> {
    let span = ast.span();
    if span == Span::empty() {
        return 0..text.len();
    }
    closed(text, bytes(text, span), matches!(ast, Ast::Function(_)))
}

/// Up to the bracket that closes the last one that is open: the tree keeps no places of brackets.
fn closed(text: &str, range: Range<usize>, is_call: bool) -> Range<usize> {
    let mut depth = 0;
    let mut quote = None;
    for (at, letter) in text[range.start..].char_indices() {
        let end = range.start + at + letter.len_utf8();
        match letter {
            _ if quote == Some(letter) => quote = None,
            _ if quote.is_some() => {}
            '\'' | '"' => quote = Some(letter),
            '(' | '[' if end <= range.end || depth > 0 || is_call => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        let calls_next = is_call && text[end..].trim_start().starts_with('(');
        if end >= range.end && depth <= 0 && quote.is_none() && !calls_next {
            return range.start..if depth < 0 { range.end } else { end };
        }
    }
    range
}

/// Lines and columns (both from 1, columns in characters) as bytes.
pub(super) fn bytes(text: &str, span: Span) -> Range<usize> {
    let start = byte_of(text, span.start);
    start..byte_of(text, span.end).max(start)
}

fn byte_of(text: &str, at: Location) -> usize {
    if at.line == 0 {
        return text.len();
    }
    let line: usize = text.split_inclusive('\n').take(at.line as usize - 1).map(str::len).sum();
    let column = (at.column as usize).saturating_sub(1);
    text[line..].char_indices().nth(column).map_or(text.len(), |(byte, _)| line + byte)
}

/// The SQL of expressions: DataFusion's generic one, but `->` and `->>` bind like a field access
/// (`value->>'a' = 'x'` compares the member) and are never a lambda.
#[derive(Debug)]
struct Sql;

impl Dialect for Sql {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        letter == '"'
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter == '_'
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        letter.is_alphanumeric() || letter == '_' || letter == '$'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Arrow | Token::LongArrow => Some(Ok(self.prec_value(Precedence::DoubleColon))),
            _ => None,
        }
    }
}

fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, ExprError> {
    Tokenizer::new(&Sql, text).tokenize_with_location().map_err(|error| {
        let start = byte_of(text, error.location).min(text.len());
        let message = match error.message.as_str() {
            message if message.contains("string literal") => "this text is never closed by `'`",
            message if message.contains("delimiter") => "this name is never closed by `\"`",
            message if message.contains("comment") => "this comment is never closed by `*/`",
            message => return syntax(start..text.len(), message.to_lowercase()),
        };
        syntax(start..text.len(), message)
    })
}

fn check_brackets(text: &str, tokens: &[TokenWithSpan]) -> Result<(), ExprError> {
    let mut open: Vec<(&TokenWithSpan, Token)> = Vec::new();
    for token in tokens {
        match &token.token {
            Token::LParen => open.push((token, Token::RParen)),
            Token::LBracket => open.push((token, Token::RBracket)),
            closing @ (Token::RParen | Token::RBracket) => match open.pop() {
                Some((_, expected)) if expected == *closing => {}
                Some((opened, expected)) => {
                    let message = format!("`{}` is closed by `{closing}`, not by `{expected}`", opened.token);
                    return Err(syntax(bytes(text, token.span), message));
                }
                None => return Err(syntax(bytes(text, token.span), format!("`{closing}` closes nothing"))),
            },
            _ => {}
        }
    }
    match open.pop() {
        Some((opened, expected)) => {
            let message = format!("`{}` is never closed by `{expected}`", opened.token);
            Err(syntax(bytes(text, opened.span), message))
        }
        None => Ok(()),
    }
}

fn check_length(text: &str, tokens: &[TokenWithSpan]) -> Result<(), ExprError> {
    let operators = tokens.iter().filter(|token| is_operator(&token.token)).count();
    if operators <= OPERATORS_MAX {
        return Ok(());
    }
    Err(syntax(
        0..text.len(),
        format!("the expression has {operators} operators; at most {OPERATORS_MAX} are possible"),
    )
    .hint("use `IN (…)`, or compute parts of it in a step before"))
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(word.keyword, Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS),
        Token::LParen | Token::LBracket | Token::Minus | Token::Plus | Token::Mul | Token::Div | Token::Mod => true,
        Token::StringConcat | Token::Arrow | Token::LongArrow | Token::DoubleColon | Token::Period => true,
        _ => false,
    }
}

/// Quotes the bare words that are columns or fields, so that no keyword stands in their way.
fn quote_columns(tokens: &mut [TokenWithSpan], is_column: impl Fn(&str) -> bool) {
    let seen: Vec<usize> = (0..tokens.len()).filter(|&i| !matches!(tokens[i].token, Token::Whitespace(_))).collect();
    let none = Token::EOF;
    for at in 0..seen.len() {
        let token = |k: Option<usize>| k.and_then(|k| seen.get(k)).map_or(&none, |&i| &tokens[i].token);
        let Token::Word(word) = &tokens[seen[at]].token else { continue };
        let around =
            Around { before_last: token(at.checked_sub(2)), last: token(at.checked_sub(1)), next: token(Some(at + 1)) };
        if word.quote_style.is_none() && around.is_name(word, &is_column) {
            let quoted = Word { value: word.value.clone(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
            tokens[seen[at]].token = Token::Word(quoted);
        }
    }
}

/// The tokens around a word.
struct Around<'t> {
    before_last: &'t Token,
    last: &'t Token,
    next: &'t Token,
}

impl Around<'_> {
    fn is_name(&self, word: &Word, is_column: impl Fn(&str) -> bool) -> bool {
        if *self.next == Token::LParen {
            return false;
        }
        if *self.last == Token::Period {
            return true;
        }
        let reserved = RESERVED.iter().any(|reserved| word.value.eq_ignore_ascii_case(reserved));
        !reserved && is_column(&word.value) && !self.is_syntax(word)
    }

    /// True where no column can stand, so that the word must be SQL's: a type after AS or `::`, `DATE '…'`,
    /// the unit in `INTERVAL '1' day` and `extract(day FROM …)`, or a word right behind an operand.
    fn is_syntax(&self, word: &Word) -> bool {
        let typed = [Keyword::DATE, Keyword::TIME, Keyword::TIMESTAMP, Keyword::INTERVAL].contains(&word.keyword);
        let begins_literal = typed && matches!(self.next, Token::SingleQuotedString(_));
        let is_unit = *self.last == Token::LParen && is_keyword(self.before_last, Keyword::EXTRACT);
        let is_type = *self.last == Token::DoubleColon || is_keyword(self.last, Keyword::AS);
        begins_literal || is_unit || is_type || self.follows_operand()
    }

    fn follows_operand(&self) -> bool {
        match self.last {
            Token::Word(word) => word.keyword == Keyword::NoKeyword,
            Token::RParen | Token::RBracket | Token::SingleQuotedString(_) | Token::Number(_, _) => true,
            _ => false,
        }
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

/// The parser's complaint, in our words and with its place.
fn torn(text: &str, tokens: &[TokenWithSpan], error: &ParserError) -> ExprError {
    let message = match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => return syntax(0..text.len(), "the expression is nested too deeply"),
    };
    let (message, place) = message.rsplit_once(" at Line: ").unwrap_or((message, ""));
    let expected = message.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "));
    match (expected, location(place).and_then(|at| tokens.iter().find(|token| token.span.start == at))) {
        (Some((expected, found)), Some(token)) if found != "EOF" => {
            let span = bytes(text, token.span);
            let message = format!("expected {expected} before `{}`", &text[span.clone()]);
            syntax(span, message)
        }
        (Some((expected, _)), _) => ends_early(text, tokens, expected),
        (None, Some(token)) => syntax(bytes(text, token.span), message.to_lowercase()),
        (None, None) => syntax(0..text.len(), message.to_lowercase()),
    }
}

fn ends_early(text: &str, tokens: &[TokenWithSpan], expected: &str) -> ExprError {
    let last = tokens.iter().rfind(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    match last {
        Some(last) => {
            let span = bytes(text, last.span);
            let message = format!("the expression ends after `{}`; expected {expected}", &text[span.clone()]);
            syntax(span, message)
        }
        None => syntax(0..text.len(), "the expression is empty"),
    }
}

/// `1, Column: 7`.
fn location(place: &str) -> Option<Location> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location::new(line.parse().ok()?, column.trim().parse().ok()?))
}

fn syntax(span: Range<usize>, message: impl Into<String>) -> ExprError {
    ExprError::new("expr.syntax", span, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        parse(text, |word| ["user", "timestamp", "day", "value", "order", "userId", "end"].contains(&word))
            .map_or_else(|error| format!("{} {:?}", error.message, &text[error.span]), |ast| ast.to_string())
    }

    #[test]
    fn a_bare_word_that_is_a_column_is_the_column() {
        assert_eq!(parsed("user = 'a' and timestamp > 3"), r#""user" = 'a' AND "timestamp" > 3"#);
        assert_eq!(parsed("userId + 1"), r#""userId" + 1"#);
        assert_eq!(parsed("order = 1"), r#""order" = 1"#);
        assert_eq!(parsed("user.order"), r#""user"."order""#);
    }

    #[test]
    fn words_of_sql_stay_where_no_column_can_stand() {
        assert_eq!(parsed("timestamp > timestamp '2024-01-01'"), r#""timestamp" > TIMESTAMP '2024-01-01'"#);
        assert_eq!(parsed("cast(day as timestamp)"), r#"CAST("day" AS TIMESTAMP)"#);
        assert_eq!(parsed("extract(day from timestamp)"), r#"EXTRACT(DAY FROM "timestamp")"#);
        assert_eq!(parsed("interval '1' day"), "INTERVAL '1' DAY");
        assert_eq!(parsed("case when day then 1 end"), r#"CASE WHEN "day" THEN 1 END"#);
    }

    #[test]
    fn arrows_bind_tighter_than_comparisons() {
        assert_eq!(
            parse("value->>'a' = 'x'", |_| true)
                .map(|ast| matches!(ast, Ast::BinaryOp { op, .. } if op.to_string() == "=")),
            Ok(true)
        );
    }

    #[test]
    fn torn_expressions_say_where_they_are_torn() {
        assert_eq!(parsed("user >="), r#"the expression ends after `>=`; expected an expression ">=""#);
        assert_eq!(parsed("(user + 1"), r#"`(` is never closed by `)` "(""#);
        assert_eq!(parsed("user + 1)"), r#"`)` closes nothing ")""#);
        assert_eq!(parsed("user = 'a"), r#"this text is never closed by `'` "'a""#);
        assert_eq!(parsed("user day"), r#"`day` cannot follow a whole expression "day""#);
        assert_eq!(parsed("  "), r#"the expression is empty "  ""#);
        assert_eq!(parsed("user as u"), r#"an expression has no name of its own "as""#);
    }

    #[test]
    fn spans_count_bytes_of_the_text() {
        let text = "userId = 'Käse' AND abs(day) > 1";
        let ast = parse(text, |word| ["userId", "day"].contains(&word)).unwrap();
        let Ast::BinaryOp { right, .. } = ast else { panic!() };
        let Ast::BinaryOp { left, .. } = *right else { panic!() };
        assert_eq!(&text[span_of(text, &left)], "abs(day)");
    }
}
