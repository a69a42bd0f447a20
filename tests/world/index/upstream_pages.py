"""Project pages in the format of other index servers: only the formats, written for these tests.

A format has the root of the Simple API, the path of a file, and the page of a project with one file. The page is a
template of ``{filename} {sha256} {md5} {path} {origin}``, in which ``{path}`` is `at` with its placeholders filled in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tests.world.index.distributions import BuiltDistribution
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse


@dataclass(frozen=True, kw_only=True)
class PageShape:
    """Page format of one index server."""

    maker: str
    root: str
    """Path of the Simple API."""
    at: str
    """Path of the file."""
    page: str
    kind: str = "text/html; charset=utf-8"
    installs: bool = True
    """True if the page has a SHA-256, without which Assay serves no file."""

    def install(self, index: Index, built: BuiltDistribution) -> str:
        """Make `index` serve pages in this format, with one file, and return the path of the file."""
        values = {
            "filename": built.filename,
            "sha256": built.sha256,
            "md5": hashlib.md5(built.content, usedforsecurity=False).hexdigest(),
            "origin": index.origin,
            "size": str(built.size),
        }
        path = _fill_template(self.at, values)
        body = _fill_template(self.page, {**values, "path": path}).encode()
        index.serve_fixed(
            f"{self.root}{built.project}/", CannedResponse(body=body, headers={"Content-Type": self.kind})
        )
        index.serve_fixed(
            path, CannedResponse(body=built.content, headers={"Content-Type": "application/octet-stream"})
        )
        return path


def _fill_template(template: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        template = template.replace(f"{{{key}}}", value)
    return template


SHAPES = (
    PageShape(
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
    PageShape(
        maker="devpi, JSON",
        root="/acme/prod/+simple/",
        at="/acme/prod/+f/5d9/3a2c4e1f0b8d7/{filename}",
        kind="application/vnd.pypi.simple.v1+json",
        page="""{"meta": {"api-version": "1.0"}, "name": "widget", "files": [{"filename": "{filename}",
"url": "../../+f/5d9/3a2c4e1f0b8d7/{filename}", "hashes": {"sha256": "{sha256}"}, "requires-python": null}]}""",
    ),
    PageShape(
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
    PageShape(
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
    PageShape(
        maker="Nexus of old, md5",
        root="/repository/pypi-hosted/simple/",
        at="/repository/pypi-hosted/packages/widget/1.0/{filename}",
        installs=False,
        page="""<html lang="en"><body><h1>Links for widget</h1>
        <a href="../../packages/widget/1.0/{filename}#md5={md5}" rel="internal">{filename}</a><br/>
</body></html>""",
    ),
    PageShape(
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
    PageShape(
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
    PageShape(
        maker="pypiserver, hashes off",
        root="/simple/",
        at="/packages/{filename}",
        installs=False,
        page="""<html><body><h1>Links for widget</h1><a href="/packages/{filename}">{filename}</a><br></body></html>""",
    ),
    PageShape(
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
    PageShape(
        maker="a static directory with hashes",
        root="/simple/",
        at="/simple/widget/{filename}",
        page="""<!doctype html><title>widget</title><a href="{filename}#sha256={sha256}">{filename}</a>""",
    ),
)
