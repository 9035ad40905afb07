"""Checks the pinned versions against the published advisories, for `make audit`.

It fails if a version has a known vulnerability. If no source of advisories can be reached, it says so and succeeds,
because a change does not depend on the network.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
AUDIT = "pip-audit==2.10.1"  # in an environment of its own, because it needs other versions than the project
SOURCES = ("pypi", "osv")
NETWORK_ERRORS = ("ConnectionError", "ServiceError", "ConnectionTimeout", "Timeout", "ProxyError", "SSLError")


def install(folder: Path) -> Path | None:
    """Return the program pip-audit, after installing it if necessary; None if it cannot be installed."""
    program = folder / "bin" / "pip-audit"
    if not program.is_file():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", AUDIT]
        if subprocess.run(pip, check=False).returncode:
            return None
    return program


def audit(program: Path, requirements: Path, source: str) -> list[dict[str, Any]] | None:
    """Return the packages that a source of advisories knows, with their vulnerabilities; None if it is out of reach."""
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "15", "--format", "json"]
    command = [str(program), "--requirement", str(requirements), "--vulnerability-service", source, *options]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        if any(error in result.stderr for error in NETWORK_ERRORS):
            return None
        raise SystemExit(f"pip-audit failed: {result.stderr}") from None
    # A mirror of packages answers, but knows no advisories: then every package is skipped.
    return [package for package in packages if "vulns" in package] or None


def main(requirements: Path = ROOT / "constraints.txt") -> int:
    """Audit the versions with the first source that answers, and return the exit code."""
    if (program := install(ROOT / ".venv" / "audit")) is None:
        print(f"Not audited: {AUDIT} cannot be installed here.")
        return 0
    packages = next(filter(None, (audit(program, requirements, source) for source in SOURCES)), None)
    if packages is None:
        print("Not audited: no source of advisories can be reached from here.")
        return 0
    found = [(package, each) for package in packages for each in package["vulns"]]
    for package, each in found:
        fixed = f"fixed in {', '.join(each['fix_versions'])}" if each.get("fix_versions") else "not fixed yet"
        print(f"{package['name']} {package['version']}: {each['id']}, {fixed}")
    print(f"{len(packages)} packages audited, {len(found)} known vulnerabilities.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
