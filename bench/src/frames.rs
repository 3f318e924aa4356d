//! The bytes of the records: ratings as they come, windows as they leave. By hand.

use crate::Result;

/// Magic byte and the schema's id.
pub const PREFIX: usize = 5;
pub const WINDOW_MS: i64 = 5_000;
/// `having:` of `windows.yaml`.
const COUNT_ABOVE: i64 = 5_000;

/// What the works look at in a rating.
pub struct Rating<'a> {
    pub brand: &'a [u8],
    pub rating: i64,
}

impl<'a> Rating<'a> {
    /// Brand, duration, rating: what follows is not looked at.
    pub fn read(value: &'a [u8]) -> Result<Rating<'a>> {
        let mut rest = value.get(PREFIX..).ok_or("a rating is too short")?;
        let brand = bytes(&mut rest)?;
        let _duration = long(&mut rest)?;
        Ok(Rating { brand, rating: long(&mut rest)? })
    }
}

/// A row of `windows.yaml`.
pub struct Window<'a> {
    pub start: i64,
    pub brand: &'a [u8],
    pub count: i64,
    pub mean: f64,
}

impl<'a> Window<'a> {
    pub fn passes(&self) -> bool {
        self.count > COUNT_ABOVE
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        put_long(self.start, out);
        put_long(self.start + WINDOW_MS, out);
        put_long(self.brand.len() as i64, out);
        out.extend_from_slice(self.brand);
        put_long(self.count, out);
        out.extend_from_slice(&self.mean.to_le_bytes());
    }

    pub fn read(value: &'a [u8]) -> Result<Window<'a>> {
        let mut rest = value.get(PREFIX..).ok_or("a window is too short")?;
        let (start, end) = (long(&mut rest)?, long(&mut rest)?);
        let brand = bytes(&mut rest)?;
        let count = long(&mut rest)?;
        let mean = f64::from_le_bytes(rest.try_into().map_err(|_| "a window does not end with its mean")?);
        match end - start == WINDOW_MS {
            true => Ok(Window { start, brand, count, mean }),
            false => Err(format!("a window of {} ms", end - start).into()),
        }
    }
}

/// Reads a zigzag varint.
#[inline]
fn long(rest: &mut &[u8]) -> Result<i64> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let (byte, after) = rest.split_first().ok_or("a number is cut off")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
        shift += 7;
        if shift > 63 {
            return Err("a number is too long".into());
        }
    }
}

#[inline]
fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(long(rest)?)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or("a text is cut off")?;
    *rest = after;
    Ok(bytes)
}

fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
