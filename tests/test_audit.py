"""The audit of the pinned versions fails on known vulnerabilities alone."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="the scripts of CI are not in the source distribution")

HEALTHY = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.fixture
def audit(monkeypatch):
    """Return a function that audits with what pip-audit prints for each source, and returns the exit code."""
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*outputs, installed=True):
        answers = iter(outputs)
        monkeypatch.setattr(module, "install", lambda folder: Path("pip-audit") if installed else None)
        monkeypatch.setattr(module.subprocess, "run", lambda command, **options: next(answers))
        return module.main()

    return run


def answer(*packages):
    return SimpleNamespace(stdout=json.dumps({"dependencies": packages, "fixes": []}), stderr="", returncode=0)


def failure(error):
    return SimpleNamespace(stdout="", stderr=error, returncode=1)


def test_a_known_vulnerability_fails(audit, capsys):
    assert audit(answer(HEALTHY, VULNERABLE, SKIPPED)) == 1
    assert "b 2: CVE-1, fixed in 3" in capsys.readouterr().out


def test_healthy_versions_pass(audit, capsys):
    assert audit(answer(HEALTHY, SKIPPED)) == 0
    assert "1 packages audited, 0 known" in capsys.readouterr().out


def test_a_source_out_of_reach_is_said_and_passes(audit, capsys):
    assert audit(failure("requests.exceptions.ConnectionError: no"), failure("ConnectionError")) == 0
    assert audit(answer(SKIPPED), answer(SKIPPED)) == 0  # a mirror that knows no advisories
    assert audit(installed=False) == 0
    assert capsys.readouterr().out.count("Not audited") == 3


def test_the_second_source_is_asked_if_the_first_is_out_of_reach(audit):
    assert audit(answer(SKIPPED), answer(VULNERABLE)) == 1


def test_another_failure_of_the_program_is_an_error(audit):
    with pytest.raises(SystemExit, match="invalid requirements"):
        audit(failure("invalid requirements"))
