"""What each process reads of every batch: all of it, nothing twice; and batches made of streams with gaps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from segbatch.training.shares import Share, regroup

pytestmark = pytest.mark.tensorflow


@given(
    samples=st.integers(0, 60),
    start=st.integers(0, 20),
    batch=st.integers(1, 17),
    processes=st.integers(1, 4),
    devices=st.integers(1, 3),
)
def test_every_sample_once_in_step(samples, start, batch, processes, devices):
    start = min(start, samples)
    shares = [Share(rank, processes, processes * devices) for rank in range(processes)]
    planned = [share.batches(start, samples, batch) for share in shares]
    assert len({len(plan) for plan in planned}) == 1, "all make the same number of steps"
    for step, parts in enumerate(zip(*planned, strict=True)):
        first = start + step * batch
        slots = min(batch, samples - first)
        assert {part[0] for part in parts} == {slots}
        taken = [position for _, low, high in parts for position in range(low, high)]
        assert taken == list(range(first, first + slots))
        most = -(-slots // (processes * devices)) * devices
        assert all(high - low <= most for _, low, high in parts)


@given(data=st.data(), ends=st.lists(st.integers(0, 6), max_size=8))
def test_rows_come_in_the_groups_they_belong_to(data, ends):
    ends = np.cumsum(ends).tolist()
    total = ends[-1] if ends else 0
    there = [number for number in range(total) if data.draw(st.integers(0, 9)) > 2]
    size = data.draw(st.integers(1, 5))
    chunks = [np.array(there[at : at + size], np.int64) for at in range(0, len(there), size)]
    stream = ((chunk, tf.constant(chunk * 10), tf.constant(chunk * 100)) for chunk in chunks)
    groups = list(regroup(stream, ends))
    assert len(groups) == len(ends)
    for low, high, group in zip([0, *ends], ends, groups, strict=False):
        expected = [number for number in there if low <= number < high]
        found = [] if group is None else group[0].tolist()
        assert found == expected
        if group is not None:
            assert group[1].numpy().tolist() == [10 * number for number in expected]
            assert group[2].numpy().tolist() == [100 * number for number in expected]
