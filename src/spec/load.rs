//! From paths to documents: every file, every document, every error in one run.
//!
//! The order of files and documents never matters: a kind and name may stand only once, wherever.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connector::{is_plain, read_plain};
use super::documents::{Document, Documents, Metadata};
use super::template::Values;
use super::{FromNode, MapReader, Node, PipelineSpec, Spanned, Value, is_document_name, yaml};
use crate::report::{Diagnostic, Diagnostics, Place, SourceFile};

/// The version of the language.
pub const API_VERSION: &str = "runner/v1";
/// Kinds of documents, in the order of the reference.
pub const KINDS: &[&str] = &["Pipeline", "Topic", "Schema", "Connection", "KafkaConnector", "Test"];
/// What the versions of Strimzi's documents begin with.
pub const STRIMZI: &str = "kafka.strimzi.io/";

/// Reads files, and folders with all their *.yaml and *.yml, into documents.
///
/// Errors of all files are in the diagnostics. A document with an error is not among the documents,
/// except a pipeline whose parts are wrong: it says which (`PipelineSpec::broken`), so that the plan
/// can find what else is wrong in the same run.
/// Hidden folders are passed over, and so is, with a warning, a document in a folder that is not of
/// this language.
pub fn load(paths: &[PathBuf], values: &Values) -> (Documents, Diagnostics) {
    let mut loader = Loader::new(values);
    loader.load(paths);
    (loader.documents, loader.out)
}

/// Reads the tests among the documents, as [`load`] does. Other documents are passed over with all that
/// is wrong with them: a test reads its pipeline again, with the values that it gives.
pub fn load_tests(paths: &[PathBuf], values: &Values) -> (Documents, Diagnostics) {
    let mut loader = Loader::new(values);
    loader.tests_only = true;
    loader.load(paths);
    (loader.documents, loader.out)
}

/// Reads one text as if it were a file of that name.
pub fn load_text(name: &str, text: &str, values: &Values) -> (Documents, Diagnostics) {
    let mut loader = Loader::new(values);
    loader.load_text(name, text.to_owned(), Found::Named);
    (loader.documents, loader.out)
}

/// Reads several texts as if they were files of those names, in one folder or in many.
pub fn load_texts<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
    values: &Values,
) -> (Documents, Diagnostics) {
    let mut loader = Loader::new(values);
    texts.into_iter().for_each(|(name, text)| loader.load_text(name, text.to_owned(), Found::InFolder));
    (loader.documents, loader.out)
}

/// How a file came to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Named,
    InFolder,
}

struct Loader<'a> {
    values: &'a Values,
    /// Documents of other kinds are passed over.
    tests_only: bool,
    /// Files that were read, so that one that is named twice counts once.
    read: BTreeSet<PathBuf>,
    /// Kind, namespace and name → where.
    names: HashMap<(String, String, String), Place>,
    documents: Documents,
    out: Diagnostics,
}

impl<'a> Loader<'a> {
    fn new(values: &'a Values) -> Self {
        let (documents, out) = Default::default();
        Loader { values, tests_only: false, read: BTreeSet::new(), names: HashMap::new(), documents, out }
    }

