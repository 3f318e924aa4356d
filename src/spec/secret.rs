//! Text that may hold secrets: `${secret:env:NAME}`, `${secret:file:PATH}`.
//!
//! A [`Secret`] is filled where and when the pipeline starts. What it resolves to is never printed,
//! logged, journaled or returned: `Debug` and `Display` show the text as the user wrote it.

use std::path::{Path, PathBuf};

use crate::report::Failure;

/// Text with secrets that are not filled in yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    parts: Vec<Part>,
    /// Relative paths of `${secret:file:…}` are from here.
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Env(String),
    File(PathBuf),
}

impl Secret {
    /// Reads the text; `folder` is where relative paths begin.
    ///
    /// # Errors
    /// A sentence fragment that says what is wrong with a `${secret:…}` in it.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${secret:") {
            let end = rest[start..].find('}').ok_or("a `${secret:` is not closed by `}`")? + start;
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            parts.push(Part::parse(&rest[start + "${secret:".len()..end])?);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Secret { parts, folder: folder.to_owned() })
    }

    /// Text without secrets in it.
    pub fn plain(text: impl Into<String>) -> Self {
        Secret { parts: vec![Part::Text(text.into())], folder: PathBuf::new() }
    }

    /// True if there is something to fill in.
    pub fn has_secrets(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// What no output may hold of it once it is filled in: the secrets in it, line by line.
    ///
    /// # Errors
    /// As [`Secret::resolve`].
    pub fn hidden(&self) -> Result<Vec<String>, Failure> {
        let secrets = self.parts.iter().filter(|part| !matches!(part, Part::Text(_)));
        let secrets: Vec<String> = secrets.map(|part| part.resolve(&self.folder)).collect::<Result<_, _>>()?;
        Ok(secrets.iter().flat_map(|secret| secret.lines()).map(str::to_owned).collect())
    }

    /// Where relative paths begin.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fills in the secrets. Call it where and when the pipeline starts, and keep the result nowhere.
    ///
    /// # Errors
    /// [`Failure`] (user) with code `secret.missing` that names the variable or file, never its value.
    pub fn resolve(&self) -> Result<String, Failure> {
        self.parts.iter().map(|part| part.resolve(&self.folder)).collect()
    }
}

impl Part {
    fn parse(inner: &str) -> Result<Self, String> {
        match inner.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Part::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Part::File(path.into())),
            Some(("env" | "file", _)) => Err(format!("`${{secret:{inner}}}` names nothing")),
            _ => Err(format!("`${{secret:{inner}}}` is neither `${{secret:env:NAME}}` nor `${{secret:file:PATH}}`")),
        }
    }

    fn resolve(&self, folder: &Path) -> Result<String, Failure> {
        match self {
            Part::Text(text) => Ok(text.clone()),
            Part::Env(name) => std::env::var(name).map_err(|error| {
                Failure::user("secret.missing", format!("the secret `${{secret:env:{name}}}` cannot be read"))
                    .because(error)
                    .hint(format!("set the environment variable `{name}`"))
            }),
            Part::File(path) => {
                let text = std::fs::read_to_string(folder.join(path)).map_err(|error| {
                    let shown = path.display();
                    Failure::user("secret.missing", format!("the secret `${{secret:file:{shown}}}` cannot be read"))
                        .because(error)
                })?;
                // Editors and `echo` end a file with a line break that is not part of the secret.
                Ok(text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t)).to_owned())
            }
        }
    }
}

impl std::fmt::Display for Secret {
    /// As the user wrote it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Env(name) => write!(f, "${{secret:env:{name}}}"),
            Part::File(path) => write!(f, "${{secret:file:{}}}", path.display()),
        })
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_prints_as_it_was_written_and_resolves_to_its_value() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
        let secret = Secret::parse("user:${secret:file:password}@host", folder.path()).unwrap();
        assert_eq!(secret.resolve().unwrap(), "user:hunter2@host");
        assert_eq!(format!("{secret} {secret:?}").matches("hunter2").count(), 0);
        assert_eq!(secret.to_string(), "user:${secret:file:password}@host");
        assert_eq!(secret.hidden().unwrap(), ["hunter2"]);
    }

    #[test]
    fn missing_secret_is_named_and_wrong_ones_are_refused() {
        let missing = Secret::parse("${secret:env:RUNNER_NO_SUCH_VARIABLE}", Path::new("")).unwrap();
        assert_eq!(missing.resolve().unwrap_err().code, "secret.missing");
        for wrong in ["${secret:vault:x}", "${secret:env:}", "${secret:env:X"] {
            assert!(Secret::parse(wrong, Path::new("")).is_err(), "{wrong}");
        }
    }
}
