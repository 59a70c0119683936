//! The shared files `~/.aws/config` and `~/.aws/credentials`.

use crate::environment::Environment;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A section's or a service's keys, in lower case, and their values.
type Keys = BTreeMap<String, String>;

/// One profile's keys, those of the credentials file before those of the configuration file, and the
/// `services` section that it names.
#[derive(Clone, Default)]
pub(crate) struct Profile {
    name: String,
    keys: Keys,
    services: BTreeMap<String, Keys>,
    /// The keys of the `sso-session` section that it names; none when there is no such section.
    sso_session: Option<Keys>,
}

/// A section: its keys, and below keys without a value the keys that stand indented under them.
#[derive(Debug, Clone, Default)]
struct Section {
    keys: Keys,
    nested: BTreeMap<String, Keys>,
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
    /// The profile names a `services` section that the configuration file does not have.
    #[error("profile {profile:?} names services {services:?}, but {} has no [services {services}]", config.display())]
    NoServices {
        /// The profile.
        profile: String,
        /// The section that it names.
        services: String,
        /// The configuration file.
        config: PathBuf,
    },
}

impl Profile {
    /// Reads the profile that is named, or `AWS_PROFILE`, or `default`, which may be missing.
    pub(crate) fn load(env: &Environment, named: Option<&str>) -> Result<Self, ProfileError> {
        let named = named.map(str::to_owned).or_else(|| env.get("AWS_PROFILE"));
        Self::load_exactly(env, named.as_deref())
    }

    /// Reads the profile that is named, or `default`, which may be missing.
    pub(crate) fn load_exactly(
        env: &Environment,
        named: Option<&str>,
    ) -> Result<Self, ProfileError> {
        let named = named.map(str::to_owned);
        let name = named.clone().unwrap_or_else(|| "default".to_owned());
        let (credentials, config) = (env.credentials_file(), env.config_file());
        let (mut keys, mut services) = (Keys::new(), BTreeMap::new());
        let mut sso_session = None;
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
                keys.extend(section.keys.clone());
                if path == &config
                    && let Some(wanted) = section.keys.get("sso_session")
                {
                    let named = all.get(&format!("sso-session {wanted}"));
                    sso_session = named.map(|section| section.keys.clone());
                }
                if path == &config
                    && let Some(wanted) = section.keys.get("services")
                {
                    let named = all.get(&format!("services {wanted}"));
                    let named = named.ok_or_else(|| ProfileError::NoServices {
                        profile: name.clone(),
                        services: wanted.clone(),
                        config: config.clone().unwrap_or_default(),
                    })?;
                    services = named.nested.clone();
                }
            }
        }
        match named {
            Some(name) if !found => Err(ProfileError::Missing {
                name,
                credentials: credentials.unwrap_or_default(),
                config: config.unwrap_or_default(),
            }),
            _ => Ok(Self {
                name,
                keys,
                services,
                sso_session,
            }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key; empty counts as unset.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.keys.get(key).filter(|v| !v.is_empty()).cloned()
    }

    /// Whether the `sso-session` section that the profile names exists.
    pub(crate) fn has_sso_session(&self) -> bool {
        self.sso_session.is_some()
    }

    /// The value of a key in the `sso-session` section that the profile names.
    pub(crate) fn of_sso_session(&self, key: &str) -> Option<String> {
        let keys = self.sso_session.as_ref()?;
        keys.get(key).filter(|v| !v.is_empty()).cloned()
    }

    /// The value of a service's key in the `services` section that the profile names.
    pub(crate) fn of_service(&self, service: &str, key: &str) -> Option<String> {
        let keys = self.services.get(service)?;
        keys.get(key).filter(|v| !v.is_empty()).cloned()
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

/// Sections by name. A line that is indented further than its section's keys belongs to the key above
/// it: as a key of its own (of a service) if that has no value, else as a continuation, which no key
/// that is read here has. Of a key that comes twice the last counts.
fn parse(text: &str) -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut section: Option<String> = None;
    // The last key of the section, whether it has a value, and how far its line is indented.
    let mut above: Option<(String, bool, usize)> = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let below = above.as_ref().filter(|(.., of_key)| indent > *of_key);
        let Some(found) = section.as_ref().and_then(|name| sections.get_mut(name)) else {
            section = header(content).inspect(|name| {
                sections.entry(name.clone()).or_default();
            });
            continue;
        };
        match (below, content.split_once('=')) {
            (Some((key, false, _)), Some((inner, value))) => {
                let keys = found.nested.entry(key.clone()).or_default();
                keys.insert(lower(inner), without_comment(value).to_owned());
            }
            (Some(_), _) => {}
            (None, pair) => match (header(content), pair) {
                (Some(name), _) => {
                    sections.entry(name.clone()).or_default();
                    (section, above) = (Some(name), None);
                }
                (None, Some((key, value))) => {
                    let (key, value) = (lower(key), without_comment(value));
                    above = Some((key.clone(), !value.is_empty(), indent));
                    found.keys.insert(key, value.to_owned());
                }
                (None, None) => {}
            },
        }
    }
    sections
}

