"""Oracles behind HTTP: the protocol, every fault with its message, and runs that are killed and go on."""

import argparse
import collections
import contextlib
import hashlib
import itertools
import json
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from flint import fmpq

from jaxtract import CallableOracle, ExactContext, ExactNetworkOracle, Float64NetworkOracle, OracleError
from jaxtract.cli.exit_codes import BAD_INPUT, CLAIM_REACHED
from jaxtract.cli.main import main
from jaxtract.cli.serve import server_for
from jaxtract.network.families import he
from jaxtract.network.files import save_network
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.http import HttpOptions, HttpOracle, rational
from jaxtract.oracle.http_server import OracleServer
from jaxtract.oracle.points import scattered
from precision.dyadic import dyadic_matrix, from_float64

FEW = ["--verify-inputs", "55", "--verify-lines", "3"]
QUICK = HttpOptions(retries=3, first_wait=0.001, timeout=5)
DESCRIBED = {"inputs": 1, "outputs": 1, "number_system": "exact"}


def points(*rows):
    return scattered(dyadic_matrix([[fmpq(x) for x in row] for row in rows], len(rows[0])))


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with server:
            yield server
            server.shutdown()
    finally:
        thread.join()


class CountingServer(OracleServer):
    """Keeps a digest of every request; ``on_request`` is called with their number as one arrives."""

    def __init__(self, oracle, **settings):
        super().__init__(oracle, port=0, **settings)
        self.requests = []
        self.on_request = lambda number: None

    def reply(self, body):
        self.requests.append(hashlib.sha256(body).hexdigest())
        self.on_request(len(self.requests))
        return super().reply(body)


# --- the protocol


@pytest.mark.parametrize("batch", [1, 3, 256])
def test_exact_answers_over_a_wire(batch):
    net = he((3, 5, 2), 0)
    asked = points(*([fmpq(i, 8), fmpq(-i) / 2**300, 10**40] for i in range(7)))
    options = HttpOptions(batch=batch)
    with running(CountingServer(ExactNetworkOracle(net))) as server, HttpOracle(server.url, options=options) as oracle:
        assert (oracle.inputs, oracle.outputs, oracle.number_system) == (3, 2, "exact")
        answers = oracle.answer(asked, None)
        assert (answers == ExactNetworkOracle(net).answer(asked, None)).all()
        assert (oracle.answer(asked, 30) == ExactNetworkOracle(net).answer(asked, 30)).all()
        assert server.asked == 14 and len(server.requests) == 2 * -(-7 // batch)


def test_doubles_over_a_wire():
    net = he((3, 5, 2), 0)
    rows = np.random.default_rng(0).standard_normal((50, 3)) * 10.0 ** np.arange(-150, 0, 3)[:, None]
    asked = scattered(from_float64(rows))
    with running(CountingServer(Float64NetworkOracle(net))) as server, HttpOracle(server.url) as oracle:
        answers = oracle.answer(asked, None)
    assert answers.dtype == np.float64
    assert answers.tobytes() == Float64NetworkOracle(net).answer(asked, None).tobytes()


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-3/7", fmpq(-3, 7)), ("+6/4", fmpq(3, 2)), ("1" + "0" * 5000, fmpq(10) ** 5000)]
    + [(bad, None) for bad in ("", "1/0", "0.5", "1e3", " 1", "1/-2", "nan", "١", "1_0", "1/2/3")],
)
def test_rationals_as_text(text, value):
    assert rational(text) == value


