//! Registering and deleting.

use super::stored::{Book, Context, Version};
use super::{Against, Deleted, Entry, Found, NewSchema, Parsed, Subject, Which, rules};
use crate::registry::refusal::Refusal;
use crate::time::Millis;

impl Book {
    /// Registers a schema; what is known already is answered as it is.
    ///
    /// # Errors
    /// 40901 with the reasons for an incompatible one; 42201, 42205, 42207, 42208, 42210.
    pub fn register(
        &mut self,
        subject: &Subject,
        new: NewSchema,
        normalize: bool,
        now: Millis,
    ) -> Result<Found, Refusal> {
        rules::check(new.rule_set.as_ref())?;
        let new = self.with_newest_text(subject, new)?;
        let parsed = self.parse(subject, &new, normalize)?;
        let mode = self.mode(subject);
        // Whoever asks for a version wants a new one.
        if (new.version.is_none() || mode.takes_ids())
            && let Some(known) = self.find(subject, &parsed, Deleted::Hidden)
        {
            return with_id(known, new.id);
        }
        if mode.is_readonly() {
            return Err(self.read_only(subject));
        }
        if mode.takes_ids() {
            return self.import(subject, parsed.entry, &new, now);
        }
        if new.id.is_some_and(|id| id >= 0) {
            let message = format!("Subject {} in context {} is not in import mode", subject.name, shown(subject));
            return Err(Refusal::not_permitted(message));
        }
        let version = self.next_version(subject);
        let newest = self.version(subject, Which::Latest, Deleted::Hidden).ok().map(|found| found.entry);
        let new = self.with_inherited(subject, new, newest.as_ref(), version);
        let parsed = self.parse(subject, &new, normalize)?;
        if let Some(known) = self.find(subject, &parsed, Deleted::Hidden).filter(|_| new.version.is_none()) {
            return Ok(known);
        }
        self.expect_compatible(subject, &parsed)?;
        if let Some(wanted) = new.version.filter(|wanted| *wanted != -1 && *wanted != version) {
            let message = format!("Version is not one more than previous version: {wanted}, the next one is {version}");
            return Err(Refusal::invalid_schema(&message));
        }
        let context = self.contexts.entry(subject.context.clone()).or_default();
        let id = context.id_of(&parsed.entry).unwrap_or(context.last_id + 1);
        Ok(self.add(subject, parsed.entry, id, version, now))
    }

    /// Without a text the newest version is meant, with other metadata or rules.
    fn with_newest_text(&self, subject: &Subject, new: NewSchema) -> Result<NewSchema, Refusal> {
        if !new.text.is_empty() {
            return Ok(new);
        }
        let newest = self.version(subject, Which::Latest, Deleted::Hidden);
        let Entry { schema, references, metadata, rule_set } =
            newest.map_err(|_| Refusal::invalid_schema("it is empty"))?.entry;
        let (metadata, rule_set) = (new.metadata.or(metadata), new.rule_set.or(rule_set));
        Ok(NewSchema { text: schema, references, metadata, rule_set, ..new })
    }

    fn expect_compatible(&self, subject: &Subject, parsed: &Parsed) -> Result<(), Refusal> {
        let checked = self.check_parsed(subject, parsed, Against::Level)?;
        if checked.compatible {
            return Ok(());
        }
        let details = checked.messages.join(", ");
        let subject = subject.shown();
        let message = format!(
            "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{details}]"
        );
        Err(Refusal::new(40901, message))
    }

    fn import(&mut self, subject: &Subject, entry: Entry, new: &NewSchema, now: Millis) -> Result<Found, Refusal> {
        let Some(id) = new.id.filter(|id| *id >= 0) else {
            let message = format!("Subject {} in context {} is not in read-write mode", subject.name, shown(subject));
            return Err(Refusal::not_permitted(message));
        };
        let holder = self.by_id(&subject.context, id);
        if holder.is_some_and(|known| *known != entry) {
            let message = format!("Overwrite new schema with id {id} in context {} is not permitted.", shown(subject));
            return Err(Refusal::not_permitted(message));
        }
        let version = new.version.filter(|version| *version > 0).unwrap_or_else(|| self.next_version(subject));
        let taken = self.all_versions(subject).iter().find(|known| known.version == version);
        if taken.is_some_and(|known| known.id != id) {
            let message = format!("Overwrite new schema with id {id} in version {version} is not permitted.");
            return Err(Refusal::not_permitted(message));
        }
        Ok(self.add(subject, entry, id, version, now))
    }

    fn next_version(&self, subject: &Subject) -> i32 {
        self.all_versions(subject).last().map_or(1, |last| last.version + 1)
    }

    fn add(&mut self, subject: &Subject, entry: Entry, id: i32, version: i32, at: Millis) -> Found {
        let context = self.contexts.entry(subject.context.clone()).or_default();
        context.last_id = context.last_id.max(id);
        context.schemas.insert(id, entry.clone());
        let versions = context.subjects.entry(subject.name.clone()).or_default();
        // What was deleted softly comes back as a new version; the old one is gone then.
        versions.retain(|known| known.version != version && !(known.deleted && known.id == id));
        versions.push(Version { version, id, deleted: false, at });
        versions.sort_by_key(|version| version.version);
        Found { subject: subject.clone(), version, id, entry, deleted: false, at }
    }

