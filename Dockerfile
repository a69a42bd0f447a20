# Two stages with the same base: the first installs the hash-checked lock, the second copies only the installed packages, without pip.
#
#   docker build --build-arg VERSION=0.2.0 --build-arg REVISION=$(git rev-parse HEAD) -t assay .
#   docker run --read-only --cap-drop ALL -p 8080:8080 -v assay:/var/lib/assay assay
#
# python:3.13.15-slim-trixie. Another image works if it has Python 3.11 or newer as `python`: --build-arg BASE_IMAGE=…
ARG BASE_IMAGE=docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE_IMAGE} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_NO_INPUT=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY requirements.lock requirements-scale.lock ./
# The extra `scale` is for storage that several replicas share; a single proxy does not import it.
RUN python -m venv /opt/assay \
 && /opt/assay/bin/python -m pip install --no-deps --require-hashes --only-binary :all: -r requirements.lock -r requirements-scale.lock
ARG REVISION=
COPY LICENSE README.md pyproject.toml ./
COPY release release
COPY proxy proxy
# Remove the packages that only build or install, and the tests and commands of other packages. The *.dist-info directories stay, so that
# scanners can list the installed packages.
RUN ASSAY_REVISION=${REVISION} /opt/assay/bin/python -m pip install --no-deps --no-build-isolation --no-index . \
 && /opt/assay/bin/python -m pip uninstall --quiet --yes hatchling pathspec pluggy tomlkit trove-classifiers setuptools wheel pip \
 && find /opt/assay -depth \( -type d \( -name __pycache__ -o -name tests \) -o -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' \) \) -exec rm -rf {} + \
 && find /opt/assay/bin -mindepth 1 ! -name 'python*' ! -name assay -delete
# Compile the modules that Assay imports. The file system is read-only at run time, and the official base image has no
# bytecode even for the standard library, so each start would otherwise compile a thousand modules. "unchecked-hash",
# because a builder may change the timestamps by which Python decides if bytecode is current.
ENV PYTHONPYCACHEPREFIX=/opt/assay/bytecode
RUN /opt/assay/bin/python -P -B -c "import importlib, pkgutil, sys, assay; \
[importlib.import_module(found.name) for found in pkgutil.walk_packages(assay.__path__, 'assay.') if found.name != 'assay.__main__']; \
print(*sorted({m.__file__ for m in sys.modules.values() if str(getattr(m, '__file__', '')).endswith('.py')}), sep='\n')" > modules \
 && /opt/assay/bin/python -m compileall -q --invalidation-mode unchecked-hash -i modules

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.2.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="assay-proxy" \
      org.opencontainers.image.description="A caching proxy in front of PyPI that serves only what provenance and policy approve" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /opt/assay /opt/assay
COPY requirements.lock requirements-scale.lock /opt/assay/
# Group 0 may write too, because OpenShift runs images as an arbitrary user in that group.
RUN ["install", "-d", "-m", "0770", "-o", "10001", "-g", "0", "/var/lib/assay"]
# Assay creates the storage directory inside the volume with access for itself only, so the volume's root may have any mode.
# Temporary files are on the volume too, so that nothing else needs to be writable.
ENV PATH=/opt/assay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/assay/bytecode \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/var/lib/assay \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    ASSAY_SERVER__HOST=0.0.0.0 \
    ASSAY_SERVER__PORT=8080 \
    ASSAY_STORAGE__DIRECTORY=/var/lib/assay/storage
# A number, so that Kubernetes can check runAsNonRoot; fixed, so that a volume can be prepared for this user.
USER 10001:10001
WORKDIR /var/lib/assay
VOLUME /var/lib/assay
EXPOSE 8080
STOPSIGNAL SIGTERM
# Requests /readyz on the configured port, by https if the configuration has `[server.tls]`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-P", "-m", "assay.healthcheck"]
ENTRYPOINT ["assay"]
CMD ["serve"]
