"""wattshed-exporter: parse, build, run, exit code; the only place that knows every part."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, allocations, sources
from .allocations import ALLOCATORS, Allocator
from .claim import claim
from .config import AUTO, Config
from .errors import ConfigError
from .outputs import Charged, Output
from .sampler import Sampler, Wait
from .settings import load_or_exit, refuse
from .signals import Signals
from .sources import METERS, Source
from .split import Policy
from .telemetry import Telemetry

if TYPE_CHECKING:
    from .allocations.rounds import Rounds
    from .live import Live
    from .local_outcomes import LocalOutcomes
    from .outputs.prometheus import Prometheus
    from .web.server import Server

log = logging.getLogger("wattshed_exporter")

PROG = "wattshed-exporter"
DESCRIPTION = (
    "Reads the power and energy meters of this machine and publishes joules per device, for "
    "Prometheus to pull or over OTLP to a collector. It never changes what it reads."
)
EXAMPLES = (
    f"{PROG}                                        serve http://127.0.0.1:9741/metrics",
    f"{PROG} --once                                 read a few times and print",
    f"{PROG} --otlp.endpoint http://collector:9740  push to a collector as well",
    f"{PROG} --sources replay --replay.file day.csv --otlp.endpoint http://127.0.0.1:9740",
    f"WATTSHED_SITE=hall-2 {PROG} --config /etc/wattshed/exporter.yaml",
)
FLUSH_AT_END_SECONDS = 60.0
FLUSH_STEP_SECONDS = 0.25
ONCE_SECONDS = 10.0
SETTLED_SECONDS = 30.0

OTHER_PROGRAMS = ("WATTSHED_COLLECTOR_", "WATTSHED_TEST_")
SIBLINGS = frozenset(
    f"WATTSHED_{name}"
    for name in (
        # the client of programs: wattshed.place
        *("OUTCOMES_URL", "OUTCOMES_TOKEN", "OUTCOMES_USER", "OUTCOMES_PASSWORD"),
        *("OUTCOMES_CA_FILE", "WORKLOAD", "CLUSTER"),
        # the wattshed command
        *("TOKEN", "TOKEN_FILE", "CA_FILE", "GRAFANA_TOKEN", "DATA"),
        # Slurm's prolog and epilog
        "JOB_MAP",
    )
)
"""What else on a node may be told by variables that begin as ours do; a misspelt one is no such."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the exporter until a signal or the end of every source; return the exit status."""
    gc.disable()  # until ``come_to_rest``: nearly all that the start makes, stays
    try:
        return start(sys.argv[1:] if argv is None else argv)
    finally:
        gc.enable()


