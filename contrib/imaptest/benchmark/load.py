"""Runs the load generator (`cargo build --release --example load`) and reads its lines of JSON."""
import json, os, subprocess
from pathlib import Path


class LoadFailed(Exception):
    pass


def call(program, *words, timeout=300):
    """The generator's lines as dictionaries."""
    try:
        done = subprocess.run([str(program), "--json", *map(str, words)], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"load {words[0]} took longer than {timeout} seconds")
    if done.returncode:
        raise LoadFailed(f"load {' '.join(map(str, words))}: {done.stderr.strip()[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
