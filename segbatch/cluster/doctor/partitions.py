"""Partitions, and whether the site file asks for what is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from segbatch.cluster.doctor.finding import Finding, State
from segbatch.cluster.doctor.slurm_facts import SlurmFacts, Table
from segbatch.cluster.slurm.client import SlurmUnavailableError
from segbatch.cluster.slurm.rows import Partition
from segbatch.spec.problems import did_you_mean
from segbatch.spec.site import Site

MOST = 12
"""Partitions with a row of their own; those that the site uses come first."""
_LISTED = 8
Key = tuple[str, str]
"""A key of the site file and one of the names that it holds."""


def check_partitions(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    """Say what partitions there are and what becomes of them."""
    partitions = facts.partitions.value
    if partitions is None:
        if facts.partitions.trouble:
            yield Finding("partitions", "list", "warn", facts.partitions.trouble, "leaves the choice to SLURM")
        return
    used = {name for _, name in partition_keys(site)}
    rows = sorted(partitions, key=lambda one: (one.name not in used, not one.default, not gpus_of(one)))
    for partition in rows[:MOST]:
        yield _partition(partition, site)
    if rows[MOST:]:
        names = ", ".join(partition.name for partition in rows[MOST:])
        yield Finding("partitions", f"{len(rows) - MOST} more", "ok", names, "does not use them")


def _partition(partition: Partition, site: Site) -> Finding:
    uses = _uses(partition, site)
    words = partition_words(partition)
    if not partition.up and uses:
        return Finding("partitions", partition.name, "bad", words, f"{uses}, where they wait until it is up")
    if uses and partition.nodes == 0:
        return Finding("partitions", partition.name, "bad", words, f"{uses}, where they wait for ever")
    return Finding("partitions", partition.name, "ok", words, uses or "does not use it")


def partition_words(partition: Partition) -> str:
    """Say what a partition is in one line."""
    parts = ["up" if partition.up else "down"]
    parts += ["default"] if partition.default else []
    parts.append(f"{partition.nodes} nodes ({partition.idle} idle)" if partition.nodes != 1 else "1 node")
    parts.append(f"{partition.cpus} CPUs, {partition.memory_mb / 1000:g} GB each at most")
    parts.append(", ".join(partition.gres) if partition.gres else "no GPUs")
    limit = partition.time_limit_s
    parts.append("no time limit" if limit is None else f"time limit {_days(limit)}")
    return "; ".join(parts)


def _days(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or f"{seconds} s"


def _uses(partition: Partition, site: Site) -> str:
    keys = [key for key, name in partition_keys(site) if name == partition.name]
    uses = []
    if "partition" in keys or (site.partition is None and partition.default):
        uses.append("sends tasks there" if "partition" in keys else "sends tasks there, as SLURM's default")
    if "finish_partition" in keys:
        uses.append("merges and reports there")
    uses += [f"sends tasks there for `{key}`" for key in keys if key.startswith("priorities")]
    return ", ".join(uses)


def gpus_of(partition: Partition) -> list[str]:
    """Return the GPUs among a partition's generic resources: `gpu:a100:4`."""
    return [name for name in partition.gres if name.split(":")[0] == "gpu"]


def task_partitions(partitions: Sequence[Partition], site: Site) -> list[Partition]:
    """Return the partitions that tasks go to: the site's, or SLURM's default."""
    names = _names(site.partition)
    return [one for one in partitions if (one.name in names if names else one.default)]