fn lower(key: &str) -> String {
    key.trim().to_ascii_lowercase()
}

/// A section's name, with one space after its kind and without the quotes that a name with spaces
/// needs.
fn header(content: &str) -> Option<String> {
    let name = content.strip_prefix('[')?.split(']').next()?.trim();
    let unquoted = |name: &str| name.trim().trim_matches(['"', '\'']).to_owned();
    Some(match name.split_once([' ', '\t']) {
        Some((kind @ ("profile" | "services" | "sso-session"), name)) => {
            format!("{kind} {}", unquoted(name))
        }
        _ => unquoted(name),
    })
}

/// The value up to a blank and `#` or `;`.
fn without_comment(value: &str) -> &str {
    let mut after_blank = true;
    let end = value.find(|c: char| {
        let begins = after_blank && matches!(c, '#' | ';');
        after_blank = c.is_whitespace();
        begins
    });
    value
        .get(..end.unwrap_or(value.len()))
        .unwrap_or(value)
        .trim()
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
[profile \"two words\"] # comment
\tregion = eu-north-1\t; comment
\tservices = x
\toutput = a;b#c
\t[services x]
kinesis =
  endpoint_url = http://kinesis:1
  # comment
DynamoDB =
  endpoint_url = http://dynamodb:2 ; comment
  s3 = no
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
    fn quotes_comments_indents_and_services_are_read_as_the_command_line_does() {
        let dir = tempfile::tempdir().unwrap();
        let env = environment(dir.path(), &[]);
        let words = Profile::load(&env, Some("two words")).unwrap();
        assert_eq!(words.get("region").as_deref(), Some("eu-north-1"));
        assert_eq!(words.get("output").as_deref(), Some("a;b#c"));
        let endpoint = |service| words.of_service(service, "endpoint_url");
        assert_eq!(endpoint("kinesis").as_deref(), Some("http://kinesis:1"));
        assert_eq!(endpoint("dynamodb").as_deref(), Some("http://dynamodb:2"));
        assert_eq!(endpoint("s3"), None);
        let other = Profile::load(&env, None).unwrap();
        assert_eq!(other.of_service("kinesis", "endpoint_url"), None);
    }

    #[test]
    fn services_that_are_named_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let env = environment(dir.path(), &[]);
        std::fs::write(env.config_file().unwrap(), "[default]\nservices = y\n").unwrap();
        let error = Profile::load(&env, None).unwrap_err().to_string();
        assert!(error.contains("[services y]"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text: String, odd in "[\\[\\]=# ;\"a\n\t\u{feff}é]{0,80}") {
            let _ = parse(&text);
            for (name, section) in parse(&odd) {
                proptest::prop_assert!(!name.contains('\n'));
                proptest::prop_assert!(section.keys.keys().all(|k| !k.contains('=')));
            }
        }
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
