"""SDKs in a page that a real Chromium shows: PAGE SCRIPT STRATEGY URL BATCH.

The page is of another origin than the router, so that the browser asks for everything
that a page of a customer's would. STRATEGY: standard, batching, beacon, or, where the
SDK insists on https, batching+tls: then there is TLS in front of the router.
"""

import asyncio
import json
import ssl
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Response, async_playwright

CHROMIUM = "/usr/bin/chromium"
PAGES = Path(__file__).parent.parent / "pages"
PATIENCE = 80

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
]


class Shop(SimpleHTTPRequestHandler):
    """Serves the page and its script."""

    def __init__(self, page: str, script: str, *args: Any) -> None:
        self._files = {"/": PAGES / f"{page}.html", "/sdk.js": Path(script)}
        super().__init__(*args)

    def translate_path(self, path: str) -> str:
        return str(self._files.get(urlsplit(path).path, "nothing"))

    def log_message(self, *args: Any) -> None:
        pass


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def in_tls(port: int) -> str:
    """Puts TLS in front of that port; returns the URL."""
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -subj /CN=x"
    subprocess.run(make.split(), check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("crt", "key")

    async def forward(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def main(
    page_name: str, script: str, strategy: str, url: str, batch: int
) -> None:
    shop = ThreadingHTTPServer(("127.0.0.1", 0), partial(Shop, page_name, script))
    threading.Thread(target=shop.serve_forever, daemon=True).start()
    if strategy.endswith("+tls"):
        url = await in_tls(urlsplit(url).port or 0)
    calls = 0
    taken: set[str] = set()
    problems: list[str] = []

    def answered(response: Response) -> None:
        sent = response.request
        if sent.method != "POST" or response.status != 200:
            return
        # What a beacon carries is not shown; there is one for each event, then.
        content = json.loads(sent.post_data or f'{{"messageId": {len(taken)}}}')
        taken.update(event["messageId"] for event in content.get("batch", [content]))

    mapped = f"--host-resolver-rules=MAP shop.example 127.0.0.1:{shop.server_port}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, mapped]
        )
        page = await browser.new_page(
            locale="de-DE",
            timezone_id="Asia/Tokyo",
            user_agent="Chromium",
            viewport={"width": 800, "height": 600},
        )
        page.on("response", answered)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: print(message.text))
        page.on("requestfailed", lambda r: print(r.method, r.url, r.failure))
        await page.goto("http://shop.example/?q=✓&utm_source=Ä#é")
        how = [url, strategy.removesuffix("+tls"), batch]
        await page.evaluate("how => start(...how)", how)
        while line := await asyncio.to_thread(sys.stdin.readline):
            # As text: what playwright hands over has no halves of emojis.
            await page.evaluate("line => call(line)", line)
            calls += 1
        for _ in range(PATIENCE * 50):
            if len(taken) >= calls:
                break
            await asyncio.sleep(0.02)
        else:
            problems.append(f"{len(taken)} of {calls} calls were taken")
        problems += await page.evaluate("errors")
        await browser.close()
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))