    /// Deletes a subject: softly, or what was deleted softly for good. The numbers of its versions.
    ///
    /// # Errors
    /// 40401, 40404, 40405, 42205, 42206.
    pub fn delete_subject(&mut self, subject: &Subject, permanent: bool) -> Result<Vec<i32>, Refusal> {
        self.expect_writable(subject)?;
        let name = subject.shown();
        let all = self.versions(subject, Deleted::Shown)?;
        let is_deleted = all.iter().all(|found| found.deleted);
        if permanent && !is_deleted {
            let message = format!("Subject '{name}' was not deleted first before being permanently deleted");
            return Err(Refusal::new(40405, message));
        }
        if !permanent && is_deleted {
            let message = format!("Subject '{name}' was soft deleted.Set permanent=true to delete permanently");
            return Err(Refusal::new(40404, message));
        }
        for found in &all {
            self.expect_unused(subject, found.version)?;
        }
        let numbers = all.iter().filter(|found| permanent || !found.deleted).map(|found| found.version).collect();
        let context = self.contexts.entry(subject.context.clone()).or_default();
        if permanent {
            context.subjects.remove(&subject.name);
            context.forget_unused();
            self.configs.remove(&name);
            self.modes.remove(&name);
        } else {
            let versions = context.subjects.get_mut(&subject.name).into_iter().flatten();
            versions.for_each(|version| version.deleted = true);
        }
        Ok(numbers)
    }

    /// Deletes one version; its number.
    ///
    /// # Errors
    /// 40401, 40402, 40406, 40407, 42205, 42206.
    pub fn delete_version(&mut self, subject: &Subject, which: Which, permanent: bool) -> Result<i32, Refusal> {
        self.expect_writable(subject)?;
        let looked_at = if which == Which::Latest { Deleted::Hidden } else { Deleted::Shown };
        let found = self.version(subject, which, looked_at)?;
        let (name, number) = (subject.shown(), found.version);
        if permanent && !found.deleted {
            let message =
                format!("Subject '{name}' Version {number} was not deleted first before being permanently deleted");
            return Err(Refusal::new(40407, message));
        }
        if !permanent && found.deleted {
            let message =
                format!("Subject '{name}' Version {number} was soft deleted.Set permanent=true to delete permanently");
            return Err(Refusal::new(40406, message));
        }
        self.expect_unused(subject, number)?;
        let context = self.contexts.entry(subject.context.clone()).or_default();
        let versions = context.subjects.entry(subject.name.clone()).or_default();
        if permanent {
            versions.retain(|version| version.version != number);
            if versions.is_empty() {
                context.subjects.remove(&subject.name);
            }
            context.forget_unused();
        } else {
            let version = versions.iter_mut().filter(|version| version.version == number);
            version.for_each(|version| version.deleted = true);
        }
        Ok(number)
    }

    /// Deletes a context that holds nothing any more.
    ///
    /// # Errors
    /// 42211 if it holds something.
    pub fn delete_context(&mut self, name: &str) -> Result<(), Refusal> {
        if self.contexts.get(name).is_some_and(|context| !context.subjects.is_empty()) {
            return Err(Refusal::new(42211, format!("The specified context '{name}' is not empty.")));
        }
        self.contexts.remove(name);
        Ok(())
    }

    /// What others refer to is deleted neither way.
    fn expect_unused(&self, subject: &Subject, version: i32) -> Result<(), Refusal> {
        if self.referenced_by(subject, version).is_empty() {
            return Ok(());
        }
        let message =
            format!("One or more references exist to the schema {{subject={},version={version}}}", subject.shown());
        Err(Refusal::new(42206, message))
    }

    fn expect_writable(&self, subject: &Subject) -> Result<(), Refusal> {
        if self.mode(subject).is_readonly() { Err(self.read_only(subject)) } else { Ok(()) }
    }

    fn read_only(&self, subject: &Subject) -> Refusal {
        let message = format!("Subject {} in context {} is in read-only mode", subject.name, shown(subject));
        Refusal::not_permitted(message)
    }
}

/// A schema that the subject has; 42207 for another id than it has.
fn with_id(known: Found, wanted: Option<i32>) -> Result<Found, Refusal> {
    match wanted.filter(|id| *id >= 0 && *id != known.id) {
        None => Ok(known),
        Some(id) => {
            let message = format!("Schema already registered with id {} instead of input id {id}", known.id);
            Err(Refusal::new(42207, message))
        }
    }
}

/// The default context has no name for people.
fn shown(subject: &Subject) -> &str {
    if subject.context == super::DEFAULT_CONTEXT { "" } else { &subject.context }
}

impl Context {
    fn id_of(&self, entry: &Entry) -> Option<i32> {
        self.schemas.iter().find(|(_, known)| *known == entry).map(|(id, _)| *id)
    }

    /// An id without any version, deleted or not, is gone.
    fn forget_unused(&mut self) {
        let used: std::collections::BTreeSet<i32> =
            self.subjects.values().flatten().map(|version| version.id).collect();
        self.schemas.retain(|id, _| used.contains(id));
    }
}
