//! `credential_process`: a command that prints credentials.
//!
//! The command is split into words as the AWS command line does: by blanks, with quotes, and with
//! backslashes where the system's paths have none. No shell is involved: `~`, `$` and `|` mean
//! nothing.

use super::json;
use super::{Credentials, CredentialsError};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// How long the command may take. A person may have to touch a key.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// What is read of its output.
const LARGEST_OUTPUT: u64 = 256 << 10;

/// Runs the command and reads what it prints. What it says on its error output goes nowhere, for it
/// may be a secret. The command is killed when its time is over or the look-up is given up; commands
/// that it has started itself are not.
pub(super) async fn run(
    profile: &str,
    command: &str,
    patience: Duration,
) -> Result<Credentials, CredentialsError> {
    let failed = |reason: String| CredentialsError::Provider {
        provider: "credential_process",
        reason,
        remedy: format!(
            "run the command that profile {profile:?} names by hand: it has to print \
             {{\"Version\": 1, \"AccessKeyId\": …, \"SecretAccessKey\": …}}"
        ),
    };
    let words = split(command, !cfg!(windows))
        .ok_or_else(|| failed("the command has a quote that is not closed".to_owned()))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("the command is empty".to_owned()));
    };
    let finished = tokio::time::timeout(patience, output(program, arguments)).await;
    let (status, printed) = finished
        .map_err(|_| failed(format!("not done within {patience:?}")))?
        .map_err(|e| failed(format!("{program}: {e}")))?;
    if !status.success() {
        return Err(failed(format!("{program} ended with {status}")));
    }
    read(&printed).map_err(failed)
}

async fn output(program: &str, arguments: &[String]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(LARGEST_OUTPUT)
            .read_to_end(&mut printed)
            .await?;
    }
    Ok((child.wait().await?, printed))
}

fn read(printed: &[u8]) -> Result<Credentials, String> {
    let value: serde_json::Value = serde_json::from_slice(printed)
        .map_err(|e| format!("the output is no JSON (line {})", e.line()))?;
    match value.get("Version").map(serde_json::Value::as_u64) {
        Some(Some(1)) => json::credentials(&value, "SessionToken"),
        Some(_) => Err("the output's Version is not 1".to_owned()),
        None => Err("the output has no Version".to_owned()),
    }
}

/// The words of a command line; `None` when a quote is not closed.
fn split(command: &str, backslashes: bool) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' if backslashes => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        // Within quotes a backslash is itself before all but these two.
                        '\\' if backslashes
                            && chars.peek().is_some_and(|c| matches!(c, '"' | '\\')) =>
                        {
                            word.push(chars.next()?);
                        }
                        c => word.push(c),
                    }
                }
            }
            '\\' if backslashes => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_the_command_line_splits_them() {
        // The second column is what Python's `shlex.split` makes of the first.
        for (command, words) in [
            ("a b  c", &["a", "b", "c"][..]),
            (" /opt/my\\ tool --x='1 2' ", &["/opt/my tool", "--x=1 2"]),
            (
                r#""/opt/my tool" "a\"b" "c\d" e"f"g"#,
                &["/opt/my tool", "a\"b", "c\\d", "efg"],
            ),
            ("a '' \"\" b#c # d", &["a", "", "", "b#c", "#", "d"]),
            ("~ $HOME a|b", &["~", "$HOME", "a|b"]),
            ("", &[]),
        ] {
            assert_eq!(split(command, true).unwrap(), words, "{command}");
        }
        for open in ["a 'b", "a \"b", "a\\"] {
            assert_eq!(split(open, true), None, "{open}");
        }
        let windows = r#""C:\Program Files\x.exe" it's C:\a"#;
        assert_eq!(
            split(windows, false).unwrap(),
            [r"C:\Program Files\x.exe", "it's", r"C:\a"]
        );
    }

    #[cfg(unix)]
    mod commands {
        use super::*;

        /// `/bin/sh -c SCRIPT`, where the script has no single quote.
        async fn shell(script: &str) -> Result<Credentials, CredentialsError> {
            run("work", &format!("/bin/sh -c '{script}'"), PATIENCE).await
        }

        #[tokio::test]
        async fn what_a_command_prints_is_read() {
            let found = shell(
                r#"echo "{\"Version\":1,\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\"Expiration\":\"2023-11-14T22:13:20Z\"}""#,
            )
            .await
            .unwrap();
            assert_eq!(
                (found.access_key_id(), found.session_token()),
                ("ASIA", Some("t"))
            );
            assert!(found.expiry().is_some());
        }

        #[tokio::test]
        async fn what_fails_is_told_without_what_was_printed() {
            for (script, word) in [
                ("echo hush; echo hush >&2; exit 3", "exit status: 3"),
                ("echo hush", "no JSON"),
                (r#"echo "{\"SecretAccessKey\":\"hush\"}""#, "no Version"),
                (
                    r#"echo "{\"Version\":2,\"SecretAccessKey\":\"hush\"}""#,
                    "not 1",
                ),
                (
                    r#"echo "{\"Version\":1,\"SecretAccessKey\":\"hush\"}""#,
                    "AccessKeyId",
                ),
                ("", "no JSON"),
            ] {
                let error = shell(script).await.unwrap_err().to_string();
                assert!(
                    error.contains(word)
                        && !error.contains("hush")
                        && error.contains("credential_process")
                        && error.contains("\"work\""),
                    "{error}"
                );
            }
            let error = run("work", "/nonexistent/tool", PATIENCE).await;
            assert!(error.unwrap_err().to_string().contains("/nonexistent/tool"));
            let error = run("work", "'x", PATIENCE).await;
            assert!(error.unwrap_err().to_string().contains("quote"));
        }

        #[tokio::test]
        async fn a_command_that_hangs_is_killed() {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("pid");
            let command = format!("/bin/sh -c 'echo $$ > {}; exec sleep 3600'", file.display());
            // Long enough for the shell to start.
            let looking = run("work", &command, Duration::from_secs(3600));
            let started = async {
                loop {
                    match std::fs::read_to_string(&file) {
                        Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
                        _ => tokio::task::yield_now().await,
                    }
                }
            };
            let pid = tokio::select! {
                biased;
                pid = started => pid,
                _ = looking => panic!("it sleeps"),
            };
            // Dropped above, which is what a time-out does.
            let status = std::path::PathBuf::from(format!("/proc/{pid}/stat"));
            loop {
                match std::fs::read_to_string(&status) {
                    Ok(stat) if !stat.contains(") Z ") => tokio::task::yield_now().await,
                    _ => break,
                }
            }
            let brief = run("work", "/bin/sleep 3600", Duration::from_millis(10)).await;
            let error = brief.unwrap_err().to_string();
            assert!(error.contains("not done within 10ms"), "{error}");
        }
    }
}
