"""How many planted secrets are stopped before the journal, and how much ordinary code is taken for one.

    python benchmarks/collect_secrets.py

500 structured secrets of the kinds that people commit are made at run time, from random bytes, and put into ordinary code the
way they are found there; each goes through the cleaning of an edit, and counts as stopped when its characters are in neither
text of what would be stored. The false positives are counted on the files of Python's standard library: lines that are
withheld, and files that are refused whole. No network is used. The last line is one JSON object.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import string
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from trainer.collect.cleaning import cleaned
from trainer.collect.refusals import Refusal

N_SECRETS = 500
BEFORE = "import os\n\n\ndef connect(host, port):\n    return (host, port)\n"
Chance = random.Random


def _word(chance: Chance, alphabet: str, n: int) -> str:
    return "".join(chance.choice(alphabet) for _ in range(n))


ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"


def _b64(chance: Chance, n_bytes: int) -> str:
    return base64.b64encode(chance.randbytes(n_bytes)).decode()


def _jwt(chance: Chance) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(json.dumps({"sub": chance.randrange(10**9)}).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{_word(chance, ALNUM + '-_', 43)}"


def _password(chance: Chance) -> str:
    return _word(chance, ALNUM + "!#%+?", chance.randrange(10, 20))


def _pem(chance: Chance, kind: str) -> str:
    body = _b64(chance, 600)
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])


def _in_code(name: str) -> Callable[[Chance, str], str]:
    """A line of code that holds a secret, in one of the ways that are seen."""
    forms = (
        f'{name} = "{{}}"', f"{name} = '{{}}'", f'{name.lower()}: "{{}}",', f'os.environ["{name}"] = "{{}}"',
        f'client = connect(host, {name.lower()}="{{}}")', f'export {name}="{{}}"', f'"{name.lower()}": "{{}}"',
    )  # fmt: skip
    return lambda chance, secret: chance.choice(forms).format(secret)


KINDS: dict[str, tuple[Callable[[Chance], str], Callable[[Chance, str], str]]] = {
    "aws key id": (lambda c: "AKIA" + _word(c, UPPER, 16), _in_code("AWS_ACCESS_KEY_ID")),
    "aws secret": (lambda c: _word(c, ALNUM + "/+", 40), _in_code("AWS_SECRET_ACCESS_KEY")),
    "github": (lambda c: c.choice(["ghp_", "gho_", "ghs_"]) + _word(c, ALNUM, 36), _in_code("GITHUB_TOKEN")),
    "github fine-grained": (lambda c: f"github_pat_{_word(c, ALNUM, 22)}_{_word(c, ALNUM, 59)}", _in_code("TOKEN")),
    "gitlab": (lambda c: "glpat-" + _word(c, ALNUM + "-_", 20), _in_code("GITLAB_TOKEN")),
    "slack": (lambda c: f"xoxb-{c.randrange(10**11, 10**12)}-{c.randrange(10**11, 10**12)}-{_word(c, ALNUM, 24)}", _in_code("SLACK")),
    "slack hook": (
        lambda c: f"https://hooks.slack.com/services/T{_word(c, UPPER, 8)}/B{_word(c, UPPER, 8)}/{_word(c, ALNUM, 24)}",
        _in_code("HOOK_URL"),
    ),
    "stripe": (lambda c: "sk_live_" + _word(c, ALNUM, 24), _in_code("STRIPE_KEY")),
    "google": (lambda c: "AIza" + _word(c, ALNUM + "-_", 35), _in_code("MAPS")),
    "openai": (lambda c: f"sk-proj-{_word(c, ALNUM + '-_', 48)}", _in_code("OPENAI_API_KEY")),
    "anthropic": (lambda c: f"sk-ant-api03-{_word(c, ALNUM + '-_', 80)}", _in_code("MODEL_KEY")),
    "hugging face": (lambda c: "hf_" + _word(c, ALNUM, 34), _in_code("HF_TOKEN")),
    "npm": (lambda c: "npm_" + _word(c, ALNUM, 36), _in_code("NPM_TOKEN")),
    "pypi": (lambda c: "pypi-AgEIcHlwaS5vcmc" + _word(c, ALNUM + "-_", 120), _in_code("TWINE_PASSWORD")),
    "sendgrid": (lambda c: f"SG.{_word(c, ALNUM + '-_', 22)}.{_word(c, ALNUM + '-_', 43)}", _in_code("MAIL_KEY")),
    "twilio": (lambda c: "SK" + _word(c, HEX, 32), _in_code("TWILIO")),
    "jwt": (_jwt, _in_code("SESSION")),
    "bearer": (lambda c: _word(c, ALNUM + "-_", 40), lambda c, s: f'headers = {{"Authorization": "Bearer {s}"}}'),
    "basic auth in a url": (_password, lambda c, s: f'url = "https://deploy:{s.replace("#", "x").replace("?", "y")}@db.internal.net/x"'),
    "database url": (
        lambda c: _word(c, ALNUM, 16),
        lambda c, s: f'DATABASE_URL = "postgresql://app:{s}@10.0.0.{c.randrange(255)}:5432/app"',
    ),
    "password": (_password, _in_code("DB_PASSWORD")),
    "hex key": (lambda c: _word(c, HEX, 64), _in_code("SECRET_KEY")),
    "base64 key": (lambda c: _b64(c, 32), _in_code("SIGNING_KEY")),
    "high entropy": (lambda c: _b64(c, 48), _in_code("BLOB")),
    "azure storage": (
        lambda c: _b64(c, 64),
        lambda c, s: f'CONN = "DefaultEndpointsProtocol=https;AccountName=a{c.randrange(999)};AccountKey={s};"',
    ),
    "private key": (lambda c: _pem(c, c.choice(["RSA ", "EC ", "OPENSSH ", ""])), lambda c, s: f'KEY = """{s}"""'),
    "e-mail": (lambda c: f"{_word(c, string.ascii_lowercase, 8)}.{_word(c, string.ascii_lowercase, 6)}@acme-corp.com", lambda c, s: f"# ask {s}"),
}  # fmt: skip


def stopped(secret: str, line: str, chance: Chance) -> bool:
    """Whether nothing of a secret is left in what would be stored: no eight characters of it in a row."""
    at = chance.choice(["top", "inside", "alone"])
    if at == "inside":
        after = BEFORE.replace("    return", f"    {line}\n    return")
    else:
        after = f"import os\n\n{line}\n{BEFORE}" if at == "top" else f"{BEFORE}\n\n{line}\n"
    result = cleaned(BEFORE, after, "app/settings.py", "python")
    if isinstance(result, Refusal):
        return True
    body = max(secret.split("\n"), key=len) if "\n" in secret else secret
    left = result.before + result.after
    return not any(body[i : i + 8] in left for i in range(len(body) - 7))


def false_positives() -> dict[str, float]:
    """Of the standard library, which holds no secret: what share would be withheld."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    n_lines, withheld, refused, n_bytes = 0, Counter[Refusal](), 0, 0
    started = time.process_time()
    for path in files:
        text = path.read_text("utf-8", "replace")
        result = cleaned(text, text, path.name, "text")
        n_lines += text.count("\n")
        n_bytes += len(text)
        if isinstance(result, Refusal):
            refused += 1
            continue
        kept = Counter(result.after.split("\n"))
        for line in (Counter(text.split("\n")) - kept).elements():
            withheld[Refusal.PERSONAL if "@" in line else Refusal.SECRET] += 1
    return {
        "n_files": len(files),
        "n_lines": n_lines,
        "files_refused": refused,
        "secret_lines_share": round(withheld[Refusal.SECRET] / n_lines, 6),
        "email_lines_share": round(withheld[Refusal.PERSONAL] / n_lines, 6),
        "ms_per_1000_lines": round((time.process_time() - started) * 1e6 / n_lines, 1),
    }


def main() -> None:
    """Plant, count, print."""
    seed = int.from_bytes(hashlib.sha256(os.environ.get("SEED", "1").encode()).digest()[:4], "big")
    chance = random.Random(seed)
    missed: Counter[str] = Counter()
    n: Counter[str] = Counter()
    names = list(KINDS)
    for number in range(N_SECRETS):
        name = names[number % len(names)]
        make, place = KINDS[name]
        secret = make(chance)
        n[name] += 1
        line = place(chance, secret)
        if not stopped(secret, line, chance):
            missed[name] += 1
            print(f"missed: {line}")
    for name in names:
        print(f"{name:22} {n[name] - missed[name]:3} of {n[name]:3} stopped")
    print(json.dumps({
        "n_secrets": N_SECRETS, "n_kinds": len(names), "stopped_share": 1 - missed.total() / N_SECRETS,
        "missed": dict(+missed), "standard_library": false_positives(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
