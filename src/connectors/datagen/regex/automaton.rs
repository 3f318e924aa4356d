//! The minimal deterministic automaton of a regex: it decides which draws are made.
//!
//! Parts are made minimal before they are put together, so that `([a-z]{3}|x){20}` stays small. An
//! interval `<1-5>` that stands alone is the exception: the genuine library does not make it minimal,
//! and with leading zeros not even deterministic, so it is built here state by state as there.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::parse::Expression;

/// A regex that needs more is refused; what people write needs some hundreds.
const STATES_MAX: usize = 50_000;
const NONE: u32 = u32::MAX;

/// States, the first one first. From each a text can still be accepted, the first one excepted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Automaton {
    pub states: Vec<State>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    pub accepts: bool,
    /// In order of their first characters.
    pub moves: Vec<Move>,
}

/// With any unit from `min` to `max`, to this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Move {
    pub min: u16,
    pub max: u16,
    pub to: u32,
}

impl Automaton {
    /// What is walked over for this regex.
    ///
    /// # Errors
    /// One that is too large.
    pub fn of(expression: &Expression) -> Result<Automaton, String> {
        match expression {
            Expression::Interval { min, max, digits } => Ok(interval(*min, *max, *digits)),
            other => minimal_of(other),
        }
    }
}

fn minimal_of(expression: &Expression) -> Result<Automaton, String> {
    let mut nfa = Nfa::default();
    match expression {
        Expression::Class(ranges) => {
            let (start, end) = (nfa.add(false), nfa.add(true));
            nfa.states[start].moves.extend(ranges.iter().map(|(min, max)| Move {
                min: *min,
                max: *max,
                to: end as u32,
            }));
        }
        Expression::Text(text) => {
            let mut at = nfa.add(text.is_empty());
            for (index, unit) in text.iter().enumerate() {
                let next = nfa.add(index + 1 == text.len());
                nfa.states[at].moves.push(Move { min: *unit, max: *unit, to: next as u32 });
                at = next;
            }
        }
        Expression::AnyText => {
            nfa.add(true);
            nfa.states[0].moves.push(Move { min: 0, max: u16::MAX, to: 0 });
        }
        Expression::Interval { min, max, digits } => {
            nfa.embed(&interval(*min, *max, *digits))?;
        }
        Expression::Union(parts) => {
            nfa.add(false);
            for part in parts {
                let (start, _) = nfa.embed(&minimal_of(part)?)?;
                nfa.states[0].free.push(start);
            }
        }
        Expression::Concat(parts) => {
            let mut ends = vec![nfa.add(true)];
            for part in parts {
                ends = nfa.follow(&ends, &minimal_of(part)?)?;
            }
        }
        Expression::Repeat(inner, min, max) => nfa.repeat(&minimal_of(inner)?, *min, *max)?,
        Expression::Intersection(left, right) => return both(&minimal_of(left)?, &minimal_of(right)?),
        Expression::Complement(inner) => return minimal(complement(minimal_of(inner)?)),
    }
    minimal(nfa.deterministic()?)
}

/// States with moves of which several may fit, and free ones.
#[derive(Default)]
struct Nfa {
    states: Vec<NfaState>,
}

#[derive(Default)]
struct NfaState {
    accepts: bool,
    moves: Vec<Move>,
    /// Where one gets without a character.
    free: Vec<u32>,
}

impl Nfa {
    fn add(&mut self, accepts: bool) -> usize {
        self.states.push(NfaState { accepts, ..NfaState::default() });
        self.states.len() - 1
    }

    /// Adds an automaton: its first state, and those that accept.
    fn embed(&mut self, part: &Automaton) -> Result<(u32, Vec<usize>), String> {
        let first = self.states.len();
        if first + part.states.len() > STATES_MAX {
            return Err(too_large());
        }
        let moved = |step: &Move| Move { to: step.to + first as u32, ..*step };
        self.states.extend(part.states.iter().map(|state| NfaState {
            accepts: state.accepts,
            moves: state.moves.iter().map(moved).collect(),
            free: Vec::new(),
        }));
        let ends = part.states.iter().enumerate().filter(|(_, state)| state.accepts);
        Ok((first as u32, ends.map(|(index, _)| first + index).collect()))
    }

    /// Puts an automaton behind these ends, which accept no more.
    fn follow(&mut self, ends: &[usize], part: &Automaton) -> Result<Vec<usize>, String> {
        let (start, new_ends) = self.embed(part)?;
        for end in ends {
            self.states[*end].accepts = false;
            self.states[*end].free.push(start);
        }
        Ok(new_ends)
    }

