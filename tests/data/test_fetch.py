"""Downloads against a server that drops, truncates, lies and ignores; archives that try to leave their folder."""

from __future__ import annotations

import hashlib
import http.server
import io
import sys
import tarfile
import threading
import zipfile
from dataclasses import asdict, replace

import pytest

from dgl_core.data import DATASETS, command
from dgl_core.data.files.fetch import Remote, fetch, unpack

CONTENT = bytes(range(256)) * 4000  # a megabyte
TEXT = b"a,b\nc,d\n"


class Server(http.server.BaseHTTPRequestHandler):
    """What it does is spelled in the address; it keeps what it was asked."""

    def do_GET(self):
        how = self.path.strip("/")
        body = {"crlf": TEXT.replace(b"\n", b"\r\n"), "text": TEXT}.get(how, CONTENT)
        self.server.asked.append(how)
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
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "drops" and len(self.server.asked) < 3 or how == "cuts":
            body = body[:300_000]  # the connection ends in the middle
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
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


def test_a_whole_file_arrives_and_is_not_fetched_twice(server, tmp_path):
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT
    fetch(remote(server, "good"), tmp_path)
    assert len(server.asked) == 1 and sorted(p.name for p in (tmp_path / "set").iterdir()) == ["file.bin"]


@pytest.mark.parametrize("how", ["drops", "busy"])
def test_a_dropped_connection_or_a_busy_server_is_tried_again(server, tmp_path, how):
    assert fetch(remote(server, how), tmp_path).read_bytes() == CONTENT
    assert server.asked == [how] * 3


def test_other_content_is_refused_and_the_next_address_is_asked(server, tmp_path):
    assert fetch(remote(server, "lies", "longer", "absent", "good"), tmp_path).read_bytes() == CONTENT
    assert list(dict.fromkeys(server.asked)) == ["lies", "longer", "absent", "good"]


def test_a_wrong_file_is_replaced_and_kept_if_nothing_better_comes(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match="HTTP 404"):
        fetch(remote(server, "absent"), tmp_path)
    assert (tmp_path / "set" / "file.bin").read_bytes() == b"mine"
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT


def test_every_reason_is_said_in_one_sentence_and_nothing_is_left(server, tmp_path):
    with pytest.raises(ValueError) as error:
        fetch(remote(server, "lies", "longer", "absent", "cuts"), tmp_path)
    text = str(error.value)
    for reason in ("lies: other content", "longer: other content", "absent: HTTP 404", "cuts: cut off", "Try again"):
        assert reason in text
    assert "SHA-256 is " in text and "\n" not in text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_a_network_it_is_said_in_one_sentence_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    item = Remote("file", ("http://127.0.0.1:1/x",), "0" * 64, 10)
    with pytest.raises(
        ValueError, match=r"^file could not be fetched \(http.*: no connection\)\. Try again, or put the"
    ):
        fetch(item, tmp_path)


def test_without_pooch_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match="pip install 'dgl-core.media.'"):
        fetch(Remote("file", ("http://127.0.0.1:1/x",), "0" * 64, 10), tmp_path)


@pytest.mark.parametrize("how", ["text", "crlf"])
def test_a_list_may_have_either_line_ends(server, tmp_path, how):
    assert fetch(remote(server, how, content=TEXT, lines=2), tmp_path).read_bytes() == TEXT


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
    with pytest.raises(ValueError, match="not unpacked .*(link|special file)"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    make_zip(tmp_path / "a", [(info, "/etc/passwd")])
    with pytest.raises(ValueError, match="'link' is a link or a special file; not unpacked"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_bomb_is_stopped_and_leaves_nothing(tmp_path):
    make_zip(tmp_path / "a", [("zeros", bytes(8 << 20))])
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_encrypted_zip_is_named_in_one_sentence(tmp_path):
    make_zip(tmp_path / "a", [("x", b"1")])
    data = bytearray((tmp_path / "a").read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.find(signature) + place] |= 1  # the flag of encryption
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match="a: encrypted, or packed in a way .*; unpack it yourself"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_archives_damaged_anywhere_give_the_same_files_or_one_sentence(tmp_path, monkeypatch, make):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    content = {"x.txt": bytes(range(200)), "y/z.txt": b"22"}
    make(tmp_path / "a", content.items())
    whole = (tmp_path / "a").read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            (tmp_path / "a").write_bytes(damaged)
            try:
                unpack(tmp_path / "a", tmp_path / "out")
            except ValueError as error:
                assert str(tmp_path / "a") in str(error) and "\n" not in str(error)
                refused += 1
                continue
            found = {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in files_of(tmp_path / "out")}
            assert sorted(found.values()) == sorted(content.values()), (place, found)
    assert refused > len(whole) // 3


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


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
