//! What a profile says about where credentials come from, as a plan: nothing is asked here.

use super::sso::Sso;
use super::sts::{Role, WebIdentity};
use super::{Credentials, CredentialsError};
use crate::environment::Environment;
use crate::profile::Profile;
use std::path::PathBuf;

/// Where credentials come from.
#[cfg_attr(test, derive(Debug))]
pub(super) enum Source {
    Keys(Credentials),
    Process {
        profile: String,
        command: String,
    },
    Sso(Sso),
    WebIdentity(WebIdentity),
    Environment,
    Container,
    Instance,
    /// A role that is taken on with what another source gives.
    Role(Role, Box<Source>),
}

/// The keys of the environment.
pub(super) fn of_environment(env: &Environment) -> Result<Option<Credentials>, CredentialsError> {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    keys("the environment".to_owned(), names, |name| env.get(name))
}

/// The web identity of the environment.
pub(super) fn web_identity(env: &Environment) -> Result<Option<WebIdentity>, CredentialsError> {
    let token = "AWS_WEB_IDENTITY_TOKEN_FILE";
    let Some(token_file) = env.get(token) else {
        return Ok(None);
    };
    let arn = env.get("AWS_ROLE_ARN").ok_or(CredentialsError::Half {
        place: "the environment".to_owned(),
        has: token,
        lacks: "AWS_ROLE_ARN",
    })?;
    Ok(Some(WebIdentity {
        role: Role {
            arn,
            session: env.get("AWS_ROLE_SESSION_NAME"),
            external_id: None,
            duration: None,
        },
        token_file: PathBuf::from(token_file),
    }))
}

/// What the profile says; nothing when it says nothing of credentials. A default profile that is
/// missing says nothing.
pub(super) fn of_profile(
    env: &Environment,
    name: &str,
) -> Result<Option<Source>, CredentialsError> {
    let named = (name != "default").then_some(name);
    follow(env, &load(env, named)?, name, &mut vec![name.to_owned()])
}

fn load(env: &Environment, name: Option<&str>) -> Result<Profile, CredentialsError> {
    // `AWS_PROFILE` names the profile to begin with, which the caller has looked up.
    Profile::load_exactly(env, name).map_err(|e| CredentialsError::File(e.to_string()))
}

/// `visited` has the names on the way to this profile, itself included.
fn follow(
    env: &Environment,
    profile: &Profile,
    name: &str,
    visited: &mut Vec<String>,
) -> Result<Option<Source>, CredentialsError> {
    let wrong = |reason: String| CredentialsError::Profile {
        profile: name.to_owned(),
        reason,
    };
    let not_built = |keys: &[&'static str]| {
        let key = keys.iter().find(|key| profile.get(key).is_some())?;
        Some(CredentialsError::NotBuilt {
            profile: name.to_owned(),
            key,
        })
    };
    if let Some(arn) = profile.get("role_arn") {
        // A role needs a person's one-time password: nobody is there to give it.
        if let Some(error) = not_built(&["mfa_serial"]) {
            return Err(error);
        }
        let duration = profile.get("duration_seconds").map(|text| {
            let seconds = text.parse().ok().filter(|s| (900..=43_200).contains(s));
            seconds.ok_or_else(|| wrong(format!("duration_seconds {text:?} is not 900 to 43200")))
        });
        let role = Role {
            arn,
            session: profile.get("role_session_name"),
            external_id: profile.get("external_id"),
            duration: duration.transpose()?,
        };
        if let Some(file) = profile.get("web_identity_token_file") {
            let token_file = PathBuf::from(file);
            return Ok(Some(Source::WebIdentity(WebIdentity { role, token_file })));
        }
        let from = match (
            profile.get("source_profile"),
            profile.get("credential_source"),
        ) {
            (Some(_), Some(_)) => {
                return Err(wrong(
                    "has both source_profile and credential_source: take one out".to_owned(),
                ));
            }
            (None, None) => {
                return Err(wrong(
                    "has role_arn but neither source_profile, credential_source nor \
                     web_identity_token_file: say with whose credentials the role is taken on"
                        .to_owned(),
                ));
            }
            (None, Some(source)) => match source.as_str() {
                "Environment" => Source::Environment,
                "EcsContainer" => Source::Container,
                "Ec2InstanceMetadata" => Source::Instance,
                other => {
                    return Err(wrong(format!(
                        "credential_source {other:?} is none of Environment, EcsContainer, \
                         Ec2InstanceMetadata"
                    )));
                }
            },
            (Some(next), None) => source_profile(env, profile, name, next, visited)?,
        };
        return Ok(Some(Source::Role(role, Box::new(from))));
    }
    if let Some(sso) = sso(profile, name)? {
        return Ok(Some(Source::Sso(sso)));
    }
    if let Some(keys) = keys_of(profile, name)? {
        return Ok(Some(Source::Keys(keys)));
    }
    if let Some(error) = not_built(&["login_session"]) {
        return Err(error);
    }
    Ok(profile
        .get("credential_process")
        .map(|command| Source::Process {
            profile: name.to_owned(),
            command,
        }))
}

