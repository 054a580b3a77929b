"""Our entries in a table of cron: nothing else in it ever changes, and they start in cron's bare environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.cluster.cron.block import begin_mark, blocks, end_mark, put, take
from segbatch.cluster.cron.entry import Entry, script, table_lines
from segbatch.cluster.cron.table import Table, choose_via
from segbatch.errors import InputError, SegbatchError
from segbatch.spec.schedule import Schedule
from tests.support.fake_cron import FakeCron
from tests.support.needs import lacking

GOLDEN = Path(__file__).parent / "golden" / "cron"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NIGHTLY = Entry(
    name="nightly",
    schedule=Schedule(cron="0 2 * * *", zone="Europe/Madrid"),
    zone="Europe/Madrid",
    here="Europe/Madrid",
    folder=Path("/home/ana/.local/state/segbatch/schedules/nightly"),
    python="/opt/segbatch/bin/python",
    cwd=Path("/home/ana/forest"),
    variables={"PATH": "/opt/slurm/bin:/usr/bin:/bin", "SEGBATCH_SITE": "/home/ana/site.yaml"},
)
ODD = replace(
    NIGHTLY,
    name="odd",
    folder=Path("""/home/a 100% "b" it's/$(touch pwned)/odd"""),
    cwd=Path("/data/50%; rm -rf ~"),
    profile=(". /etc/profile", "module load slurm"),
    umask=0o002,
)
WORDS = st.sampled_from(
    ["0 5 * * * tar -zcf x.tgz /home/%d", "# a comment", 'MAILTO="ana"', "", "\t", "é\udcff", "a\rb"]
)
NAMES = st.sampled_from(["nightly", "a.b-c_d", "x"])
TABLES = st.lists(st.one_of(WORDS, st.text(st.characters(exclude_characters="\n"), max_size=20)), max_size=8).map(
    lambda lines: "".join(f"{line}\n" for line in lines if "segbatch" not in line)
)
TEXT = "0 2 * * * /bin/sh /x/entry.sh\n"


@given(TABLES, NAMES, NAMES)
def test_other_lines_stay_byte_for_byte(table: str, one: str, other: str) -> None:
    once = put(table, one, TEXT)
    assert put(once, one, TEXT) == once, "adding twice is adding once"
    assert take(once, one) == table, "removing restores"
    assert once.replace(f"{begin_mark(one)}\n{TEXT}{end_mark(one)}\n", "") == table
    both = put(once, other, TEXT)
    assert take(take(both, one), other) == table
    assert {block.name for block in blocks(both)} == {one, other}


@given(TABLES, TABLES)
def test_an_entry_is_replaced_in_its_place(above: str, below: str) -> None:
    table = put(above, "night", "old\n") + below
    changed = put(table, "night", "new\nlines\n")
    assert changed == put(above, "night", "new\nlines\n") + below
    doubled = put(above, "night", "old\n") + below + put("", "night", "older\n")
    assert put(doubled, "night", "new\nlines\n") == changed, "of two entries of one name, one stays"
    assert take(doubled, "night") == above + below


def test_a_table_that_ends_within_a_line_gets_its_end() -> None:
    assert put("0 1 * * * a", "n", TEXT).startswith("0 1 * * * a\n# >>> segbatch n >>>\n")


def test_a_block_without_an_end_is_refused() -> None:
    broken = f"{begin_mark('n')}\n0 1 * * * a\n0 2 * * * mine\n"
    with pytest.raises(InputError, match=r"line 1 .*'n', and its end is missing"):
        put(broken, "n", TEXT)
    with pytest.raises(InputError, match="its end is missing"):
        take(broken + f"{begin_mark('m')}\n{end_mark('m')}\n", "m")


def test_lines_that_slurm_disabled_are_still_ours() -> None:
    """scancel of a scrontab job puts #DISABLED: in front of the lines of its entry."""
    table = put("# mine\n", "n", f"#SCRON --time=15\n{TEXT}")
    disabled = table.replace("#SCRON", "#DISABLED: #SCRON").replace("0 2", "#DISABLED: 0 2")
    assert [block.disabled for block in blocks(table) + blocks(disabled)] == [False, True]
    assert put(disabled, "n", f"#SCRON --time=15\n{TEXT}") == table
    everything = "".join(f"#DISABLED: {line}\n" for line in table.splitlines()[1:])
    assert take(f"# mine\n{everything}", "n") == "# mine\n"


