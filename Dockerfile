# The operator's image: the packages of requirements.lock, by their hashes, and operator/azpatch.
# The simulated Azure is not in it. Build it with podman or docker; docs/install.md says how.
#
# BASE is any image with Python 3.11 to 3.13, pip and CA certificates.
ARG BASE=python:3.13-slim

FROM ${BASE} AS packages
RUN ["python", "-m", "venv", "--without-pip", "/opt/azpatch"]
COPY requirements.lock /build/
# Wheels only: an sdist would be built with packages that the lock does not pin. The secrets are
# optional: a pip.conf for those who install from a mirror, and the certificates it may point to.
RUN --mount=type=secret,id=pip-conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-bundle \
    python -m pip --python /opt/azpatch/bin/python install \
      --no-cache-dir --no-compile --no-deps --only-binary=:all: \
      --require-hashes --requirement /build/requirements.lock \
 && /opt/azpatch/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/azpatch/lib
# The project is copied, not built: the build backend is not in the operator's lock.
RUN site=$(/opt/azpatch/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
 && echo /opt/azpatch/program > "${site}/azpatch.pth" \
 && printf '%s\n' '#!/opt/azpatch/bin/python' 'import sys' '' \
      'from azpatch.__main__ import main' '' 'sys.exit(main())' > /opt/azpatch/bin/azpatch \
 && chmod 0755 /opt/azpatch/bin/azpatch

FROM packages AS program
COPY operator/azpatch /opt/azpatch/program/azpatch
# A checkout may be readable by its owner only.
RUN chmod -R a+rX,go-w /opt/azpatch/program \
 && /opt/azpatch/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/azpatch/program

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="azpatch" \
      org.opencontainers.image.description="A Kubernetes operator that keeps the operating systems of Azure machines patched" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# Nothing can be installed in a running container: pip goes, and what could bring it back.
RUN bundled=$(python -c 'import ensurepip, os; print(os.path.dirname(ensurepip.__file__))') \
 && python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && rm -rf "${bundled}"
# Two layers: a change of azpatch alone is a small one to push and to pull.
COPY --from=packages /opt/azpatch /opt/azpatch
COPY --from=program /opt/azpatch/program /opt/azpatch/program
ENV PATH=/opt/azpatch/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that a kubelet can see that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["azpatch"]
CMD ["run"]
