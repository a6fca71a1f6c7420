"""The login of a stack's Prometheus and Alertmanager, which without one answer any web page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

import bcrypt
import yaml

USER: Final = "otel-budget"


def header(password: str) -> str:
    """What a client sends as ``Authorization``."""
    return f"Basic {base64.b64encode(f'{USER}:{password}'.encode()).decode()}"


def write(folder: Path, password: str) -> Path:
    """Write what the programs need to know of the password, for its owner's eyes alone.

    That is `password` for a Prometheus that asks, `amtool.yml` for ``amtool --http.config.file``,
    and `web.yml` with the hash for those who are asked.

    Returns:
        The last, for ``--web.config.file``.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The password is random: a hash that is dear to compute would protect nothing more.
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    login = {"username": USER, "password_file": str(folder / "password")}
    contents = {
        "password": password,
        "amtool.yml": yaml.safe_dump({"basic_auth": login}),
        "web.yml": yaml.safe_dump({"basic_auth_users": {USER: hashed}}),
    }
    for name, content in contents.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(content)
    return file
