"""The folders that contenders run in: each with packages of its own, at pinned versions.

They are kept in ``.cache/bench`` below the repository's root, and made anew only when a pin or the
interpreter has changed.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from .contenders.model import Packages

__all__ = ["Environment", "installed"]

_ROOT: Final = Path(__file__).parents[1] / ".cache" / "bench"
_OLDEST_NODE: Final = 20
"""For which the packages are written."""


class Environment(msgspec.Struct, frozen=True):
    """What programs are started with."""

    bin: Path
    """The folder of the interpreter, and with pip of the programs that came with the packages."""
    modules: Path | None = None
    """The folder that programs must lie in to find the packages, where there is such a one."""
    versions: Mapping[str, str] = {}
    """Of the interpreter and of the packages, by name."""

    def place(self, application: Path) -> Path:
        """Put the program, with the others of its kind, which it may import, where it finds the
        packages; returns where it is to be started.
        """
        if self.modules is None:
            return application
        for program in application.parent.glob(f"*{application.suffix}"):
            shutil.copy(program, self.modules)
        return self.modules / application.name


def installed(packages: Packages | None, folder_name: str) -> Environment:
    """The environment with these packages, made if it is not there; prints what is in it. Without
    packages it is the one that the benchmarks run in.

    Raises:
        SystemExit: it cannot be made; says what to do.
    """
    if packages is None:
        versions = {"Python": platform.python_version(), **_own_versions()}
        return _shown(Environment(Path(sys.executable).parent, versions=versions), folder_name)
    install = {"pip": _with_pip, "npm": _with_npm}[packages.registry]
    return _shown(install(packages.packages, _ROOT / folder_name), folder_name)


def _own_versions() -> dict[str, str]:
    """Of Keyturn, and of what it needs to be one of the contenders."""
    return {name: metadata.version(name) for name in ("keyturn", *_NEEDED)}


_NEEDED: Final = (
    "apsw", "asyncpg", "cryptography", "granian", "httptools", "msgspec", "uvicorn", "uvloop",
)  # fmt: skip


def _keep(folder: Path, wanted: Sequence[str], make: Callable[[], None]) -> None:
    """Make the folder, unless it was made for just this."""
    stamp = folder / "made-for"
    if stamp.exists() and stamp.read_text().splitlines() == [*wanted]:
        return
    print(f"Installing into {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make()
    stamp.write_text("\n".join(wanted))


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    """Its complaints are seen; what else it tells is not."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"The packages were not installed: {command[0]} says above why")


def _shown(environment: Environment, name: str) -> Environment:
    versions = [f"{package} {version}" for package, version in environment.versions.items()]
    print(f"{name}: {', '.join(versions)}")
    return environment


def _name(pin: str) -> str:
    """Without the version, and the extras."""
    return pin.partition("==")[0].partition("[")[0]


# ── pip ─────────────────────────────────────────────────────────────────────────────────────────


def _with_pip(pins: Sequence[str], folder: Path) -> Environment:
    python = platform.python_version()

    def make() -> None:
        _run(sys.executable, "-m", "venv", folder)
        pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
        _run(*pip, "install", "--quiet", *pins)

    _keep(folder, [f"Python {python}", *pins], make)
    (site,) = folder.glob("lib/python*/site-packages")
    versions = {_name(pin): _version_on(site, _name(pin)) for pin in pins}
    return Environment(folder / "bin", versions={"Python": python, **versions})


def _version_on(site: Path, name: str) -> str:
    (found,) = metadata.distributions(name=name, path=[str(site)])
    return found.version


# ── npm ─────────────────────────────────────────────────────────────────────────────────────────


def _with_npm(pins: Sequence[str], folder: Path) -> Environment:
    node, npm = _program("node"), _program("npm")
    node_version = _checked_version(node)

    def make() -> None:
        (folder / "package.json").write_text('{"private": true}')  # else npm looks further up
        packages = [pin.replace("==", "@") for pin in pins]
        _run(npm, "install", *_NPM_OPTIONS, *packages, cwd=folder)

    _keep(folder, [f"Node.js {node_version}", *pins], make)
    modules = folder / "node_modules"
    versions = {_name(pin): _version_in(modules / _name(pin)) for pin in pins}
    return Environment(node.parent, folder, {"Node.js": node_version, **versions})


_NPM_OPTIONS: Final = ("--no-audit", "--no-fund", "--omit=dev", "--save-exact", "--loglevel=error")


def _program(name: str) -> Path:
    if found := shutil.which(name):
        return Path(found)
    sys.exit(f"{name} is needed: sudo apt-get install -y nodejs npm")


def _checked_version(node: Path) -> str:
    told = subprocess.run([node, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    version = told.stdout.strip().removeprefix("v")
    if int(version.partition(".")[0]) < _OLDEST_NODE:
        sys.exit(
            f"Node.js {_OLDEST_NODE} or newer is needed, and {node} is {version}: install a newer "
            "one, of a later Debian or from https://nodejs.org"
        )
    return version


def _version_in(package: Path) -> str:
    return str(json.loads((package / "package.json").read_text())["version"])
