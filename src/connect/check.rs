//! Holds a config against the definitions of its class.
//!
//! The order is Connect's: keys of every connector, then transformations and predicates, the class's own, those of
//! converters that the config names, and clients' settings.

pub(super) mod generator;
mod read;
mod rules;
mod several;

use super::config::Config;
use super::definition::{Definition, Key, Kind, Rule, Width};
use super::keys::{clients, common, transforms};
use super::plugins::{Plugin, PluginKind, find_connector, find_of_kind, plugins};
use super::refusal::Refusal;
use super::secrets;
use super::validation::{ConfigInfo, ConfigValue, Validation};
use super::worker::Worker;

/// What is wrong with a config, key by key.
///
/// # Errors
/// There is no class, or none of that name; the status is that of POST.
pub fn check(config: &Config, worker: &Worker) -> Result<Validation, Refusal> {
    let Some(class) = config.get("connector.class") else {
        let shown: Vec<String> = config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let message = format!("Connector config {{{}}} contains no connector type", shown.join(", "));
        return Err(Refusal::new(400, message));
    };
    let plugin = find_connector(class.trim())?;
    let mut check = Check { config, groups: Vec::new(), configs: Vec::new() };
    check.common(&plugin, worker);
    check.links("transforms", PluginKind::Transformation);
    check.links("predicates", PluginKind::Predicate);
    check.table("", plugin.keys);
    check.converters();
    check.overrides(plugin.kind);
    several::check(&plugin, &mut check.configs);
    let error_count = check.configs.iter().map(|info| info.value.errors.len()).sum();
    Ok(Validation { name: class.clone(), error_count, groups: check.groups, configs: check.configs })
}

/// The same for `PUT /connector-plugins/PLUGIN/config/validate`.
///
/// # Errors
/// As [`check`], with the statuses of that request; also if the config's class is another one than `requested`.
pub fn check_request(requested: &str, config: &Config, worker: &Worker) -> Result<Validation, Refusal> {
    fn normal(name: &str) -> &str {
        name.strip_suffix("Connector").filter(|rest| !rest.is_empty()).unwrap_or(name)
    }
    if let Some(class) = config.get("connector.class").filter(|class| !normal(class).ends_with(normal(requested))) {
        let message = format!("Included connector type {class} does not match request type {requested}");
        return Err(Refusal::new(400, message));
    }
    check(config, worker).map_err(Refusal::thrown)
}

struct Check<'c> {
    config: &'c Config,
    groups: Vec<String>,
    configs: Vec<ConfigInfo>,
}