def partition_keys(site: Site) -> list[Key]:
    """Return the site's keys that name partitions, with each name."""
    found = [("partition", name) for name in _names(site.partition)]
    found += [("finish_partition", name) for name in _names(site.finish_partition)]
    for level, options in site.priorities.items():
        found += [(f"priorities.{level}.partition", name) for name in _names(options.partition)]
    return found


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def check_site_keys(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    """Name each key of the site file that asks for what is not there, and what to put instead."""
    findings = [*_partition_keys(facts, site), *_account(facts, site), *_qos(facts, site), *_gpus(facts, site)]
    yield from findings
    yield from _accepted(facts)


def _partition_keys(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    if facts.partitions.value is None:
        return
    there = [partition.name for partition in facts.partitions.value]
    for key, name in partition_keys(site):
        if name not in there:
            yield _wrong(key, name, "partition", there)


def _account(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    rows = facts.associations.value
    if rows is None:
        if site.account and facts.associations.trouble:
            words = f"{site.account}: cannot be checked: {facts.associations.trouble}"
            yield Finding("site", "account", "warn", words, "asks for it, and SLURM judges")
        return
    mine = list(dict.fromkeys(row["Account"] for row in rows if row["Account"]))
    binding = "associations" in facts.enforced
    if site.account and site.account not in mine:
        if binding or not mine:
            yield _wrong("account", site.account, "account of yours", mine, binding=binding)
        else:
            words = f"{site.account} is none of yours ({_some(mine)})"
            yield Finding("site", "account", "warn", words, "charges it all the same, since SLURM does not mind")
    elif not site.account and binding and not mine:
        consequence = "cannot submit: ask the site's administrators for an account"
        yield Finding("site", "account", "bad", "SLURM knows no account of yours", consequence)


def _qos(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    if facts.qos.value is None:
        return
    there = [row["Name"] for row in facts.qos.value]
    mine = _own_qos(facts.associations.value or [], site)
    binding = "qos" in facts.enforced
    keys = [("qos", site.qos)] if site.qos else []
    keys += [(f"priorities.{level}.qos", options.qos) for level, options in site.priorities.items() if options.qos]
    for key, name in keys:
        if name not in there:
            yield _wrong(key, name, "QOS", there)
        elif binding and mine and name not in mine:
            yield _wrong(key, name, "QOS of yours", mine)


def _own_qos(rows: Table, site: Site) -> list[str]:
    chosen = [row for row in rows if not site.account or row["Account"] == site.account]
    return list(dict.fromkeys(name for row in chosen for name in _names(row["QOS"])))


def _gpus(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    partitions = facts.partitions.value
    chosen = task_partitions(partitions or [], site)
    if not partitions or not chosen:
        return
    names = [name for partition in chosen for name in gpus_of(partition)]
    if not names:
        others = [partition.name for partition in partitions if gpus_of(partition)]
        hint = f": set `partition` to one of {_some(others)}" if others else ""
        words = f"none in {_some([partition.name for partition in chosen])}"
        yield Finding("site", "GPUs", "warn", words, f"has jobs with `gpus` refused{hint}")
        return
    types = list(dict.fromkeys(name.split(":")[1] for name in names if name.count(":") > 1))
    for kind, name in site.gpu_types.items():
        if name not in types:
            known = f"there are {_some(types)}" if types else "GPUs have no types here"
            words = f"{name}: no such GPU; {known}.{did_you_mean(name, types)}"
            yield Finding("site", f"gpu_types.{kind}", "bad", words, f"has jobs with `gpu_type: {kind}` refused")
    if types:
        asked = [kind for kind, name in site.gpu_types.items() if name in types] or types
        consequence = f"gives `gpu_type: {asked[0]}` on as {site.gpu_types.get(asked[0], asked[0])}"
        yield Finding("site", "GPUs", "ok", f"types {_some(types)}", consequence)


def _accepted(facts: SlurmFacts) -> Iterator[Finding]:
    if facts.accepted.value is not None:
        words = facts.accepted.value or "SLURM would take it"
        yield Finding("site", "trial job", "ok", words, "can submit with this site file")
    elif facts.accepted.trouble:
        yield _refused(facts.accepted.trouble)


def _refused(trouble: str) -> Finding:
    """Judge a refusal. sbatch refuses a trial for want of nodes that are up, where a real job would wait."""
    state: State = "bad"
    consequence = "cannot submit with this site file until what is named is put right"
    if "node configuration is not available" in trouble:
        state, consequence = "warn", "can submit jobs that wait: no node that is up could take this one"
    elif SlurmUnavailableError.outcome in trouble:
        state, consequence = "warn", "does not know whether SLURM takes its jobs"
    return Finding("site", "trial job", state, trouble, consequence)


def _wrong(key: str, name: str, kind: str, there: Collection[str], *, binding: bool = True) -> Finding:
    hint = did_you_mean(name, there)
    words = f"{name}: no such {kind}{'; there are ' + _some(there) if there else ''}.{hint}"
    consequence = f"has jobs refused: correct `{key}` in the site file"
    return Finding("site", key, "bad" if binding else "warn", words, consequence)


def _some(names: Collection[str]) -> str:
    shown = list(names)[:_LISTED]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
