# Signpost as a container image. One file, two variants:
#
#   make image                  signpost:cpu
#   make image VARIANT=gpu      signpost:gpu, with CUDA's libraries; the host needs NVIDIA's driver and container toolkit
#
# Run:  docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8501:8501 signpost:cpu
# docs/deploy.md tells the rest; docs/decisions/0030-container.md why it is as it is.

ARG PYTHON_IMAGE=python:3.11-slim
ARG VARIANT=cpu

# What has to be installed, as a file of its own: a change of pyproject.toml that changes no dependency (of a linter's
# settings, say) leaves the large layer below as it is.
FROM ${PYTHON_IMAGE} AS requirements
ARG VARIANT
COPY pyproject.toml /
RUN case "${VARIANT}" in cpu|gpu) ;; *) echo "VARIANT must be cpu or gpu, not ${VARIANT}." >&2; exit 2 ;; esac \
 && python -c "import sys, tomllib; \
project = tomllib.load(open('/pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies'].get(sys.argv[1], []), *project['optional-dependencies']['objects'], sep='\n')" "${VARIANT}" \
    > /requirements.txt

# The dependencies, from wheels only: nothing is compiled, so no compiler is needed.
FROM ${PYTHON_IMAGE} AS dependencies
COPY --from=requirements /requirements.txt /
COPY constraints.txt /
RUN python -m venv --without-pip /opt/signpost \
 && python -m pip --python /opt/signpost/bin/python install --no-cache-dir --disable-pip-version-check \
    --only-binary :all: -r /requirements.txt -c /constraints.txt
# What a running service never opens: C++ headers (430 MB of TensorFlow's alone), libclang, tests.
RUN cd /opt/signpost/lib/python3*/site-packages \
 && rm -rf tensorflow/include clang/native \
 && find . -type d \( -name tests -o -path '*/numpy/*/include' \) -prune -exec rm -rf {} + \
 && find . -name '*.h' -delete

# The code, in a tree that holds nothing else: it becomes the last, small layer. setuptools came with TensorFlow.
FROM dependencies AS code
COPY pyproject.toml setup.py README.md LICENSE /source/
COPY service /source/service
COPY training /source/training
COPY loadtests /source/loadtests
RUN python -m pip --python /opt/signpost/bin/python install --disable-pip-version-check \
    --no-deps --no-index --no-build-isolation --root /code /source

FROM ${PYTHON_IMAGE}

# A number, so that Kubernetes can see that it is not root; a name for it, for what looks one up.
RUN groupadd --gid 10001 signpost \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin signpost

COPY --from=dependencies /opt/signpost /opt/signpost
COPY --from=code /code/ /
# The shipped models; a volume mounted here replaces them. Owned by the user so that a volume made from it can be written
# to: `signpost models rollback` does.
COPY --chown=10001:10001 model_store/ /models/

# Bytecode was written at the build; the root file system may be read-only. Only /tmp is written to: gunicorn's heartbeat
# file, uploads beyond 500 kB while they are read, Keras' settings (HOME).
# NVIDIA_VISIBLE_DEVICES is not set, on purpose: it would show every GPU to a container that was given none.
ENV PATH=/opt/signpost/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIGNPOST_HOST=0.0.0.0 \
    SIGNPOST_STORE=/models

# Below all layers with files, since a new revision would build them again.
ARG PYTHON_IMAGE
ARG VARIANT
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Signpost" \
      org.opencontainers.image.description="Serves TensorFlow SavedModels over HTTP and gRPC; trains image classifiers (${VARIANT})." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

USER 10001:10001
WORKDIR /tmp
VOLUME ["/models"]
EXPOSE 8500 8501
STOPSIGNAL SIGTERM

# Alive, not ready: what acts on this check restarts the container, and a restart mends a hung process but no broken
# model; it would only take the other models away. Who wants to know whether it is ready asks /readyz.
# http.client rather than urllib: it heeds no proxy variables.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import http.client, os, ssl, sys; at = ('127.0.0.1', int(os.environ.get('SIGNPOST_REST_API_PORT', 8501))); c = http.client.HTTPSConnection(*at, timeout=4, context=ssl._create_unverified_context()) if 'SIGNPOST_SSL_CERTIFICATE_FILE' in os.environ else http.client.HTTPConnection(*at, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["signpost"]
CMD ["serve"]
