//! Texts that a regex describes, drawn as the genuine generator draws them, bit for bit.
//!
//! The dialect is that of the Java library dk.brics.automaton, over UTF-16 units: `parse` reads it,
//! `automaton` makes the minimal deterministic automaton, and a [`Regex`] walks over it. Exits, not
//! texts, are equally likely: an exit is a largest interval of characters with one destination.

mod automaton;
mod parse;
#[cfg(test)]
mod tests;

use self::automaton::Automaton;
use super::random::Random;

/// Of texts that were tried and had no good length; then the last one stands. The genuine generator would
/// go on, for longer than anybody waits.
const TRIES_MAX: u32 = 1 << 16;
/// A text may end here if a draw says so: 35 of 100 do.
const STOP_ABOVE: f64 = 0.3 * i32::MAX as f64;

/// A regex, ready to draw from.
#[derive(Debug, Clone, PartialEq)]
pub struct Regex {
    states: Vec<State>,
    exits: Vec<Exit>,
    /// All of its texts are ASCII.
    is_ascii: bool,
}

/// Any length will do.
pub const ANY_LENGTH: (usize, usize) = (0, i32::MAX as usize);

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    accepts: bool,
    /// Index of its first exit.
    first: u32,
    exits: u32,
}

/// Characters from `first` on, and where they lead.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exit {
    first: u16,
    width: u32,
    to: u32,
}

/// What a walk needs, kept from one to the next.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// The text so far.
    text: Vec<u16>,
    /// The last text that was too long or too short.
    last: Vec<u16>,
    frames: Vec<Frame>,
    /// Exits that were tried, of all frames one behind the other.
    tried: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    state: u32,
    /// Where its exits begin in `tried`.
    tried: u32,
}

impl Regex {
    /// Reads a regex.
    ///
    /// # Errors
    /// What is wrong with it, in the genuine library's words.
    pub fn new(pattern: &str) -> Result<Regex, String> {
        let expression = parse::parse(pattern)?;
        let automaton = Automaton::of(&expression)?;
        let mut regex = Regex { states: Vec::new(), exits: Vec::new(), is_ascii: true };
        for state in &automaton.states {
            let first = regex.exits.len() as u32;
            regex.exits.extend(state.moves.iter().map(|step| Exit {
                first: step.min,
                width: u32::from(step.max - step.min) + 1,
                to: step.to,
            }));
            regex.states.push(State { accepts: state.accepts, first, exits: state.moves.len() as u32 });
            regex.is_ascii &= state.moves.iter().all(|step| step.max < 0x80);
        }
        Ok(regex)
    }

    /// Appends a text of at least `min` and at most `max` UTF-16 units, if the regex has such texts.
    pub fn draw(&self, random: &mut Random, lengths: (usize, usize), walk: &mut Walk, out: &mut Vec<u8>) {
        if lengths == ANY_LENGTH && self.is_ascii {
            self.draw_ascii(random, out);
        } else {
            self.draw_of_length(random, lengths, walk, out);
        }
    }

    /// The same draws where no text can be of a bad length, so that there is no way back to remember.
    fn draw_ascii(&self, random: &mut Random, out: &mut Vec<u8>) {
        let mut at = 0;
        loop {
            let state = self.states[at as usize];
            if state.exits == 0 || (state.accepts && f64::from(random.next_int()) > STOP_ABOVE) {
                return;
            }
            let pick = random.next_below(state.exits as i32) as u32;
            let exit = self.exits[(state.first + pick) as usize];
            out.push((u32::from(exit.first) + random.next_below(exit.width as i32) as u32) as u8);
            at = exit.to;
        }
    }

    fn draw_of_length(&self, random: &mut Random, (min, max): (usize, usize), walk: &mut Walk, out: &mut Vec<u8>) {
        walk.text.clear();
        walk.last.clear();
        walk.tried.clear();
        walk.frames.clear();
        walk.frames.push(Frame { state: 0, tried: 0 });
        let mut tries = 0;
        while let Some(&frame) = walk.frames.last() {
            let state = self.states[frame.state as usize];
            let length = walk.text.len();
            let tried = &walk.tried[frame.tried as usize..];
            let exhausted = tried.len() >= state.exits as usize;
            let ends = if exhausted {
                // Behind the last exit stands the last text that came back; a state without exits gives its own.
                if state.exits == 0 {
                    true
                } else {
                    walk.leave();
                    continue;
                }
            } else {
                state.accepts && (length == max || (f64::from(random.next_int()) > STOP_ABOVE && length >= min))
            };
            if ends {
                if (min..=max).contains(&length) || tries == TRIES_MAX {
                    return append(&walk.text, out);
                }
                tries += 1;
                walk.last.clone_from(&walk.text);
                walk.leave();
                continue;
            }
            let pick = random.next_below(state.exits as i32) as u32;
            if tried.contains(&pick) {
                continue;
            }
            walk.tried.push(pick);
            let exit = self.exits[(state.first + pick) as usize];
            walk.text.push(exit.first.wrapping_add(random.next_below(exit.width as i32) as u16));
            walk.frames.push(Frame { state: exit.to, tried: walk.tried.len() as u32 });
        }
        append(&walk.last, out);
    }

    /// A bound for the bytes of a text, if there is one: the longest way without a circle.
    pub fn bytes_max(&self) -> Option<u64> {
        // Behind a state without a circle below it: 0 not seen, 1 open, 2 known.
        let mut longest = vec![0u64; self.states.len()];
        let mut seen = vec![0u8; self.states.len()];
        let mut open = vec![0u32];
        while let Some(&at) = open.last() {
            let state = self.states[at as usize];
            let exits = &self.exits[state.first as usize..(state.first + state.exits) as usize];
            if seen[at as usize] == 0 {
                seen[at as usize] = 1;
                for exit in exits {
                    match seen[exit.to as usize] {
                        0 => open.push(exit.to),
                        1 => return None,
                        _ => {}
                    }
                }
            } else {
                let behind = exits.iter().map(|exit| longest[exit.to as usize] + 3).max();
                longest[at as usize] = behind.unwrap_or(0);
                seen[at as usize] = 2;
                open.pop();
            }
        }
        Some(longest[0])
    }
}

impl Walk {
    /// Back to the state before.
    fn leave(&mut self) {
        let frame = self.frames.pop().expect("there is a state to leave");
        self.tried.truncate(frame.tried as usize);
        self.text.pop();
    }
}

/// As UTF-8; half a pair becomes `?`, as in Java.
fn append(text: &[u16], out: &mut Vec<u8>) {
    if text.iter().all(|unit| *unit < 0x80) {
        out.extend(text.iter().map(|unit| *unit as u8));
        return;
    }
    for unit in char::decode_utf16(text.iter().copied()) {
        let mut bytes = [0; 4];
        out.extend_from_slice(unit.unwrap_or('?').encode_utf8(&mut bytes).as_bytes());
    }
}