    fn repeat(&mut self, inner: &Automaton, min: u32, max: Option<u32>) -> Result<(), String> {
        let mut ends = vec![self.add(true)];
        if max.is_some_and(|max| max < min) {
            self.states[0].accepts = false;
            return Ok(());
        }
        for _ in 0..min {
            ends = self.follow(&ends, inner)?;
        }
        for _ in min..max.unwrap_or(min) {
            let (start, new_ends) = self.embed(inner)?;
            for end in &ends {
                self.states[*end].free.push(start);
            }
            ends = new_ends;
        }
        if max.is_none() {
            let (start, again) = self.embed(inner)?;
            for end in ends.into_iter().chain(again) {
                self.states[end].free.push(start);
            }
        }
        Ok(())
    }

    /// The same language with at most one move for each character.
    fn deterministic(&self) -> Result<Automaton, String> {
        let mut sets = Numbers::new();
        let mut made = Automaton::default();
        sets.number(self.with_free(vec![0]));
        while made.states.len() < sets.items.len() {
            let set = sets.items[made.states.len()].clone();
            let states = || set.iter().map(|state| &self.states[*state as usize]);
            let mut moves: Vec<Move> = states().flat_map(|state| state.moves.iter().copied()).collect();
            moves.sort_unstable_by_key(|step| (step.min, step.max));
            let mut state = State { accepts: states().any(|state| state.accepts), moves: Vec::new() };
            for (min, max, targets) in pieces(&moves) {
                let to = sets.number(self.with_free(targets));
                push_move(&mut state.moves, Move { min, max, to });
            }
            made.states.push(state);
            if sets.items.len() > STATES_MAX {
                return Err(too_large());
            }
        }
        Ok(made)
    }

    /// These states and all that are reached from them without a character, in order.
    fn with_free(&self, mut states: Vec<u32>) -> Vec<u32> {
        let mut seen: std::collections::HashSet<u32> = states.iter().copied().collect();
        let mut at = 0;
        while at < states.len() {
            let free = self.states[states[at] as usize].free.iter();
            states.extend(free.filter(|to| seen.insert(**to)));
            at += 1;
        }
        states.sort_unstable();
        states
    }
}

