"""Slices are admitted, renewed, closed and expired; the limits of a GPU's slices never pass its memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from gpu_server.errors import InvalidRequest, NoCapacity, SliceFull, SliceNotFound, WrongToken
from gpu_server.slices import GpuCapacity, SliceLimits, SliceRegistry

GIB = 1 << 30
TTL_S = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def registry(*usable: int, clock: Clock | None = None, maximum: int = 0, sessions: int = 4) -> SliceRegistry:
    return SliceRegistry(
        [GpuCapacity(f"GPU-{i}", size) for i, size in enumerate(usable)],
        SliceLimits(4 * GIB, maximum, TTL_S, sessions),
        clock or Clock(),
    )


def test_a_slice_gets_what_it_asked_for_and_a_secret_of_its_own() -> None:
    slices = registry(16 * GIB)
    first, first_token = slices.open("first", 2 * GIB, 2.0, "ada", "k1")
    second, second_token = slices.open("second")
    assert (first.vram_bytes, first.share, first.owner, first.kernel_id) == (2 * GIB, 2.0, "ada", "k1")
    assert (second.vram_bytes, second.share) == (4 * GIB, 1.0)
    assert first_token != second_token
    assert len(bytes.fromhex(first_token)) == 32
    assert first.slice_id != second.slice_id
    assert slices.reserved_bytes("GPU-0") == 6 * GIB


@pytest.mark.parametrize(
    ("usable", "maximum", "size"),
    [
        ([1 * GIB], 0, GIB // 4),
        ([80 * GIB], 0, 4 * GIB),
        ([141 * GIB, 80 * GIB], 0, 4 * GIB),  # it must fit each GPU
        ([80 * GIB], 3 * GIB, 3 * GIB),
    ],
)
def test_who_asks_for_no_size_gets_one_that_goes_by_the_gpu(
    usable: list[int], maximum: int, size: int
) -> None:
    slices = SliceRegistry(
        [GpuCapacity(f"GPU-{i}", memory) for i, memory in enumerate(usable)],
        SliceLimits(0, maximum, TTL_S, 4),
        Clock(),
    )
    assert slices.open("no size")[0].vram_bytes == size


def test_a_ceiling_is_a_part_of_the_time() -> None:
    slices = registry(16 * GIB)
    assert slices.open("free")[0].ceiling == 0.0
    assert slices.open("limited", ceiling=0.25)[0].ceiling == 0.25
    for wrong in (-0.1, 1.5, math.nan):
        with pytest.raises(InvalidRequest, match="a part of the GPU's time"):
            slices.open("wrong", ceiling=wrong)


def test_memory_may_be_promised_several_times() -> None:
    slices = SliceRegistry(
        [GpuCapacity("GPU-0", 8 * GIB)], SliceLimits(4 * GIB, 0, TTL_S, 4, oversubscription=2.5), Clock()
    )
    for name in ("one", "two"):
        slices.open(name, 8 * GIB)
    slices.open("three", 3 * GIB)
    with pytest.raises(NoCapacity, match="2.0 GiB were asked for and 1.0 GiB of 20.0 GiB are free"):
        slices.open("four", 2 * GIB)
    with pytest.raises(InvalidRequest, match="the GPU has at most 8.0 GiB"):
        slices.open("larger than the GPU", 9 * GIB)


def test_a_full_gpu_is_refused_with_numbers_holders_and_advice() -> None:
    slices = registry(16 * GIB)
    for name, size in (("ada's kernel", 8), ("bob's kernel", 4)):
        slices.open(name, size * GIB)
    slices.open("small", 5 * GIB // 2)
    with pytest.raises(NoCapacity) as refusal:
        slices.open("late", 4 * GIB)
    assert str(refusal.value) == (
        "All GPU memory is in use: 4.0 GiB were asked for and 1.5 GiB of 16.0 GiB are free. "
        'In use by 3 slices: "ada\'s kernel" (8.0 GiB), "bob\'s kernel" (4.0 GiB), "small" (2.5 GiB). '
        "Close another vGPU kernel or choose a smaller one."
    )


def test_a_refusal_over_several_gpus_names_the_emptiest() -> None:
    slices = registry(8 * GIB, 4 * GIB)
    slices.open("a", 6 * GIB)
    slices.open("b", 5 * GIB // 2)
    with pytest.raises(NoCapacity, match=r"the emptiest of 2 GPUs has 2\.0 GiB of 8\.0 GiB free"):
        slices.open("c", 4 * GIB)


def test_a_slice_goes_where_it_fits_best() -> None:
    slices = registry(16 * GIB, 4 * GIB, 8 * GIB)
    assert [slices.open("s", 3 * GIB)[0].gpu_uuid for _ in range(4)] == ["GPU-1", "GPU-2", "GPU-2", "GPU-0"]


@pytest.mark.parametrize("vram", [1, (1 << 20) - 1, 17 * GIB, (1 << 64) - 1])
def test_a_limit_that_can_never_be_is_invalid(vram: int) -> None:
    with pytest.raises(InvalidRequest, match="were asked for"):
        registry(16 * GIB).open("s", vram)


@pytest.mark.parametrize("share", [-1.0, math.nan, math.inf, 1e9])
def test_a_share_that_is_no_weight_is_invalid(share: float) -> None:
    with pytest.raises(InvalidRequest, match="weight"):
        registry(16 * GIB).open("s", GIB, share)


def test_the_configured_maximum_binds_and_the_default_bows_to_it() -> None:
    slices = registry(16 * GIB, maximum=GIB)
    assert slices.open("s")[0].vram_bytes == GIB
    with pytest.raises(InvalidRequest, match=r"one slice may have at most 1\.0 GiB"):
        slices.open("s", 2 * GIB)


def test_without_a_gpu_nothing_opens() -> None:
    with pytest.raises(NoCapacity, match="has no GPU"):
        registry().open("s")


def test_a_slice_lives_as_long_as_it_is_renewed() -> None:
    clock = Clock()
    slices = registry(16 * GIB, clock=clock)
    s, token = slices.open("s", GIB)
    for _ in range(5):
        clock.now += TTL_S - 1
        assert slices.expire() == []
        assert slices.renew(s.slice_id, token) == TTL_S
    assert slices.next_expiry() == clock.now + TTL_S
    clock.now += TTL_S
    assert slices.expire() == [s]
    assert slices.expire() == []
    assert slices.slices() == []
    with pytest.raises(SliceNotFound):
        slices.renew(s.slice_id, token)


def test_memory_of_an_ending_slice_is_promised_to_nobody_until_it_is_forgotten() -> None:
    slices = registry(4 * GIB)
    s, token = slices.open("s", 4 * GIB)
    slices.close(s.slice_id, token)
    with pytest.raises(NoCapacity):
        slices.open("next", 4 * GIB)
    slices.forget(s.slice_id)
    slices.open("next", 4 * GIB)


def test_closing_twice_is_not_found() -> None:
    slices = registry(4 * GIB)
    s, token = slices.open("s", GIB)
    slices.close(s.slice_id, token)
    with pytest.raises(SliceNotFound):
        slices.close(s.slice_id, token)


@pytest.mark.parametrize("wrong", ["", "0" * 64, "ff", "\ud800", "é"])
def test_a_wrong_token_opens_nothing(wrong: str) -> None:
    slices = registry(4 * GIB)
    s, _ = slices.open("s", GIB)
    for action in (slices.renew, slices.close):
        with pytest.raises(WrongToken):
            action(s.slice_id, wrong)
    assert not s.ending


def test_a_client_process_cannot_tell_an_unknown_slice_from_a_wrong_token() -> None:
    slices = registry(4 * GIB)
    s, token = slices.open("s", GIB)
    messages = set()
    for slice_id, secret in ((s.slice_id, "0" * 64), ("unknown", token)):
        with pytest.raises(WrongToken) as refusal:
            slices.authorize(slice_id, secret)
        messages.add(str(refusal.value))
    slices.close(s.slice_id, token)
    with pytest.raises(WrongToken) as refusal:
        slices.authorize(s.slice_id, token)
    messages.add(str(refusal.value))
    assert len(messages) == 1


def test_the_token_is_nowhere_in_the_registry() -> None:
    slices = registry(4 * GIB)
    s, token = slices.open("s", GIB)
    assert token not in repr(s)
    assert slices.authorize(s.slice_id, token) is s


def test_session_slots_are_bounded_distinct_and_reused() -> None:
    slices = registry(4 * GIB, sessions=3)
    s, _ = slices.open("s", GIB)
    assert [slices.take_slot(s.slice_id) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SliceFull, match="serves 3 processes"):
        slices.take_slot(s.slice_id)
    slices.release_slot(s.slice_id, 1)
    assert slices.take_slot(s.slice_id) == 1


def test_names_are_cut_and_have_no_control_characters() -> None:
    s, _ = registry(4 * GIB).open("a\x1b[2J\n" + "x" * 500, GIB)
    assert s.name.startswith("a?[2J?xxx")
    assert len(s.name) == 200


class RegistryMachine(RuleBasedStateMachine):
    """Any order of opening, closing, expiring and forgetting keeps the promise of memory."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.sizes = {"GPU-0": 8 * GIB, "GPU-1": 3 * GIB}
        self.slices = registry(8 * GIB, 3 * GIB, clock=self.clock)
        self.ending: set[str] = set()

    @rule(target=opened, vram=st.integers(0, 9 * GIB))
    def open_one(self, vram: int) -> object:
        try:
            s, token = self.slices.open("s", vram)
        except NoCapacity:
            wanted = vram or 4 * GIB
            assert all(size - self.slices.reserved_bytes(gpu) < wanted for gpu, size in self.sizes.items())
            return multiple()
        except InvalidRequest:
            assert 0 < vram < 1 << 20 or vram > 8 * GIB
            return multiple()
        return s.slice_id, token

    @rule(one=opened)
    def close_one(self, one: tuple[str, str]) -> None:
        try:
            self.slices.close(*one)
            self.ending.add(one[0])
        except SliceNotFound:
            found = self.slices.find(one[0])
            assert found is None or found.ending

    @rule(one=opened)
    def renew_one(self, one: tuple[str, str]) -> None:
        try:
            self.slices.renew(*one)
        except SliceNotFound:
            return
        found = self.slices.find(one[0])
        assert found is not None
        assert found.expires_at == self.clock.now + TTL_S

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.ending.update(s.slice_id for s in self.slices.expire())

    @rule()
    def workers_end(self) -> None:
        for slice_id in self.ending:
            self.slices.forget(slice_id)
        self.ending.clear()

    @invariant()
    def no_gpu_is_promised_twice(self) -> None:
        for gpu, size in self.sizes.items():
            assert 0 <= self.slices.reserved_bytes(gpu) <= size


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
