"""A real browser for tests: Playwright drives the Chromium that the machine has."""

import contextlib
import os
import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def browser():
    """Context with a browser; skips, with the reason, where Playwright or Chromium is absent."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `browser`")
    found = os.environ.get("BTJAX_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs Chromium: found none of {', '.join(_NAMES)}, and no $BTJAX_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def opened(started, address, width=1280, height=900):
    """Context with a page; at its end no dialog was opened, and nothing was asked of any other host."""
    context = started.new_context(viewport={"width": width, "height": height})
    dialogs, strangers = [], []
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        own = (address, "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(own) or strangers.append(request.url))
        page.goto(address)
        yield page
        assert not dialogs and not strangers
    finally:
        context.close()
