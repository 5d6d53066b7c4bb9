"""`cmdhttp run` and `cmdhttp jobs follow`: a job is followed to its end, or left in a way that says what becomes of it."""

import argparse
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cmdhttp.cli.calls import requests
from cmdhttp.cli.calls.ends import Exit, exit_of, said_of
from cmdhttp.cli.calls.interrupts import Interrupts, Left
from cmdhttp.cli.calls.screen import OutputLost, Screen
from cmdhttp.cli.calls.telling import ended, lines_of
from cmdhttp.cli.calls.watching import Watcher
from cmdhttp.cli.calls.way import caller_of, patience_of
from cmdhttp.client.documents import has_ended
from cmdhttp.client.exchange import Caller
from cmdhttp.client.failures import CallFailed
from cmdhttp.client.following import Event, Following, OutOfTime
from cmdhttp.client.patience import insist

_KEY_BYTES = 16


def run_command(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run one command through the service; returns the exit code. Raises ConfigError."""
    command = requests.command_name(options.command)
    key = requests.idempotency_key(options.idempotency_key or f"cli-{secrets.token_hex(_KEY_BYTES)}")
    body = requests.call_body(options)
    caller = caller_of(options, environ)
    screen = Screen(raw=options.raw, quiet=options.json)
    if options.detach:
        return ended(screen, lambda: _detach(options, caller, screen, (command, body, key)), as_json=options.json)
    watch = _Watch(options=options, caller=caller, screen=screen, cancels=options.cancel_on_interrupt, key=key)
    until = None if options.wait is None else time.monotonic() + options.wait
    following = watch.following(until=until)
    return watch.to_end(following, following.run(command, body=body, key=key), watch.watcher())


def follow_job(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Follow one job to its end; returns the exit code. Raises ConfigError."""
    identity = requests.job_id(options.id)
    caller = caller_of(options, environ)
    screen = Screen(raw=options.raw, quiet=options.json)
    watch = _Watch(options=options, caller=caller, screen=screen, cancels=False)

    def work() -> int:
        watcher = watch.watcher(whole=options.after == 0)
        if options.after:
            watcher.knows(insist(lambda: caller.ask(requests.one_job(identity)), patience_of(options)))
        following = watch.following()
        return watch.to_end(following, following.follow(identity, after=options.after), watcher)

    return ended(screen, work, as_json=options.json)


def _detach(options: argparse.Namespace, caller: Caller, screen: Screen, call: tuple[str, bytes, str]) -> int:
    command, body, key = call
    job = insist(lambda: caller.ask(requests.detached(command, body, key=key)), patience_of(options))
    if options.json:
        screen.plain(json.dumps(job).encode())
    else:
        screen.text(str(job.get("id")))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """One command line that follows a job. `key` is that of the call, if it makes one."""

    options: argparse.Namespace
    caller: Caller
    screen: Screen
    cancels: bool
    key: str = ""

    @property
    def as_events(self) -> bool:
        return bool(self.options.json and self.options.follow)

    def watcher(self, *, whole: bool = True) -> Watcher:
        return Watcher(self.screen, shows=not self.options.json, whole=whole)

    def following(self, *, until: float | None = None) -> Following:
        said: list[str] = []

        def told(failure: CallFailed) -> None:
            line = lines_of(failure)[0]
            if said[-1:] != [line]:
                said.append(line)
                self.screen.notice(f"{line}; trying again")

        patience = patience_of(self.options)
        return Following(self.caller, patience=patience, clock=time.monotonic, until=until, told=told)

    def to_end(self, following: Following, events: Iterator[Event], watcher: Watcher) -> int:
        """Show events to the last one; returns the exit code, also for whatever comes before the last one."""
        return ended(self.screen, lambda: self._guarded(following, events, watcher), as_json=self.options.json)

    def _guarded(self, following: Following, events: Iterator[Event], watcher: Watcher) -> int:
        interrupts = Interrupts(
            job_id=lambda: following.job_id,
            uncertain=lambda: following.uncertain,
            cancel=self._cancel if self.cancels else None,
            say=lambda line: self.screen.say(f"cmdhttp: {line}"),
        )
        try:
            with interrupts:
                for event in events:
                    if event.type == "accepted":
                        interrupts.accepted()
                    self._show(event, watcher)
                return self._finished(watcher)
        except OutOfTime:
            return self._still_running(following)
        except (Left, OutputLost, CallFailed):
            self.screen.progress("")
            if not has_ended(watcher.job):
                self._say_what_becomes(following, stops=interrupts.told())
            raise

    def _show(self, event: Event, watcher: Watcher) -> None:
        watcher.see(event)
        if self.as_events and event.type != "heartbeat":
            self.screen.plain(json.dumps(event.document, separators=(",", ":")).encode())

    def _finished(self, watcher: Watcher) -> int:
        job = watcher.job
        self.screen.end()
        if self.options.json and not self.as_events:
            identity = str(job.get("id"))
            whole = insist(lambda: self.caller.ask(requests.one_job(identity)), patience_of(self.options))
            self.screen.plain(json.dumps(whole).encode())
        elif not self.options.json:
            self.screen.say(*said_of(job))
        return exit_of(job)

    def _still_running(self, following: Following) -> int:
        self.screen.end()
        self._say_what_becomes(following)
        if self.options.json and not self.as_events and following.job_id:
            identity = following.job_id
            job = insist(lambda: self.caller.ask(requests.one_job(identity)), patience_of(self.options))
            self.screen.plain(json.dumps(job).encode())
        return Exit.STILL_RUNNING

    def _say_what_becomes(self, following: Following, *, stops: bool = False) -> None:
        """Say where the job can be found that is left now. With --json, stderr is for the problem document alone."""
        if self.options.json:
            return
        if following.job_id:
            how = "was told to stop; for its end" if stops else "goes on"
            after = f" --after {following.last}" if following.last else ""
            self.screen.say(f"cmdhttp: {following.job_id} {how}: cmdhttp jobs follow {following.job_id}{after}")
        elif following.uncertain:
            self.screen.say(
                "cmdhttp: it is not known whether the job was accepted;"
                f" the same call with --idempotency-key {self.key} finds it, and runs it if it was not"
            )

    def _cancel(self, identity: str, sent: Callable[[], None]) -> None:
        """Cancel from a thread of its own. What comes of it is told by the events."""
        try:
            insist(lambda: self.caller.ask(requests.cancel(identity), sent=sent), patience_of(self.options))
        except CallFailed as failure:
            self.screen.say(f"cmdhttp: the job could not be canceled: {lines_of(failure)[0]}")
