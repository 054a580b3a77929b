"""Losses and labels that do not go together."""

from __future__ import annotations

from collections.abc import Iterator

from segbatch.spec.labels import Labels
from segbatch.spec.loss import Loss, Term
from segbatch.spec.problems import listed, nearest
from segbatch.spec.section import Conflict, KeyPath


def loss_conflicts(loss: Loss, labels: Labels, *, labelled: bool) -> Iterator[Conflict]:
    """Yield what a loss asks of the labels in vain; paths are relative to the job.

    Args:
        loss: the job's `loss`.
        labels: the job's `labels`.
        labelled: whether the job names masks of the labelled regions.
    """
    yield from _of_term(loss, labels, ("loss",), labelled)
    for position, part in enumerate(loss.parts):
        yield from _of_term(part, labels, ("loss", "parts", position), labelled)


def counted(labels: Labels) -> tuple[KeyPath, ...]:
    """What the number of scored classes rests on."""
    return tuple(("labels", "classes", position, "ignore") for position in range(len(labels.classes)))


def _of_term(term: Term, labels: Labels, here: KeyPath, labelled: bool) -> Iterator[Conflict]:
    count, needs = len(labels.scored), counted(labels)
    if term.name == "binary_crossentropy" and count != 2:
        message = f"binary_crossentropy is for two classes; these labels have {count} that are not ignored"
        yield Conflict((*here, "name"), message, needs)
    if term.name == "partial_crossentropy" and not (labelled or _leaves_out(labels)):
        message = (
            "partial_crossentropy is for truth that is labelled in part: it needs `data.labelled`, or labels with "
            "an ignored class or `unclaimed: ignore`"
        )
        yield Conflict((*here, "name"), message, (("data", "labelled"), ("labels", "unclaimed"), *needs))
    if term.alpha is not None and count != 2:
        message = f"`alpha` is for two classes, these labels have {count}; `class_weights` weigh any number of them"
        yield Conflict((*here, "alpha"), message, needs)
    yield from _weights(term, labels, here)


def _leaves_out(labels: Labels) -> bool:
    return labels.unclaimed == "ignore" or any(item.ignore for item in labels.classes)


def _weights(term: Term, labels: Labels, here: KeyPath) -> Iterator[Conflict]:
    weights, needs = term.class_weights, counted(labels)
    if isinstance(weights, tuple) and len(weights) != len(labels.scored):
        message = (
            f"expected {len(labels.scored)} weights, one for each class that is not ignored "
            f"({listed(labels.names)}), received {len(weights)}"
        )
        yield Conflict((*here, "class_weights"), message, needs)
    if not isinstance(weights, dict):
        return
    names = tuple(("labels", "classes", position, "name") for position in range(len(labels.classes)))
    for name in weights:
        if name not in labels.names:
            close = nearest(name, list(labels.names))
            meant = f"Did you mean {close!r}?" if close else f"Expected one of {listed(labels.names)}."
            message = f"no class {name!r} that is not ignored. {meant}"
            yield Conflict((*here, "class_weights", name), message, (*needs, *names))
    if all(weights.get(name, 1.0) == 0 for name in labels.names):
        yield Conflict((*here, "class_weights"), "every class weighs 0, so nothing would be learned", (*needs, *names))
