//! Credentials as the container's endpoint, the instance's metadata and processes give them.

use super::Credentials;
use super::time;
use serde_json::Value;

/// Reads `AccessKeyId`, `SecretAccessKey`, the token under the name that its source gives it, and
/// `Expiration`. What is wrong is told without showing any of the values.
pub(super) fn credentials(value: &Value, token: &str) -> Result<Credentials, String> {
    let text = |name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let needed = |name: &str| text(name).ok_or_else(|| format!("the answer has no {name}"));
    let found = Credentials::new(
        needed("AccessKeyId")?,
        needed("SecretAccessKey")?,
        text(token),
    );
    match text("Expiration") {
        None => Ok(found),
        Some(end) => match time::parse(&end) {
            Some(end) => Ok(found.with_expiry(end)),
            None => Err(format!("the answer's Expiration {end:?} is no time")),
        },
    }
}

/// What an error in JSON says: its code and message, under the names that are in use.
pub(super) fn complaint(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |names: [&str; 3]| {
        let mut names = names.iter();
        names.find_map(|name| value.get(*name)?.as_str().filter(|text| !text.is_empty()))
    };
    let message = text(["message", "Message", "error_description"]);
    match (text(["code", "Code", "error"]), message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_are_read_and_what_is_missing_is_named() {
        let whole = json!({
            "AccessKeyId": "ASIA", "SecretAccessKey": "hush", "Token": "t",
            "Expiration": "2023-11-14T22:13:20Z",
        });
        let found = credentials(&whole, "Token").unwrap();
        assert_eq!(
            (found.access_key_id(), found.session_token()),
            ("ASIA", Some("t"))
        );
        let end = runtime::time::from_epoch_millis(1_700_000_000_000);
        assert_eq!(found.expiry(), Some(end));
        for (without, word) in [
            (json!({"SecretAccessKey": "hush"}), "AccessKeyId"),
            (
                json!({"AccessKeyId": "A", "SecretAccessKey": 5}),
                "SecretAccessKey",
            ),
            (
                json!({"AccessKeyId": "A", "SecretAccessKey": "hush", "Expiration": "soon"}),
                "soon",
            ),
            (json!(["hush"]), "AccessKeyId"),
        ] {
            let error = credentials(&without, "Token").unwrap_err();
            assert!(error.contains(word) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn complaints_are_read_under_all_spellings() {
        let said = |text: &str| complaint(text.as_bytes());
        assert_eq!(
            said(r#"{"code":"C","message":"m"}"#).as_deref(),
            Some("C: m")
        );
        assert_eq!(said(r#"{"Message":"m"}"#).as_deref(), Some("m"));
        let of_oauth = r#"{"error":"e","error_description":"d"}"#;
        assert_eq!(said(of_oauth).as_deref(), Some("e: d"));
        assert_eq!(said("<html>"), None);
        assert_eq!(said("{}"), None);
    }
}
