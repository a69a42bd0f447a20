"""How other makers' indexes write a project's page: the shapes alone, written anew from what their pages look like.

Each says where its Simple API's root is, where a file lies, and the page of one project with one file, as a template of
``{filename} {sha256} {md5} {path} {origin}``. ``{path}`` is the file's own, `at` filled in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tests.world.index.distributions import Built
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Answer


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One maker's way."""

    maker: str
    root: str
    """Path of the Simple API."""
    at: str
    """Path of the file."""
    page: str
    kind: str = "text/html; charset=utf-8"
    installs: bool = True
    """Whether the page gives a sha256; without one nothing may be served."""

    def put(self, index: Index, built: Built) -> str:
        """Let `index` look so, with that one file; its path."""
        values = {
            "filename": built.filename,
            "sha256": built.sha256,
            "md5": hashlib.md5(built.content, usedforsecurity=False).hexdigest(),
            "origin": index.origin,
            "size": str(built.size),
        }
        path = _filled(self.at, values)
        body = _filled(self.page, {**values, "path": path}).encode()
        index.serve(f"{self.root}{built.project}/", Answer(body=body, headers={"Content-Type": self.kind}))
        index.serve(path, Answer(body=built.content, headers={"Content-Type": "application/octet-stream"}))
        return path


def _filled(template: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        template = template.replace(f"{{{key}}}", value)
    return template


SHAPES = (
    Shape(
        maker="devpi",
        root="/acme/prod/+simple/",
        at="/acme/prod/+f/5d9/3a2c4e1f0b8d7/{filename}",
        page="""<!DOCTYPE html>
<html>
  <head><title>acme/prod: links for widget</title><meta name="pypi:repository-version" content="1.0" /></head>
  <body>
    <h1>acme/prod: links for widget</h1>
    <a href="../../+f/5d9/3a2c4e1f0b8d7/{filename}#sha256={sha256}" data-requires-python="&gt;=3.8">{filename}</a><br/>
  </body>
</html>""",
    ),
    Shape(
        maker="devpi, JSON",
        root="/acme/prod/+simple/",
        at="/acme/prod/+f/5d9/3a2c4e1f0b8d7/{filename}",
        kind="application/vnd.pypi.simple.v1+json",
        page="""{"meta": {"api-version": "1.0"}, "name": "widget", "files": [{"filename": "{filename}",
"url": "../../+f/5d9/3a2c4e1f0b8d7/{filename}", "hashes": {"sha256": "{sha256}"}, "requires-python": null}]}""",
    ),
    Shape(
        maker="Artifactory",
        root="/artifactory/api/pypi/pypi-local/simple/",
        at="/artifactory/api/pypi/pypi-local/widget/1.0/{filename}",
        page="""<!DOCTYPE html>
<html>
<head><title>Simple Index</title><meta name="api-version" value="2"/></head>
<body>
<a data-requires-python="&gt;=3.8" href="../../widget/1.0/{filename}#sha256={sha256}" rel="internal">{filename}</a><br/>
</body>
</html>""",
    ),
    Shape(
        maker="Nexus",
        root="/repository/pypi-hosted/simple/",
        at="/repository/pypi-hosted/packages/widget/1.0/{filename}",
        page="""<html lang="en">
<head><title>Links for widget</title>
  <meta name="api-version" value="2"/>
</head>
<body><h1>Links for widget</h1>
        <a href="../../packages/widget/1.0/{filename}#sha256={sha256}" rel="internal"  >{filename}</a><br/>
</body>
</html>""",
    ),
    Shape(
        maker="Nexus of old, md5",
        root="/repository/pypi-hosted/simple/",
        at="/repository/pypi-hosted/packages/widget/1.0/{filename}",
        installs=False,
        page="""<html lang="en"><body><h1>Links for widget</h1>
        <a href="../../packages/widget/1.0/{filename}#md5={md5}" rel="internal">{filename}</a><br/>
</body></html>""",
    ),
    Shape(
        maker="GitLab",
        root="/api/v4/projects/1/packages/pypi/simple/",
        at="/api/v4/projects/1/packages/pypi/files/{sha256}/{filename}",
        page="""<!DOCTYPE html>
<html>
  <head>
    <title>Links for widget</title>
  </head>
  <body>
    <h1>Links for widget</h1>
    <a href="{origin}{path}#sha256={sha256}" data-requires-python="">{filename}</a><br>
  </body>
</html>""",
    ),
    Shape(
        maker="pypiserver",
        root="/simple/",
        at="/packages/{filename}",
        page="""<!DOCTYPE html>
<html>
    <head>
        <title>Links for widget</title>
    </head>
    <body>
        <h1>Links for widget</h1>
        <a href="/packages/{filename}#sha256={sha256}">{filename}</a><br>
    </body>
</html>""",
    ),
    Shape(
        maker="pypiserver, hashes off",
        root="/simple/",
        at="/packages/{filename}",
        installs=False,
        page="""<html><body><h1>Links for widget</h1><a href="/packages/{filename}">{filename}</a><br></body></html>""",
    ),
    Shape(
        maker="nginx, autoindex",
        root="/simple/",
        at="/simple/widget/{filename}",
        installs=False,
        page="""<html>
<head><title>Index of /simple/widget/</title></head>
<body>
<h1>Index of /simple/widget/</h1><hr><pre><a href="../">../</a>
<a href="{filename}">{filename}</a>                          01-Jun-2026 12:00                {size}
</pre><hr></body>
</html>""",
    ),
    Shape(
        maker="a static directory with hashes",
        root="/simple/",
        at="/simple/widget/{filename}",
        page="""<!doctype html><title>widget</title><a href="{filename}#sha256={sha256}">{filename}</a>""",
    ),
)
