"""Which versions notebooks and digests were made with: those of requirements.lock."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
# What decides the numbers and the pictures of a notebook. With other versions its cells run and are not compared.
DECIDING = ("torch", "numpy", "scipy", "pandas", "matplotlib")


def locked(package: str) -> str:
    """The version of a package in requirements.lock."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2].split()[0] for line in lines if line.startswith(f"{package}=="))


def other_versions() -> dict[str, str]:
    """Which of the deciding packages have another version here than in the lock: name -> version here."""
    here = {name: metadata.version(name).partition("+")[0] for name in DECIDING}
    return {name: version for name, version in here.items() if version != locked(name)}
