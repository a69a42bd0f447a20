"""Benchmark of warm responses of Assay in four settings, alternately, and of nginx with and without TLS as the limit.

The settings are: open; tokens and an audit trail; TLS, tokens and an audit trail; and open with two more views. nginx
sends the same bytes, and over TLS with the same certificate and cipher.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import servers
from benchmarks.content import Tree
from benchmarks.installing import add_wheel
from benchmarks.load import Rate, cipher, fetch, fetch_ok
from benchmarks.report import Table, ratios
from benchmarks.warm import ACCEPT, BIG, SMALL, TRANSFERS, Contestant, big_rate, freeze, measured, routed
from tests.world.proxy.certificate_authority import CertificateAuthority

TOKEN = "a-token-of-the-benchmarks"  # noqa: S105 - not a secret
SIGNED_IN = {"Authorization": f"Basic {base64.b64encode(f'__token__:{TOKEN}'.encode()).decode()}"}
SECURED = '[server.auth]\ntokens = "{root}/tokens"\n[audit]\npath = "{root}/audit.jsonl"'
"""Configuration with tokens (`write_tokens`) and an audit trail; `root` is the directory of the proxy."""
VIEWS = "\n".join(
    f'[[views]]\nname = "{name}"\npath = "/{name}/"\npolicy = "{{root}}/{name}.toml"' for name in ("second", "third")
)
POLICY = 'version = 1\n[defaults]\nmin-age = "{days} days"\n[[rules]]\nname = "every project"\nprojects = ["*"]\n'
OPEN, TOKENS, TLS, MORE_VIEWS = "open", "tokens and audit trail", "TLS, tokens and audit trail", "two more views"
NGINX, NGINX_TLS = "nginx", "nginx with TLS"
BARS = {
    "page, 100 files": {(TOKENS, OPEN): 0.85, (TOKENS, NGINX): 0.33, (TLS, NGINX_TLS): 0.5},
    "file, 100 KB": {(TOKENS, OPEN): 0.7, (TLS, NGINX_TLS): 0.5},
    "METADATA": {(TOKENS, OPEN): 0.7, (TLS, NGINX_TLS): 0.5},
}
"""Minimum ratio of the rates in two settings, for each kind of response."""
PAIRS = (
    (OPEN, NGINX), (TOKENS, OPEN), (TOKENS, NGINX), (TLS, OPEN), (TLS, NGINX_TLS), (MORE_VIEWS, OPEN),
)  # fmt: skip
BIG_TLS_BAR = 0.8


def run(table: Table, root: Path, *, rounds: int, seconds: int) -> None:
    """Measure all settings and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    tree.page_of("hundred", 100)
    small, big = tree.file("small", "1.0", SMALL), tree.file("big", "1.0", BIG)
    metadata = f"{add_wheel(tree, 'library', '1.0', [], SMALL)}.metadata"
    tree.write()
    certificate = servers.Certificate(root / "server.pem", root / "server.key")
    CertificateAuthority.create().issue(certificate.certificate, certificate.key)
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.nginx(root / "nginx", tree.root, port))
        limits = {
            NGINX: upstream,
            NGINX_TLS: stack.enter_context(servers.nginx(root / "nginx-tls", tree.root, certificate=certificate)),
        }
        proxies = _started(stack, root, upstream, certificate)
        if (ours := cipher(proxies[TLS].port)) != (theirs := cipher(limits[NGINX_TLS].port)):
            raise SystemExit(f"Assay negotiates {ours} and nginx {theirs}")
        freeze(proxies[OPEN], tree.root, "hundred")
        for kind, path, limit, headers in (
            ("page, 100 files", "/simple/hundred/", "/simple/limit-hundred/", ACCEPT),
            ("file, 100 KB", routed(upstream, small), small, {}),
            ("METADATA", routed(upstream, metadata), metadata, {}),
        ):
            contestants = _contestants(limits, proxies, path, limit, headers)
            _tell(table, kind, measured(contestants, rounds, seconds))
        only = {NGINX_TLS: limits[NGINX_TLS]}, {TLS: proxies[TLS]}
        contestants = _contestants(*only, routed(upstream, big), "/limit.whl", {})
        # Both send the same copy: the position of a copy in memory changes the speed of reading it.
        storage = proxies[TLS].root / "storage"
        stored = next(path for path in storage.rglob("*") if path.is_file() and path.stat().st_size == BIG)
        (tree.root / "limit.whl").symlink_to(stored)
        _big(table, contestants[TLS], contestants[NGINX_TLS], rounds)


