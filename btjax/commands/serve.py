"""A page to show: one image is dropped on it, and what trained runs make of it appears beside.

The page is Gradio's, of the extra `serve`. What is dropped goes to the process that serves, is answered by the same way
as `btjax.predict` takes, and is deleted; nothing leaves the machine, and nobody is told of the page.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.resources
import importlib.util
import ipaddress
import logging
import os
import pathlib
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.base.limits import check_limit, limit_of
from btjax.base.progress import Observer, told
from btjax.commands.predict import PredictOptions, explaining, list_images, open_ensemble, open_runs
from btjax.prediction.gallery import cautions, make_cards, run_pairs
from btjax.prediction.stream import answers
from btjax.reports.page import PURPOSE, Note, fragment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from btjax.commands.predict import Runs

_LEFT_SECONDS = 300
"""An upload that was broken off, or never asked about, is deleted after so long."""

_ENVELOPE = 1 << 16
"""Bytes around the file in a request that uploads it, at most."""

_WAITING = 32
"""Images that may wait for an answer at a time."""

_TITLE = "A slice, and what the network makes of it"


class Teller:
    """Runs that were restored once, and say in HTML what they make of one file after another."""

    def __init__(
        self, runs: Runs, options: PredictOptions | None = None, *, explain: Sequence[str] = (), observer: Observer
    ) -> None:
        """Restores the runs.

        Args:
          runs: see `btjax.predict`.
          options: see `btjax.predict`.
          explain: names of saliency methods.
          observer: is told of the work.

        Raises:
          InputError: as `btjax.predict_into`.
        """
        self.options, self.methods = options or PredictOptions(), explaining(explain)
        self.runs = open_runs(runs)
        self.ensemble = open_ensemble(self.runs, self.options, observer)

    def tell(self, path: pathlib.Path) -> str:
        """What is said of a file's only slice, as HTML in which every text is escaped.

        Raises:
          InputError: the file cannot be read, or holds several slices; the message names the file as it may be shown.
        """
        check_limit("upload", path.stat().st_size, path)
        items = list_images(self.runs, path, self.options).items
        if len(items) > 1:
            raise InputError(f"{items[0].file}: holds {len(items)} slices, expected one; experiments.predict takes all")
        (answer,) = answers(self.ensemble, items, 1)
        if answer.probabilities is None:
            raise InputError(answer.reason)
        (card,) = make_cards(self.ensemble, [(1, answer)], {item.key: item for item in items}, self.methods)
        return fragment("answer.html", card=card, names=[name for name, _ in card.maps])

    def answer(self, path: str | os.PathLike) -> str:
        """As `tell`, for a page: whatever goes wrong is one line on it, and the file is deleted at the end."""
        place = pathlib.Path(path)
        try:
            return self.tell(place)
        except InputError as error:
            text = " ".join(str(error).replace("--images=", "").replace(f"{place.parent}{os.sep}", "").split())
            return fragment("remarks.html", notes=[Note(text, "No answer.")], pairs=())
        except Exception as error:  # the page goes on, and the console learns of it
            logging.getLogger(__name__).error("an image could not be answered: %s", type(error).__name__)
            text = (
                f"btjax itself failed on this file ({type(error).__name__}); python -m experiments.predict says more."
            )
            return fragment("remarks.html", notes=[Note(text, "No answer.")], pairs=())
        finally:
            place.unlink(missing_ok=True)

    def head(self, host: str) -> str:
        """The top of the page."""
        where = "this machine" if _is_own(host) else "the machine that serves this page"
        lead = [
            "Drop one slice of a contrast-enhanced T1 series: an image, a DICOM file or a .mat of figshare. The answer "
            "is a class, how probable each one is, which of them fit, a map of what spoke for it; or none, and why.",
            f"Images do not leave {where}. They are deleted once they are answered.",
        ]
        return fragment("served.html", title=_TITLE, purpose=PURPOSE, lead=lead)

    def foot(self) -> str:
        """The bottom of the page: what whoever reads answers must know, and the runs."""
        pairs = [("classes", ", ".join(self.ensemble.classes)), *run_pairs(self.ensemble)]
        return fragment("remarks.html", notes=cautions(self.ensemble), pairs=pairs)


@contextlib.contextmanager
def serving(
    runs: Runs,
    options: PredictOptions | None = None,
    *,
    explain: Sequence[str] = ("grad_cam",),
    host: str = "127.0.0.1",
    port: int = 0,
    observer: Observer | None = None,
) -> Iterator[str]:
    """Context in which a page answers what is dropped on it; gives its address.

    Args:
      runs: a finished classifier's run or its folder, or several.
      options: see `btjax.predict`.
      explain: names of saliency methods whose maps are drawn.
      host: the address to listen on; any but the machine's own lets others on the network use the page.
      port: to listen on; 0 for a free one.
      observer: is told how far the preparation is.

    Raises:
      InputError: as `btjax.predict_into`; Gradio is not installed, or the port is taken.

    Example:
      >>> with serving("runs/cnn") as address:  # doctest: +SKIP
      ...     input(f"open {address}, press Enter to end")
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs gradio, which is not installed: pip install btjax[serve]")
    with told(observer) as watching:
        teller = Teller(runs, options, explain=explain, observer=watching)
    with (
        tempfile.TemporaryDirectory(prefix="btjax_served_", ignore_cleanup_errors=True) as folder,
        _environment(folder),
    ):
        page = _launch(teller, pathlib.Path(folder), host, port)
        try:
            yield f"http://{_shown(host)}:{page.server_port}/"
        finally:
            page.close(verbose=False)