    fn load(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if path.is_dir() {
                let mut files = Vec::new();
                self.find_files(path, &mut files);
                if files.is_empty() {
                    let title = format!("there is no *.yaml or *.yml file in `{}`", path.display());
                    self.out.push(Diagnostic::error("load.empty_folder", title));
                }
                files.iter().for_each(|file| self.load_file(file, Found::InFolder));
            } else {
                self.load_file(path, Found::Named);
            }
        }
    }

    fn find_files(&mut self, folder: &Path, files: &mut Vec<PathBuf>) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let title = format!("the folder `{}` cannot be read: {error}", folder.display());
                return self.out.push(Diagnostic::error("load.unreadable", title));
            }
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        // In the same order on every machine.
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            // A linked folder may lead back here.
            if path.is_dir() && !hidden && !path.is_symlink() {
                self.find_files(&path, files);
            } else if path.is_file() && is_yaml && !hidden {
                files.push(path);
            }
        }
    }

    fn load_file(&mut self, path: &Path, found: Found) {
        let shown = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let (code, title) = match error.kind() {
                    std::io::ErrorKind::NotFound => ("load.not_found", format!("there is no file `{shown}`")),
                    _ => ("load.unreadable", format!("the file `{shown}` cannot be read: {error}")),
                };
                return self.out.push(Diagnostic::error(code, title));
            }
        };
        let identity = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !self.read.insert(identity) {
            return;
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.load_text(&shown, text, found),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let title = format!("the file `{shown}` is not UTF-8 text: byte {at} is not");
                self.out.push(Diagnostic::error("load.not_text", title));
            }
        }
    }

    fn load_text(&mut self, name: &str, text: String, found: Found) {
        let file = Arc::new(SourceFile { name: name.to_owned(), text });
        let before = self.out.0.len();
        let yaml::Parsed { documents, failed } = yaml::parse(&file, self.values, &mut self.out);
        let syntax = self.out.0.len();
        let mut passed_over = Vec::new();
        for node in documents {
            let kind = node.get("kind").and_then(Node::as_str);
            if self.tests_only && kind.is_some_and(|kind| kind != "Test") {
                passed_over.push(node.place.span.clone());
                continue;
            }
            let is_foreign = node.get("apiVersion").is_none() && node.get("kind").is_none() && !is_plain(&node);
            match &node.value {
                // An empty document, such as what stands before the first `---`.
                Value::Null => {}
                _ if found == Found::InFolder && is_foreign => self.out.push(
                    Diagnostic::warning("load.passed_over", "this has neither `apiVersion` nor `kind`: passed over")
                        .at(&node.place),
                ),
                _ => self.load_document(&node),
            }
        }
        // A value that could not be read was complained about once.
        let mut rest = self.out.0.split_off(syntax);
        rest.retain(|diagnostic| !diagnostic.place.as_ref().is_some_and(|place| failed.contains(place)));
        self.out.0.append(&mut rest);
        let is_passed_over = |diagnostic: &Diagnostic| {
            let place = diagnostic.place.as_ref().filter(|place| place.file.name == file.name);
            place.is_some_and(|place| passed_over.iter().any(|document| document.contains(&place.span.start)))
        };
        self.out.0.retain(|diagnostic| !is_passed_over(diagnostic));
        // In the order of the file, whoever found them.
        let before = before.min(self.out.0.len());
        self.out.0[before..].sort_by_key(|diagnostic| diagnostic.place.as_ref().map(|place| place.span.start));
    }

    /// A connector in Connect's own form, which has no kind.
    fn load_plain_connector(&mut self, node: &Node) {
        match read_plain(node, &mut self.out) {
            Some((name, spec)) => {
                let metadata = Metadata { name, namespace: "default".to_owned(), labels: Vec::new() };
                if self.new_name("KafkaConnector", &metadata) {
                    let (folder, place) = (folder_of(node), node.place.clone());
                    self.documents.connectors.push(Document { metadata, spec, folder, place });
                }
            }
            None => self.documents.lost = true,
        }
    }

    fn load_document(&mut self, node: &Node) {
        if is_plain(node) {
            return self.load_plain_connector(node);
        }
        let out = &mut self.out;
        let Some(mut map) = MapReader::new(node, out) else { return };
        let kind: Option<Spanned<String>> = map.read("kind", out);
        let version: Option<Spanned<String>> = map.read("apiVersion", out);
        // Strimzi's own documents are read as they are.
        let is_connector = kind.as_ref().is_some_and(|kind| kind.value == "KafkaConnector");
        let is_known = |version: &str| version == API_VERSION || (is_connector && version.starts_with(STRIMZI));
        if let Some(version) = version.filter(|version| !is_known(&version.value)) {
            let title = format!("unknown version `{}`", version.value);
            out.push(
                Diagnostic::error("load.version", title).at(&version.place).hint(format!("write `{API_VERSION}`")),
            );
        }
        let metadata = map.read::<Metadata>("metadata", out);
        let spec = map.entry("spec");
        if spec.is_none() {
            let missing = Diagnostic::error("spec.missing_key", "`spec` is missing");
            out.push(missing.at(&node.place).label("this needs `spec`"));
        }
        map.finish(out);
        let Some(kind) = kind else { return };
        let metadata = metadata.filter(|metadata| self.new_name(&kind.value, metadata));
        let Some(spec) = spec else { return };
        self.load_kind(&kind, metadata, &spec.value, node);
    }

    /// Reads the body, also when the document is lost already: all errors come in one run.
    fn load_kind(&mut self, kind: &Spanned<String>, metadata: Option<Metadata>, spec: &Node, node: &Node) {
        let (documents, out) = (&mut self.documents, &mut self.out);
        let errors_before = out.error_count();
        match kind.value.as_str() {
            "Pipeline" => documents.pipelines.extend(pipeline(metadata, spec, node, out)),
            "Topic" => documents.topics.extend(document(metadata, spec, node, out)),
            "Schema" => documents.schemas.extend(document(metadata, spec, node, out)),
            "Connection" => documents.connections.extend(document(metadata, spec, node, out)),
            "KafkaConnector" => documents.connectors.extend(document(metadata, spec, node, out)),
            "Test" => documents.tests.extend(document(metadata, spec, node, out)),
            other => out.push(
                Diagnostic::error("load.unknown_kind", format!("unknown kind `{other}`"))
                    .at(&kind.place)
                    .note(format!("kinds are {}", KINDS.join(", ")))
                    .did_you_mean(other, KINDS.iter().copied()),
            ),
        }
        documents.lost |= kind.value != "Pipeline" && out.error_count() > errors_before;
    }

    /// True for a name that its kind does not have yet.
    fn new_name(&mut self, kind: &str, metadata: &Metadata) -> bool {
        let name = &metadata.name;
        let key = (kind.to_owned(), metadata.namespace.clone(), name.value.clone());
        if let Some(first) = self.names.get(&key) {
            let title = format!("the {kind} `{}` stands here twice", name.value);
            let twice = Diagnostic::error("load.duplicate_document", title);
            self.out.push(twice.at(&name.place).note(format!("first at {first}")));
            return false;
        }
        self.names.insert(key, name.place.clone());
        true
    }
}

