# Two stages: the first installs the pinned, hash-checked dependencies; the second has no compiler, no pip cache and no root.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/assay \
 && /opt/assay/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN /opt/assay/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --no-index . \
 && /opt/assay/bin/python -m pip uninstall --yes --quiet pip setuptools wheel \
 && install -d -m 0700 /build/storage

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="assay-proxy" \
      org.opencontainers.image.description="A caching proxy in front of PyPI that serves only what provenance and policy approve" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/assay /opt/assay
COPY --from=build --chown=10001:10001 /build/storage /var/lib/assay
COPY config/policy.toml /etc/assay/policy.toml
# A fixed number, so that Kubernetes can check runAsNonRoot and a volume can be given to it.
USER 10001:10001
ENV PATH=/opt/assay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ASSAY_SERVER__HOST=0.0.0.0 \
    ASSAY_STORAGE__DIRECTORY=/var/lib/assay
VOLUME /var/lib/assay
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["assay"]
CMD ["serve"]
