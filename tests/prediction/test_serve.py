"""The page that answers a dropped slice: what it says, what it refuses, and that nothing stays or leaks."""

import contextlib
import gc
import importlib.util
import json
import os
import pathlib
import select
import shutil
import socket
import tempfile

import jax
import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.commands.predict import PredictOptions
from btjax.commands.serve import Teller, serving
from btjax.data.phantom import make_phantom
from tests.experiments.commands import run as run_command

SIZE = 32
ALWAYS = PredictOptions(abstain=False)

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="needs gradio, of the extra `serve`"
)
# Gradio's server warns of its own dependencies, in its own thread.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 12).replace("data.image_size", SIZE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return btjax.train(config.replace("training.epochs", 2), tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def teller(run):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return Teller(run, explain=["grad_cam"], observer=Observer())


@pytest.fixture(scope="module")
def address(run):
    pytest.importorskip("gradio", reason="needs gradio, of the extra `serve`")
    with serving(run, ALWAYS) as address:
        yield address
    gc.collect()  # what a server leaves to the collector is not to be found in another test


def head(folder, name="head.png", seed=5):
    path = folder / name
    Image.fromarray(make_phantom(1, 1, SIZE, seed).images[0]).save(path)
    return path


def test_the_page_says_what_predict_says(run, tmp_path):
    path = head(tmp_path)
    (expected,) = btjax.predict(run, path, ALWAYS)
    page = Teller(run, ALWAYS, explain=["grad_cam", "gradient"], observer=Observer()).answer(path)
    assert f'<p class="verdict">{expected.predicted}</p>' in page
    for name, value in expected.probabilities.items():
        assert f"<dt>{name}</dt>" in page and f"{value:.3f}" in page
    assert f"classes that fit: {', '.join(expected.fitting)}" in page
    assert page.count('class="map"') == 2 and 'id="strength"' in page and 'value="gradient"' in page
    assert not path.exists()


def test_what_is_unlike_the_training_is_not_answered(teller, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    page = teller.answer(tmp_path / "noise.png")
    assert "not answered" in page and "unlike the slices that it was trained on" in page


@pytest.mark.parametrize("name", ["<script>alert(1)<script>.png", '"><img src=x onerror=alert(1)>.png'])
def test_a_name_with_markup_is_text(teller, tmp_path, name):
    for make in (lambda: head(tmp_path, name), lambda: (tmp_path / name).write_bytes(b"no image")):
        make()
        page = teller.answer(tmp_path / name)
        assert "<script" not in page and "<img src=x" not in page and "&lt;" in page


def huge_png():
    """A PNG that declares 30000 x 30000 pixels."""
    from tests.readers.test_hostile import png

    return png(30000, 30000)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.png", b"", "empty"),
        ("text.png", b"no image at all", "expected an image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n damaged", "cut.png"),
        ("huge.png", huge_png, "found 900000000 pixels, expected at most 4096 a side"),
        (
            "enveloped.dcm",
            b"\x30\x82\x10\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(200),
            "enveloped.dcm",
        ),
        ("notes.txt", b"a note", "expected an image"),
        ("1.mat", b"MATLAB 5.0 MAT-file" + bytes(200), "1.mat"),
    ],
)
def test_what_cannot_be_read_is_one_line_on_the_page(teller, tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content() if callable(content) else content)
    page = teller.answer(path)
    assert page.count("<p") == 1 and "No answer." in page and said in page
    assert str(tmp_path) not in page and "Traceback" not in page and "--images" not in page
    assert not path.exists()


def test_a_picture_of_one_pixel_is_one_line(teller, tmp_path):
    Image.fromarray(np.full((1, 1), 9, np.uint8)).save(tmp_path / "dot.png")
    page = teller.answer(tmp_path / "dot.png")
    assert page.count("<p") == 1 and "dot.png: is blank" in page


def test_a_volume_is_sent_to_the_command_that_takes_all_slices(teller, tmp_path):
    pytest.importorskip("nibabel", reason="needs nibabel, of the extra `medical`")
    from tests.readers.medical_forms import write_nifti

    heads = make_phantom(1, 2, SIZE).images.astype(np.int16)
    write_nifti(tmp_path / "v.nii", np.stack([image.T for image in heads], axis=2), np.diag([-1.0, -1.0, 5.0, 1.0]))
    page = teller.answer(tmp_path / "v.nii")
    assert "v.nii: holds 6 slices, expected one; experiments.predict takes all" in page


def test_nothing_of_a_dicom_header_is_on_the_page(teller, tmp_path):
    pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")
    from tests.prediction.test_medical import HEADER, SECRETS
    from tests.readers.medical_forms import write_dicom

    image = make_phantom(1, 1, SIZE).images[0]
    for cut in (0, 300):
        path = write_dicom(tmp_path / "Zebedee_19610203.dcm", image, **HEADER)
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
        page = teller.answer(path).lower()
        assert ("no answer." in page) == bool(cut)
        assert not [secret for secret in SECRETS if secret.lower() in page]