def start(argv: Sequence[str]) -> int:
    """Take the settings and do what they say."""
    config = load_or_exit(
        Config,
        argv,
        os.environ,
        prog=PROG,
        description=DESCRIPTION,
        epilog_examples=EXAMPLES,
        other_prefixes=OTHER_PROGRAMS,
        others=SIBLINGS,
    )
    logging.basicConfig(
        stream=sys.stderr,
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        signals = Signals()
        return once(config, signals.wait) if config.once else run(config, signals)
    except ConfigError as error:
        refuse(PROG, error)


def run(config: Config, signals: Signals) -> int:
    """Build everything from the settings and read until a signal or the end of every source."""
    telemetry = Telemetry()
    held = hold(config.state_dir)
    outputs = build_outputs(config, telemetry)
    allocators = build_allocators(config)
    live = build_live(config, telemetry, lambda key: sampler.baselines.idle_watts(key), allocators)
    receivers = outputs if live is None else [*outputs, live]
    sampler = build_sampler(config, receivers, telemetry, signals.wake)
    rounds = build_rounds(config, allocators, sampler, receivers, telemetry, live)
    signals.on(signal.SIGUSR1, sampler.release)
    signals.on(signal.SIGUSR2, sampler.resume)
    if config.web.listen_address or config.otlp.endpoint:
        from .own_energy import OwnEnergy

        telemetry.measure_itself(OwnEnergy(config, sampler.snapshot).joules)
    local = build_outcomes(config, outputs, telemetry)
    server = serve(config, sampler, telemetry, live, local)
    listener = listen_locally(config, local)
    log.info("wattshed exporter %s on node %s", __version__, config.node)
    settled = threading.Timer(SETTLED_SECONDS, come_to_rest)
    settled.daemon = True
    settled.start()
    if rounds is not None:
        rounds.start()
    try:
        sampler.run(reporting(config, telemetry, outputs, signals.wait))
        until = time.monotonic() + FLUSH_AT_END_SECONDS
        while sampler.finished and not all(o.flush(FLUSH_STEP_SECONDS) for o in outputs):
            if time.monotonic() > until or signals.wait(0.0):
                break
    finally:
        settled.cancel()
        if rounds is not None:
            rounds.close()
        if listener is not None:
            listener.close()
        for output in outputs:
            output.close()
        if server is not None:
            server.close()
        if held is not None:
            os.close(held)
    undelivered = sum(missed(telemetry, output.name) for output in outputs)
    if sampler.finished and undelivered:
        log.error("ticks that were read and not delivered: %d", undelivered)
        return 1
    return 0


def reporting(config: Config, telemetry: Telemetry, outputs: Sequence[Output], wait: Wait) -> Wait:
    """Return a ``wait`` that also pushes now and then what the exporter says about itself."""
    if not config.otlp.endpoint:
        return wait
    from .outputs.self_report import SelfReport

    otlp = next(output for output in outputs if output.name == "otlp")
    report = SelfReport(config.node, telemetry, otlp.put, config.detail_seconds)

    def told(seconds: float) -> bool:
        report.tell_if_due()
        return wait(seconds)

    return told


def hold(state_dir: Path | None) -> int | None:
    """Take the state_dir for this process; ``ConfigError`` where another one has it.

    Returns the descriptor that holds the lock, None where there is no such folder yet.
    """
    if state_dir is None:
        return None
    try:
        return claim(state_dir)
    except OSError as error:
        log.warning("state_dir: %s cannot be used yet: %s", state_dir, error.strerror)
        return None


def missed(telemetry: Telemetry, output: str) -> float:
    """Return how many ticks an output dropped or could not get accepted."""
    name = "wattshed_output_ticks_total"
    return sum(telemetry.value(name, output=output, result=r) for r in ("dropped", "rejected"))


def come_to_rest() -> None:
    """Let the garbage collector leave alone what the start made, and give back its pages."""
    from .trim import drop_file_pages

    gc.collect()
    gc.freeze()
    gc.enable()
    drop_file_pages()


def once(config: Config, wait: Wait) -> int:
    """Read each source until there is energy, and print what /metrics would say."""
    # What was learned belongs to the service that may be running beside.
    config = replace(config, state_dir=None)
    telemetry = Telemetry()
    sampler = build_sampler(config, [], telemetry)
    until = time.monotonic() + ONCE_SECONDS + 3 * config.interval_seconds

    def settle(seconds: float) -> bool:
        told = wait(min(seconds, config.interval_seconds / 2))
        return told or sampler.settled(reads=3) or time.monotonic() > until

    sampler.run(settle)
    snapshot = sampler.snapshot()
    if not snapshot.devices:
        log.error("nothing here says how much it uses; --log-level debug tells why")
        return 1
    from .outputs.exposition import Exposition

    try:
        print(Exposition().render(snapshot).decode(), end="", flush=True)
    except OSError as error:
        log.error("standard output cannot be written: %s", error.strerror)
        return 1
    return 0


def build_sampler(
    config: Config,
    outputs: Sequence[Output],
    telemetry: Telemetry,
    wake: Callable[[], None] = lambda: None,
) -> Sampler:
    """Build the sources that the settings name; ``auto`` stands for every meter.

    Raises:
        ConfigError: where a source cannot be built as the settings want it.
    """
    names = [n for name in config.sources for n in (METERS if name == AUTO else (name,))]
    spare = ["estimate"] if AUTO in config.sources and "estimate" not in names else []
    problems: list[str] = []
    primary = [s for n in dict.fromkeys(names) if (s := _create(n, config, problems))]
    fallbacks = [s for n in spare if (s := _create(n, config, problems))]
    if problems:
        raise ConfigError(problems)
    return Sampler(
        primary,
        outputs,
        config,
        telemetry,
        fallbacks=fallbacks,
        boot_ms=boot_ms(config.roots.procfs),
        wake=wake,
    )


def _create(name: str, config: Config, problems: list[str]) -> Source | None:
    try:
        return sources.create(name, config)
    except ConfigError as error:
        problems.extend(error.problems)
    except ImportError as error:
        problems.append(f"sources: {name} needs a package that is not installed: {error}")
    return None


def build_outputs(config: Config, telemetry: Telemetry) -> list[Output]:
    """Build what pushes; a module is imported only where its output is wanted."""
    outputs: list[Output] = []
    if config.otlp.endpoint:
        from .outputs.otlp import Otlp

        outputs.append(Otlp(config, telemetry))
    if config.stdout:
        from .outputs.stdout import Stdout

        outputs.append(Stdout(telemetry))
    return outputs


def build_allocators(config: Config) -> list[Allocator]:
    """Build the plug-ins that the settings name, in the order in which they count.

    ``auto`` stands for all that can be built here, ``static`` only where there is a file for it.

    Raises:
        ConfigError: where one that is named cannot be built.
    """
    wanted = config.allocations.sources
    problems: list[str] = []
    found: list[Allocator] = []
    for name in ALLOCATORS:
        is_auto = AUTO in wanted and (name != "static" or config.allocations.static.file)
        if not (is_auto or name in wanted):
            continue
        try:
            found.append(allocations.create(name, config))
        except ConfigError as error:
            problems.extend(error.problems)
        except ImportError as error:
            if name in wanted:
                problems.append(f"allocations.sources: {name} cannot be loaded: {error}")
            log.debug("allocations by %s are left out: %s", name, error)
    if problems:
        raise ConfigError(problems)
    return found


def build_live(
    config: Config,
    telemetry: Telemetry,
    idle_watts: Callable[[str], float | None],
    allocators: Sequence[Allocator],
) -> Live | None:
    """Build the counters of workloads, where anybody may pull them."""
    if not config.web.listen_address:
        return None
    from .live import Live

    policy = Policy(config.idle.policy, config.idle.activity_below)
    return Live(policy, idle_watts, telemetry, waits=bool(allocators))


def build_rounds(
    config: Config,
    allocators: Sequence[Allocator],
    sampler: Sampler,
    outputs: Sequence[Output],
    telemetry: Telemetry,
    live: Live | None,
) -> Rounds | None:
    """Build the thread that asks who holds what, where there is anybody to ask."""
    if not allocators:
        return None
    from .allocations.rounds import Rounds

    return Rounds(
        allocators,
        config,
        sampler.devices,
        sampler.usage,
        outputs,
        sampler.holdings,
        telemetry,
        settle=live.settle if live is not None else lambda until_ms: None,
    )


def build_outcomes(
    config: Config, outputs: Sequence[Output], telemetry: Telemetry
) -> LocalOutcomes | None:
    """Build what takes the outcomes of this machine's programs, where the settings want it."""
    if not (config.outcomes.web or config.outcomes.socket):
        return None
    from .local_outcomes import LocalOutcomes
    from .outputs.otlp import Otlp

    keep = next((output.keep for output in outputs if isinstance(output, Otlp)), None)
    return LocalOutcomes(keep, telemetry)


def listen_locally(config: Config, local: LocalOutcomes | None) -> Server | None:
    """Listen on the socket file that the settings name; ``ConfigError`` where that cannot be."""
    if local is None or config.outcomes.socket is None:
        return None
    from .web.policy import Policies
    from .web.server import PLAIN, Answer, Local, Server

    where = Local(config.outcomes.socket, int(config.outcomes.socket_mode, 8))
    nothing = Answer(404, PLAIN, b"there is POST /v1/outcomes\n")
    try:
        server = Server(where, lambda path, accept: nothing, Policies(None), takes=local.takes)
    except OSError as error:
        raise ConfigError([f"outcomes.socket: {where.file}: {error.strerror}"]) from error
    server.start()
    log.info("taking outcomes on %s", where.file)
    return server


def serve(
    config: Config,
    sampler: Sampler,
    telemetry: Telemetry,
    live: Live | None = None,
    local: LocalOutcomes | None = None,
) -> Prometheus | None:
    """Serve /metrics where the settings want it; ``ConfigError`` where the address is taken."""
    if not config.web.listen_address:
        return None
    # What only pulling needs is 7 MB that a node which only pushes need not give.
    from .outputs.prometheus import Prometheus

    takes = {"takes": local.takes} if local is not None and config.outcomes.web else {}
    try:
        server = Prometheus(
            config.web, config.node, sampler.snapshot, sampler.health,
            telemetry if local is None else local.beside(telemetry),
            live.scrape if live is not None else Charged,
            **takes,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(
            [f"web.listen_address: {config.web.listen_address}: {error.strerror}"]
        ) from error
    server.start()
    return server


def boot_ms(procfs: Path) -> int | None:
    """Return when this machine started, from ``btime`` in /proc/stat; None where it is not told."""
    try:
        for line in (procfs / "stat").read_text().splitlines():
            if line.startswith("btime "):
                return int(line.split()[1]) * 1000
    except (OSError, ValueError, IndexError):
        pass
    return None


if __name__ == "__main__":
    sys.exit(main())
