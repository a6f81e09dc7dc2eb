import os
import pty
import subprocess
from pathlib import Path

from supervisor.sinks import FileSink, StreamSink
from tests.support.supervised import Appliance


def test_lines_of_children_reach_our_stream_as_they_are(appliance: Appliance):
    appliance.add("talk", "exit_with", "0", ready="exit")
    appliance.start(stderr=subprocess.PIPE)
    appliance.main.terminate()
    _, said = appliance.main.communicate(timeout=30)
    assert b"leaving with 0" in said.splitlines()


def test_a_log_that_nobody_reads_blocks_neither_child_nor_supervisor(appliance: Appliance):
    appliance.add("loud", "shout", "8")
    appliance.start(stderr=subprocess.PIPE)
    # Ready comes only after all eight megabytes, and our end of the pipe was never read.
    appliance.main.terminate()
    _, said = appliance.main.communicate(timeout=30)
    assert appliance.main.returncode == 0
    assert 1 << 16 < len(said) < 4 << 20
    assert b" log lines dropped: the log did not take them" in said


def test_files_hold_one_process_each_and_rotate(appliance: Appliance):
    appliance.options["log_bytes"] = 200_000
    appliance.add("loud", "shout", "1")
    appliance.start()
    assert appliance.stop() == 0
    files = sorted(Path(appliance.directory).glob("*.log*"))
    names = [file.name for file in files]
    assert names == ["loud.log", "loud.log.1", "loud.log.2", "supervisor.log"]
    for file in files[:3]:
        assert file.stat().st_size <= 200_000
        assert set(file.read_bytes().splitlines()) == {b"x" * 1023}


def test_a_former_file_is_continued_and_none_is_kept_beyond_its_number(tmp_path: Path):
    for n in range(6):
        sink = FileSink(tmp_path, max_bytes=10, keep=2)
        sink.write("consumer:email", b"line %d" % n)
        sink.close()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "consumer:email.log": "line 5\n",
        "consumer:email.log.1": "line 4\n",
        "consumer:email.log.2": "line 3\n",
    }


def test_without_former_files_a_full_one_starts_anew(tmp_path: Path):
    sink = FileSink(tmp_path, max_bytes=10, keep=0)
    for n in range(3):
        sink.write("api", b"line %d" % n)
        sink.flush()
    sink.close()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"api.log": "line 2\n"}


def test_lines_that_a_file_did_not_take_are_counted_in_it_later(tmp_path: Path):
    directory = tmp_path / "log"
    sink = FileSink(directory)
    for text in (b"lost", b"lost too"):
        sink.write("api", text)
        sink.flush()
    directory.mkdir()
    sink.write("api", b"back")
    sink.close()
    said = (directory / "api.log").read_text().splitlines()
    assert said == ["2 log lines dropped: the log did not take them", "back"]


def test_on_a_terminal_a_line_carries_its_name():
    ours, theirs = pty.openpty()
    sink = StreamSink(theirs)
    sink.write("api-1", b"hello")
    sink.close()
    assert os.read(ours, 100) == b"api-1 | hello\r\n"
    os.close(ours)
    os.close(theirs)


def test_our_stream_stays_as_blocking_as_we_got_it():
    ours, theirs = os.pipe()
    sink = StreamSink(theirs)
    assert os.get_blocking(theirs)
    for _ in range(100):
        sink.write("api", b"x" * 10_000)
    sink.flush()
    assert sink.waiting_fd() is not None
    os.close(ours)
    sink.flush()  # the reader is gone: no error, no log
    assert sink.waiting_fd() is None
    sink.write("api", b"more")
    sink.close()
    os.close(theirs)
