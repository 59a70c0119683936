//! The token that `aws sso login` left on the disk. Shortly before it ends, and after, it is renewed with
//! the registration of the client that lies beside it, and written back, as the AWS SDKs and the command
//! line do: whoever renews last, all go on with the same file.

use super::ask::ask;
use super::chain::Access;
use super::sso::{PATIENCE, Sso};
use super::time;
use crate::endpoint::Service;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// So long before its end a token is renewed: as long as the AWS SDKs for Rust and Java have it.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// A token, and all that the file says of it.
struct Token {
    access: String,
    end: SystemTime,
    file: Value,
}

/// The token to show, renewed if it has to be.
pub(super) async fn find(access: &Access, sso: &Sso) -> Result<String, String> {
    let path = path(access, &sso.token_of)?;
    let token = read(&path)?;
    let now = access.clock.now();
    let left = token.end.duration_since(now).unwrap_or_default();
    if left > EARLY {
        return Ok(token.access);
    }
    let why = match renew(access, sso, &token).await {
        Ok(renewed) => {
            if let Err(error) = save(access, &path, &renewed.file) {
                // Its own refresh token may be good no more.
                tracing::warn!(path = %path.display(), %error, "a renewed SSO token could not be kept");
            }
            return Ok(renewed.access);
        }
        Err(why) => why,
    };
    match read(&path) {
        // Someone else was faster, and has used up what ours was renewed with.
        Ok(other) if other.access != token.access && other.end > now => Ok(other.access),
        _ if left > Duration::ZERO => {
            tracing::warn!(reason = why, "an SSO token that ends soon was not renewed");
            Ok(token.access)
        }
        _ => {
            let end = time::text(token.end);
            Err(format!("the cached token has expired at {end}; {why}"))
        }
    }
}

fn path(access: &Access, token_of: &str) -> Result<PathBuf, String> {
    let home = access.env.home().ok_or("there is no home directory")?;
    let algorithm = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = ring::digest::digest(algorithm, token_of.as_bytes());
    let file = format!("{}.json", crate::sign::hex(digest.as_ref()));
    Ok(home.join(".aws").join("sso").join("cache").join(file))
}

fn read(path: &Path) -> Result<Token, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
    let file: Value = serde_json::from_slice(&text).map_err(|_| format!("{shown} is no JSON"))?;
    let (Some(access), Some(end)) = (text_of(&file, "accessToken"), text_of(&file, "expiresAt"))
    else {
        return Err(format!("{shown} has no accessToken or expiresAt"));
    };
    let at = time::parse(end).ok_or_else(|| format!("{shown}: expiresAt {end:?} is no time"))?;
    Ok(Token {
        access: access.to_owned(),
        end: at,
        file,
    })
}

fn text_of<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// `CreateToken`, which needs no signature.
async fn renew(access: &Access, sso: &Sso, token: &Token) -> Result<Token, String> {
    let of = |name: &str| {
        let text = text_of(&token.file, name);
        text.ok_or_else(|| format!("it cannot be renewed, for there is no {name} beside it"))
    };
    let (refresh, client, secret) = (of("refreshToken")?, of("clientId")?, of("clientSecret")?);
    let until = of("registrationExpiresAt")?;
    let now = access.clock.now();
    if time::parse(until).is_none_or(|until| until <= now) {
        return Err(format!(
            "it cannot be renewed, for the registration beside it is good until {until} only"
        ));
    }
    let body = json!({
        "clientId": client,
        "clientSecret": secret,
        "grantType": "refresh_token",
        "refreshToken": refresh,
    });
    let place = access.endpoint(Service::SsoOidc, &sso.region)?;
    let request = http::Request::post(format!("{}token", place.url()))
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))
        .map_err(|e| e.to_string())?;
    let asked = ask(&*access.transport, &access.chance, PATIENCE, &request).await;
    let answer = asked.map_err(|failure| {
        let words = failure.words(super::json::complaint);
        format!("it could not be renewed ({words})")
    })?;
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|_| "the answer to its renewal is no JSON".to_owned())?;
    let lasts = answer.get("expiresIn").and_then(Value::as_u64);
    let (Some(new), Some(lasts)) = (text_of(&answer, "accessToken"), lasts) else {
        return Err("the answer to its renewal has no accessToken or expiresIn".to_owned());
    };
    let end = now
        .checked_add(Duration::from_secs(lasts))
        .ok_or("the answer to its renewal has no expiresIn that is a time")?;
    let mut file = token.file.clone();
    if let Value::Object(members) = &mut file {
        members.insert("accessToken".to_owned(), json!(new));
        members.insert("expiresAt".to_owned(), json!(time::text(end)));
        if let Some(refresh) = text_of(&answer, "refreshToken") {
            members.insert("refreshToken".to_owned(), json!(refresh));
        }
    }
    Ok(Token {
        access: new.to_owned(),
        end,
        file,
    })
}

/// In place of the old file in one step, for the user's eyes alone.
fn save(access: &Access, path: &Path, file: &Value) -> io::Result<()> {
    let beside = path.with_extension(format!("{:016x}.tmp", access.chance.below(u64::MAX)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut out| {
        out.write_all(file.to_string().as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.inspect_err(|_| {
        let _gone = std::fs::remove_file(&beside);
    })
}
