//! What is printed once it listens: where, and what to paste into a shell and into programs.

use crate::cli::Serve;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Lines for a shell; what is no command is a comment there.
pub(crate) fn introduce(out: &mut dyn Write, options: &Serve, addr: SocketAddr) -> io::Result<()> {
    let tls = options.tls || options.tls_cert.is_some();
    let url = format!("{}://{addr}", if tls { "https" } else { "http" });
    let region = &options.region;
    writeln!(out, "kinesis-local is listening on {url}")?;
    for (name, shards) in &options.streams {
        writeln!(out, "stream {name} with {shards} shards is ACTIVE")?;
    }
    // The secret was given by whoever reads this, and is not repeated.
    let (id, secret) = match options.keys.first() {
        Some(key) => (key.id(), "THE_SECRET_GIVEN"),
        None => ("local", "local"),
    };
    writeln!(out, "export AWS_ENDPOINT_URL={url}")?;
    // boto3 and version 1 of the AWS CLI know only the second name.
    writeln!(out, "export AWS_REGION={region}")?;
    writeln!(out, "export AWS_DEFAULT_REGION={region}")?;
    writeln!(out, "export AWS_ACCESS_KEY_ID={id}")?;
    writeln!(out, "export AWS_SECRET_ACCESS_KEY={secret}")?;
    let stream = options.streams.first().map(|(name, _)| name.as_str());
    writeln!(out, "# AWS CLI")?;
    match &options.tls_write_ca {
        Some(path) => writeln!(out, "export AWS_CA_BUNDLE={}", path.display())?,
        None if tls => writeln!(
            out,
            "# AWS_CA_BUNDLE has to name what signed the certificate"
        )?,
        None => {}
    }
    match stream {
        Some(name) => writeln!(
            out,
            "aws --endpoint-url {url} --region {region} kinesis describe-stream-summary \
             --stream-name {name}"
        )?,
        None => writeln!(
            out,
            "aws --endpoint-url {url} --region {region} kinesis list-streams"
        )?,
    }
    let verify = match &options.tls_write_ca {
        Some(path) => format!(", verify={:?}", path.display().to_string()),
        None => String::new(),
    };
    writeln!(out, "# boto3 (Python)")?;
    writeln!(
        out,
        "#   boto3.client(\"kinesis\", endpoint_url=\"{url}\", region_name=\"{region}\", \
         aws_access_key_id=\"{id}\", aws_secret_access_key=\"{secret}\"{verify})"
    )?;
    writeln!(out, "# AWS SDK for Java 2")?;
    writeln!(
        out,
        "#   KinesisAsyncClient.builder().endpointOverride(URI.create(\"{url}\"))\
         .region(Region.of(\"{region}\")).credentialsProvider(StaticCredentialsProvider.create(\
         AwsBasicCredentials.create(\"{id}\", \"{secret}\"))).build()"
    )?;
    if let Some(path) = &options.tls_write_ca {
        writeln!(
            out,
            "#   keytool -importcert -noprompt -alias kinesis-local -file {} -keystore local.p12 \
             -storepass changeit, and -Djavax.net.ssl.trustStore=local.p12 \
             -Djavax.net.ssl.trustStorePassword=changeit",
            path.display()
        )?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn lines(arguments: &[&str]) -> String {
        let whole = ["kinesis-local", "serve"].iter().chain(arguments);
        let Command::Serve(options) = Cli::parse_from(whole).command;
        let mut out = Vec::new();
        introduce(&mut out, &options, "127.0.0.1:4567".parse().unwrap()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_client_is_told_what_to_paste() {
        let text = lines(&["--stream", "orders:4"]);
        for wanted in [
            "listening on http://127.0.0.1:4567\n",
            "\nexport AWS_ENDPOINT_URL=http://127.0.0.1:4567\n",
            "\nexport AWS_REGION=us-east-1\nexport AWS_DEFAULT_REGION=us-east-1\n",
            "--region us-east-1 kinesis describe-stream-summary --stream-name orders\n",
            "boto3.client(\"kinesis\", endpoint_url=\"http://127.0.0.1:4567\"",
            "URI.create(\"http://127.0.0.1:4567\")",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(lines(&[]).contains("kinesis list-streams\n"));
    }

    #[test]
    fn tls_tells_whom_to_trust_and_a_secret_is_not_repeated() {
        let text = lines(&["--tls", "--tls-write-ca", "/tmp/ca.pem"]);
        assert!(text.contains("listening on https://127.0.0.1:4567\n"));
        assert!(text.contains("export AWS_CA_BUNDLE=/tmp/ca.pem\n"));
        assert!(text.contains("verify=\"/tmp/ca.pem\""));
        assert!(text.contains("-file /tmp/ca.pem"));
        let text = lines(&["--verify-signatures", "AKID:hush"]);
        assert!(text.contains("AWS_ACCESS_KEY_ID=AKID\n"));
        assert!(!text.contains("hush"));
    }
}
