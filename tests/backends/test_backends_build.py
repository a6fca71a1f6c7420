"""`make backends` builds what changed and names what is missing, shown with small programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from collector import backends, schemas
from collector.backends import Program

MAIN = 'package main\n\nfunc main() { println("built") }\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two programs without dependencies in place of the real ones."""
    for name in ("one", "two"):
        folder = tmp_path / "programs" / name
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text(f"module {name}.invalid/{name}\n\ngo 1.26\n")
        (folder / "main.go").write_text(MAIN)
    monkeypatch.setattr(backends, "ROOT", tmp_path)
    monkeypatch.setattr(backends, "SOURCES", tmp_path / "programs")
    monkeypatch.setattr(backends, "BIN", tmp_path / "bin")
    monkeypatch.setattr(
        backends, "PROGRAMS", (Program("one", "one", "."), Program("two", "two", "."))
    )
    yield tmp_path
    shutil.rmtree(tmp_path)


needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="needs Go: install Go 1.26")


@needs_go
def test_only_what_changed_is_built(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backends.missing() == ["one", "two"]
    assert backends.main([]) == 0
    output = capsys.readouterr().out
    assert "one: built" in output
    assert "two: built" in output
    assert backends.missing() == []

    assert backends.main([]) == 0
    assert capsys.readouterr().out == "The backends are up to date.\n"

    (project / "programs" / "two" / "main.go").write_text(MAIN.replace("built", "changed"))
    assert backends.main([]) == 0
    output = capsys.readouterr().out
    assert "two: built" in output
    assert "one: built" not in output


@needs_go
def test_a_failed_build_shows_the_compilers_message_and_is_tried_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "programs" / "one" / "main.go").write_text(
        "package main\n\nfunc main() { nonsense }\n"
    )
    for _ in range(2):
        assert backends.main(["one"]) == 1
        assert "undefined: nonsense" in capsys.readouterr().err
    assert backends.missing("one") == ["one"]


@needs_go
def test_a_module_without_a_committed_sum_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "programs" / "one"
    with (folder / "go.mod").open("a") as file:
        file.write("\nrequire go.uber.org/multierr v1.11.0\n")
    (folder / "main.go").write_text(
        'package main\n\nimport _ "go.uber.org/multierr"\n\nfunc main() {}\n'
    )
    assert backends.main(["one"]) == 1
    assert "missing go.sum entry" in capsys.readouterr().err


@needs_go
@pytest.mark.parametrize(
    ("sums", "reason"), [("", "is missing in schemas.sum"), ("M5xLCM", "checksum mismatch")]
)
@pytest.mark.backend("kubeconform")
def test_schemas_come_from_the_pinned_modules_alone(tmp_path: Path, sums: str, reason: str) -> None:
    for file in (backends.SOURCES / "kubeconform").iterdir():
        shutil.copy(file, tmp_path)
    pinned = tmp_path / "schemas.sum"
    pinned.write_text(sums and pinned.read_text().replace("M5xLCL", sums))
    with pytest.raises(ValueError, match=reason):
        schemas.write(tmp_path / "schemas", tmp_path, {**os.environ, "GOSUMDB": "off"})


def test_without_go_one_sentence_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(project))
    assert backends.main([]) == 1
    assert capsys.readouterr().err == (
        "Go was not found on the PATH; install Go 1.26 or newer and run `make backends` again.\n"
    )


def test_an_old_go_is_recognized(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go = project / "go"
    go.write_text("#!/bin/sh\necho go1.25.3\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{project}:/bin:/usr/bin")
    assert backends.main([]) == 1
    assert "too old (go1.25.3); install Go 1.26" in capsys.readouterr().err


def test_an_unknown_name_is_answered_with_the_known_ones(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backends.main(["three"]) == 1
    assert capsys.readouterr().err == "There is no program 'three'; choose from one, two.\n"
