"""`${stages.NAME.PRODUCT}` in the job of a pipeline's stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from segbatch.spec.document import Document
from segbatch.spec.problems import Origin, Problem, did_you_mean, listed

_REFERENCE = re.compile(r"(?<!\$)\$\{stages\.(?P<stage>[^.}]*)\.(?P<product>[^}]*)\}")


@dataclass(frozen=True)
class Reference:
    """One use of what another stage makes."""

    stage: str
    product: str
    origin: Origin


def resolve_references(document: Document, products: Mapping[str, str] | None) -> list[Reference]:
    """Replace references by what they stand for; `document` changes in place.

    Args:
        document: the values of a job.
        products: what stages make, such as `train.bundle` -> a path; None for a job that is no stage.

    Returns:
        The references; those that lead nowhere become problems of the document.
    """
    found: list[Reference] = []
    for path, value in list(document.scalars()):
        if not isinstance(value, str) or "${stages." not in value:
            continue
        origin = document.place(path).value

        def replaced(match: re.Match[str], origin: Origin = origin) -> str:
            key = f"{match['stage']}.{match['product']}"
            if products is None:
                message = f"{match[0]} stands for what a stage of a pipeline makes; this job is no stage of one"
                document.problems.append(Problem(origin, message))
                return ""
            if key not in products:
                hint = did_you_mean(key, products) or f" There are: {listed(sorted(products))}."
                document.problems.append(Problem(origin, f"no stage makes {match[0]}.{hint}"))
                return ""
            found.append(Reference(match["stage"], match["product"], origin))
            # What comes out is no reference to the environment, whatever the path holds.
            return products[key].replace("${", "$${")

        document.put(path, _REFERENCE.sub(replaced, value))
    return found
