"""Downloads against a server that drops, truncates, lies and ignores; archives that try to leave their folder."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from dataclasses import asdict, replace

import pytest

from dgl_core.data import DATASETS, command
from dgl_core.data.files import fetch
from dgl_core.data.files.fetch import Remote, unpack

CONTENT = bytes(range(256)) * 4000  # a megabyte
TEXT = b"a,b\nc,d\n"


class Server(http.server.BaseHTTPRequestHandler):
    """What it does is spelled in the address; it counts the bytes that it sent."""

    def do_GET(self):
        how = self.path.strip("/")
        body = {"crlf": TEXT.replace(b"\n", b"\r\n"), "text": TEXT}.get(how, CONTENT)
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how != "ignores-range" else 0
        self.server.asked.append((how, start))
        if how == "absent":
            self.send_error(404)
            return
        if how == "busy" and len(self.server.asked) < 3:
            self.send_error(503)
            return
        if how == "lies":
            body = body[::-1]
        if how == "longer":
            body = body + b"x"
        if how == "other-range":
            start = max(0, start - 10)
        body = body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "drops" or (how == "ignores-range" and len(self.server.asked) == 1) or how == "other-range":
            body = body[:300_000]  # the connection ends in the middle
        if how == "truncates":
            body = body[: 1000 - start]
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    http_server.asked = []
    thread = threading.Thread(target=http_server.serve_forever, daemon=True)
    thread.start()
    yield http_server
    http_server.shutdown()
    http_server.server_close()


def remote(server, *hows, content=CONTENT, lines=0):
    host, port = server.server_address
    urls = tuple(f"http://{host}:{port}/{how}" for how in hows)
    return Remote("set/file.bin", urls, hashlib.sha256(content).hexdigest(), len(content), lines)


def get(item, root):
    return fetch.fetch(item, root, pause=lambda seconds: None)


def test_a_whole_file_arrives_and_is_not_fetched_twice(server, tmp_path):
    assert get(remote(server, "good"), tmp_path).read_bytes() == CONTENT
    get(remote(server, "good"), tmp_path)
    assert len(server.asked) == 1 and sorted(p.name for p in (tmp_path / "set").iterdir()) == ["file.bin"]


def test_a_dropped_connection_is_taken_up_where_it_broke(server, tmp_path):
    assert get(remote(server, "drops"), tmp_path).read_bytes() == CONTENT
    starts = [start for _, start in server.asked]
    assert starts == [0, 300_000, 600_000, 900_000]


def test_a_later_call_goes_on_with_what_came(server, tmp_path):
    with pytest.raises(ValueError, match=r"cut off at 1000 of 1024000 bytes.*Try again.*SHA-256 is"):
        get(remote(server, "truncates"), tmp_path)
    assert get(remote(server, "good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("good", 1000)


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path):
    assert get(remote(server, "ignores-range"), tmp_path).read_bytes() == CONTENT


def test_other_bytes_are_refused_and_the_next_address_is_asked(server, tmp_path):
    item = remote(server, "lies", "longer", "absent", "good")
    assert get(item, tmp_path).read_bytes() == CONTENT
    assert [how for how, _ in server.asked] == ["lies", "longer", "absent", "good"]


def test_bytes_from_another_place_are_refused(server, tmp_path):
    with pytest.raises(ValueError, match="it sent bytes from 299990 when asked for those from 300000"):
        get(remote(server, "other-range"), tmp_path)


def test_every_reason_is_said_and_nothing_wrong_is_kept(server, tmp_path):
    with pytest.raises(ValueError, match=r"lies: other content.*longer: it sends more.*absent: HTTP 404"):
        get(remote(server, "lies", "longer", "absent"), tmp_path)
    assert not (tmp_path / "set" / "file.bin").exists()


def test_wrong_remains_of_an_older_download_do_not_spoil_a_good_address(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.bin.part").write_bytes(b"x" * 500)
    assert get(remote(server, "good"), tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    assert get(remote(server, "busy"), tmp_path).read_bytes() == CONTENT


def test_an_address_without_a_server_is_named(tmp_path):
    item = Remote("file", ("http://127.0.0.1:1/x",), "0" * 64, 10)
    with pytest.raises(ValueError, match="refused"):
        get(item, tmp_path)


@pytest.mark.parametrize("how", ["text", "crlf"])
def test_a_list_may_have_either_line_ends(server, tmp_path, how):
    assert get(remote(server, how, content=TEXT, lines=2), tmp_path).read_bytes() == TEXT


def test_the_command_fetches_lists_and_says_what_it_cannot(server, tmp_path, monkeypatch, capsys):
    cremad = DATASETS["cremad"]
    changed = replace(cremad, facts=replace(cremad.facts, lists=(asdict(remote(server, "good")),)))
    monkeypatch.setitem(DATASETS, "cremad", changed)
    assert command.main(["--root", str(tmp_path), "status", "cremad"]) == 0
    assert "set/file.bin missing (1024 kB): 'fetch' gets it from http" in capsys.readouterr().out
    assert command.main(["--root", str(tmp_path), "fetch", "cremad"]) == 0
    assert "SHA-256 as it should be" in capsys.readouterr().out
    assert command.main(["--root", str(tmp_path), "fetch", "vggsound", "emotions"]) == 1
    errors = capsys.readouterr().err
    assert "vggsound: nothing to fetch: it comes from www.robots" in errors and "emotions: nothing to fetch" in errors
    (tmp_path / "set" / "file.bin").write_bytes(b"x")
    command.main(["--root", str(tmp_path), "status", "cremad"])
    assert "not the official one" in capsys.readouterr().out


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_is_unpacked(tmp_path, make, monkeypatch):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    make(tmp_path / "a", [("top.txt", b"1"), ("ü b/c.txt", b"22")])
    assert unpack(tmp_path / "a", tmp_path / "out") == 2
    assert (tmp_path / "out" / "ü b" / "c.txt").read_bytes() == b"22"


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:/evil"])
def test_an_archive_cannot_write_outside(tmp_path, make, name):
    make(tmp_path / "a", [("good", b"1"), (name, b"x")])
    with pytest.raises(ValueError, match="would land outside its folder"):
        unpack(tmp_path / "a", tmp_path / "in" / "out")
    assert not (tmp_path / "in" / "out").exists() and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    make_tar(tmp_path / "a", [(special("link", kind, "/etc/passwd"), b"")])
    with pytest.raises(ValueError, match="a link or a device"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    make_zip(tmp_path / "a", [(info, "/etc/passwd")])
    with pytest.raises(ValueError, match="a link or a device"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_bomb_is_stopped_and_leaves_nothing(tmp_path):
    make_zip(tmp_path / "a", [("zeros", bytes(8 << 20))])
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_damaged_or_doubled_archive_is_named(tmp_path):
    make_zip(tmp_path / "a", [("x", bytes(1000)), ("y", b"1")])
    data = bytearray((tmp_path / "a").read_bytes())
    data[35] ^= 255
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match="a: damaged"):
        unpack(tmp_path / "a", tmp_path / "out")
    (tmp_path / "b").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="b: damaged"):
        unpack(tmp_path / "b", tmp_path / "out")
    with pytest.warns(UserWarning):
        make_zip(tmp_path / "c", [("x", b"1"), ("x", b"2")])
    with pytest.raises(ValueError, match="occurs twice"):
        unpack(tmp_path / "c", tmp_path / "out")