impl Check<'_> {
    fn given(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }

    /// Reads a key. `bare`: its name in the messages of its rule.
    fn key(&mut self, definition: Definition, bare: &str, rule: Rule) -> &mut ConfigValue {
        let value = read::value(&definition, bare, rule, self.given(&definition.name));
        self.put(Some(definition), value)
    }

    fn put(&mut self, definition: Option<Definition>, value: ConfigValue) -> &mut ConfigValue {
        if let Some(group) = definition.as_ref().and_then(|definition| definition.group.as_ref())
            && !self.groups.contains(group)
        {
            self.groups.push(group.clone());
        }
        self.configs.push(ConfigInfo { definition, value });
        &mut self.configs.last_mut().expect("it was just put there").value
    }

    fn table(&mut self, prefix: &str, keys: &[Key]) {
        for key in keys {
            let definition = Definition { name: format!("{prefix}{}", key.name), ..Definition::of(key) };
            self.key(definition, key.name, key.rule);
        }
    }

    fn common(&mut self, plugin: &Plugin, worker: &Worker) {
        let of_kind = if plugin.kind == PluginKind::Source { common::SOURCE } else { common::SINK };
        for key in common::EVERY.iter().chain(of_kind) {
            let mut definition = Definition::of(key);
            let converter = match key.name {
                "key.converter" => Some((PluginKind::Converter, &worker.key_converter.0)),
                "value.converter" => Some((PluginKind::Converter, &worker.value_converter.0)),
                "header.converter" => Some((PluginKind::HeaderConverter, &worker.header_converter.0)),
                _ => None,
            };
            if let Some((kind, default)) = converter {
                definition.default_value = Some(default.clone());
                self.class(definition, kind);
            } else if key.name.ends_with("converter.plugin.version") {
                self.version(definition, false);
            } else if key.name == "connector.plugin.version" {
                definition.default_value = Some(plugin.version.to_owned());
                let value = self.key(definition, key.name, key.rule);
                value.recommended_values = vec![plugin.version.to_owned()];
                self.versions_agree(plugin);
            } else {
                self.key(definition, key.name, key.rule);
            }
        }
    }

    /// A key whose value is a class of this kind.
    fn class(&mut self, definition: Definition, kind: PluginKind) -> Option<Plugin> {
        let (name, rule) = (definition.name.clone(), Rule::Any);
        let all = plugins().into_iter().filter(|plugin| plugin.kind == kind);
        let recommended = all.map(|plugin| plugin.class.to_owned()).collect();
        let value = self.key(definition, &name, rule);
        value.recommended_values = recommended;
        let (class, error) = match value.value.take() {
            Some(written) => named_class(&name, &written, kind),
            None => (None, None),
        };
        value.errors.extend(error);
        value.value = class;
        let found = value.value.as_deref().and_then(|class| find_of_kind(kind, class));
        found.filter(|plugin| plugin.kind == kind)
    }

    /// The version of the class that was read last. `always`: it is shown also where there is no such class.
    fn version(&mut self, mut definition: Definition, always: bool) {
        let class = self.configs.last().and_then(|info| info.value.value.clone());
        let sound = self.configs.last().is_some_and(|info| info.value.errors.is_empty());
        let plugin = class.as_deref().and_then(super::find_plugin).filter(|_| sound);
        definition.default_value = plugin.map(|plugin| plugin.version.to_owned());
        let name = definition.name.clone();
        let value = self.key(definition, &name, Rule::Any);
        value.visible = always || class.is_some();
        if let Some(plugin) = plugin {
            value.recommended_values = vec![plugin.version.to_owned()];
            self.versions_agree(&plugin);
        }
    }

    /// A version that was asked for is that of the class.
    fn versions_agree(&mut self, plugin: &Plugin) {
        let Some(asked) = self.configs.last().and_then(|info| info.value.value.clone()) else { return };
        if asked == plugin.version {
            return;
        }
        // A bare version means that one only.
        let range = if asked.starts_with(['[', '(']) { asked } else { format!("[{asked},{asked}]") };
        let error = format!(
            "Plugin {} not found that matches the version range {range}, available versions: [{}]",
            plugin.class, plugin.version
        );
        let length = self.configs.len();
        self.configs[length - 2..].iter_mut().for_each(|info| {
            // The version stands behind its class.
            info.value.errors.push(error.clone());
        });
    }

    /// The transformations, or the predicates, that the config names.
    fn links(&mut self, what: &str, kind: PluginKind) {
        let mut aliases = self.given(what).map(read::list).unwrap_or_default();
        let mut seen = Vec::new();
        aliases.retain(|alias| {
            !seen.contains(alias) && {
                seen.push(alias.clone());
                true
            }
        });
        for alias in aliases {
            self.link(what, kind, &alias);
        }
    }

    fn link(&mut self, what: &str, kind: PluginKind, alias: &str) {
        let (group, noun) = match kind {
            PluginKind::Predicate => (format!("Predicates: {alias}"), "Predicate"),
            _ => (format!("Transforms: {alias}"), "Transformation"),
        };
        let prefix = format!("{what}.{alias}.");
        let of_link = |name: &str, order: i32| Definition {
            name: format!("{prefix}{name}"),
            group: Some(group.clone()),
            order_in_group: order,
            ..Definition::of(&super::definition::key("", Kind::String, super::Importance::High, ""))
        };
        let class = Definition {
            kind: Kind::Class,
            required: true,
            documentation: format!("The class of {alias}."),
            width: Width::Long,
            display_name: format!("{noun} type for {alias}"),
            ..of_link("type", 0)
        };
        let plugin = self.class(class, kind);
        let version = Definition {
            documentation: "Its version.".into(),
            width: Width::Long,
            display_name: format!("{noun} version for {alias}"),
            ..of_link("plugin.version", 1)
        };
        self.version(version, true);
        let is_sound = self.configs.last().is_some_and(|info| info.value.errors.is_empty());
        let Some(plugin) = plugin.filter(|_| is_sound) else { return };
        let every: &[Key] = if kind == PluginKind::Transformation { transforms::EVERY } else { &[] };
        let mut keys: Vec<&Key> = plugin.keys.iter().chain(every).collect();
        keys.sort_by_key(|key| (!key.required, key.importance, key.name));
        for (index, key) in keys.into_iter().enumerate() {
            let Definition { group, order_in_group, name, .. } = of_link(key.name, index as i32 + 2);
            let definition = Definition { name, group, order_in_group, ..Definition::of(key) };
            self.key(definition, key.name, key.rule);
        }
        let has = |key: &str| self.config.contains_key(&format!("{prefix}{key}"));
        if kind == PluginKind::Transformation && has("negate") && !has("predicate") {
            let error = format!(
                "Config '{prefix}negate' was provided but there is no config '{prefix}predicate' defining a predicate to be negated."
            );
            let name = format!("{prefix}type");
            let class = self.configs.iter_mut().find(|info| info.value.name == name);
            class.into_iter().for_each(|info| info.value.errors.push(error.clone()));
        }
    }

    /// The settings of converters that the config names itself.
    fn converters(&mut self) {
        for (side, kind) in
            [("key", PluginKind::Converter), ("value", PluginKind::Converter), ("header", PluginKind::HeaderConverter)]
        {
            let Some(class) = self.given(&format!("{side}.converter")) else { continue };
            let Some(plugin) = find_of_kind(kind, class.trim()).filter(|plugin| plugin.kind == kind) else { continue };
            let mut keys: Vec<&Key> = plugin.keys.iter().collect();
            // In the order of Java's hash table, which is what there is to see.
            keys.sort_by_key(|key| java_bucket(key.name));
            for key in keys {
                let name = format!("{side}.converter.{}", key.name);
                // Connect tells the converter what it is for.
                let given = self.given(&name).or(Some(side).filter(|_| key.name == "converter.type"));
                let definition = Definition::of(key);
                let value = read::value(&definition, key.name, key.rule, given);
                let value = ConfigValue { name: name.clone(), ..value };
                self.put(Some(Definition { name, ..definition }), value);
            }
        }
    }

    /// Settings for the clients that this connector has: they are shown, secrets hidden.
    fn overrides(&mut self, kind: PluginKind) {
        let is_source = kind == PluginKind::Source;
        let keeps_bad =
            !is_source && self.given("errors.deadletterqueue.topic.name").is_some_and(|t| !t.trim().is_empty());
        let makes_topics = is_source && self.config.keys().any(|key| key.starts_with("topic.creation."));
        for (prefix, keys, is_there) in [
            ("producer.override.", clients::PRODUCER, is_source || keeps_bad),
            ("consumer.override.", clients::CONSUMER, !is_source),
            ("admin.override.", clients::ADMIN, makes_topics || keeps_bad),
        ] {
            let given = self.config.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, name, value)));
            let mut given: Vec<_> = given.filter(|_| is_there).collect();
            given.sort_by_key(|(setting, name, _)| (java_bucket(setting), java_bucket(name)));
            for (setting, name, given) in given {
                let mut known = keys.iter().chain(clients::EVERY);
                let Some(key) = known.find(|key| key.name == setting) else {
                    self.put(None, ConfigValue::of(name, Some(secrets::shown(setting, given).to_owned())));
                    continue;
                };
                let definition = Definition { name: name.clone(), ..Definition::of(key) };
                let value = match secrets::shown(setting, given) {
                    // What a secret stands for is known when the connector starts.
                    shown if shown != given || given.contains("${secret:") => {
                        ConfigValue::of(name, Some(shown.to_owned()))
                    }
                    given => read::value(&definition, name, key.rule, Some(given)),
                };
                self.put(Some(definition), value);
            }
        }
    }
}

/// What a class's name stands for, or what is wrong with it.
fn named_class(key: &str, written: &str, kind: PluginKind) -> (Option<String>, Option<String>) {
    match find_of_kind(kind, written) {
        Some(plugin) if plugin.kind == kind => (Some(plugin.class.to_owned()), None),
        Some(plugin) => {
            let error = format!("Class class {} does not implement the {} interface", plugin.class, kind.interface());
            (Some(plugin.class.to_owned()), Some(error))
        }
        None => {
            let inner = |plugin: &Plugin| plugin.class.strip_prefix(written).is_some_and(|rest| rest.starts_with('$'));
            let meant: Vec<&str> = plugins().iter().filter(|plugin| inner(plugin)).map(|plugin| plugin.class).collect();
            if meant.is_empty() {
                let error =
                    format!("Invalid value {written} for configuration {key}: Class {written} could not be found.");
                return (None, Some(error));
            }
            let error = format!("This class is abstract and cannot be created. Did you mean {}?", meant.join(", "));
            (Some(written.to_owned()), Some(error))
        }
    }
}

/// The place of a text in a hash table of Java's with sixteen places.
fn java_bucket(text: &str) -> u32 {
    let hash = text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash ^ (hash >> 16)) & 15
}
