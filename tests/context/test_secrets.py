"""What must never be shown: planted keys are found, ordinary code is not disturbed, and no network is asked."""

from __future__ import annotations

import string
from pathlib import Path
from random import Random

import pytest

from local_runtime.context.secrets import Finding, SecretKind, find_secrets, has_secret, is_secret_file

RANDOM = Random(7)


def key(alphabet: str, n: int) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(n))


ALNUM = string.ascii_letters + string.digits
PLANTED = {
    "aws": 'aws_access_key_id = "AKIA' + key(string.ascii_uppercase + string.digits, 16) + '"',
    "github": f'token = "ghp_{key(ALNUM, 36)}"',
    "github fine-grained": f"github_pat_{key(ALNUM, 22)}_{key(ALNUM, 59)}",
    "gitlab": f"glpat-{key(ALNUM, 20)}",
    "slack": f"xoxb-123456789012-{key(string.ascii_lowercase + string.digits, 24)}",
    "stripe": f'"sk_live_{key(ALNUM, 24)}"',
    "hugging face": f"hf_{key(string.ascii_letters, 34)}",
    "anthropic": f"sk-ant-api03-{key(ALNUM, 40)}",
    "google": f"AIza{key(ALNUM, 35)}",
    "pypi": "pypi-AgEIcHlwaS5vcmc" + key(ALNUM, 80),
    "npm": f"//registry.example.org/:_authToken=npm_{key(ALNUM, 36)}",
    "jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "url": "postgres://bob:k3yp4ss9@db.internal/app",
    "password": 'password = "correct-h0rse-battery"',
    "unquoted": "DB_PASSWORD=tr0ub4dor3xyz",
    "bearer": f"curl -H 'Authorization: Bearer {key(ALNUM, 40)}'",
    "entropy": f'salt = "{key(ALNUM + "+/", 60)}"',
    "pem": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----",
    "pkcs8": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n",
    "age": "AGE-SECRET-KEY-1" + key(string.ascii_uppercase + string.digits, 58),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_secrets_are_found_in_the_midst_of_code(name: str) -> None:
    text = f"def f(x):\n    return x\n\n{PLANTED[name]}\nprint(1)\n"
    found = find_secrets(text, "app.py")
    assert found, name
    assert found[0].line == 3
    assert has_secret(text, "app.py")


def test_a_private_key_condemns_its_file() -> None:
    assert find_secrets(PLANTED["pem"])[0].kind is SecretKind.KEY_FILE


def test_a_finding_never_says_what_it_found() -> None:
    assert set(Finding.__slots__) == {"kind", "line"}


def test_an_address_is_personal_and_no_secret() -> None:
    assert find_secrets("# by jane.doe@company.io\n") == (Finding(SecretKind.PERSONAL, 0),)
    assert not has_secret("# by jane.doe@company.io\n")
    assert find_secrets("git@github.com:a/b\nuser@example.com\nnoreply@github.com\n@decorator.x.y\n") == ()


def test_ordinary_code_is_no_secret() -> None:
    """The standard library has a handful of lines that look like passwords, among thousands."""
    import argparse  # noqa: PLC0415
    import http.client  # noqa: PLC0415
    import json.decoder  # noqa: PLC0415

    for module in (argparse, http.client, json.decoder):
        text = Path(module.__file__ or "").read_text()
        assert not has_secret(text, "a.py"), module.__name__
    for line in (
        "token = get_token()",
        "if token == '(':",
        "self.password = password",
        "for key in keys:",
        'key = "%s"',
    ):
        assert not has_secret(line, "a.py"), line


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".env",
            ".env.local",
            ".env.py",
            "prod.env",
            "a/.netrc",
            "deploy/id_rsa",
            "id_ed25519.pub",
            "server.pem",
            "tls/server.key",
        ),
        *(
            ".kube/config",
            "kubeconfig",
            ".ssh/config",
            ".aws/credentials",
            "terraform.tfstate",
            "prod.tfvars",
            ".npmrc",
        ),
        *(
            "client_secret_1.json",
            "secrets.yaml",
            "secrets.yml",
            ".git-credentials",
            "vault.kdbx",
            "app.sqlite3",
            ".pgpass",
        ),
        *(
            "release.jks",
            "SECRET.TXT",
            "Passwords.csv",
            ".docker/config.json",
            "service-account-prod.json",
            ".bash_history",
        ),
    ],
)
def test_secret_files_by_name(path: str) -> None:
    assert is_secret_file(path)


@pytest.mark.parametrize(
    "path", ["a.py", "src/tokens.py", "token.py", "secrets.py", "keyboard.ts", ".env.example", "environment.md"]
)
def test_sources_are_no_secret_files(path: str) -> None:
    assert not is_secret_file(path)


def test_a_line_of_a_megabyte_is_bounded() -> None:
    assert find_secrets("x" * 1_000_000 + "\nordinary = 1\n", "a.py") == ()
