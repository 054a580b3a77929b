"""One of several processes that train a few tiny tiles together; told by TF_CONFIG which one."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from segbatch.errors import SegbatchError
from segbatch.training.peers import peers_from
from tests.support.tiny_training import make_job, make_tiles, run


def main(tiles: str, folder: str, options: str) -> None:
    """Train; `options` is JSON: `job` (sections), `replicas` on this process, `kill_at` (a step), `spoil` (a tile)."""
    import tensorflow as tf

    settings = json.loads(options)
    if settings.get("replicas", 1) > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * settings["replicas"])
        from segbatch.training import worker
        from segbatch.training.distribution import Distribution

        devices = [f"CPU:{number}" for number in range(settings["replicas"])]
        worker.distribution = lambda *_: Distribution(tf.distribute.MirroredStrategy(devices))
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        if steps == settings.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        return steps == settings.get("stop_at")

    pairs = make_tiles(Path(tiles))
    if "spoil" in settings:
        broken = Path(tiles, "broken.png")
        broken.write_bytes(b"")
        pairs[settings["spoil"]] = (os.fsencode(broken), pairs[settings["spoil"]][1])
    try:
        run(make_job(**settings.get("job", {})), pairs, Path(folder), stop=stop, peers=peers_from(os.environ))
        code = 0
    except SegbatchError as error:
        print(error, flush=True)
        code = int(error.exit_code)
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
