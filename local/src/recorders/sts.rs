//! AWS Security Token Service: tells callers who they are, and gives out keys for roles.

use super::Asked;
use super::ring::Ring;
use crate::endpoint::unknown_operation;
use crate::http::date;
use crate::options::LocalOptions;
use crate::protocol::{STS_NAMESPACE, escape};
use crate::refusal::Refusal;
use crate::signature::{AccessKey, Verifier};
use crate::wire::{Check, Document};
use runtime::Chance;
use std::time::SystemTime;

/// A role that a caller took on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumedRole {
    /// The role's ARN.
    pub role_arn: String,
    /// The name of the session.
    pub session: String,
    /// The access key id it was asked with.
    pub caller: Option<String>,
    /// The access key id that was given out.
    pub access_key_id: String,
    /// When the key ends, on the endpoint's clock.
    pub expires: SystemTime,
}

#[derive(Debug)]
pub(crate) struct Sts {
    account: String,
    chance: Chance,
    pub(crate) assumed: Ring<AssumedRole>,
}

impl Sts {
    pub(super) fn new(options: &LocalOptions, chance: &Chance) -> Self {
        Self {
            account: options.account.clone(),
            chance: chance.fork(),
            assumed: Ring::new(options.recorded, 16 << 20),
        }
    }

    pub(super) fn call(
        &self,
        asked: &Asked<'_, '_>,
        verifier: &Verifier,
    ) -> Result<Vec<u8>, Refusal> {
        let result = match asked.operation {
            "GetCallerIdentity" => self.caller_identity(asked),
            "AssumeRole" => self.assume_role(asked, verifier)?,
            other => return Err(unknown_operation(other)),
        };
        let operation = asked.operation;
        Ok(format!(
            "<{operation}Response xmlns=\"{STS_NAMESPACE}\"><{operation}Result>{result}\
             </{operation}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>\
             </{operation}Response>",
            asked.request_id
        )
        .into_bytes())
    }

    fn caller_identity(&self, asked: &Asked<'_, '_>) -> String {
        let account = escape(&self.account);
        let role = asked.caller.and_then(|id| {
            let assumed = self.assumed.list();
            assumed.into_iter().rfind(|role| role.access_key_id == id)
        });
        let (arn, user) = match role {
            Some(role) => (
                format!(
                    "arn:aws:sts::{account}:assumed-role/{}/{}",
                    escape(role_name(&role.role_arn)),
                    escape(&role.session)
                ),
                format!("AROALOCAL:{}", escape(&role.session)),
            ),
            None => (
                format!("arn:aws:iam::{account}:user/local"),
                "AIDALOCAL".to_owned(),
            ),
        };
        format!("<Arn>{arn}</Arn><UserId>{user}</UserId><Account>{account}</Account>")
    }

    fn assume_role(&self, asked: &Asked<'_, '_>, verifier: &Verifier) -> Result<String, Refusal> {
        let text = |name| match asked.document.get(name) {
            Some(Document::Text(text)) => Some(&**text),
            _ => None,
        };
        let mut check = Check::default();
        let role = check.present("roleArn", text("RoleArn"));
        check.length("roleArn", role, 20, 2_048);
        let session = check.present("roleSessionName", text("RoleSessionName"));
        check.length("roleSessionName", session, 2, 64);
        let seconds = match text("DurationSeconds") {
            None => 3_600,
            Some(text) => text
                .parse()
                .map_err(|_| Refusal::validation(format!("'{text}' is no number of seconds")))?,
        };
        check.range("durationSeconds", Some(seconds), 900, 43_200);
        check.finish()?;
        let (role, session) = (role.unwrap_or_default(), session.unwrap_or_default());
        let access_key_id = format!("ASIA{:016X}", self.chance.next_u64());
        let secret = format!("{:032x}", self.chance.next_u128());
        let token = format!("{:032x}", self.chance.next_u128());
        let expires = asked.now + u64::try_from(seconds).unwrap_or(0) * 1_000;
        verifier.issue(AccessKey::new(&access_key_id, &secret));
        self.assumed.push(
            role.len() + session.len(),
            AssumedRole {
                role_arn: role.to_owned(),
                session: session.to_owned(),
                caller: asked.caller.map(str::to_owned),
                access_key_id: access_key_id.clone(),
                expires: runtime::time::from_epoch_millis(expires),
            },
        );
        Ok(format!(
            "<AssumedRoleUser><AssumedRoleId>AROALOCAL:{session}</AssumedRoleId>\
             <Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{access_key_id}</AccessKeyId>\
             <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
             <Expiration>{}</Expiration></Credentials>",
            date::iso(expires),
            session = escape(session),
            account = escape(&self.account),
            name = escape(role_name(role)),
        ))
    }
}

fn role_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