def test_a_run_without_calibration_says_so_on_the_page(run, tmp_path):
    copy = shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("predictions.npz"))
    teller = Teller(copy, ALWAYS, observer=Observer())
    assert "its test accuracy" in teller.foot()
    assert "Uncalibrated." in teller.foot() and "classes that fit" not in teller.answer(head(tmp_path))


def test_a_mistake_of_the_program_is_a_line_too(teller, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("btjax.commands.serve.make_cards", lambda *_: {}["PatientName"])
    page = teller.answer(head(tmp_path))
    assert "btjax itself failed on this file (KeyError)" in page and "PatientName" not in page
    assert "could not be answered: KeyError" in caplog.text


def test_without_gradio_the_extra_is_named(run, monkeypatch):
    monkeypatch.setattr("btjax.commands.serve.importlib.util.find_spec", lambda name: None)
    done = run_command(os.environ, "serve", f"--checkpoint={run.folder}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install btjax[serve]" in done.stderr


def test_mistakes_of_the_command_are_one_line(run):
    for flag, said in (("--explain=magic", "magic"), ("--port=70000", "--port"), ("--checkpoint=", "--checkpoint")):
        done = run_command(os.environ, "serve", f"--checkpoint={run.folder}", "--noabstain", flag)
        assert done.returncode == 2 and done.stderr.strip().count("\n") == 0, done.stderr
        assert said in done.stderr


@needs_gradio
def test_an_address_that_cannot_be_listened_on_is_one_line(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for place in ({"port": port}, {"host": "256.1.1.1"}, {"host": "192.0.2.1", "port": port}):
            with pytest.raises(InputError, match=r"--host=.*free port"), serving(run, ALWAYS, **place):
                pass


@needs_gradio
def test_the_page_tells_no_function_and_no_file_and_listens_here_alone(address):
    import httpx

    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        config = client.get("/config").json()
        assert client.get("/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}
        assert not config["analytics_enabled"] and not config["footer_links"] and not config["run_history"]
        assert [one["api_visibility"] for one in config["dependencies"]] == ["private"]
        for path in (__file__, "/etc/passwd", str(pathlib.Path.cwd() / "pyproject.toml")):
            assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    port = int(address.rstrip("/").rpartition(":")[2])
    assert address.startswith("http://127.0.0.1:")
    with socket.socket() as other:
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", port)) != 0


@needs_gradio
@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_of_a_gigabyte_is_refused_before_it_is_stored(address, declared):
    port, sent = int(address.rstrip("/").rpartition(":")[2]), 0
    length = f"Content-Length: {(1 << 30) + 100}" if declared else "Transfer-Encoding: chunked"
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{length}\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.dcm"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode())
        client.sendall(part if declared else chunk(part))
        while sent < 1 << 30 and not select.select([client], [], [], 0)[0]:
            try:
                client.sendall(bytes(1 << 20) if declared else chunk(bytes(1 << 20)))
            except OSError:  # the server hung up
                break
            sent += 1 << 20
        with contextlib.suppress(ConnectionResetError):
            assert b" 413 " in client.recv(4096).split(b"\r\n")[0]
    assert sent < 256 << 20
    assert not [path for path in uploads() if path.stat().st_size]


def chunk(content):
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def uploads():
    """Files in the folders of served pages."""
    folders = pathlib.Path(tempfile.gettempdir()).glob("btjax_served_*")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def ask(client, name, content):
    """What the page answers to an upload, by the way that a browser takes."""
    (path,) = client.post("/gradio_api/upload", files={"files": (name, content)}).json()
    value = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    client.post("/gradio_api/queue/join", json={"data": [value], "fn_index": 0, "session_hash": "s"})
    with client.stream("GET", "/gradio_api/queue/data?session_hash=s") as stream:
        for line in stream.iter_lines():
            told = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if told.get("msg") == "process_completed":
                return told["output"]["data"]
    return None


@needs_gradio
def test_an_upload_is_answered_and_deleted_and_the_folder_goes_with_the_page(run, tmp_path):
    import httpx

    content = head(tmp_path).read_bytes()
    before = set(pathlib.Path(tempfile.gettempdir()).glob("btjax_served_*"))
    told = os.environ.get("GRADIO_TEMP_DIR")
    with serving(run, ALWAYS) as address, httpx.Client(base_url=address, trust_env=False, timeout=100) as client:
        (folder,) = set(pathlib.Path(tempfile.gettempdir()).glob("btjax_served_*")) - before
        page, upload = ask(client, "head.png", content)
        assert 'class="verdict"' in page and upload is None
        assert not [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert not folder.exists() and os.environ.get("GRADIO_TEMP_DIR") == told


@needs_gradio
def test_a_limit_that_is_lowered_holds_for_uploads(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BTJAX_LIMIT_UPLOAD", "100")
    with pytest.raises(InputError, match=r"at most 100 \(\$BTJAX_LIMIT_UPLOAD raises it\)"):
        Teller(run, ALWAYS, observer=Observer()).tell(head(tmp_path))