def _launch(teller: Teller, uploads: pathlib.Path, host: str, port: int) -> Any:
    """Starts the page in a thread of its own.

    Gradio's dependencies warn of each other at their import. Where no event loop runs it makes several and leaves them
    open, so one runs here.
    """

    async def start() -> Any:
        page = _page(teller, uploads, host)
        with foreign(f"--host={host} --port={port}", "an address of this machine and a free port"):
            page.launch(**_launch_options(host, port))
        return page

    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(1) as thread:
        warnings.simplefilter("ignore")
        return thread.submit(lambda: asyncio.run(start())).result()


def _page(teller: Teller, uploads: pathlib.Path, host: str) -> Any:
    """Gradio's page; the names of its two functions are told to nobody."""
    import gradio

    def answered(path: str | None) -> tuple[str, None]:
        _sweep(uploads)
        if not path:
            return "", None
        told = teller.answer(path)
        with contextlib.suppress(OSError):  # the folder that Gradio made for this file alone
            pathlib.Path(path).parent.rmdir()
        return told, None

    with gradio.Blocks(analytics_enabled=False, title="btjax", delete_cache=(60, _LEFT_SECONDS)) as page:
        gradio.HTML(teller.head(host), apply_default_css=False)
        with gradio.Row(elem_classes="parts"):
            with gradio.Column(scale=2, min_width=280):
                upload = gradio.File(label="slice", show_label=False, height=220, elem_id="upload")
            with gradio.Column(scale=3, min_width=280):
                shown = gradio.HTML(_waiting(), apply_default_css=False, elem_id="answer")
        gradio.HTML(teller.foot(), apply_default_css=False)
        upload.upload(answered, upload, [shown, upload], api_name="a", api_visibility="private", show_progress="full")
    page.queue(api_open=False, max_size=_WAITING, default_concurrency_limit=1)
    return page


class _Bounded:
    """Refuses a request whose length is above the limit before a byte of it is read, and hangs up."""

    def __init__(self, app: Any, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.most:
            told = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": told})
            await send({"type": "http.response.body", "body": b"larger than the maximum allowed size"})
            return
        await self.app(scope, receive, send)


def _waiting() -> str:
    return '<p class="waiting">The answer appears here.</p>'


def _launch_options(host: str, port: int) -> dict[str, Any]:
    from gradio.themes import Base, Font
    from starlette.middleware import Middleware

    files = importlib.resources.files("btjax.reports")
    css = "\n".join(files.joinpath(name).read_text("utf-8") for name in ("cards.css", "served.css"))
    script = files.joinpath("slider.js").read_text("utf-8")
    font = Font("system-ui")
    bounded = Middleware(_Bounded, most=limit_of("upload") + _ENVELOPE)
    return {
        "server_name": host,
        "server_port": port or _free_port(host),
        "share": False,
        "quiet": True,
        "inbrowser": False,
        "prevent_thread_lock": True,
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "pwa": False,
        "ssr_mode": False,
        "max_file_size": limit_of("upload"),
        "app_kwargs": {"middleware": [bounded]},
        "theme": Base(primary_hue="blue", font=font, font_mono=Font("monospace")),
        "css": css,
        "head": f"<script>\n{script}</script>",
    }


@contextlib.contextmanager
def _environment(uploads: str) -> Iterator[None]:
    """Context in which Gradio puts uploads into a folder of the page's own, and sends no telemetry."""
    wanted = {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _sweep(uploads: pathlib.Path) -> None:
    """Deletes what was uploaded and never asked about, or broken off, some minutes ago."""
    oldest = time.time() - _LEFT_SECONDS
    for path in uploads.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()


def _free_port(host: str) -> int:
    import socket

    with socket.socket(_family(host)) as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def _family(host: str) -> int:
    import socket

    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_own(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
