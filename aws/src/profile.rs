//! The shared files `~/.aws/config` and `~/.aws/credentials`.

use crate::environment::Environment;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One profile's keys, those of the credentials file before those of the configuration file.
#[derive(Clone, Default)]
pub(crate) struct Profile {
    name: String,
    keys: BTreeMap<String, String>,
}

/// Values may be secrets: only the names of the keys are shown.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("name", &self.name)
            .field("keys", &self.keys.keys())
            .finish()
    }
}

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A file exists but cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The profile was named (by the caller or `AWS_PROFILE`) and stands in no file.
    #[error("profile {name:?} stands neither in {} nor in {}", credentials.display(), config.display())]
    Missing {
        /// The profile.
        name: String,
        /// The credentials file that was looked at.
        credentials: PathBuf,
        /// The configuration file that was looked at.
        config: PathBuf,
    },
}

impl Profile {
    /// Reads the profile that is named, or `AWS_PROFILE`, or `default`, which may be missing.
    pub(crate) fn load(env: &Environment, named: Option<&str>) -> Result<Self, ProfileError> {
        let named = named.map(str::to_owned).or_else(|| env.get("AWS_PROFILE"));
        let name = named.clone().unwrap_or_else(|| "default".to_owned());
        let (credentials, config) = (env.credentials_file(), env.config_file());
        let mut keys = BTreeMap::new();
        let mut found = false;
        // In the configuration file the sections of profiles other than the default are `profile NAME`.
        let long = format!("profile {name}");
        for (path, sections) in [
            (&config, [long.as_str(), &name]),
            (&credentials, [&name, &name]),
        ] {
            let Some(text) = path.as_deref().map(read).transpose()?.flatten() else {
                continue;
            };
            let all = parse(&text);
            let section = match (all.get(sections[0]), all.get(sections[1])) {
                (Some(section), _) => Some(section),
                (None, other) if path == &credentials || name == "default" => other,
                _ => None,
            };
            if let Some(section) = section {
                found = true;
                keys.extend(section.clone());
            }
        }
        match named {
            Some(name) if !found => Err(ProfileError::Missing {
                name,
                credentials: credentials.unwrap_or_default(),
                config: config.unwrap_or_default(),
            }),
            _ => Ok(Self { name, keys }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key; empty counts as unset.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.keys.get(key).filter(|v| !v.is_empty()).cloned()
    }
}

fn read(path: &Path) -> Result<Option<String>, ProfileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ProfileError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Sections by name, keys in lower case. Indented lines (sub-keys of services) and comments are passed
/// over; a later key replaces an earlier one.
fn parse(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = None;
    for line in text.lines() {
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        let line = line.trim();
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default();
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            section = Some(name);
        } else if let (Some(section), Some((key, value))) = (&section, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            if let Some(keys) = sections.get_mut(section) {
                keys.insert(key.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# comment
[default]
region = eu-west-1
[profile  work ]
region=us-east-2   # inline
endpoint_url = http://127.0.0.1:4567
services = x
s3 =
  max = 3
[other]
region = nowhere
";
    const CREDENTIALS: &str = "\
[work]
aws_access_key_id = AKID
aws_secret_access_key = abc#def=
";

    fn environment(dir: &Path, extra: &[(&str, &str)]) -> Environment {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let vars = vec![
            ("AWS_CONFIG_FILE".to_owned(), file("config", CONFIG)),
            (
                "AWS_SHARED_CREDENTIALS_FILE".to_owned(),
                file("credentials", CREDENTIALS),
            ),
        ];
        let extra = extra
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Environment::fixed(vars.into_iter().chain(extra))
    }

    #[test]
    fn profiles_are_found_in_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let env = environment(dir.path(), &[]);
        let default = Profile::load(&env, None).unwrap();
        assert_eq!(default.get("region").as_deref(), Some("eu-west-1"));
        let work = Profile::load(&env, Some("work")).unwrap();
        assert_eq!(work.get("region").as_deref(), Some("us-east-2"));
        assert_eq!(
            work.get("endpoint_url").as_deref(),
            Some("http://127.0.0.1:4567")
        );
        assert_eq!(
            work.get("aws_secret_access_key").as_deref(),
            Some("abc#def=")
        );
        assert_eq!(work.get("max"), None);
        assert_eq!(work.get("s3"), None);
        let by_variable = environment(dir.path(), &[("AWS_PROFILE", "work")]);
        assert_eq!(Profile::load(&by_variable, None).unwrap().name(), "work");
    }

    #[test]
    fn a_named_profile_must_exist_and_a_bare_section_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let env = environment(dir.path(), &[]);
        for name in ["nobody", "other"] {
            let error = Profile::load(&env, Some(name)).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("credentials"),
                "{error}"
            );
        }
        let nowhere = Environment::fixed([("HOME", "/nonexistent")]);
        assert!(
            Profile::load(&nowhere, None)
                .unwrap()
                .get("region")
                .is_none()
        );
        assert!(Profile::load(&nowhere, Some("x")).is_err());
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::load(&environment(dir.path(), &[]), Some("work")).unwrap();
        let shown = format!("{profile:?}");
        assert!(
            !shown.contains("abc#def") && shown.contains("aws_secret_access_key"),
            "{shown}"
        );
    }
}
