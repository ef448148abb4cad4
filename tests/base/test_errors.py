"""The boundary to other libraries: whatever they raise becomes one line."""

import logging
import struct
import zipfile
import zlib

import pytest

from btjax.base.errors import InputError, Stop, foreign, quiet_absl, reason_of

ERRORS = (
    ValueError("two\nlines"),
    KeyError("getpwuid(): uid not found: 12345"),
    RuntimeError(""),
    OSError(28, "No space left on device", "/cache/x"),
    UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid continuation byte"),
    MemoryError(),
    RecursionError("maximum recursion depth exceeded"),
    SyntaxError("broken PNG file"),
    struct.error("unpack requires a buffer of 4 bytes"),
    zlib.error("Error -3"),
    zipfile.BadZipFile("File is not a zip file"),
    ImportError("No module named 'x'"),
    StopIteration(),
    AssertionError(),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_exception_becomes_one_line_with_its_cause(error):
    with pytest.raises(InputError) as caught, foreign("scan.png", "an image"):
        raise error
    message = str(caught.value)
    assert message.startswith("scan.png: ") and message.endswith(", expected an image")
    assert len(message.splitlines()) == 1 and len(message) > len("scan.png: , expected an image")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [InputError("own"), Stop("own"), KeyboardInterrupt("own"), SystemExit("own")])
def test_what_is_no_foreign_error_passes_unchanged(error):
    with pytest.raises(type(error)) as caught, foreign("scan.png"):
        raise error
    assert caught.value is error


def test_an_input_error_that_a_library_wrapped_comes_out_again():
    own, theirs = InputError("mask.png: empty"), RuntimeError("failed to encode example")
    theirs.__cause__ = own
    with pytest.raises(InputError) as caught, foreign("prepared copy"):
        raise theirs
    assert caught.value is own


def test_a_value_comes_out_of_the_block_and_nothing_is_added_without_an_error():
    with foreign("scan.png"):
        value = 3
    assert value == 3


def test_reasons_are_short_and_of_one_line():
    assert reason_of(OSError(28, "No space left on device")) == "No space left on device"
    assert reason_of(MemoryError()) == "out of memory" and reason_of(RuntimeError()) == "RuntimeError"
    text = reason_of(ValueError("word\n" * 1000))
    assert len(text) == 200 and text.endswith("...") and "\n" not in text


def test_what_libraries_log_is_left_out_as_far_as_it_is_asked_for(caplog):
    absl, futures = logging.getLogger("absl"), logging.getLogger("concurrent.futures")

    def logged() -> list[str]:
        caplog.clear()
        for logger in (absl, futures):
            logger.warning("warning")
            logger.error("error")
        return [record.message for record in caplog.records]

    before = logged()
    with quiet_absl():
        assert logged() == ["error", "warning", "error"]
    with quiet_absl(everything=True):
        assert logged() == []
    assert logged() == before
