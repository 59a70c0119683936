//! Where variables and files come from, handed in so that tests need not touch the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables by name.
#[derive(Debug, Clone)]
pub struct Environment(Source);

#[derive(Clone)]
enum Source {
    Process,
    Fixed(BTreeMap<String, String>),
}

/// Values may be secrets: only the names are shown.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process => f.write_str("Process"),
            Self::Fixed(vars) => f.debug_list().entries(vars.keys()).finish(),
        }
    }
}

impl Environment {
    /// The process' own environment.
    #[must_use]
    pub const fn process() -> Self {
        Self(Source::Process)
    }

    /// These variables and no others.
    pub fn fixed<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(Source::Fixed(
            variables
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        ))
    }

    /// The variable's value; empty counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Source::Process => std::env::var(name).ok(),
            Source::Fixed(vars) => vars.get(name).cloned(),
        };
        value.filter(|v| !v.is_empty())
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.get("HOME")
            .or_else(|| self.get("USERPROFILE"))
            .map(PathBuf::from)
    }

    /// `AWS_CONFIG_FILE`, or `~/.aws/config`.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        self.file("AWS_CONFIG_FILE", "config")
    }

    /// `AWS_SHARED_CREDENTIALS_FILE`, or `~/.aws/credentials`.
    pub(crate) fn credentials_file(&self) -> Option<PathBuf> {
        self.file("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    }

    fn file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        match self.get(variable) {
            Some(path) => match (path.strip_prefix("~/"), self.home()) {
                (Some(rest), Some(home)) => Some(home.join(rest)),
                _ => Some(PathBuf::from(path)),
            },
            None => Some(self.home()?.join(Path::new(".aws")).join(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_directory() {
        let env = Environment::fixed([("HOME", "/home/x"), ("AWS_CONFIG_FILE", "~/conf/aws")]);
        assert_eq!(env.config_file(), Some(PathBuf::from("/home/x/conf/aws")));
        let beside = env.credentials_file();
        assert_eq!(beside, Some(PathBuf::from("/home/x/.aws/credentials")));
    }
}