/// Cuts overlapping moves (in order of `min`) to pieces, each with all its destinations.
fn pieces(moves: &[Move]) -> Vec<(u16, u16, Vec<u32>)> {
    let mut cuts: Vec<u32> = moves.iter().flat_map(|step| [u32::from(step.min), u32::from(step.max) + 1]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces = Vec::new();
    let (mut open, mut next): (Vec<Move>, _) = (Vec::new(), moves.iter().peekable());
    for cut in cuts.windows(2) {
        open.retain(|step| u32::from(step.max) >= cut[0]);
        while let Some(step) = next.next_if(|step| u32::from(step.min) <= cut[0]) {
            open.push(*step);
        }
        let mut targets: Vec<u32> = open.iter().map(|step| step.to).collect();
        targets.sort_unstable();
        targets.dedup();
        if !targets.is_empty() {
            pieces.push((cut[0] as u16, (cut[1] - 1) as u16, targets));
        }
    }
    pieces
}

/// Moves to one state whose characters adjoin are one move.
fn push_move(moves: &mut Vec<Move>, step: Move) {
    match moves.last_mut() {
        Some(last) if last.to == step.to && u32::from(last.max) + 1 == u32::from(step.min) => last.max = step.max,
        _ => moves.push(step),
    }
}

/// All texts that the automaton does not accept.
fn complement(mut automaton: Automaton) -> Automaton {
    let sink = automaton.states.len() as u32;
    automaton.states.push(State::default());
    for state in &mut automaton.states {
        state.accepts = !state.accepts;
        let mut moves = Vec::with_capacity(state.moves.len() * 2 + 1);
        let mut next = 0u32;
        for step in &state.moves {
            if next < u32::from(step.min) {
                push_move(&mut moves, Move { min: next as u16, max: step.min - 1, to: sink });
            }
            push_move(&mut moves, *step);
            next = u32::from(step.max) + 1;
        }
        if next <= u32::from(u16::MAX) {
            push_move(&mut moves, Move { min: next as u16, max: u16::MAX, to: sink });
        }
        state.moves = moves;
    }
    automaton
}

/// All texts that both accept.
fn both(left: &Automaton, right: &Automaton) -> Result<Automaton, String> {
    let mut pairs = Numbers::new();
    let mut made = Automaton::default();
    pairs.number((0, 0));
    while made.states.len() < pairs.items.len() {
        let (a, b) = pairs.items[made.states.len()];
        let (a, b): (&State, &State) = (&left.states[a as usize], &right.states[b as usize]);
        let mut state = State { accepts: a.accepts && b.accepts, moves: Vec::new() };
        for one in &a.moves {
            for other in b.moves.iter().filter(|other| other.min <= one.max && one.min <= other.max) {
                let to = pairs.number((one.to, other.to));
                let (min, max) = (one.min.max(other.min), one.max.min(other.max));
                push_move(&mut state.moves, Move { min, max, to });
            }
        }
        made.states.push(state);
        if pairs.items.len() > STATES_MAX {
            return Err(too_large());
        }
    }
    minimal(made)
}

/// The same language with as few states as can be, and the longest moves.
fn minimal(automaton: Automaton) -> Result<Automaton, String> {
    let shortest = shortest_ways(&automaton);
    let longest = longest_ways(&automaton, &shortest);
    // States that accept the same texts have the same shortest and longest one: a good first guess, which
    // long chains need, as each round below tells only neighbours apart.
    let mut classes = Numbers::new();
    let mut class_of: Vec<u32> = (0..automaton.states.len())
        .map(|state| match shortest[state] {
            NONE => NONE,
            _ => classes.number((shortest[state], longest[state])),
        })
        .collect();
    let mut count = classes.items.len();
    loop {
        let mut finer = Numbers::new();
        let next: Vec<u32> = (0..automaton.states.len())
            .map(|state| match class_of[state] {
                NONE => NONE,
                class => finer.number((class, class_moves(&automaton.states[state], &class_of))),
            })
            .collect();
        let found = finer.items.len();
        class_of = next;
        if found == count {
            break;
        }
        count = found;
    }
    Ok(numbered(&automaton, &class_of))
}

/// Of each state, how far it is to an accepting one; [`NONE`]: never.
fn shortest_ways(automaton: &Automaton) -> Vec<u32> {
    let mut before: Vec<Vec<u32>> = vec![Vec::new(); automaton.states.len()];
    for (from, state) in automaton.states.iter().enumerate() {
        state.moves.iter().for_each(|step| before[step.to as usize].push(from as u32));
    }
    let mut ways = vec![NONE; automaton.states.len()];
    let accepting = automaton.states.iter().enumerate().filter(|(_, state)| state.accepts);
    let mut queue: VecDeque<u32> = accepting.map(|(index, _)| index as u32).collect();
    queue.iter().for_each(|state| ways[*state as usize] = 0);
    while let Some(state) = queue.pop_front() {
        for from in &before[state as usize] {
            if ways[*from as usize] == NONE {
                ways[*from as usize] = ways[state as usize] + 1;
                queue.push_back(*from);
            }
        }
    }
    ways
}

/// Of each live state, how long its longest text is; [`NONE`]: there is no longest.
fn longest_ways(automaton: &Automaton, shortest: &[u32]) -> Vec<u32> {
    let live = |step: &&Move| shortest[step.to as usize] != NONE;
    let mut left: Vec<usize> = automaton.states.iter().map(|state| state.moves.iter().filter(live).count()).collect();
    let mut before: Vec<Vec<u32>> = vec![Vec::new(); automaton.states.len()];
    for (from, state) in automaton.states.iter().enumerate() {
        state.moves.iter().filter(live).for_each(|step| before[step.to as usize].push(from as u32));
    }
    // From the ends backwards; what lies on a circle or before one is never reached.
    let mut ways = vec![NONE; automaton.states.len()];
    let mut longest = vec![0; automaton.states.len()];
    let mut ready: Vec<u32> = (0..automaton.states.len() as u32).filter(|state| left[*state as usize] == 0).collect();
    while let Some(state) = ready.pop() {
        ways[state as usize] = longest[state as usize];
        for from in before[state as usize].iter().map(|from| *from as usize) {
            longest[from] = longest[from].max(ways[state as usize] + 1);
            left[from] -= 1;
            if left[from] == 0 {
                ready.push(from as u32);
            }
        }
    }
    ways
}

fn class_moves(state: &State, class_of: &[u32]) -> Vec<Move> {
    let mut moves = Vec::with_capacity(state.moves.len());
    for step in &state.moves {
        match class_of[step.to as usize] {
            NONE => {}
            to => push_move(&mut moves, Move { to, ..*step }),
        }
    }
    moves
}

/// One state for each class that can be reached, in order of the way there.
fn numbered(automaton: &Automaton, class_of: &[u32]) -> Automaton {
    let mut representative: HashMap<u32, usize> = HashMap::new();
    for (state, class) in class_of.iter().enumerate() {
        representative.entry(*class).or_insert(state);
    }
    let mut classes = Numbers::new();
    classes.number(class_of[0]);
    let mut made = Automaton::default();
    while made.states.len() < classes.items.len() {
        let class = classes.items[made.states.len()];
        // Nothing is accepted from here: the first state of a regex without any text.
        if class == NONE {
            made.states.push(State::default());
            continue;
        }
        let state = &automaton.states[representative[&class]];
        let mut moves = class_moves(state, class_of);
        moves.iter_mut().for_each(|step| step.to = classes.number(step.to));
        made.states.push(State { accepts: state.accepts, moves });
    }
    made
}

/// Decimal numbers from `min` to `max`, as the genuine library builds them.
fn interval(min: i32, max: i32, digits: usize) -> Automaton {
    let width = if digits > 0 { digits } else { max.to_string().len() };
    let mut made = Interval {
        x: format!("{min:0width$}").into_bytes(),
        y: format!("{max:0width$}").into_bytes(),
        states: Vec::new(),
        leading: Vec::new(),
    };
    let first = made.between(0, digits == 0);
    if digits == 0 {
        // Where only zeros came so far one may also begin at once.
        for state in made.leading.clone().into_iter().filter(|state| *state != first) {
            let moves = made.states[state as usize].moves.clone();
            made.states[first as usize].moves.extend(moves);
        }
        made.put(first, b'0', b'0', first);
    }
    for state in &mut made.states {
        let mut seen = std::collections::HashSet::new();
        state.moves.retain(|step| seen.insert(*step));
        // Stable: what has the same characters stays in the order in which it was put there.
        state.moves.sort_by_key(|step| (step.min, std::cmp::Reverse(step.max)));
    }
    Automaton { states: made.states }
}

struct Interval {
    x: Vec<u8>,
    y: Vec<u8>,
    states: Vec<State>,
    /// States before which there were only zeros.
    leading: Vec<u32>,
}

impl Interval {
    fn add(&mut self, n: usize, zeros: bool) -> u32 {
        let state = self.states.len() as u32;
        let accepts = n == self.x.len();
        self.states.push(State { accepts, moves: Vec::new() });
        if zeros && !accepts {
            self.leading.push(state);
        }
        state
    }

    fn put(&mut self, from: u32, min: u8, max: u8, to: u32) {
        self.states[from as usize].moves.push(Move { min: min.into(), max: max.into(), to });
    }

    /// Digits from the n-th on, between those of both ends.
    fn between(&mut self, n: usize, zeros: bool) -> u32 {
        let state = self.add(n, zeros);
        if n < self.x.len() {
            let (low, high) = (self.x[n], self.y[n]);
            if low == high {
                let next = self.between(n + 1, zeros && low == b'0');
                self.put(state, low, low, next);
            } else {
                let next = self.at_least(n + 1, zeros && low == b'0');
                self.put(state, low, low, next);
                let next = self.at_most(n + 1);
                self.put(state, high, high, next);
                if low + 1 < high {
                    let next = self.any(n + 1);
                    self.put(state, low + 1, high - 1, next);
                }
            }
        }
        state
    }

    fn at_least(&mut self, n: usize, zeros: bool) -> u32 {
        let state = self.add(n, zeros);
        if n < self.x.len() {
            let low = self.x[n];
            let next = self.at_least(n + 1, zeros && low == b'0');
            self.put(state, low, low, next);
            if low < b'9' {
                let next = self.any(n + 1);
                self.put(state, low + 1, b'9', next);
            }
        }
        state
    }

    fn at_most(&mut self, n: usize) -> u32 {
        let state = self.add(n, false);
        if n < self.y.len() {
            let high = self.y[n];
            let next = self.at_most(n + 1);
            self.put(state, high, high, next);
            if high > b'0' {
                let next = self.any(n + 1);
                self.put(state, b'0', high - 1, next);
            }
        }
        state
    }

    fn any(&mut self, n: usize) -> u32 {
        let state = self.add(n, false);
        if n < self.x.len() {
            let next = self.any(n + 1);
            self.put(state, b'0', b'9', next);
        }
        state
    }
}

/// Things by the order in which they were first seen.
struct Numbers<T> {
    items: Vec<T>,
    known: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn new() -> Self {
        Numbers { items: Vec::new(), known: HashMap::new() }
    }

    fn number(&mut self, item: T) -> u32 {
        if let Some(number) = self.known.get(&item) {
            return *number;
        }
        let number = self.items.len() as u32;
        self.items.push(item.clone());
        self.known.insert(item, number);
        number
    }
}

fn too_large() -> String {
    format!("the regex needs more than {STATES_MAX} states")
}
