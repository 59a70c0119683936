"""What the binary prints for a shell, for boto3, for the AWS CLI and for Java is pasted as it stands.

Environment: KINESIS_LOCAL (the binary), JAVA_CLASSPATH (of the AWS SDK for Java; without it Java is left
out).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from checks import *

BINARY = os.environ["KINESIS_LOCAL"]
SECRET = "pasted-secret"
# Seconds for a command, which starts a new program: on a busy machine that takes its time.
BOUND = 180
# Nothing but what is printed may tell a client where to go.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
JAVA = """
import java.net.URI;
import software.amazon.awssdk.auth.credentials.*;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;

public class Pasted {
    public static void main(String[] arguments) {
        KinesisAsyncClient client = %s;
        System.out.println(client.describeStreamSummary(r -> r.streamName("orders")).join()
                .streamDescriptionSummary().openShardCount());
        System.exit(0);
    }
}
"""


class Served:
    """A running binary, and what it printed."""

    def __init__(self, directory, *options):
        self.directory = pathlib.Path(directory)
        self.process = subprocess.Popen(
            [BINARY, "serve", "--port", "0", "--stream", "orders:3", "--log", "warn", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        while not any("AWS SDK for Java" in line for line in self.lines):
            line = self.process.stdout.readline()
            assert line, f"it ended after {self.lines}"
            self.lines.append(line.rstrip("\n"))
        self.lines.append(self.process.stdout.readline().rstrip("\n"))
        if "--tls-write-ca" in options:
            self.lines.append(self.process.stdout.readline().rstrip("\n"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def after(self, title):
        """The comment after a title, without what makes it one."""
        return self.lines[self.lines.index(title) + 1].removeprefix("#   ")

    def shell(self):
        """What a shell is to be told, as it stands."""
        text = "\n".join(l for l in self.lines if l.startswith(("export ", "aws ", "#")))
        return text.replace("THE_SECRET_GIVEN", SECRET)

    def shards_by_cli(self):
        aws = self.directory / "aws"
        aws.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m awscli "$@"\n')
        aws.chmod(0o755)
        path = {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euc", self.shell()],
            env={**CLEAN, **path},
            capture_output=True,
            text=True,
            timeout=BOUND,
        )
        equal(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["StreamDescriptionSummary"]["OpenShardCount"]

    def shards_by_boto3(self):
        text = self.after("# boto3 (Python)").replace("THE_SECRET_GIVEN", SECRET)
        kinesis = eval(text, {"boto3": boto3})
        return kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"][
            "OpenShardCount"
        ]

    def shards_by_java(self, *options):
        source = self.directory / "Pasted.java"
        client = self.after("# AWS SDK for Java 2").replace("THE_SECRET_GIVEN", SECRET)
        source.write_text(JAVA % client)
        done = subprocess.run(
            ["java", "-XX:TieredStopAtLevel=1", *options, "-cp", os.environ["JAVA_CLASSPATH"], source],
            env=CLEAN,
            capture_output=True,
            text=True,
            timeout=BOUND,
        )
        equal(done.returncode, 0, done.stderr[-800:])
        return int(done.stdout.split()[-1])


@check("what is printed for a plain endpoint, pasted: the shell and AWS CLI, boto3, Java")
def _():
    with tempfile.TemporaryDirectory() as directory, Served(directory) as served:
        equal(served.shards_by_cli(), 3)
        equal(served.shards_by_boto3(), 3)
        if "JAVA_CLASSPATH" in os.environ:
            equal(served.shards_by_java(), 3)


@check("what is printed with TLS and signatures, pasted: the shell and AWS CLI, boto3, Java and keytool")
def _():
    with tempfile.TemporaryDirectory() as directory:
        authority = f"{directory}/authority.pem"
        options = ("--tls", "--tls-write-ca", authority, "--verify-signatures", f"AKIDPASTED:{SECRET}")
        with Served(directory, *options) as served:
            assert SECRET not in "\n".join(served.lines), "the secret is repeated"
            equal(served.shards_by_cli(), 3)
            equal(served.shards_by_boto3(), 3)
            if "JAVA_CLASSPATH" not in os.environ:
                return
            keytool, trust = served.lines[-1].removeprefix("#   ").split(", and ")
            subprocess.run(
                ["bash", "-euc", keytool], cwd=directory, check=True, capture_output=True, timeout=BOUND
            )
            trust = trust.replace("=local.p12", f"={directory}/local.p12").split()
            equal(served.shards_by_java(*trust), 3)


@check("the shell's variables alone are enough for boto3 and the AWS CLI")
def _():
    with tempfile.TemporaryDirectory() as directory, Served(directory) as served:
        exports = "\n".join(line for line in served.lines if line.startswith("export "))
        program = (
            "import boto3; print(boto3.client('kinesis').list_streams()['StreamNames'])"
        )
        script = f'{exports}\n"{sys.executable}" -c "{program}"\n"{sys.executable}" -m awscli kinesis list-streams'
        done = subprocess.run(
            ["bash", "-euc", script], env=CLEAN, capture_output=True, text=True, timeout=BOUND
        )
        equal(done.returncode, 0, done.stderr)
        first, rest = done.stdout.split("\n", 1)
        equal((eval(first), json.loads(rest)["StreamNames"]), (["orders"], ["orders"]))


run("boto3 paste")