/// A pipeline with errors is kept, marked as broken, for what the plan still finds wrong with it.
fn pipeline(
    metadata: Option<Metadata>,
    spec: &Node,
    node: &Node,
    out: &mut Diagnostics,
) -> Option<Document<PipelineSpec>> {
    let errors_before = out.error_count();
    let read = PipelineSpec::from_node(spec, out);
    let (metadata, mut spec) = (metadata?, read?);
    if out.error_count() > errors_before {
        // No part has this name: it only says that something is broken.
        spec.broken.insert(String::new());
    }
    Some(Document { metadata, spec, folder: folder_of(node), place: node.place.clone() })
}

fn folder_of(node: &Node) -> PathBuf {
    Path::new(&node.place.file.name).parent().unwrap_or(Path::new("")).to_owned()
}

fn document<T: FromNode>(
    metadata: Option<Metadata>,
    spec: &Node,
    node: &Node,
    out: &mut Diagnostics,
) -> Option<Document<T>> {
    let errors_before = out.error_count();
    let spec = T::from_node(spec, out);
    let (metadata, spec) = (metadata?, spec?);
    // A reader may complain and go on; what it gives is then not what the user meant.
    let clean = out.error_count() == errors_before;
    clean.then(|| Document { metadata, spec, folder: folder_of(node), place: node.place.clone() })
}

crate::options! {
    /// What a document is called.
    pub struct MetadataKeys {
        /// The name: letters, digits, `.`, `_` and `-`.
        pub name: Spanned<String>,
        /// Keeps pipelines of the same name apart. Default `default`.
        pub namespace: Option<Spanned<String>>,
        /// Texts of the user's own.
        pub labels: Vec<(Spanned<String>, String)> = Vec::new(),
        /// Texts of other tools: nobody reads them here.
        pub annotations: Vec<(Spanned<String>, String)> = Vec::new(),
    }
}

impl FromNode for Metadata {
    fn from_node(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        let MetadataKeys { name, namespace, labels, annotations: _ } = FromNode::from_node(node, out)?;
        let mut is_clean = true;
        for name in std::iter::once(&name).chain(&namespace).filter(|name| !is_document_name(&name.value)) {
            is_clean = false;
            out.push(
                Diagnostic::error("load.name", format!("`{}` is not a name", name.value))
                    .at(&name.place)
                    .note("it begins with a letter or a digit, and goes on with letters, digits, `.`, `_` and `-`"),
            );
        }
        let namespace = namespace.map_or_else(|| "default".to_owned(), |namespace| namespace.value);
        is_clean.then_some(Metadata { name, namespace, labels })
    }

    fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        MetadataKeys::schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "apiVersion: runner/v1\nkind: Topic\nmetadata: { name: NAME }\nspec: { format: json }\n";

    fn write(folder: &Path, name: &str, text: &[u8]) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn folders_are_read_all_through_and_a_file_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        let a = write(folder, "a.yaml", TOPIC.replace("NAME", "a").as_bytes());
        write(
            folder,
            "deep/er/b.yml",
            format!("---\n{}---\n{}", TOPIC.replace("NAME", "b"), TOPIC.replace("NAME", "c")).as_bytes(),
        );
        write(folder, ".hidden/d.yaml", b"{");
        write(folder, "values.yaml", b"topic: x\n");
        write(folder, "notes.txt", b"{");
        let (documents, diagnostics) = load(&[folder.to_owned(), a], &Values::default());
        let names: Vec<_> = documents.topics.iter().map(|topic| topic.metadata.name.value.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(documents.topics[1].folder, folder.join("deep/er"));
        assert_eq!(diagnostics.0.iter().map(|d| d.code).collect::<Vec<_>>(), ["load.passed_over"]);
        assert!(!diagnostics.has_errors());
    }

    #[test]
    fn paths_that_cannot_be_read_are_all_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        let latin = write(folder, "latin/a.yaml", b"name: \xfc\n");
        std::fs::create_dir(folder.join("empty")).unwrap();
        let (_, diagnostics) = load(&[folder.join("none.yaml"), folder.join("empty"), latin], &Values::default());
        let codes: Vec<_> = diagnostics.0.iter().map(|d| d.code).collect();
        assert_eq!(codes, ["load.not_found", "load.empty_folder", "load.not_text"]);
    }

    #[test]
    fn byte_order_mark_is_no_part_of_the_text() {
        let (documents, diagnostics) = load_text("a.yaml", &format!("\u{feff}{TOPIC}"), &Values::default());
        assert_eq!((documents.topics.len(), &diagnostics.0[..]), (1, &[][..]));
        assert_eq!(documents.topics[0].metadata.name.place.text(), "NAME");
    }
}