def post(url, content, **headers):
    return httpx.post(url, content=content, headers=headers)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("hello", "Expecting value"),
        ("[1]", "an object with 'points'"),
        ("{}", "points is a list of lists of 2 numbers"),
        ('{"points": []}', "points is a list of lists"),
        ('{"points": [["1"]]}', "points is a list of lists"),
        ('{"points": [["1", 0.5]]}', "coordinates of an exact server"),
        ('{"points": [["1", "1/3"]]}', "not dyadic"),
        ('{"points": [["1", true]]}', "coordinates of an exact server"),
        ('{"points": [["1", "2"]], "answer_bits": -1}', "answer_bits"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_the_server_says_what_it_does_not_take(body, message):
    with running(CountingServer(ExactNetworkOracle(he((2, 3, 1), 0)))) as server:
        response = post(server.url, body)
        assert response.status_code == 400 and message in response.json()["error"]
        assert post(server.url, '{"points": [["1", 2]]}').status_code == 200  # and goes on


@pytest.mark.parametrize(
    "body", ['{"points": [[true]]}', '{"points": [["1"]]}', '{"points": [[NaN]]}', '{"points": [[1e999]]}']
)
def test_a_float64_server_takes_finite_numbers(body):
    with running(CountingServer(Float64NetworkOracle(he((1, 3, 1), 0)))) as server:
        assert post(server.url, body).status_code == 400


def test_a_request_too_large_is_not_read():
    with running(CountingServer(ExactNetworkOracle(he((2, 3, 1), 0)))) as server:
        with socket.create_connection(server.server_address[:2]) as line:
            line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
            assert b" 413 " in line.recv(1000)
        assert server.requests == []


# --- faults; each has its message


def faulty(reply, *, described=DESCRIBED, options=QUICK):
    """An oracle whose server replies to POST with ``reply(request)``, and the POSTs it got."""
    posts = []

    def handle(request):
        if request.method == "GET":
            return httpx.Response(200, json=described)
        posts.append(json.loads(request.content))
        return reply(request)

    return HttpOracle("http://box", options=options, transport=httpx.MockTransport(handle)), posts


def sends(content, status=200):
    return lambda request: httpx.Response(status, content=content)


FAULTS = {
    "not JSON": (sends("<html>"), "gave something that is not JSON: <html>"),
    "endless digits": (sends('{"answers": [[%s], [1]]}' % ("1" * 5000)), "not JSON"),
    "nesting": (sends("[" * 100_000), "not JSON"),
    "no text": (sends(b"\xff\xfe\xfa"), "not JSON"),
    "a list": (sends("[1, 2]"), "not an object"),
    "no answers": (sends('{"error": "busy"}'), r"without 'answers': .*busy"),
    "no list": (sends('{"answers": 7}'), "asked 2 points .* gave 0 rows of nothing"),
    "a row too few": (sends('{"answers": [["1"]]}'), "asked 2 points of 1 output.* gave 1 rows of 1 numbers"),
    "a number too many": (sends('{"answers": [["1"], ["1", "2"]]}'), "2 rows of 1 numbers or 2 numbers"),
    "flat": (sends('{"answers": ["1", "2"]}'), "2 rows of no list"),
    "NaN": (sends('{"answers": [["1"], [NaN]]}'), "gave NaN for point 1 .* an exact server gives texts"),
    "a double": (sends('{"answers": [[0.5], ["1"]]}'), r"gave 0\.5 for point 0"),
    "null": (sends('{"answers": [[null], ["1"]]}'), "gave null for point 0"),
    "1/0": (sends('{"answers": [["1/0"], ["1"]]}'), 'gave "1/0" for point 0'),
    "404": (sends("no such page", 404), "HTTP status 404: no such page; check the URL"),
    "redirect": (sends("", 302), "HTTP status 302"),
    "400": (sends("x" * 999, 400), r"HTTP status 400: x{200}\.\.\.;"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_that_end_a_run_at_once(fault):
    reply, message = FAULTS[fault]
    oracle, posts = faulty(reply)
    with oracle, pytest.raises(OracleError, match=message):
        oracle.answer(points([1], [2]), None)
    assert len(posts) == 1


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "null", '"1"', "true", "1e999", "1" + "0" * 400])
def test_doubles_that_are_none(bad):
    oracle, _ = faulty(sends(f'{{"answers": [[1], [{bad}]]}}'), described=DESCRIBED | {"number_system": "float64"})
    with oracle, pytest.raises(OracleError, match="for point 1 of a batch; a float64 server must give finite"):
        oracle.answer(points([1], [2]), None)


def raising(error):
    def reply(request):
        raise error("broken", request=request)

    return reply


TRANSIENT = {
    "500": (sends("", 500), "HTTP status 500"),
    "503": (sends("", 503), "HTTP status 503"),
    "429": (sends("", 429), "HTTP status 429"),
    "read time-out": (raising(httpx.ReadTimeout), r"no answer within 5 seconds \(ReadTimeout\)"),
    "connect time-out": (raising(httpx.ConnectTimeout), r"no answer within 5 seconds \(ConnectTimeout\)"),
    "refused": (raising(httpx.ConnectError), "ConnectError: broken"),
    "cut off": (raising(httpx.RemoteProtocolError), "RemoteProtocolError: broken"),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_faults_that_pass(fault):
    reply, message = TRANSIENT[fault]
    good = sends('{"answers": [["1/3"]]}')
    turns = itertools.chain([reply] * 3, itertools.repeat(good))
    oracle, posts = faulty(lambda request: next(turns)(request))
    with oracle:
        assert oracle.answer(points([1]), None).tolist() == [[fmpq(1, 3)]]
    assert len(posts) == 4 and oracle.requests == 5 and posts[0] == posts[3]

    oracle, posts = faulty(reply)
    with oracle, pytest.raises(OracleError, match=f"failed 4 times in a row, at last with: {message}"):
        oracle.answer(points([1]), None)
    assert len(posts) == 4


def test_the_wait_doubles_and_a_server_may_ask_for_more(monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    options = HttpOptions(retries=5, first_wait=1, longest_wait=6)
    oracle, _ = faulty(sends("", 503), options=options)
    with oracle, pytest.raises(OracleError):
        oracle.answer(points([1]), None)
    assert all(low <= wait <= low + 1 for wait, low in zip(waits, [1, 2, 4, 6, 6], strict=True))
    waits.clear()
    headers = {"Retry-After": "9"}
    oracle, _ = faulty(lambda request: httpx.Response(429, headers=headers), options=options)
    with oracle, pytest.raises(OracleError):
        oracle.answer(points([1]), None)
    assert waits == [9] * 5


def test_the_rate_is_kept():
    oracle, posts = faulty(sends('{"answers": [["1"]]}'), options=HttpOptions(rate=50, batch=1))
    begun = time.monotonic()
    with oracle:
        oracle.answer(points(*([i] for i in range(10))), None)
    assert len(posts) == 10 and time.monotonic() - begun >= 10 / 50


@pytest.mark.parametrize(
    "described",
    [{}, DESCRIBED | {"inputs": 0}, DESCRIBED | {"outputs": "1"}, DESCRIBED | {"inputs": True},
     DESCRIBED | {"number_system": "float32"}],
)  # fmt: skip
def test_servers_that_do_not_describe_an_oracle(described):
    with pytest.raises(OracleError, match="does not describe an oracle: GET gave"):
        faulty(None, described=described)


def test_what_is_kept_of_an_input_is_said():
    assert faulty(None)[0].input_bits is None
    assert faulty(None, described=DESCRIBED | {"input_bits": 24})[0].input_bits == 24
    for bits in (10, "24", True):
        with pytest.raises(OracleError, match="input_bits is a whole number from 24"):
            faulty(None, described=DESCRIBED | {"input_bits": bits})
    single = CallableOracle(lambda x: x[:, :1], inputs=2, input_bits=24)
    with running(CountingServer(single)) as server, HttpOracle(server.url) as oracle:
        assert oracle.input_bits == 24


@pytest.mark.parametrize("settings", [{"batch": 0}, {"retries": -1}, {"timeout": 0}, {"rate": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="; give"):
        HttpOptions(**settings)


@pytest.mark.parametrize("url", ["ftp://box", "box", "http://[", "http://box:99999999"])
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match=r"is no .*URL|failed"):
        HttpOracle(url, options=QUICK)


def test_a_slow_server_and_one_that_is_not_there():
    server = CountingServer(ExactNetworkOracle(he((1, 3, 1), 0)))
    server.on_request = lambda number: time.sleep(0.3)
    options = HttpOptions(timeout=0.05, retries=1, first_wait=0.001)
    with (
        running(server),
        HttpOracle(server.url, options=options) as oracle,
        pytest.raises(OracleError, match=r"failed 2 times in a row, at last with: no answer within 0\.05 seconds"),
    ):
        oracle.answer(points([1]), None)
    with pytest.raises(OracleError, match="failed 2 times in a row, at last with: ConnectError"):
        HttpOracle(server.url, options=options)


def test_a_server_that_answers_differently_the_second_time():
    counter = itertools.count(17)
    changing = CallableOracle(lambda batch: [[next(counter)] for _ in batch], inputs=1, number_system="exact")
    with (
        running(CountingServer(changing)) as server,
        HttpOracle(server.url) as oracle,
        pytest.raises(OracleError, match=r"answered 17 and then 18 at the same point.*deterministic"),
    ):
        CountingOracle(oracle, ExactContext()).check_determinism(points([1]))


# --- the command line


def extract(capsys, *arguments, code=CLAIM_REACHED):
    assert main(["extract", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("work_folder")
def test_a_network_is_read_over_a_wire(capsys):
    """A run over HTTP is recorded even without --out; it is the run without a wire, bit by bit."""
    net = he((5, 6, 2), 0)
    save_network(net, Path("net.npz"))
    direct = extract(capsys, "net.npz", *FEW, "--out", "direct")
    with running(CountingServer(ExactNetworkOracle(net))) as server:
        found = extract(capsys, server.url, *FEW, "--batch", 50)
        (folder,) = Path("jaxtract-runs").iterdir()
        again = extract(capsys, "--resume", folder)
    assert found["queries"] == direct["queries"] and again["record"]["asked"] == 0
    assert server.asked == found["record"]["asked"] == direct["queries"]["total"]
    assert (folder / "exact.json").read_bytes() == Path("direct/exact.json").read_bytes()


@pytest.mark.usefixtures("work_folder")
def test_a_server_that_fails_in_the_middle_and_one_that_moved(capsys):
    """What was answered is kept; the run goes on where the same function is served now, and nowhere else."""
    net, other = he((5, 6, 2), 0), he((5, 6, 2), 1)
    with running(CountingServer(ExactNetworkOracle(net), fingerprint="a")) as server:

        def fail(number):
            if number > 8:
                raise ValueError("out of order")

        server.on_request = fail
        assert main(["extract", server.url, *FEW, "--out", "run", "--json"]) == BAD_INPUT
        assert "HTTP status 400" in capsys.readouterr().err
    with running(CountingServer(ExactNetworkOracle(other), fingerprint="b")) as wrong:
        assert main(["extract", wrong.url, "--resume", "run"]) == BAD_INPUT
        assert "target was 'a' and is 'b'" in capsys.readouterr().err and wrong.requests == []
    with running(CountingServer(ExactNetworkOracle(net), fingerprint="a")) as moved:
        found = extract(capsys, moved.url, "--resume", "run")
        assert found["record"]["replayed"] > 0
        assert not set(moved.requests) & set(server.requests[1:8])  # the first was asked twice to compare


def asked_at(url, number_system):
    with HttpOracle(url, options=HttpOptions(timeout=60)) as oracle:
        assert (oracle.inputs, oracle.outputs, oracle.number_system) == (64, 10, number_system)
        assert oracle.answer(points([1] * 64), None).shape == (1, 10)
        return oracle.fingerprint


def test_serve_from_the_command_line():
    command = [sys.executable, "-c", "from jaxtract.cli.main import run; run()", "serve", "digits", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" at ")[1].split(";")[0]
            assert asked_at(url, "exact").startswith("sha256 ")
        finally:
            process.kill()


def test_fingerprints_of_served_networks():
    """The same network has the same one every time; its doubles are another function."""
    seen = []
    for doubles in (False, True, False):
        options = argparse.Namespace(network="digits", float64=doubles, host="127.0.0.1", port=0)
        with running(server_for(options)) as server:
            seen.append(asked_at(server.url, "float64" if doubles else "exact"))
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "no-such"], "does not exist"),
        (["serve", "digits", "--port", "70000"], "is no port"),
        (["extract", "http://127.0.0.1:1", "--retries", "0", "--timeout", "1"], "failed 1 times"),
        (["extract", "http://127.0.0.1:1", "--batch", "0"], "batch is 0"),
        (["extract", "http://127.0.0.1:1", "--evaluator", "flint"], "leave it out for a server"),
    ],
)
@pytest.mark.usefixtures("work_folder")
def test_bad_arguments(capsys, arguments, message):
    assert main(arguments) == BAD_INPUT
    assert message in capsys.readouterr().err


# --- killed at random moments


def start(*arguments):
    script = "from jaxtract.cli.main import run; run()"
    command = [sys.executable, "-c", script, "extract", *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def kill_at(server, process, number, seconds):
    """Kill -9, ``seconds`` after the server got its request of this number from now."""
    stop_at, killed = len(server.requests) + number, threading.Event()

    def on_request(count):
        if count >= stop_at and not killed.is_set():
            killed.set()
            threading.Timer(seconds, process.kill).start()

    server.on_request = on_request
    process.wait()
    server.on_request = lambda count: None


def run_with_kills(capsys, net, kills, seed, *, batch):
    """(requests undisturbed, requests disturbed, the last request before each kill); compares the networks."""
    rng = random.Random(seed)
    with running(CountingServer(ExactNetworkOracle(net))) as server:
        extract(capsys, server.url, *FEW, "--batch", batch, "--out", "whole")
        undisturbed = list(server.requests)
        server.requests.clear()
        last, arguments = [], [server.url, *FEW, "--batch", batch, "--out", "run"]
        for left in range(kills, 0, -1):
            with start(*arguments) as process:
                # Leaves requests for the kills that follow.
                most = max(1, 2 * (len(undisturbed) - len(server.requests)) // (left + 1))
                kill_at(server, process, rng.randint(1, most), rng.random() * 0.01)
            if process.returncode == -9:
                last.append(server.requests[-1])
            arguments = ["--resume", "run"]
        report = extract(capsys, "--resume", "run")
        assert report["claim"] == "exact"
    assert Path("run/exact.json").read_bytes() == Path("whole/exact.json").read_bytes()
    assert report["queries"] == json.loads(Path("whole/report.json").read_text())["queries"]
    return collections.Counter(undisturbed), collections.Counter(server.requests), last


def check_kills(capsys, net, kills, seed, *, batch):
    undisturbed, disturbed, last = run_with_kills(capsys, net, kills, seed, batch=batch)
    assert len(last) >= kills - 1  # the last one may come too late
    assert not undisturbed - disturbed
    assert not (disturbed - undisturbed) - collections.Counter(last), "a batch that was not in flight was asked again"


@pytest.mark.usefixtures("work_folder")
def test_three_kills(capsys, seed):
    check_kills(capsys, he((5, 6, 2), 0), 3, seed, batch=8)


@pytest.mark.slow
@pytest.mark.usefixtures("work_folder")
def test_twenty_kills(capsys, seed):
    check_kills(capsys, he((10, 20, 2), 0), 20, seed, batch=16)
