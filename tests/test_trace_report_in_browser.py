"""The page of `pointsman report` in a real browser."""

import json
import shutil
import struct
import subprocess
import zlib

import pytest

import functions

pytest.importorskip("click", reason="click is not installed: pip install 'pointsman[cli]'")

from click.testing import CliRunner

from pointsman.cli import commands
from test_trace_report import made_up

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make(page, calls):
    """Make the page of a trace of that many calls."""
    trace = page.with_suffix(".json")
    trace.write_text(json.dumps(made_up(calls)))
    assert CliRunner().invoke(commands, ["report", str(trace), "-o", str(page)]).exit_code == 0


def browse(page, *arguments):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=1000"]
    command += [f"--user-data-dir={page.parent / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=6 * functions.PATIENCE, check=True).stdout


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")


@needs_browser
def test_a_browser_draws_a_hundred_thousand_calls(tmp_path):
    page = tmp_path / "page.html"
    make(page, 100_000)
    seen = browse(page, "--dump-dom", page.as_uri())

    assert 'data-drawn="100000"' in seen


@needs_browser
def test_a_browser_shows_it_light_and_dark(tmp_path):
    page = tmp_path / "page.html"
    make(page, 2_000)
    means = {}
    for scheme in ("light", "dark"):
        shot = tmp_path / f"{scheme}.png"
        browse(page, "--window-size=500,500", "--hide-scrollbars", f"--screenshot={shot}", f"{page.as_uri()}#{scheme}")
        pixels = decoded(shot.read_bytes())
        means[scheme] = sum(pixels) / len(pixels)
        assert len(set(pixels)) > 50, "more than a blank page"

    assert means["dark"] < 80
    assert means["light"] > 180


def decoded(png):
    """The bytes of the pixels of a PNG, as far as Chromium uses the format."""
    at, packed = 8, b""
    width = channels = 0
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        chunk = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, _height, _depth, colour = struct.unpack(">IIBB", chunk[:10])
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += chunk
        at += 12 + size
    raw, stride = zlib.decompress(packed), width * channels
    above, pixels = bytearray(stride), bytearray()
    for begin in range(0, len(raw), stride + 1):
        line = bytearray(raw[begin + 1 : begin + 1 + stride])
        undo(raw[begin], line, above, channels)
        pixels += line
        above = line
    if channels == 4:
        del pixels[3::4]
    return pixels


def undo(filter_, line, above, channels):
    """Undo the filter of a line of a PNG."""
    for at in range(len(line)):
        left = line[at - channels] if at >= channels else 0
        corner = above[at - channels] if at >= channels else 0
        up = above[at]
        if filter_ == 1:
            guess = left
        elif filter_ == 2:
            guess = up
        elif filter_ == 3:
            guess = (left + up) // 2
        elif filter_ == 4:
            guess = min((left, up, corner), key=lambda near: abs(left + up - corner - near))
        else:
            guess = 0
        line[at] = (line[at] + guess) & 255
