//! What profiles say, and what they cannot say.

use crate::world::{call, config, error, write};

#[tokio::test(start_paused = true)]
async fn what_contradicts_itself_is_told_and_nothing_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let role = "role_arn = arn:aws:iam::1:role/x\n";
    for (text, words) in [
        (role.to_owned(), "neither source_profile"),
        (
            format!("{role}source_profile = a\ncredential_source = Environment\n"),
            "both source_profile and credential_source",
        ),
        (
            format!("{role}credential_source = Elsewhere\n"),
            "Elsewhere",
        ),
        (format!("{role}source_profile = nobody\n"), "nobody"),
        (
            format!("{role}source_profile = default\n"),
            "default → default",
        ),
        (
            format!(
                "{role}source_profile = a\n[profile a]\n{role}source_profile = b\n\
                     [profile b]\n{role}source_profile = a\n"
            ),
            "default → a → b → a",
        ),
        (
            format!("{role}source_profile = a\n[profile a]\nregion = x\n"),
            "\"a\" has no credentials",
        ),
        (
            format!("{role}source_profile = a\nduration_seconds = 60\n"),
            "duration_seconds \"60\"",
        ),
        (
            format!("{role}source_profile = a\nmfa_serial = x\n"),
            "mfa_serial",
        ),
        ("login_session = x\n".to_owned(), "login_session"),
        ("sso_role_name = x\n".to_owned(), "sso_start_url"),
        (
            "sso_role_name = x\nsso_session = gone\n".to_owned(),
            "[sso-session gone]",
        ),
        (
            "aws_access_key_id = x\n".to_owned(),
            "aws_secret_access_key",
        ),
    ] {
        write(home.path(), "config", &format!("[default]\n{text}"));
        let (config, seen) = config(home.path(), &[], |_| None);
        let told = error(&config).await;
        assert!(told.contains(words), "{text}: {told}");
        assert!(seen.urls().is_empty(), "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_of_a_profile_is_run_and_keys_go_before_it() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("my keys.sh");
    let text = "#!/bin/sh\necho \"{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"$1\\\",\
                \\\"SecretAccessKey\\\":\\\"hush\\\"}\"\n";
    std::fs::write(&script, text).unwrap();
    let process = format!(
        "credential_process = /bin/sh \"{}\" 'A B'\n",
        script.display()
    );
    write(home.path(), "config", &format!("[default]\n{process}"));
    let (by_process, seen) = config(home.path(), &[], |_| None);
    call(&by_process).await.unwrap();
    assert_eq!(*seen.keys.lock(), ["A B"]);
    let keys = "[default]\naws_access_key_id = KEYS\naws_secret_access_key = hush\n";
    write(home.path(), "credentials", keys);
    let (by_keys, seen) = config(home.path(), &[], |_| None);
    call(&by_keys).await.unwrap();
    assert_eq!(*seen.keys.lock(), ["KEYS"]);
}
