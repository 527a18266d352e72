"""What the figures were made on: without it they say nothing."""
import os, platform, re, subprocess
from pathlib import Path


def describe(directory, note=None):
    """Lines for people: processor, memory, kernel, file system of `directory`, and a note of theirs."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())[1]) / 1048576
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "-T", directory], capture_output=True, text=True).stdout.split()
    return [f"{os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {memory:.0f} GiB, Linux {platform.release()}",
            f"mail on {' on '.join(found) or 'an unknown file system'}; server and testers share the machine", *([note] if note else [])]
