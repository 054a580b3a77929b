"""`python -m segbatch` is the same as the command `segbatch`."""

from __future__ import annotations

from segbatch.cli import main

if __name__ == "__main__":
    main()
