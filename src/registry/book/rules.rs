//! What a set of rules must be to be kept: a registry applies none, its clients do.

use serde_json::Value as Json;

use crate::registry::refusal::Refusal;

/// The lists of a set, and the modes that rules in them may have.
const LISTS: [(&str, [&str; 3]); 3] = [
    ("migrationRules", ["UPGRADE", "DOWNGRADE", "UPDOWN"]),
    ("domainRules", ["WRITE", "READ", "WRITEREAD"]),
    ("encodingRules", ["WRITE", "READ", "WRITEREAD"]),
];

/// # Errors
/// 42210: a rule without name or type, with a name that is none or that another has, or in a list that is not for its mode.
pub fn check(rule_set: Option<&Json>) -> Result<(), Refusal> {
    let Some(rule_set) = rule_set else { return Ok(()) };
    let mut names = Vec::new();
    for (list, modes) in LISTS {
        for rule in rule_set.get(list).and_then(Json::as_array).into_iter().flatten() {
            let text = |key: &str| rule.get(key).and_then(Json::as_str);
            let name = text("name").unwrap_or_default();
            if !is_name(name) {
                return refused(format!("`{name}` cannot name a rule: letters, digits and _, no digit first"));
            }
            if names.contains(&name) {
                return refused(format!("two rules are called `{name}`"));
            }
            names.push(name);
            if text("type").is_none() {
                return refused(format!("the rule `{name}` has no type"));
            }
            if let Some(mode) = text("mode").filter(|mode| !modes.contains(mode)) {
                return refused(format!("the rule `{name}` of {list} has the mode {mode}, not {}", modes.join(", ")));
            }
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
    starts && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn refused(why: String) -> Result<(), Refusal> {
    Err(Refusal::new(42210, format!("Invalid rule set: {why}")))
}
