"""Label sets that tests use."""

from __future__ import annotations

from segbatch.spec.labels import Labels

TWO_CLASSES = Labels.model_validate(
    {
        "name": "two",
        "classes": [
            {"id": 0, "name": "ground", "color": "#000000"},
            {"id": 1, "name": "forest", "color": "#00aa00", "values": [1, "200-255"]},
        ],
    }
)
