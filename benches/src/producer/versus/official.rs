//! The official library, installed, and what drives it, compiled.

use super::player::Player;
use crate::Failure;
use crate::producer::child::Sink;
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;

#[derive(Debug)]
pub struct Official {
    classes: TempDir,
    files: TempDir,
    class_path: String,
}

impl Official {
    pub async fn prepare() -> Result<Self, Failure> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = package.join("../tests/interop/.tools/kpl.classpath");
        let libraries = std::fs::read_to_string(&list).map_err(|error| {
            format!(
                "{}: {error}; tests/interop/run kpl installs the official library",
                list.display()
            )
        })?;
        let classes = TempDir::new()?;
        let sources = ["Library", "Drive", "Steady"];
        let status = Command::new("javac")
            .args(["-cp", libraries.trim(), "-d"])
            .arg(classes.path())
            .args(sources.map(|name| package.join(format!("kpl-java/{name}.java"))))
            .status()
            .await
            .map_err(|error| format!("javac: {error}"))?;
        if !status.success() {
            return Err(format!("what drives the library could not be compiled: {status}").into());
        }
        let class_path = format!("{}:{}", classes.path().display(), libraries.trim());
        Ok(Self {
            classes,
            files: TempDir::new()?,
            class_path,
        })
    }

    /// Starts a driver, on one core or on all.
    pub fn start<A: AsRef<str>>(
        &self,
        driver: &str,
        core: Option<u32>,
        sink: &Sink,
        arguments: &[A],
    ) -> Result<Player, Failure> {
        let mut command = on(core, "java".as_ref());
        command
            .args(["-cp", &self.class_path, driver, &sink.port().to_string()])
            .args([&sink.certificate(), self.files.path()])
            .args(arguments.iter().map(AsRef::as_ref))
            .current_dir(self.classes.path());
        Player::start(command)
    }
}

/// A program on one core or on all.
fn on(core: Option<u32>, program: &Path) -> Command {
    let Some(core) = core else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}
