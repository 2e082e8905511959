#!/usr/bin/env python3
"""Records a command as an animated picture of a terminal.

Runs the command, notes the time of each line of its output, and writes an SVG in which the lines
appear at these times. A viewer without animations shows the last screen.

    python3 docs/record_demo.py                          # records target/debug/anomalyzer demo
    python3 docs/record_demo.py --program target/release/anomalyzer
    python3 docs/record_demo.py --replay recording.json  # draws a saved recording again
"""
import argparse
import html
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time

COLUMNS, ROWS = 118, 30
CHARACTER, LINE, PADDING, TITLE = 7.25, 17, 14, 30
# A color for the first of these texts that a line contains.
COLORS = [
    ("$ ", "#f0f6fc"),
    ("──", "#79c0ff"),
    ("✓", "#56d364"),
    ("✗", "#ff7b72"),
    ("detected", "#e3b341"),
    ("improved", "#56d364"),
    ("back to normal", "#56d364"),
]


def record(program):
    """Runs the demo, and returns its lines with the seconds since its start."""
    arguments = ["demo", "--exit-when-done", "--data-dir", "demo-data"]
    lines = [(0.0, "$ anomalyzer " + " ".join(arguments[:2]))]
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        process = subprocess.Popen(
            [os.path.abspath(program), *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout:
            line = line.rstrip("\n").replace(os.path.abspath(program), "anomalyzer")
            lines.append((time.monotonic() - start, line.replace(folder + "/", "")))
            print(line, flush=True)
        if process.wait() != 0:
            sys.exit(f"the command failed with {process.returncode}: nothing was recorded")
    return lines


def wrapped(lines):
    """Splits lines that are longer than the terminal."""
    for at, line in lines:
        parts = textwrap.wrap(line, COLUMNS, subsequent_indent=" " * 9, drop_whitespace=False) or [""]
        for part in parts:
            yield at, part, line


def color(line):
    return next((color for text, color in COLORS if text in line), "#c9d1d9")


def draw(lines, speed, longest_pause):
    """Returns the SVG. `speed` times as fast, and no pause longer than `longest_pause` seconds."""
    rows, now, last = [], 0.0, 0.0
    for at, part, line in wrapped(lines):
        now += min((at - last) / speed, longest_pause)
        last = at
        rows.append((now, part, color(line)))
    total = now + 1.0
    width = round(COLUMNS * CHARACTER + 2 * PADDING)
    height = ROWS * LINE + TITLE + PADDING
    scrolled = max(0, len(rows) - ROWS) * LINE
    frames = ["0%{transform:translateY(0px)}"]
    for number, (at, _, _) in enumerate(rows):
        if number >= ROWS:
            frames.append(f"{at / total * 100:.2f}%{{transform:translateY(-{(number - ROWS + 1) * LINE}px)}}")
    frames.append(f"100%{{transform:translateY(-{scrolled}px)}}")
    text = []
    for number, (at, part, fill) in enumerate(rows):
        if part.strip():
            y = TITLE + (number + 1) * LINE - 4
            text.append(
                f'<text x="{PADDING}" y="{y}" fill="{fill}" style="animation-delay:{at:.2f}s">{html.escape(part)}</text>'
            )
    body = "\n".join(text)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="A recording of anomalyzer demo">
<style>
text {{ font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }}
@media (prefers-reduced-motion: no-preference) {{
  #screen {{ animation: scroll {total:.2f}s step-end both; }}
  #screen text {{ animation: appear 0.01s both; }}
}}
@keyframes appear {{ from {{ opacity: 0; }} to {{ opacity: 1; }} }}
@keyframes scroll {{ {" ".join(frames)} }}
</style>
<clipPath id="view"><rect x="0" y="{TITLE}" width="{width}" height="{ROWS * LINE + 4}"/></clipPath>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
<circle cx="18" cy="15" r="5" fill="#ff5f57"/><circle cx="36" cy="15" r="5" fill="#febc2e"/><circle cx="54" cy="15" r="5" fill="#28c840"/>
<g clip-path="url(#view)"><g id="screen" transform="translate(0 -{scrolled})">
{body}
</g></g>
</svg>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/debug/anomalyzer", help="the program to run")
    parser.add_argument("--output", default="docs/images/demo.svg", help="the picture")
    parser.add_argument("--save", help="also saves the recording as JSON")
    parser.add_argument("--replay", help="draws a saved recording instead of running the program")
    parser.add_argument("--speed", type=float, default=2.0, help="how many times as fast it plays")
    parser.add_argument("--longest-pause", type=float, default=2.0, help="in seconds of the picture")
    arguments = parser.parse_args()
    if arguments.replay:
        with open(arguments.replay, encoding="utf-8") as file:
            lines = json.load(file)
    else:
        lines = record(arguments.program)
    if arguments.save:
        with open(arguments.save, "w", encoding="utf-8") as file:
            json.dump(lines, file, ensure_ascii=False, indent=0)
    os.makedirs(os.path.dirname(arguments.output) or ".", exist_ok=True)
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(draw(lines, arguments.speed, arguments.longest_pause))
    print(f"{arguments.output}: {len(lines)} lines")


main()
