"""`otel-budget files`, from a wheel in a fresh environment and from the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from otel_budget.cli.app import run
from otel_budget.cli.files import shipped, write
from otel_budget.cli.terminal import CommandError
from support.paths import ROOT


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_what_is_written_is_what_the_repository_has(tmp_path: Path) -> None:
    result = write(tmp_path / "new" / "folder")
    there = contents(tmp_path / "new" / "folder")
    assert sorted(result.written) == sorted(there)
    assert there["collector/config.yaml"] == (ROOT / "collector/config.yaml").read_bytes()
    assert any(name.startswith("collector/overlays/") for name in there)
    assert any(name.startswith("dashboards/grafana/") for name in there)
    for development in ("collector/programs", "dashboards/builder", "dashboards/web"):
        assert not any(name.startswith(development) for name in there), development
    assert not any(name.endswith((".py", ".mk")) for name in there)


def test_writing_again_is_fine_and_a_changed_file_is_not_overwritten(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert write(tmp_path).written == []
    config = tmp_path / "collector" / "config.yaml"
    shipped_content = config.read_bytes()
    config.write_text("mine")
    (tmp_path / "collector" / "builder.yaml").unlink()
    with pytest.raises(CommandError, match=r"1 file in .* differ .*collector/config.yaml.*--force"):
        write(tmp_path)
    assert config.read_text() == "mine"
    assert not (tmp_path / "collector" / "builder.yaml").exists()  # all or none
    again = write(tmp_path, force=True)
    assert sorted(again.written) == ["collector/builder.yaml", "collector/config.yaml"]
    assert config.read_bytes() == shipped_content
    assert len(again.unchanged) == len(first.written) - 2


def test_a_file_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "collector" / "overlays" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    write(tmp_path, force=True)
    assert mine.read_text() == "mine"


def command(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        run(["files", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_the_command_lists_what_it_writes_and_an_error_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "x"
    code, out, _ = command(there, capsys=capsys)
    assert code == 0
    assert f"wrote {there / 'collector' / 'config.yaml'}" in out
    code, out, _ = command(there, "--json", capsys=capsys)
    assert json.loads(out)["written"] == []
    (there / "collector" / "config.yaml").write_text("mine")
    code, out, err = command(there, capsys=capsys)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    (tmp_path / "file").touch()
    code, _, err = command(tmp_path / "file", capsys=capsys)
    assert (code, err) == (
        2,
        f"otel-budget: {tmp_path / 'file'} is not a directory; name one, or an unused path.\n",
    )
    code, _, err = command(tmp_path / "file" / "below", capsys=capsys)
    assert code == 2
    assert "could not be written" in err


def test_a_wheel_in_a_fresh_environment_ships_the_same_files(tmp_path: Path) -> None:
    """The dependencies come from this environment, the package only the package from the wheel."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=110,
    )
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "venv"
    venv.create(fresh, symlinks=True)
    paths = {"base": str(fresh), "platbase": str(fresh)}
    python = Path(sysconfig.get_path("scripts", vars=paths)) / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index",
         "--quiet", "--disable-pip-version-check", wheel],
        check=True,
        timeout=60,
    )  # fmt: skip
    # Added to sys.path as a plain folder, whose own .pth files (the editable install) are not read.
    site = Path(sysconfig.get_path("purelib", vars=paths))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [python.parent / "otel-budget", "files", tmp_path / "out", "--json"]
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert sorted(json.loads(result.stdout)["written"]) == sorted(name for name, _ in shipped())
    assert contents(tmp_path / "out") == dict(shipped())