ENTRIES = {
    "crontab": (NIGHTLY, "crontab"),
    "crontab-odd": (ODD, "crontab"),
    "crontab-other-zone": (replace(NIGHTLY, zone="Asia/Kolkata", here="America/New_York"), "crontab"),
    "crontab-catch-up": (replace(NIGHTLY, schedule=Schedule(cron="15,45 2 * * 1-5", catch_up=480)), "crontab"),
    "scrontab": (
        replace(
            NIGHTLY,
            options={"job-name": "segbatch-nightly", "partition": "cpu", "time": 15, "mem": "500M", "requeue": None},
        ),
        "scrontab",
    ),
    "scrontab-odd": (replace(ODD, options={"output": "/home/a 100%% it's/log"}), "scrontab"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_whole_entries(name: str) -> None:
    entry, via = ENTRIES[name]
    text = put("", entry.name, table_lines(entry, via, NOW)) + "\n" + script(entry)  # type: ignore[arg-type]
    assert text == (GOLDEN / f"{name}.txt").read_text()


def test_a_percent_sign_is_escaped_in_a_crontab_alone() -> None:
    """cron takes % for a line's end wherever it stands, in quotes too; scrontab hands the line on as it is."""
    assert r"100\% " in table_lines(ODD, "crontab", NOW)
    assert "100% " in table_lines(ODD, "scrontab", NOW)


def test_paths_with_line_breaks_are_refused() -> None:
    with pytest.raises(InputError, match="no line breaks"):
        table_lines(replace(NIGHTLY, folder=Path("/a\nb")), "crontab", NOW)
    with pytest.raises(InputError, match="no line breaks"):
        script(replace(NIGHTLY, cwd=Path("/a\nb")))


def test_the_line_starts_the_script_as_cron_would(tmp_path: Path) -> None:
    """Run what stands in the crontab with /bin/sh -c, after cron's own reading of %, in an empty environment."""
    folder = tmp_path / """a 100% "b" it's $(touch pwned)""" / "odd"
    folder.mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\npwd; umask; env | grep -v ^_ | sort; for word; do echo "[$word]"; done\n')
    python.chmod(0o755)
    variables = {"PATH": "/usr/bin:/bin", "SEGBATCH_SITE": "it's"}
    entry = replace(ODD, folder=folder, python=str(python), cwd=tmp_path, variables=variables, profile=("export A=b",))
    (folder / "entry.sh").write_text(script(entry))
    line = table_lines(entry, "crontab", NOW).rstrip("\n")
    command = line.split(" ", 5)[5].replace(r"\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], env={}, cwd="/", capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    said = (folder / "log.txt").read_text().splitlines()
    assert said[:2] == [str(tmp_path), "0002"]
    assert {"A=b", "SEGBATCH_SITE=it's", "PATH=/usr/bin:/bin"} <= set(said)
    assert said[-8:] == [
        "[-P]",
        "[-m]",
        "[segbatch]",
        "[schedule]",
        "[fire]",
        "[odd]",
        "[--home]",
        f"[{folder.parent}]",
    ]
    loud = subprocess.run(
        ["/bin/sh", folder / "entry.sh", "--check"], env={}, capture_output=True, text=True, check=True
    )
    assert loud.stdout.endswith("[--check]\n")


def environ(cron: FakeCron) -> dict[str, str]:
    return {"PATH": f"{cron.bin}:/usr/bin:/bin"}


@pytest.mark.parametrize("via", ["crontab", "scrontab"])
def test_a_table_is_read_written_and_removed(tmp_path: Path, via: str) -> None:
    cron = FakeCron(tmp_path, via)
    table = Table(via, environ(cron))  # type: ignore[arg-type]
    assert table.read() == ""
    assert table.write("0 1 * * * \udcff\r\n")
    assert cron.table(via) == "0 1 * * * \udcff\r\n", "bytes that are no text, and foreign line ends, stay"
    assert table.read() == "0 1 * * * \udcff\r\n"
    before = len(cron.calls(via))
    assert not table.write(table.read())
    assert cron.calls(via)[before:] == ["-l", "-l"], "what is so already is not installed again"
    assert table.write("")
    assert cron.table(via) is None


def test_a_table_that_cron_refuses_stays(tmp_path: Path) -> None:
    cron = FakeCron(tmp_path, "crontab")
    table = Table("crontab", environ(cron))
    table.write("# mine\n")
    with pytest.raises(SegbatchError, match=r"could not be changed: exit 1: .*bad minute"):
        table.write("refuse me\n")
    assert cron.table() == "# mine\n"


def test_what_starts_schedules(tmp_path: Path) -> None:
    both = FakeCron(tmp_path / "both", "crontab", "scrontab")
    assert choose_via("auto", environ(both)) == "scrontab"
    assert choose_via("crontab", environ(both)) == "crontab"
    both.disable("scrontab")
    assert choose_via("auto", environ(both)) == "crontab", "a cluster may have switched scrontab off"
    none = FakeCron(tmp_path / "none")
    bare = {"PATH": str(none.bin)}
    with pytest.raises(SegbatchError, match="neither scrontab nor crontab was found"):
        choose_via("auto", bare)
    with pytest.raises(SegbatchError, match="program scrontab was not found"):
        choose_via("scrontab", bare)
    with pytest.raises(SegbatchError, match="program crontab was not found"):
        Table("crontab", bare).read()


def test_the_real_crontab(tmp_path: Path) -> None:
    """Only where its user has no table, so that nothing of a person's is touched."""
    if shutil.which("crontab") is None:
        lacking("no crontab: apt-get install cron")
    table = Table("crontab", dict(os.environ))
    if table.read():
        pytest.skip("this user has a crontab")
    entry = replace(ODD, folder=tmp_path / "a 100%" / "odd")
    try:
        table.write(put("# mine\n", "odd", table_lines(entry, "crontab", NOW)))
        assert table.read() == put("# mine\n", "odd", table_lines(entry, "crontab", NOW))
        table.write(take(table.read(), "odd"))
        assert table.read() == "# mine\n"
    finally:
        table.write("")
    assert table.read() == ""
