"""`otel-budget files`, from a wheel in a fresh environment and from the checkout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_budget.cli.app import run
from otel_budget.cli.files.command import RECORD, write
from otel_budget.cli.files.shipped import by_pip, shipped
from otel_budget.cli.terminal import CommandError
from support.paths import ROOT


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_what_is_written_is_what_the_repository_has(tmp_path: Path) -> None:
    result = write(tmp_path / "new" / "folder")
    there = contents(tmp_path / "new" / "folder")
    assert sorted(result.written) == sorted(there)
    assert there["collector/config.yaml"] == (ROOT / "collector/config.yaml").read_bytes()
    assert any(name.startswith("collector/overlays/") for name in there)
    assert any(name.startswith("dashboards/grafana/") for name in there)
    assert {"collector/.env", "dashboards/thresholds.toml", "README.md"} <= there.keys()
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


def test_a_newer_version_replaces_what_nobody_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    newer = {name: content + b"\n" for name, content in shipped().items()}
    (tmp_path / "collector" / "config.yaml").write_text("mine")
    monkeypatch.setattr("otel_budget.cli.files.command.shipped", newer.copy)
    with pytest.raises(CommandError, match=r"1 file in .* differ .*collector/config.yaml"):
        write(tmp_path)
    (tmp_path / "collector" / "config.yaml").write_bytes(newer["collector/config.yaml"])
    assert len(write(tmp_path).written) == len(newer) - 1
    assert contents(tmp_path) == newer
    (tmp_path / RECORD).write_text("torn")  # then every file that differs counts as changed
    assert write(tmp_path).written == []
    monkeypatch.undo()
    (tmp_path / RECORD).unlink()
    with pytest.raises(CommandError, match="differ"):
        write(tmp_path)


# -- thresholds and the address of the runbooks --------------------------------------------
RULES = "collector/prometheus/rules/llm-budget-limits.yml"
BASE = "https://wiki.example.com/runbooks"


def test_own_thresholds_are_kept_and_change_the_rules(tmp_path: Path) -> None:
    write(tmp_path)
    own = tmp_path / "dashboards" / "thresholds.toml"
    text = own.read_text().replace("told = [0.5, 0.8, 0.95, 1.0]", "told = [0.75]")
    own.write_text(text)
    again = write(tmp_path)
    assert RULES in again.written
    assert "0.75" in (tmp_path / RULES).read_text()
    assert own.read_text() == text
    assert write(tmp_path).written == []  # they stay
    write(tmp_path, runbook_base=BASE + "/")
    assert f"runbook_url: {BASE}/LLMBudgetExhausted.md" in (tmp_path / RULES).read_text()
    assert "0.75" in (tmp_path / RULES).read_text()
    assert own.read_text() == text.replace('"docs/runbooks"', f'"{BASE}"')
    assert write(tmp_path).written == []
    other = tmp_path / "other.toml"
    other.write_text(text.replace("0.75", "0.6"))
    with pytest.raises(CommandError, match=r"differ .*thresholds.toml"):
        write(tmp_path, thresholds=other)
    write(tmp_path, thresholds=other, force=True)
    assert "0.6" in (tmp_path / RULES).read_text()
    write(tmp_path, force=True)
    assert contents(tmp_path) == {**shipped(), "other.toml": other.read_bytes()}


def test_another_address_of_the_runbooks_alone_takes_no_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dashboards.builder.output", None)
    write(tmp_path, runbook_base=BASE)
    rules = [
        yaml.safe_load(file.read_text())
        for file in (tmp_path / "collector/prometheus").rglob("llm-*.yml")
    ]
    urls = [rule["annotations"]["runbook_url"] for rule in _alerts(rules)]
    assert len(urls) > 30
    assert all(url.startswith(f"{BASE}/LLMBudget") for url in urls)
    values = yaml.safe_load((tmp_path / "collector/kubernetes/values.yaml").read_text())
    assert values["alerts"]["runbookBase"] == BASE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("runbook_base", "base"), r"unknown entry base|missing entry runbook_base"),
        (("hard = 1.0", "hard = 'x'"), "utilization_hard must be of type float"),
        (("hard = 1.0", "hard = ="), "is not TOML"),
        (("[emptying]", "[emptied]"), "entry empt"),
    ],
)
def test_thresholds_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(shipped()["dashboards/thresholds.toml"].decode().replace(*change))
    with pytest.raises(CommandError, match=message) as error:
        write(tmp_path / "out", thresholds=file)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_address_or_no_file_is_one_sentence(tmp_path: Path) -> None:
    for base in ("", "two words", "{{ x }}", 'a"b'):
        with pytest.raises(CommandError, match="--runbook-base"):
            write(tmp_path / "out", runbook_base=base)
    with pytest.raises(CommandError, match=r"nothing\.toml could not be read"):
        write(tmp_path / "out", thresholds=tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xe9")
    with pytest.raises(CommandError, match="UTF-8"):
        write(tmp_path / "out", thresholds=tmp_path / "latin.toml")


# -- every path leads somewhere ------------------------------------------------------------
def _alerts(rules: list[Any]) -> list[Any]:
    return [
        rule
        for file in rules
        for group in file["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def _heading_ids(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


#: A path in a page: with a folder, or with the suffix of a file that is written.
_PATH = re.compile(r"`([\w.*/-]+(?:/[\w.*/-]*|\.(?:ya?ml|json|toml|jq|sh|md)))`")
#: Of the reader's own, or made when the programs run.
_ELSEWHERE = re.compile(
    r"prometheus/secrets|prometheus/targets/scrape.yml|queue\.damaged-|threshold-hits|amtool\.yml"
    r"|^go\.|^/|^http/|\.otel-budget-files.json|^metrics/|^filter/|^file/|^otlp_http/|^application/"
)


#: What only a checkout has.
_CHECKOUT = re.compile(r"`make |^ +make |tests/|python -m|<!--|docs/pictures", re.MULTILINE)


def test_every_link_and_path_that_is_written_leads_somewhere(tmp_path: Path) -> None:
    write(tmp_path)
    pages = sorted(tmp_path.rglob("*.md"))
    assert len(pages) > 30
    lost: list[str] = []
    for page in pages:
        text = page.read_text()
        lost += [f"{page.name}: {word}" for word in _CHECKOUT.findall(text)]
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, heading = link.partition("#")
            if "://" in link:
                continue
            target = page.parent / path if path else page
            known = target.exists() and (not heading or heading in _heading_ids(target.read_text()))
            if not known:
                lost.append(f"{page.relative_to(tmp_path)}: {link}")
        for path in _PATH.findall(text):
            starts = (page.parent, tmp_path, tmp_path / "collector", tmp_path / "dashboards")
            if _ELSEWHERE.search(path) or any(
                [*start.glob(path.strip("/")), *start.glob(f"**/{path.strip('/')}")]
                for start in starts
            ):
                continue
            lost.append(f"{page.relative_to(tmp_path)}: {path}")
    rules = [
        yaml.safe_load(file.read_text())
        for file in (tmp_path / "collector/prometheus").rglob("llm-*.yml")
    ]
    for alert in _alerts(rules):
        target = tmp_path / alert["annotations"]["runbook_url"]
        if not target.is_file():
            lost.append(f"{alert['alert']}: {target}")
    prometheus = yaml.safe_load((tmp_path / "collector/prometheus/prometheus.yml").read_text())
    folder = tmp_path / "collector/prometheus"
    assert all([*folder.glob(pattern)] for pattern in prometheus["rule_files"])
    assert lost == []


def test_a_page_for_both_readers_is_cut_for_each() -> None:
    page = "a\n<!-- checkout only -->\nb\n<!-- end -->\nc<!-- checkout only --> d<!-- end -->e\n"
    page += "| f <!-- checkout line --> |\ng<!-- by pip: h -->\n"
    assert by_pip(page) == "a\nce\ngh\n"


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
    assert "could not be read or written (Not a directory)" in err


def test_a_wheel_in_a_fresh_environment_ships_the_same_files(tmp_path: Path) -> None:
    """The dependencies come from this environment, the package only the package from the wheel."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=110,
    )
    (wheel,) = tmp_path.glob("*.whl")
    editable = (
        f"from hatchling.build import build_editable as build; build({str(tmp_path / 'e')!r})"
    )
    (tmp_path / "e").mkdir()
    subprocess.run([sys.executable, "-c", editable], check=True, cwd=ROOT, timeout=60)
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
    assert sorted(json.loads(result.stdout)["written"]) == sorted(shipped())
    assert contents(tmp_path / "out") == shipped()
    assert (site / "otel_budget" / "py.typed").exists()
    (metadata,) = site.glob("otel_budget-*.dist-info/METADATA")
    page = metadata.read_text()  # a package index shows it where no path leads anywhere
    assert not re.search(r"\]\((?!https?:|#)", page)
    assert "(`docs/operating/overlays.md`)" in page
    own = tmp_path / "out" / "dashboards" / "thresholds.toml"
    own.write_text(own.read_text().replace("told = [0.5, 0.8, 0.95, 1.0]", "told = [0.75]"))
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert RULES in json.loads(result.stdout)["written"]
