"""Runs inside Keylime's own environment (``tests.bench.keylime_peer``): calls its functions, and times them.

Lines of JSON on standard input: first what to prepare (``{"work": "quote" | "log" | "ima", …}``), then one
``{}`` for each run, answered by ``{"wall": seconds, "processor": seconds}``.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append("/usr/lib/python3/dist-packages")  # gpg is Debian's python3-gpg: no wheel has it

from keylime.common import algorithms
from keylime.ima import ima
from keylime.mba import mba
from keylime.tpm.tpm_main import Tpm

logging.disable(logging.CRITICAL)


def quote(given: dict[str, Any]) -> Callable[[], None]:
    """``Tpm.check_quote`` with nothing beside the quote."""
    checker = Tpm()

    def run() -> None:
        for _ in range(given["times"]):
            check()

    def check() -> None:
        failure = checker.check_quote(
            None,
            given["nonce"],
            None,
            given["quote"],
            given["ak"],
            hash_alg=algorithms.Hash.SHA256,
            skip_pcr_check=True,
            skip_clock_check=True,
            skip_data_pcr_check=True,
        )
        assert not failure, failure.events

    return run


def log(given: dict[str, Any]) -> Callable[[], None]:
    """``mba.bootlog_parse``: tpm2_eventlog as a process, its YAML, and what is added to it."""
    mba.load_imports(skip_custom_policies=True)
    raw = base64.b64encode(Path(given["path"]).read_bytes()).decode()

    def run() -> None:
        pcrs, _, _, failure = mba.bootlog_parse(raw, "sha256")
        assert not failure, failure.events
        assert len(pcrs) >= given["pcrs"], pcrs

    return run


def list_(given: dict[str, Any]) -> Callable[[], None]:
    """``ima.process_measurement_list`` from the text of the list."""
    text = Path(given["path"]).read_text()
    policy = json.loads(json.dumps(ima.EMPTY_RUNTIME_POLICY))
    policy["digests"] = json.loads(Path(given["policy"]).read_text())

    def run() -> None:
        _, failure = ima.process_measurement_list(
            None, text.split("\n"), policy, pcrval=given["pcr"], hash_alg=algorithms.Hash.SHA256
        )
        assert not failure, failure.events

    return run


def main() -> None:
    """Prepare, say so, and run once for each line."""
    given = json.loads(sys.stdin.readline())
    run = {"quote": quote, "log": log, "ima": list_}[given["work"]](given)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        run()
        spent = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