/// The source that `source_profile` names. A profile may name itself where it has keys of its own: these
/// are meant then.
fn source_profile(
    env: &Environment,
    profile: &Profile,
    name: &str,
    next: String,
    visited: &mut Vec<String>,
) -> Result<Source, CredentialsError> {
    let wrong = |reason: String| CredentialsError::Profile {
        profile: name.to_owned(),
        reason,
    };
    if next == name
        && let Some(keys) = keys_of(profile, name)?
    {
        return Ok(Source::Keys(keys));
    }
    if visited.contains(&next) {
        visited.push(next);
        return Err(wrong(format!(
            "the profiles' source_profile goes in a circle: {}",
            visited.join(" → ")
        )));
    }
    let source = load(env, Some(&next))?;
    visited.push(next.clone());
    // Keys of a source are meant themselves, also where it could take on a role: as the AWS command line.
    if let Some(keys) = keys_of(&source, &next)? {
        return Ok(Source::Keys(keys));
    }
    follow(env, &source, &next, visited)?
        .ok_or_else(|| wrong(format!("its source_profile {next:?} has no credentials")))
}

fn keys_of(profile: &Profile, name: &str) -> Result<Option<Credentials>, CredentialsError> {
    let names = [
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
    ];
    keys(format!("profile {name:?}"), names, |key| profile.get(key))
}

fn keys(
    place: String,
    [id, secret, token]: [&'static str; 3],
    get: impl Fn(&str) -> Option<String>,
) -> Result<Option<Credentials>, CredentialsError> {
    match (get(id), get(secret)) {
        (Some(key), Some(word)) => Ok(Some(Credentials::new(key, word, get(token)))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(CredentialsError::Half {
            place,
            has: id,
            lacks: secret,
        }),
        (None, Some(_)) => Err(CredentialsError::Half {
            place,
            has: secret,
            lacks: id,
        }),
    }
}

/// What the profile says of SSO: a role and an account say that it is meant.
fn sso(profile: &Profile, name: &str) -> Result<Option<Sso>, CredentialsError> {
    let (role, account) = (profile.get("sso_role_name"), profile.get("sso_account_id"));
    if role.is_none() && account.is_none() {
        return Ok(None);
    }
    let wrong = |reason: String| CredentialsError::Profile {
        profile: name.to_owned(),
        reason,
    };
    let session = profile.get("sso_session");
    if let Some(session) = &session
        && !profile.has_sso_session()
    {
        return Err(wrong(format!(
            "names sso_session {session:?}, but the configuration file has no [sso-session {session}]"
        )));
    }
    let of = |key: &str| profile.of_sso_session(key).or_else(|| profile.get(key));
    let lacks = |key: &str| wrong(format!("is meant for SSO but lacks {key}"));
    let start_url = of("sso_start_url").ok_or_else(|| lacks("sso_start_url"))?;
    Ok(Some(Sso {
        profile: name.to_owned(),
        token_of: session.unwrap_or(start_url),
        region: of("sso_region").ok_or_else(|| lacks("sso_region"))?,
        account: account.ok_or_else(|| lacks("sso_account_id"))?,
        role: role.ok_or_else(|| lacks("sso_role_name"))?,
    }))
}
