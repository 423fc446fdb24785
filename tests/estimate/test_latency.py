"""How long a candidate takes, held against what was published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

import pytest

from autotune.estimate.cards import device_of, find_card
from autotune.estimate.ceilings import Ceilings, ceilings_from_card
from autotune.estimate.efficiency import load_efficiency
from autotune.estimate.latency import predict
from autotune.estimate.profile import Profile, Work
from autotune.levers import load_levers
from autotune.levers.plan import Place
from autotune.records import Device
from tests.estimate.published import (
    FLUX_PASS,
    WAN_PASS,
    T,
    flux,
    one_pass,
    plan,
    predicted,
    sdxl,
)

CPU = Device(kind="cpu", uuid="cpu", name="A processor", total_bytes=1 << 34, free_bytes=1 << 33)
HOST = Ceilings(
    source="measured", flops={"fp32": 1e12, "bf16": 1e12}, copy_bytes_s=5e10, launch_s=1e-6
)
PASS, WAN = one_pass("flux", 11.9, FLUX_PASS), one_pass("wan", 14.29, WAN_PASS)
NF4 = {"quantize_denoiser": "bnb-nf4", "quantize_text_encoder": "bnb-nf4"}
ROW, TENSOR = "torchao-fp8dq", "torchao-fp8dq-tensor"
COMPILED = {"compile": "regional"}
FLASH = {**COMPILED, "attention": "flash-3"}


# --------------------------------------------------------------------- held against published


@pytest.mark.parametrize(
    ("profile", "card", "choices", "published_s"),
    [
        (flux(), "H100", {}, 6.6),
        (flux(), "H100", COMPILED, 4.3),
        (flux(), "H100", {**COMPILED, "quantize_denoiser": ROW}, 2.966),
        (flux(), "H100", {**COMPILED, "quantize_denoiser": TENSOR}, 3.243),
        (flux(), "H100", {**COMPILED, "quantize_denoiser": "torchao-int8dq"}, 3.406),
        (flux(), "H100", {"quantize_denoiser": ROW}, 8.62),
        (flux(), "H100", {"quantize_denoiser": "torchao-int8dq"}, 130.5),
        (flux(50), "H100", NF4, 12.0),
        (flux(50), "H100", {"quantize_denoiser": "bnb-int8"}, 27.0),
        (flux(50), "H100", {"quantize_denoiser": "torchao-int8wo"}, 15.0),
        (flux(50), "H100", {"quantize_denoiser": "quanto-int4"}, 109.0),
        (flux(50), "H100", {"layerwise_casting": "fp8-e4m3"}, 13.0),
        (flux(), "H200", {}, 5.58),
        (flux(), "H200", COMPILED, 4.32),
        (flux(), "H200", FLASH, 3.73),
        (flux(), "H200", {**FLASH, "cache": "first-block-8"}, 2.38),
        (flux(50), "4090", NF4, 32.6),
        (flux(50), "4090", {**NF4, **COMPILED}, 25.8),
        (flux(), "4090", {**COMPILED, "quantize_denoiser": ROW}, 9.668),
        (flux(), "L20", {}, 23.6),
        (flux(), "L20", COMPILED, 20.3),
        (flux(), "A100 80GB", {}, 13.84),
        (PASS, "L40S", {}, 0.51),
        (PASS, "L40S", COMPILED, 0.384),
        (sdxl(), "A100 80GB", {}, 3.31),
        (sdxl(), "A100 80GB", {"compile": "full"}, 2.54),
        (WAN, "H100", {}, 4.602),
        (WAN, "H100", COMPILED, 3.766),
    ],
)
def test_published_latencies_are_foreseen_within_an_eighth(
    profile: Profile, card: str, choices: Mapping[str, str], published_s: float
) -> None:
    assert predicted(profile, card, **choices).image_s == pytest.approx(published_s, rel=0.125)


@pytest.mark.parametrize(
    ("profile", "card", "choices", "published_s"),
    [
        (flux(), "H100", {"offload": "model"}, 21.68),
        (flux(50), "H100", {"offload": "model"}, 20.0),
        (flux(50), "4090", {**NF4, **COMPILED, "offload": "model"}, 32.3),
        (flux(), "H100", {"offload": "sequential"}, 68.4),
        (flux(), "H100", {"offload": "group-block"}, 47.7),
        (flux(5), "A100 80GB", {"offload": "group-block-stream"}, 9.75),
        (PASS, "L40S", {"offload": "group-leaf-stream"}, 1.88),
        (WAN, "H100", {"offload": "group-leaf-stream"}, 4.918),
        (WAN, "4090", {**COMPILED, "offload": "group-leaf-stream"}, 11.584),
    ],
)
def test_published_offload_is_foreseen_within_a_quarter(
    profile: Profile, card: str, choices: Mapping[str, str], published_s: float
) -> None:
    assert predicted(profile, card, **choices).image_s == pytest.approx(published_s, rel=0.25)


# ------------------------------------------------------------------------------- the transfers


def test_the_less_lies_on_the_device_the_longer_it_takes() -> None:
    ways = ("none", "partial-50", "group-block-stream", "group-block", "sequential")
    took = [predicted(flux(), "4090", offload=way).image_s for way in ways]
    assert took == sorted(took)
    staged, swapped = (predicted(flux(), "4090", offload=way) for way in ("staged", "model"))
    assert 0 < staged.transfer_s < swapped.transfer_s / 2


def test_transfers_that_are_shorter_than_a_pass_are_hidden_where_they_run_ahead() -> None:
    assert predicted(WAN, "4090", offload="group-leaf-stream").transfer_s == 0.0
    assert predicted(PASS, "H100", offload="group-leaf-stream").transfer_s > 0.5


def test_where_memory_is_the_hosts_nothing_is_copied() -> None:
    found = plan(flux(), "4090", {"offload": "model"}).but(device=CPU)
    assert predict(flux(), found, {"offload": "model"}, HOST).transfer_s == 0.0


def test_a_larger_batch_shares_its_transfers() -> None:
    candidate, ceilings = {"offload": "model"}, ceilings_from_card(find_card("4090"))
    once = plan(flux(), "4090", candidate)
    one = predict(flux(), once, candidate, ceilings)
    four = predict(flux(), once.but(multiple=4), candidate, ceilings)
    assert four.transfer_s == pytest.approx(one.transfer_s / 4)
    assert four.denoise_s == pytest.approx(one.denoise_s)


# ----------------------------------------------------------------------------- where and how


def test_encoders_on_the_host_take_the_hosts_time() -> None:
    there = plan(flux(), "4090", {}).with_parts(["text_encoder_2"], place=Place.HOST)
    ceilings = ceilings_from_card(find_card("4090"))
    slow = predict(flux(), there, {}, ceilings, HOST)
    assert slow.encode_s > 4.8
    assert slow.denoise_s == predicted(flux(), "4090").denoise_s
    assert predict(flux(), there, {}, ceilings).encode_s > 1.0


def test_encoders_whose_results_are_known_take_no_time() -> None:
    there = plan(flux(), "4090", {}).with_parts(["text_encoder_2"], place=Place.GONE)
    found = predict(flux(), there, {}, ceilings_from_card(find_card("4090")))
    assert (found.encode_s, found.transfer_s) == (0.0, 0.0)


def test_a_choice_without_a_row_changes_nothing() -> None:
    plain = predicted(flux(), "4090")
    assert predicted(flux(), "4090", cache="none", allocator="expandable-segments") == plain
    assert predicted(flux(), "4090", attention="of-tomorrow", lever="of-tomorrow") == plain


def test_32_bit_floats_are_slower_and_less_so_in_tf32() -> None:
    ceilings = ceilings_from_card(find_card("A100 80GB"))
    wide = plan(flux(), "A100 80GB", {}).with_parts(flux().components, dtype="fp32")

    def took(precision: str) -> float:
        return predict(flux(), wide, {"matmul-precision": precision}, ceilings).image_s

    narrow = predicted(flux(), "A100 80GB", matmul_precision="high").image_s
    assert took("highest") > 2 * took("high") > 2 * narrow
    assert narrow == predicted(flux(), "A100 80GB").image_s


def test_8_bit_products_are_no_faster_where_there_are_none() -> None:
    bf16, fp8 = (
        predicted(flux(), "3090", compile="regional", quantize_denoiser=quantizer)
        for quantizer in ("bnb-nf4", ROW)
    )
    assert fp8.image_s == pytest.approx(bf16.image_s, rel=0.05)


def test_a_small_model_waits_for_its_launches_and_a_large_one_does_not() -> None:
    work = Work(linear=0.467 * T, convolution=0.888 * T, attention=0.252 * T, operations=728)
    small = one_pass("sd15", 0.86, work)
    for profile, least in ((small, 2.0), (PASS, 1.0)):
        compiled, replayed = (
            predicted(profile, "H100", compile=way).denoise_s
            for way in ("full", "full-reduce-overhead")
        )
        assert compiled / replayed >= least
    assert predicted(PASS, "H100", compile="full") != predicted(small, "H100", compile="full")


def test_on_a_processor_launches_are_not_hidden() -> None:
    work = Work(linear=1e9, operations=1000)
    here = plan(one_pass("x", 0.01, work), "4090", {}).but(device=CPU)
    none = one_pass("x", 0.01, Work(linear=1e9))
    both = predict(one_pass("x", 0.01, work), here, {}, HOST).image_s
    assert both == pytest.approx(predict(none, here, {}, HOST).image_s + 1000 * 1e-6 / 0.2)


def test_what_was_measured_is_taken_for_what_a_large_product_reaches() -> None:
    sheet = ceilings_from_card(find_card("4090"))
    measured = sheet.but(source="measured")
    here = plan(flux(), "4090", {})
    table_s, measured_s = (predict(flux(), here, {}, one).image_s for one in (sheet, measured))
    assert 0.9 < measured_s / table_s < 1.0


def test_a_tiny_vae_decodes_in_next_to_no_time() -> None:
    own, tiny = (predicted(flux(), "4090", vae_model=vae).decode_s for vae in ("own", "tiny"))
    assert tiny < own / 10


def test_the_first_image_waits_for_the_compiler() -> None:
    def extra_s(**choices: str) -> float:
        return predicted(flux(), "H100", **choices).first_extra_s

    assert extra_s() == extra_s(quantize_denoiser=ROW) == 0.0
    assert extra_s(compile="regional") == 9.6
    assert extra_s(compile="full") == 67.4
    assert 285 <= extra_s(compile="full", quantize_denoiser=ROW) <= 851


def test_of_a_model_that_was_not_counted_only_transfers_are_foreseen() -> None:
    profile = flux().but(encode=(), denoise=(), decode={}, uncounted="no reason")
    found = predicted(profile, "4090", offload="staged")
    assert found.image_s == found.transfer_s > 1.0


def test_a_decoder_in_tiles_takes_the_time_of_tiles() -> None:
    whole = flux().decode["off"]
    tiles = whole.but(work=whole.work.but(convolution=whole.work.convolution * 2))
    profile = flux().but(decode={"off": whole, "half": tiles})
    ceilings = ceilings_from_card(find_card("4090"))
    here = plan(profile, "4090", {})
    off, half = (predict(profile, here.but(tiling=one), {}, ceilings) for one in ("off", "half"))
    assert half.decode_s > 1.5 * off.decode_s
    assert predict(profile, here.but(tiling="quarter"), {}, ceilings) == off


# ------------------------------------------------------------------------------ the data file


def _rows() -> list[tuple[str, tuple[str, ...], str]]:
    table = load_efficiency()
    both = (*table.rows.items(), *table.start.items())
    return [(lever, row.choices, row.source) for lever, rows in both for row in rows]


@pytest.mark.parametrize(("lever", "choices", "source"), _rows())
def test_every_row_is_of_choices_that_exist_and_says_whence_it_is(
    lever: str, choices: tuple[str, ...], source: str
) -> None:
    read_from = {"quantize": "quantize-denoiser", "cast": "layerwise-casting"}.get(lever, lever)
    device = device_of(find_card("H100"))
    known = [choice.id for choice in load_levers()[read_from].choices(device, None)]
    if lever == "cast":
        known.append("fp8")
    for pattern in choices:
        assert any(fnmatchcase(one, pattern) for one in known), pattern
    assert re.match(r"assumption\b|[A-H]\d*(\.\d)?: |as ", source), source


def test_every_device_has_shares_and_says_whence_they_are() -> None:
    devices = load_efficiency().devices
    assert devices[-1].on == ()
    assert all(row.on for row in devices[:-1])
    assert all(re.match(r"assumption\b|[A-H]\d*: ", row.source) for row in devices)
