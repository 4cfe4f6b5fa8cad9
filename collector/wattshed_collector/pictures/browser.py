"""Chromium without a window, told over the DevTools protocol what to open and to photograph.

Source: chromedevtools.github.io/devtools-protocol (Target, Page, Runtime, Emulation).
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from wattshed_collector.errors import CollectorError

START_SECONDS = 30.0
DRAW_SECONDS = 60.0
STOP_SECONDS = 5.0
TALL = 8000
"""Pixels: what lies below the window is not always drawn."""
LARGEST_MESSAGE = 256 << 20
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--remote-debugging-port=0",
)
DONE = """new Promise(done => {
  const look = () => window.problems ? done(window.problems) : setTimeout(look, 50);
  look();
})"""
HEIGHT = "Math.ceil(document.getElementById('board').getBoundingClientRect().bottom)"

Json = dict[str, Any]


class BrowserError(CollectorError):
    """Chromium is missing, did not start, or did not do what it was told."""


def program() -> str:
    """Return where Chromium is. Raises BrowserError where it is not installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise BrowserError("Chromium is missing: install Debian's package chromium, or use --html")


class Browser:
    """One tab of a running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, draw_seconds: float) -> None:
        self._socket = socket
        self._draw_seconds = draw_seconds
        self._session = ""
        self._sent = 0
        self._thrown: list[str] = []

    async def open(self) -> None:
        """Make the tab."""
        target = await self._tell("Target.createTarget", url="about:blank")
        attached = await self._tell(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        await self._tell("Page.enable")
        await self._tell("Runtime.enable")

    async def picture(self, url: str, width: int, scale: float = 1.0) -> tuple[bytes, list[str]]:
        """Return a PNG of the whole page, and what the page says that it could not draw.

        ``width`` is in CSS pixels, of which each is ``scale`` of the picture's.

        Raises BrowserError where the page does not say in time that it is done.
        """
        self._thrown.clear()
        await self._size(width, TALL, scale)
        await self._tell("Page.navigate", url=url)
        problems = list(await self._value(DONE))
        await self._size(width, int(await self._value(HEIGHT)), scale)
        shot = await self._tell("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        return base64.b64decode(shot["data"]), problems + self._thrown

    async def _size(self, width: int, height: int, scale: float) -> None:
        size = {"width": width, "height": max(1, height), "deviceScaleFactor": scale}
        await self._tell("Emulation.setDeviceMetricsOverride", **size, mobile=False)

    async def _value(self, expression: str) -> Any:
        said = await self._tell(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in said:
            raise BrowserError(_exception(said["exceptionDetails"]))
        return said["result"].get("value")

    async def _tell(self, method: str, **parameters: Any) -> Json:
        self._sent += 1
        message: Json = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            async with asyncio.timeout(self._draw_seconds):
                await self._socket.send_json(message)
                return await self._answer(self._sent)
        except TimeoutError:
            said = "; ".join(self._thrown) or "it says no error"
            limit = f"{self._draw_seconds:g} s"
            raise BrowserError(f"the page is not drawn in {limit}: {said}") from None

    async def _answer(self, number: int) -> Json:
        """Read until the answer to a message; what happens meanwhile is noted."""
        async for raw in self._socket:
            if raw.type is not aiohttp.WSMsgType.TEXT:
                break
            message = raw.json()
            if message.get("method") == "Runtime.exceptionThrown":
                self._thrown.append(_exception(message["params"]["exceptionDetails"]))
            if message.get("id") != number:
                continue
            if "error" in message:
                raise BrowserError(f"Chromium refuses: {message['error']['message']}")
            return dict(message["result"])
        raise BrowserError("Chromium has ended")


def _exception(details: Json) -> str:
    thrown = details.get("exception", {}).get("description") or details.get("text", "")
    return str(thrown).splitlines()[0] if thrown else "an error without a text"


@asynccontextmanager
async def running(
    chromium: str, is_sandboxed: bool = True, draw_seconds: float = DRAW_SECONDS
) -> AsyncIterator[Browser]:
    """Run Chromium for the length of the block. Raises BrowserError where it does not start.

    It keeps nothing: its profile is a folder that goes with it.
    """
    with tempfile.TemporaryDirectory(prefix="wattshed-chromium-", ignore_cleanup_errors=True) as at:
        flags = [*FLAGS, f"--user-data-dir={at}"]
        flags += [] if is_sandboxed else ["--no-sandbox"]
        process = await asyncio.create_subprocess_exec(
            chromium,
            *flags,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await _address(Path(at) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as http:
                # A picture of a long board is one message.
                connecting = http.ws_connect(address, max_msg_size=LARGEST_MESSAGE)
                async with connecting as socket:
                    browser = Browser(socket, draw_seconds)
                    await browser.open()
                    yield browser
        finally:
            await _end(process)


async def _address(file: Path, process: asyncio.subprocess.Process) -> str:
    loop = asyncio.get_running_loop()
    last = loop.time() + START_SECONDS
    while loop.time() < last:
        if process.returncode is not None:
            raise BrowserError(f"Chromium ended with status {process.returncode} as it started")
        if address := _announced(file):
            return address
        await asyncio.sleep(0.05)
    raise BrowserError(f"Chromium does not start in {START_SECONDS:g} s")


def _announced(file: Path) -> str:
    """Return what Chromium wrote to its profile, "" before it has."""
    with suppress(OSError, ValueError):
        port, path = file.read_text(encoding="ascii").split()
        return f"ws://127.0.0.1:{int(port)}{path}"
    return ""


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
