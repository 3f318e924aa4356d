//! Walks the bytes of one value along its writer schema: is it exactly one value?
//!
//! Only for batches in which something did not decode: it finds the records that are to blame, so that the
//! others can be decoded again without them. Nothing is allocated except for messages.

use super::model::{Kind, Type};

/// Items without bytes that one value may hold.
const WEIGHTLESS_MAX: u64 = 1 << 20;

/// Why a value is not one value of its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end before the value does.
    Truncated,
    /// The value ends before its bytes: how many are left over.
    Trailing(usize),
    Malformed(String),
}

impl Fault {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Fault::Truncated => "avro.truncated",
            Fault::Trailing(_) => "avro.trailing",
            Fault::Malformed(_) => "avro.malformed",
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Fault::Truncated => "the value ends too early".into(),
            Fault::Trailing(bytes) => format!("{bytes} bytes follow the value"),
            Fault::Malformed(reason) => reason.clone(),
        }
    }
}

/// Checks that `body`, without its prefix, is one whole value of `ty`.
pub(super) fn check(ty: &Type, body: &[u8]) -> Result<(), Fault> {
    let mut walker = Walker { rest: body, weightless: 0 };
    walker.value(ty)?;
    match walker.rest.len() {
        0 => Ok(()),
        left => Err(Fault::Trailing(left)),
    }
}

struct Walker<'a> {
    rest: &'a [u8],
    weightless: u64,
}

impl<'a> Walker<'a> {
    fn value(&mut self, ty: &Type) -> Result<(), Fault> {
        match &ty.kind {
            Kind::Null => {}
            Kind::Boolean => _ = self.take(1)?,
            Kind::Int => _ = self.int()?,
            Kind::Long => _ = self.long()?,
            Kind::Float => _ = self.take(4)?,
            Kind::Double => _ = self.take(8)?,
            Kind::Bytes => _ = self.bytes()?,
            Kind::String => self.string()?,
            Kind::Fixed(fixed) => _ = self.take(fixed.size)?,
            Kind::Enum(symbols) => self.index("enum", symbols.symbols.len()).map(drop)?,
            Kind::Union(branches) => {
                let branch = self.index("union", branches.len())?;
                self.value(&branches[branch])?;
            }
            Kind::Record(record) => {
                for field in &record.fields {
                    self.value(&field.ty)?;
                }
            }
            Kind::Array(items) => self.blocks(|walker| walker.value(items))?,
            Kind::Map(values) => self.blocks(|walker| {
                walker.string()?;
                walker.value(values)
            })?,
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn long(&mut self) -> Result<i64, Fault> {
        let mut value: u64 = 0;
        for index in 0..10 {
            let byte = self.take(1)?[0];
            // The tenth byte has room for one bit.
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault::Malformed("a number has more than 64 bits".into()))
    }

    fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault::Malformed("an int has more than 32 bits".into()))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| Fault::Malformed(format!("a length is {length}")))?;
        self.take(length)
    }

    fn string(&mut self) -> Result<(), Fault> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::Malformed("a string is not UTF-8".into())),
        }
    }

    fn index(&mut self, what: &str, count: usize) -> Result<usize, Fault> {
        let index = self.long()?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < count)
            .ok_or_else(|| Fault::Malformed(format!("{index} is not one of the {count} choices of the {what}")))
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let before = self.rest.len();
                item(self)?;
                self.weightless += u64::from(self.rest.len() == before);
                if self.weightless > WEIGHTLESS_MAX {
                    return Err(Fault::Malformed(format!(
                        "an array has more than {WEIGHTLESS_MAX} items without bytes"
                    )));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(schema: &str, body: &[u8]) -> Result<(), Fault> {
        check(&Type::parse(schema).unwrap(), body)
    }

    #[test]
    fn a_value_ends_where_its_bytes_end() {
        assert_eq!(verdict(r#""string""#, &[4, b'h', b'i']), Ok(()));
        assert_eq!(verdict(r#""string""#, &[4, b'h']), Err(Fault::Truncated));
        assert_eq!(verdict(r#""string""#, &[4, b'h', b'i', 0]), Err(Fault::Trailing(1)));
        assert!(matches!(verdict(r#""string""#, &[2, 0xff]), Err(Fault::Malformed(_))));
        assert!(matches!(verdict(r#"["null","int"]"#, &[4]), Err(Fault::Malformed(_))));
    }

    #[test]
    fn a_few_bytes_do_not_stand_for_billions_of_items() {
        let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(matches!(verdict(r#"{"type":"array","items":"null"}"#, &huge), Err(Fault::Malformed(_))));
        assert_eq!(verdict(r#"{"type":"array","items":"int"}"#, &huge), Err(Fault::Truncated));
    }
}