def _contestants(
    limits: Mapping[str, servers.Server],
    proxies: Mapping[str, servers.Server],
    path: str,
    limit: str,
    headers: Mapping[str, str],
) -> dict[str, Contestant]:
    """Return nginx, which sends `limit`, and the proxies, which send `path` from their caches."""
    found = {name: Contestant(server, f"{server.origin}{limit}", headers) for name, server in limits.items()}
    for name, server in proxies.items():
        wanted = {**headers, **(SIGNED_IN if name in {TOKENS, TLS} else {})}
        found[name] = Contestant(server, f"{server.origin}{path}", wanted)
        for _ in range(3):  # the proxy caches a small file in memory only if it is requested repeatedly
            fetch_ok(f"{server.origin}{path}", wanted)
    return found


def write_tokens(root: Path) -> None:
    """Write the file of tokens for a proxy with the directory `root`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "tokens").write_text(f"bench:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")


def _started(
    stack: ExitStack, root: Path, upstream: servers.Server, certificate: servers.Certificate
) -> dict[str, servers.Server]:
    """Start a proxy in each setting, and request pages so that each has them in memory."""
    found = {}
    for number, (name, settings) in enumerate({OPEN: "", TOKENS: SECURED, TLS: SECURED, MORE_VIEWS: VIEWS}.items()):
        directory = root / f"assay-{number}"
        write_tokens(directory)
        for days, view in ((3, "second"), (7, "third")):
            (directory / f"{view}.toml").write_text(POLICY.format(days=days))
        found[name] = stack.enter_context(
            servers.assay(
                directory,
                upstream,
                settings=settings.format(root=directory),
                certificate=certificate if name == TLS else None,
            )
        )
    for name in (TOKENS, TLS):
        if (status := fetch(f"{found[name].origin}/simple/hundred/", ACCEPT).status) != 401:
            raise SystemExit(f"{name}: a request without a token is answered {status}")
    for view in ("second", "third"):
        fetch_ok(f"{found[MORE_VIEWS].origin}/{view}/simple/hundred/", ACCEPT)
    for name, server in found.items():
        for project in ("small", "library", "big"):
            fetch_ok(f"{server.origin}/simple/{project}/", {**ACCEPT, **(SIGNED_IN if name in {TOKENS, TLS} else {})})
    return found


def _tell(table: Table, kind: str, rates: Mapping[str, Sequence[Rate]]) -> None:
    speeds = {name: [one.per_second for one in each] for name, each in rates.items()}
    costs = {name: statistics.median(one.cpu for one in each) * 1e3 for name, each in rates.items()}
    for name, other in PAIRS:
        table.add(
            f"warm {kind}, {name}: share of {other}",
            ratios(speeds[name], speeds[other]),
            least=BARS[kind].get((name, other)),
            note=f"{statistics.median(speeds[name]):,.0f}/s;"
            f" CPU seconds per 1,000 responses: {costs[name]:.3f}, {other} {costs[other]:.3f}",
        )


def _big(table: Table, assay: Contestant, nginx: Contestant, rounds: int) -> None:
    """Measure transfers of a large file over TLS to one client, which decrypts about as fast as nginx encrypts."""
    speeds: dict[str, list[float]] = {"assay": [], "nginx": []}
    costs: dict[str, list[float]] = {"assay": [], "nginx": []}
    for turn in range(rounds):
        for name, each in (("assay", assay), ("nginx", nginx))[:: -1 if turn % 2 else 1]:
            before = each.server.cpu()
            speeds[name].append(big_rate(each.url, each.headers))
            costs[name].append((each.server.cpu() - before) / TRANSFERS)
    what = f"warm file, 200 MB, {TLS}"
    note = f"{statistics.median(speeds['assay']) / 1e6:,.0f} MB/s"
    table.add(f"{what}: share of {NGINX_TLS}", ratios(speeds["assay"], speeds["nginx"]), least=BIG_TLS_BAR, note=note)
    note = f"{statistics.median(costs['assay']):.2f} CPU seconds per transfer"
    table.add(
        f"{what}: CPU time of {NGINX_TLS} as a share of Assay's", ratios(costs["nginx"], costs["assay"]), note=note
    )
