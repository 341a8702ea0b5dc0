"""Files and folders, whole or not at all: links, devices, permissions, odd names, and leftovers of the dead."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from rtlab.writing import new_folder, remove_leftovers, write_whole

NAMES = {
    "long": "a" * 255,
    "blanks": " a  b ",
    "line break": "a\nb",
    "other alphabets": "größe-大きさ",
    "bytes that are no UTF-8": os.fsdecode(b"a\xff\xfe"),
    "option": "--json",
    "glob": "*[a]?",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_file_of_any_name_is_written_and_nothing_beside_it(tmp_path, name):
    for text in ("first", "second, longer"):
        write_whole(tmp_path / name, text)
        assert (tmp_path / name).read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_permissions_stay(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    write_whole(tmp_path / "ours", "")
    (tmp_path / "theirs").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("there", [True, False], ids=["target", "dangling"])
def test_links_are_followed_and_stay(tmp_path, depth, there):
    target = tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    last = target
    for number in range(depth):
        link = tmp_path / f"link{number}"
        link.symlink_to(os.path.relpath(last, tmp_path))
        last = link
    write_whole(last, "new")
    assert (target.read_text(), target.is_symlink()) == ("new", False)
    assert all((tmp_path / f"link{number}").is_symlink() for number in range(depth))


def test_a_link_to_itself_is_an_error_and_stays(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("link")
    with pytest.raises(OSError, match="link") as caught:
        write_whole(link, "new")
    assert caught.value.errno == errno.ELOOP
    assert link.is_symlink()


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_whole(path, "text")
    reader.join()
    assert read == ["text"]
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("linked", [False, True])
def test_a_full_device_is_an_error_that_names_it(tmp_path, linked):
    path = tmp_path / "link" if linked else "/dev/full"
    if linked:
        path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(tmp_path / path, "text")
    assert caught.value.filename == str(path)


WRITE = "import sys; from pathlib import Path; from rtlab.writing import write_whole\n"


@pytest.mark.parametrize("to", ["pipe", "file"])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "out"])
def test_standard_output_by_any_name_keeps_what_else_is_written_there(tmp_path, name, to):
    if (name, to) == ("out", "pipe"):
        pytest.skip("a pipe has no name")
    code = WRITE + "print('before', flush=True); write_whole(Path(sys.argv[1]), 'text\\n'); print('after')"
    with (tmp_path / "out").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code, name],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=file if to == "file" else subprocess.PIPE,
            check=True,
        )
    assert ((tmp_path / "out").read_bytes() if to == "file" else done.stdout) == b"before\ntext\nafter\n"


def test_a_folder_is_refused_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        write_whole(tmp_path / "folder", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_file_that_nobody_may_write_is_not_replaced(tmp_path, monkeypatch):
    """Its folder alone would permit that."""
    path = tmp_path / "file"
    path.write_text("mine")
    may = os.access
    monkeypatch.setattr(os, "access", lambda what, mode: may(what, mode) and not (what == path and mode & os.W_OK))
    with pytest.raises(PermissionError, match="file"):
        write_whole(path, "text")
    assert path.read_text() == "mine"


def test_half_a_surrogate_pair_is_no_reason_to_lose_the_rest(tmp_path):
    write_whole(tmp_path / "file", "a\ud800b")
    assert (tmp_path / "file").read_text() == "a\\ud800b"


# Folders


def test_a_folder_is_there_when_it_is_filled(tmp_path):
    with new_folder(tmp_path / "deep" / "folder") as part:
        (part / "file").write_text("text")
        assert not (tmp_path / "deep" / "folder").exists()
    assert (tmp_path / "deep" / "folder" / "file").read_text() == "text"
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_was_not_filled_is_not_there(tmp_path, error):
    def fill():
        with new_folder(tmp_path / "folder") as part:
            (part / "file").write_text("text")
            raise error

    with pytest.raises(error):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_of_two_who_make_a_folder_one_is_told(tmp_path):
    with pytest.raises(OSError, match="folder"), new_folder(tmp_path / "folder"):
        (tmp_path / "folder" / "theirs").mkdir(parents=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "theirs"]


# Leftovers

WRITER = f"""{WRITE}
import os, time; from rtlab.writing import new_folder
def stop(*_):
    print("begun", flush=True)
    time.sleep(600)
if sys.argv[2] == "file":
    os.fsync = stop
    write_whole(Path(sys.argv[1]), "text")
with new_folder(Path(sys.argv[1])) as part:
    (part / "weights").write_text("text")
    stop()
"""


@pytest.fixture
def writer(tmp_path):
    """A process that stops in the middle of writing a file or folder."""
    started = []

    def start(kind):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "theirs"), kind],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def parts(folder):
    return [path for path in folder.iterdir() if path.suffix == ".part"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path, writer, kind):
    process = writer(kind)
    write_whole(tmp_path / "mine", "text")
    assert len(parts(tmp_path)) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(parts(tmp_path)) == 1
    write_whole(tmp_path / "mine", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_alone_keeps_what_is_being_written(tmp_path, writer, kind, monkeypatch):
    """Of a process on another machine nobody knows here whether it lives."""
    writer(kind)
    monkeypatch.setattr("rtlab.writing._lives", lambda _: False)
    remove_leftovers(tmp_path)
    assert len(parts(tmp_path)) == 1


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_without_locks_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch):
    left = tmp_path / ".rtlab-999999999-0123abcd.part"
    left.write_text("")
    monkeypatch.setattr("fcntl.flock", no_locks)
    write_whole(tmp_path / "mine", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == [left.name, "mine"]
    monkeypatch.undo()
    write_whole(tmp_path / "mine", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


USERS = (
    *("movie.mp4.part", "notes.tmp", ".tmp", ".part", "tmp-1", ".tmp-model", ".rtlab", "rtlab-999999999-0123abcd.part"),
    *(".rtlab-999999999-0123abcd.part.bak", ".rtlab-999999999-0123ABCD.part", ".rtlab-x-0123abcd.part"),
    *(".file.0123abcd.part", ".rtlab-1-0123abcd.part"),  # process 1 lives
)


@pytest.mark.parametrize("name", USERS)
def test_nothing_else_is_removed(tmp_path, name):
    (tmp_path / name).write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / ".rtlab-999999999-0123abcd.part").symlink_to(tmp_path / "mine")
    remove_leftovers(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert (tmp_path / "mine").is_dir()
